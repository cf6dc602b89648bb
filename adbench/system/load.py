"""How busy other processes keep the machine, which makes the time measured meanwhile longer."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

import psutil


@contextmanager
def load() -> Iterator[dict[str, float]]:
    """Watch the machine for the block; the mapping is filled when it ends.

    Its keys:
        average: The system's load average over a minute, which this process is part of.
        others: How many cores the work of others kept busy on average during the block.
    """
    found: dict[str, float] = {}
    start, taken = time.perf_counter(), _taken_by_others()
    yield found
    passed = time.perf_counter() - start
    found["average"] = psutil.getloadavg()[0]
    found["others"] = max(0.0, (_taken_by_others() - taken) / passed)


def _taken_by_others() -> float:
    """Processor seconds that were not idle and were not taken by this process."""
    times = psutil.cpu_times()
    idle = times.idle + getattr(times, "iowait", 0.0)
    doubled = getattr(times, "guest", 0.0) + getattr(times, "guest_nice", 0.0)  # in user and nice
    return float(sum(times) - idle - doubled - time.process_time())
