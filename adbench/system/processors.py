"""How many processors the process may use, as a batch system, a container or the user says."""

import contextlib
import math
import os
import re
from collections.abc import Iterator
from pathlib import Path

OWN_GROUPS = Path("/proc/self/cgroup")
"""Where Linux names the control groups of the process."""
GROUPS = Path("/sys/fs/cgroup")
"""Where Linux shows their limits, and so those of containers and batch jobs."""
VARIABLES = ("SLURM_CPUS_PER_TASK", "OMP_NUM_THREADS")
"""By which Slurm, the workers of joblib and Ray, and users say how many threads there may be."""


def processors() -> int:
    """How many processors the process may use: the least that any of these allows.

    They are the processors that the system lets it run on, ``VARIABLES``, and the quotas of its
    control groups (``cpu.max``, or ``cpu.cfs_quota_us`` of the first version).
    """
    return max(1, min([_available(), *_of_variables(), *_of_groups()]))


def _available() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _of_variables() -> Iterator[int]:
    for name in VARIABLES:
        # OpenMP takes a list, such as 4,2: the first is that of the outermost level.
        if found := re.match(r"\s*([1-9]\d*)", os.environ.get(name, "")):
            yield int(found[1])


def control_groups(controller: str) -> Iterator[tuple[Path, bool]]:
    """The process's control group and those around it, innermost first; none but on Linux.

    Args:
        controller: What the groups limit, such as ``memory``.

    Yields:
        The folder of a group, and whether it is of the first version of Linux's interface, which
        has a hierarchy of its own for each controller.
    """
    with contextlib.suppress(OSError):
        for line in OWN_GROUPS.read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if controllers and controller not in controllers.split(","):
                continue
            inside = Path(path.lstrip("/"))
            for group in (inside, *inside.parents):
                yield GROUPS / controllers / group, bool(controllers)


def _of_groups() -> Iterator[int]:
    """The quotas of the process's control groups and of those around them."""
    for group, first_version in control_groups("cpu"):
        yield from _quota(group, first_version)


def _quota(group: Path, first_version: bool) -> Iterator[int]:
    with contextlib.suppress(OSError, ValueError):  # no such file, or the quota "max"
        if first_version:
            names = ("cpu.cfs_quota_us", "cpu.cfs_period_us")
            quota, period = (int((group / name).read_text()) for name in names)
        else:
            quota, period = map(int, (group / "cpu.max").read_text().split())
        if quota > 0:  # -1 is no limit
            yield math.ceil(quota / period)
