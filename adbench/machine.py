"""What the machine is and how much of it a run used: threads, device, versions, memory."""

import contextlib
import functools
import importlib.metadata
import os
import platform
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import torch
from threadpoolctl import threadpool_info, threadpool_limits

from adbench.core import AdbenchError

OWN_GROUPS = Path("/proc/self/cgroup")
"""Where Linux names the control groups of the process."""
GROUPS = Path("/sys/fs/cgroup")
"""Where it shows their limits, and so those of containers and batch jobs."""
_PACKAGES = ("adbench", "torch", "timm", "open_clip_torch", "numpy", "scipy", "scikit-learn", "numba", "pillow")
_SETTINGS = ("OPENBLAS_CORETYPE", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


def set_threads(threads: int | None) -> None:
    """Limit the threads of torch and of every BLAS in the process; None leaves them as they are."""
    if threads is not None:
        torch.set_num_threads(threads)
        threadpool_limits(threads)


def device_name(device: str) -> str:
    """The torch device that a ``device`` setting means: ``auto`` is the GPU where there is one.

    Raises:
        AdbenchError: A GPU was asked for and there is none.
    """
    available = torch.cuda.is_available()
    if device.startswith("cuda") and not available:
        raise AdbenchError(f"device {device}: torch {torch.__version__} finds no CUDA device; use device=cpu or auto")
    return ("cuda" if available else "cpu") if device == "auto" else device


def describe(device: str) -> dict[str, Any]:
    """Device, processor, threads, versions and commit, for the record."""
    name = device_name(device)
    return {
        "device": torch.cuda.get_device_name(name) if name.startswith("cuda") else "cpu",
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "blas": sorted(
            {f"{i['internal_api']}-{i.get('architecture', '')}x{i['num_threads']}" for i in threadpool_info()}
        ),
        "system": platform.platform(),
        "python": platform.python_version(),
        "versions": {p: v for p in _PACKAGES if (v := _version(p))},
        "variables": {v: os.environ[v] for v in _SETTINGS if v in os.environ},
        "commit": _commit(),
    }


def free_memory() -> int:
    """Bytes that the process can still take without swapping: what the system has, or its control group if that is less."""
    available = psutil.virtual_memory().available
    return min([available, *_left_in_groups()])


def reset_peak_memory() -> None:
    """Start counting the peak anew where the system can (Linux)."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def peak_memory() -> int:
    """Highest resident memory of the process in bytes, since ``reset_peak_memory`` where that works, else since start."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    if sys.platform == "win32":
        return 0  # Windows has no resource module; the record says 0, not a guess
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _processor() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


@functools.cache
def _commit() -> str | None:
    """The commit of the checkout that adbench runs from, or None for an installed wheel."""
    folder = Path(__file__).parent.parent
    if not (folder / ".git").exists():
        return None
    with contextlib.suppress(OSError):
        done = subprocess.run(["git", "-C", folder, "rev-parse", "HEAD"], capture_output=True, text=True, check=False)
        return done.stdout.strip() or None
    return None


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
