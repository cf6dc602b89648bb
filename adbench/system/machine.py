"""What the machine is, and how much of it a run may use and used."""

import contextlib
import importlib.metadata
import os
import platform
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import torch
from threadpoolctl import threadpool_info, threadpool_limits

import adbench
from adbench.errors import AdbenchError
from adbench.system.origin import commit
from adbench.system.processors import control_groups, processors

_PACKAGES = (
    "torch",
    "timm",
    "open_clip_torch",
    "openvino",
    "numpy",
    "scipy",
    "scikit-learn",
    "numba",
    "pillow",
)
_VARIABLES = (
    "OPENBLAS_CORETYPE",
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
)
DEVICES = r"auto|cpu|mps|cuda(:\d+)?"
"""What a ``device`` setting may be."""
MOST_THREADS = 1024
"""Far more make a process fail for want of memory before anything is computed."""


def set_threads(threads: int | None) -> None:
    """Limit the threads of torch and of every BLAS in the process.

    Everything that adbench runs on threads of its own takes as many as torch has. None leaves them
    as they are, unless there are more than the process may use.
    """
    if threads is None and torch.get_num_threads() > processors():
        threads = processors()
    if threads is not None:
        import scipy.linalg  # noqa: F401  # loads a BLAS of its own, to be limited too

        torch.set_num_threads(threads)
        threadpool_limits(threads)


def device_name(device: str) -> str:
    """The torch device that a ``device`` setting means: ``auto`` is a CUDA GPU, else the CPU.

    Raises:
        AdbenchError: The setting is no such name, or names a GPU that is not there.
    """
    if not re.fullmatch(DEVICES, device):
        raise AdbenchError(f"device {device}: is auto, cpu, cuda or cuda:N, or mps on a Mac")
    available = torch.cuda.is_available()
    if device.startswith("cuda") and not available:
        raise AdbenchError(
            f"device {device}: torch {torch.__version__} finds no CUDA device; "
            "use device=cpu or auto"
        )
    if device.startswith("cuda:") and int(device[5:]) >= (count := torch.cuda.device_count()):
        raise AdbenchError(
            f"device {device}: the last CUDA device here is cuda:{count - 1}; use that or a lower"
        )
    if device == "mps" and not torch.backends.mps.is_available():
        raise AdbenchError(
            f"device mps: torch {torch.__version__} finds no Apple GPU; use device=cpu or auto"
        )
    return ("cuda" if available else "cpu") if device == "auto" else device


def synchronise(device: str) -> None:
    """Wait until ``device`` has computed all that was started on it, so that a clock counts it."""
    name = device_name(device)
    if name.startswith("cuda"):
        torch.cuda.synchronize(name)
    elif name == "mps":
        torch.mps.synchronize()


def describe(device: str) -> dict[str, Any]:
    """Device, processor, threads, versions and commit, for the record."""
    name = device_name(device)
    libraries = {
        f"{i['internal_api']}-{i.get('architecture', '')}x{i['num_threads']}"
        for i in threadpool_info()
    }
    return {
        "device": torch.cuda.get_device_name(name) if name.startswith("cuda") else name,
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "blas": sorted(libraries),
        "system": platform.platform(),
        "python": platform.python_version(),
        "versions": {
            "adbench": adbench.__version__,
            **{p: v for p in _PACKAGES if (v := version(p))},
        },
        "variables": {v: os.environ[v] for v in _VARIABLES if v in os.environ},
        "commit": commit(),
    }


def version(package: str) -> str | None:
    """The installed version of a package, found without importing it; None where there is none."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def free_memory() -> int:
    """Bytes that the process can still take without swapping.

    It is what the system has, or what the process's control group has left if that is less.
    """
    available = psutil.virtual_memory().available
    return min([available, *_left_in_groups()])


def free_device_memory(device: str) -> int | None:
    """Bytes that a GPU can still give; None for a device that shares the memory of the CPU."""
    if not device.startswith("cuda"):
        return None
    free, _ = torch.cuda.mem_get_info(device)
    return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)


def reset_peak_memory() -> None:
    """Start counting the peak anew where the system can (Linux)."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def peak_memory() -> int:
    """Highest resident memory of the process in bytes.

    It counts from ``reset_peak_memory`` where that works, else from the start of the process. It is
    0 on Windows, which has no such count.
    """
    with contextlib.suppress(OSError, ValueError, IndexError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    if sys.platform == "win32":
        return 0
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _processor() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def _left_in_groups() -> Iterator[int]:
    """What the limits of the process's control group and of those around it leave, in bytes.

    Both versions of Linux's interface are read.
    """
    for group, first_version in control_groups("memory"):
        files = ("limit_in_bytes", "usage_in_bytes") if first_version else ("max", "current")
        yield from _left_in(group, *files)


def _left_in(group: Path, limit: str, used: str) -> Iterator[int]:
    with contextlib.suppress(OSError, ValueError):  # a group without the files, or the limit "max"
        allowed, taken = (int((group / f"memory.{name}").read_text()) for name in (limit, used))
        # Pages of files, such as those of mapped features, count as taken, but the system takes
        # them back when memory is short.
        lines = (group / "memory.stat").read_text().splitlines()
        shrinks = dict(line.split() for line in lines)
        files = int(shrinks.get("total_inactive_file", shrinks.get("inactive_file", 0)))
        yield max(0, allowed - taken + files)
