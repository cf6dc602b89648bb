"""Peers in processes of their own, with limits of time and of memory."""

import contextlib
import multiprocessing
import pickle
import tempfile
import time
from collections.abc import Callable
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NoReturn

from processes import MISSING, Limits, hold_memory, set_threads


class PeerFailed(RuntimeError):
    """A peer did not do what was wanted; the message says why."""


class Peer:
    """An object of other code in a process of its own, which is called again and again.

    A call that takes too long, that wants too much memory or that fails ends the process. The
    reason is told, and the benchmark goes on without the peer.

    Args:
        name: In messages.
        make: Makes the object there. It is pickled, so it must be a ``functools.partial`` of a
            function or class at the top of a module; arrays are best given as numpy's.
        threads: Of torch and BLAS there.
        limits: Of each call, and of the memory of the process.
        say: Is told in one line what goes wrong.

    Raises:
        PeerFailed: The object cannot be made.
    """

    def __init__(
        self,
        name: str,
        make: Callable[[], Any],
        threads: int,
        limits: Limits,
        say: Callable[[str], None],
    ) -> None:
        self.name, self.alive = name, True
        self._limits, self._say, self._memory = limits, say, limits.bytes()
        spawn = multiprocessing.get_context("spawn")  # a fork would share torch's dead threads
        self._pipe, there = spawn.Pipe()
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "make")
            with path.open("wb") as file:
                pickle.dump(make, file, protocol=5)
            arguments = (path, there, threads, self._memory)
            self._process = spawn.Process(target=_serve, args=arguments, daemon=True)
            self._process.start()
            there.close()  # so that a child that dies ends the waiting
            self._answer("its start")

    def __call__(self, turn: int) -> float:
        """Seconds of calling the object with the number of the round."""
        return self.seconds("__call__", turn)

    def seconds(self, what: str, *arguments: object) -> float:
        """Seconds of calling the method ``what``, or those that it returns as its own (float).

        Raises:
            PeerFailed: As told.
        """
        return float(self._ask(what, arguments, False)[0])

    def value(self, what: str, *arguments: object) -> Any:
        """What the method ``what`` returns; arrays are best returned as numpy's.

        Raises:
            PeerFailed: As told.
        """
        return self._ask(what, arguments, True)[1]

    def close(self) -> None:
        """End the process."""
        self.alive = False
        self._process.kill()
        self._process.join()
        self._pipe.close()

    def _ask(self, what: str, arguments: tuple[object, ...], wanted: bool) -> Any:
        if not self.alive:
            raise PeerFailed(f"{self.name} has failed before")
        with contextlib.suppress(OSError):  # it is dead, which the answer tells
            self._pipe.send((what, arguments, wanted))
        return self._answer(what)

    def _answer(self, what: str) -> Any:
        try:
            if not self._pipe.poll(self._limits.seconds):
                self._fail(f"was stopped in {what} after {self._limits.seconds:g} s")
            answer = self._pipe.recv()
        except (EOFError, OSError):
            self._process.join()
            self._fail(
                f"the process ended with {self._process.exitcode} in {what}; "
                f"it might take {self._memory / 1e9:.1f} GB"
            )
        if answer == MISSING:
            self._fail(MISSING)
        if isinstance(answer, str):
            self._fail(f"fails in {what}, with at most {self._memory / 1e9:.1f} GB: {answer}")
        return answer

    def _fail(self, why: str) -> NoReturn:
        self.close()
        self._say(f"{self.name}: {why}")
        raise PeerFailed(f"{self.name}: {why}")


def _serve(path: Path, pipe: Connection, threads: int, memory: int) -> None:
    """In the child: make the object, then answer calls with (seconds, value), or with what failed.

    Whatever other code raises is an answer.
    """
    hold_memory(memory)

    def make() -> tuple[float, Any]:
        set_threads(threads)
        with path.open("rb") as file:
            made.append(pickle.load(file)())
        return 0.0, None

    def call(what: str, arguments: tuple[object, ...], wanted: bool) -> tuple[float, Any]:
        set_threads(threads)  # once more, for the libraries that were loaded since
        method = getattr(made[0], what)
        start = time.perf_counter()
        value = method(*arguments)
        took = time.perf_counter() - start
        return value if isinstance(value, float) else took, value if wanted else None

    made: list[Any] = []
    _send(pipe, make)
    with contextlib.suppress(EOFError):  # the parent needs it no more
        while True:
            _send(pipe, partial(call, *pipe.recv()))


def _send(pipe: Connection, work: Callable[[], tuple[float, Any]]) -> None:
    try:
        pipe.send(work())
    except ImportError:
        pipe.send(MISSING)
    except Exception as error:
        first = (str(error).splitlines() or [""])[0]
        pipe.send(f"{type(error).__name__}: {first}".rstrip(": "))
