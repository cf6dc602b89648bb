"""Processes of their own: to measure one from start to end, and to hold peers to limits.

Nothing heavy is imported up here. Linux counts what a parent holds when it starts a child into the
child's peak memory, so scripts that measure processes must stay small themselves.
"""

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from functools import partial
from typing import Any

MISSING = "not installed (pip install 'adbench-vision[peers]')"
SHARE = 0.9
"""Part of the free memory that a peer may take where no limit is given."""


class ProcessFailed(RuntimeError):
    """A process that did not end well.

    Attributes:
        why: How it ended.
        last: The last line that it printed.
    """

    def __init__(self, words: str, why: str, output: str) -> None:
        super().__init__(f"{words} {why}:\n{output[-3000:]}")
        self.why, self.last = why, (output.strip().splitlines() or [""])[-1]


@dataclass(frozen=True)
class Limits:
    """What a peer may take."""

    seconds: float
    """Of one call, or of a whole process."""
    memory: int | None = None
    """Bytes of its own; None for ``SHARE`` of what is free when it starts."""

    def bytes(self) -> int:
        """The limit of memory, with what is free now."""
        if self.memory is not None:
            return self.memory
        from adbench.system import machine

        return int(SHARE * machine.free_memory())


def hold_memory(size: int) -> None:
    """Hold this process to ``size`` bytes of its own, where the system can (not on Windows)."""
    with contextlib.suppress(ImportError):
        import resource

        # Not the address space: libraries reserve far more of that than they ever use.
        _, hard = resource.getrlimit(resource.RLIMIT_DATA)
        soft = size if hard == resource.RLIM_INFINITY else min(size, hard)
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))


def set_threads(threads: int) -> None:
    """Hold torch and every BLAS that is loaded to so many threads."""
    from adbench.system import machine

    machine.set_threads(threads)


def pin(cores: int) -> None:
    """Hold this process and its children to so many cores, whatever threads they start (Linux)."""
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:cores])


# A process from start to end


@dataclass(frozen=True)
class Process:
    """A process that ended well."""

    seconds: float
    peak: int
    """Its highest resident memory in bytes."""
    output: str


def environment() -> dict[str, str]:
    """For a child that is to find the same packages, however this process came to know them."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}


def run_process(*words: object, limits: Limits | None = None) -> Process:
    """Run Python with these words to its end.

    Raises:
        ProcessFailed: It failed or took more than ``limits``; the message holds the end of what it
            printed.
    """
    stopped = threading.Event()
    hold = partial(hold_memory, limits.bytes()) if limits else None
    with tempfile.TemporaryFile() as output:
        start = time.perf_counter()
        child = subprocess.Popen(
            [sys.executable, *map(str, words)],
            stdout=output,
            stderr=subprocess.STDOUT,
            env=environment(),
            preexec_fn=hold,
        )

        def stop() -> None:
            stopped.set()
            child.kill()

        timer = threading.Timer(limits.seconds, stop) if limits else None
        if timer:
            timer.start()
        _, status, used = os.wait4(child.pid, 0)  # the one call that tells this child's memory
        if timer:
            timer.cancel()
        took = time.perf_counter() - start
        child.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0)
        text = output.read().decode(errors="replace")
    if child.returncode:
        why = f"was stopped after {took:.0f} s" if stopped.is_set() else None
        why = why or f"ended with {child.returncode}"
        raise ProcessFailed(" ".join(map(str, words)), why, text)
    return Process(took, used.ru_maxrss * 1024, text)


def last_json(text: str) -> Any:
    """What a child printed on its last line."""
    return json.loads(text.strip().splitlines()[-1])
