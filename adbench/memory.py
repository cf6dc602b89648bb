"""Whether a computation fits the memory that is free, asked before it starts."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import psutil

from adbench.build import check, settings_of
from adbench.core import AdbenchError, Features, Method

OWN_GROUPS = Path("/proc/self/cgroup")
"""Where Linux names the control groups of the process."""
GROUPS = Path("/sys/fs/cgroup")
"""Where it shows their limits, and so those of containers and batch jobs."""


@runtime_checkable
class EstimatesMemory(Protocol):
    """A method that knows how much memory it will need."""

    def memory(self, normal: Features, test: int) -> int:
        """Bytes that fitting on ``normal`` and then scoring ``test`` images hold at their peak, besides the features.

        It reads the sizes of ``normal`` alone, and is an upper bound up to what allocators and threads add.
        """
        ...

    def lighter(self) -> Iterator[dict[str, Any]]:
        """Settings to change so that less memory is needed, the mildest first."""
        ...


def free() -> int:
    """Bytes that the process can still take without swapping: what the system has, or its control group if that is less."""
    available = psutil.virtual_memory().available
    return min([available, *_left_in_groups()])


def fits(method: Method, normal: Features, test: int, besides: int = 0) -> bool:
    """Whether fitting and scoring would fit into what is free; True for a method that makes no estimate.

    Args:
        method: Fitted or not.
        normal: The features to be fitted on.
        test: How many images are to be scored.
        besides: Bytes that the rest of the run needs while the method's are held.
    """
    return not isinstance(method, EstimatesMemory) or method.memory(normal, test) + besides <= free()


def require(method: Method, normal: Features, test: int, besides: int = 0) -> None:
    """Raise unless ``fits``, with the settings of the method that would.

    Raises:
        AdbenchError: With what is needed and what is free.
    """
    if not isinstance(method, EstimatesMemory) or fits(method, normal, test, besides):
        return
    settings = settings_of(method)
    lighter = (c for c in method.lighter() if fits(check(type(method), settings | c, "method"), normal, test, besides))
    change = " ".join(f"method.{name}={value}".replace(" ", "") for name, value in next(lighter, {}).items())
    needed = method.memory(normal, test) + besides
    raise AdbenchError(
        f"{type(method).__name__} on {len(normal)} images needs about {needed / 1e9:.1f} GB of memory and "
        f"{free() / 1e9:.1f} GB are free; "
        + (f"{change} would fit" if change else "free some, or set a smaller geometry.resize and geometry.crop")
    )


def _left_in_groups() -> Iterator[int]:
    """What the limits of the process's control group and of those around it leave, for both versions of the interface."""
    with contextlib.suppress(OSError):
        for line in OWN_GROUPS.read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if controllers in ("", "memory"):
                root = GROUPS / controllers
                files = ("limit_in_bytes", "usage_in_bytes") if controllers else ("max", "current")
                inside = Path(path.lstrip("/"))
                for group in (inside, *inside.parents):
                    yield from _left_in(root / group, *files)


def _left_in(group: Path, limit: str, used: str) -> Iterator[int]:
    with contextlib.suppress(OSError, ValueError):  # a group without the files, or the limit "max"
        allowed, taken = (int((group / f"memory.{name}").read_text()) for name in (limit, used))
        # Pages of files, such as those of mapped features, count as taken and are given back when memory is short.
        shrinks = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
        files = int(shrinks.get("total_inactive_file", shrinks.get("inactive_file", 0)))
        yield max(0, allowed - taken + files)
