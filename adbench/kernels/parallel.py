"""Work on many small pieces at once: one piece per thread, each with a BLAS of one thread.

Threads inside small products cost more than they bring, and contended ones many times more.
"""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from typing import Any

import torch
from threadpoolctl import ThreadpoolController


@contextmanager
def workers(limit: int | None = None) -> Iterator[Callable[[Callable[[Any], Any], Iterable[Any]], list[Any]]]:
    """A function like ``map`` that runs on as many threads as torch has, and on ``limit`` at most.

    It returns the results in order and raises what was raised. The items must not share what they write.
    """
    threads = torch.get_num_threads()
    count = threads if limit is None else max(1, min(threads, limit))
    with _blas().limit(limits=1, user_api="blas"), ThreadPoolExecutor(count) as pool:
        yield lambda work, items: list(pool.map(work, items) if count > 1 else map(work, items))


@cache
def _blas() -> ThreadpoolController:
    return ThreadpoolController()  # looking for the libraries takes milliseconds
