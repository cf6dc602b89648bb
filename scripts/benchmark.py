"""What the benchmarks share: options, contestants in turns, and the report that they print.

Nothing heavy is imported up here, see ``processes``.
"""

import argparse
import contextlib
import datetime
import json
import re
import statistics
import sys
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from peers import Peer, PeerFailed
from processes import Limits
from processes import set_threads as set_threads

Contestant = Callable[[int], object]
"""Is given the number of the round; one that returns a float has taken its own time, any other is
timed."""


def parser(
    description: str | None,
    quick: str,
    repeats: int | None = None,
    peer_seconds: float | None = None,
) -> argparse.ArgumentParser:
    """The options that every benchmark has.

    Args:
        description: What the script measures.
        quick: What --quick does.
        repeats: The default of --repeats; None for no such option.
        peer_seconds: The default of --peer-seconds; None for no limits, where there are no peers.
    """
    made = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument("--threads", type=int, default=1)
    if repeats is not None:
        made.add_argument("--repeats", type=int, default=repeats)
    if peer_seconds is not None:
        made.add_argument(
            "--peer-seconds",
            type=float,
            default=peer_seconds,
            metavar="S",
            help="stop a call of a peer that takes longer",
        )
        made.add_argument(
            "--peer-memory",
            type=float,
            metavar="GB",
            help="let a peer take no more (default: nine tenths of what is free)",
        )
    made.add_argument("--quick", action="store_true", help=quick)
    made.add_argument(
        "--json", type=Path, metavar="FILE", help="keep the figures and the printed lines"
    )
    return made


def limits(options: argparse.Namespace) -> Limits:
    """What the options let a peer take."""
    memory = None if options.peer_memory is None else int(options.peer_memory * 1e9)
    return Limits(options.peer_seconds, memory)


def seconds(run: Callable[[], object]) -> float:
    """Of one call."""
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def in_turns(
    contestants: Mapping[str, Contestant],
    repeats: int,
    threads: int,
    warm_up: bool = False,
    once: Collection[str] = (),
) -> dict[str, float]:
    """Median seconds of each contestant; they take turns, so that a busy machine is so for all.

    A peer that fails has said why, and is left out.

    Args:
        contestants: What to time.
        repeats: How many rounds count.
        threads: Set once more here, for the libraries that contestants have loaded since the start.
        warm_up: Whether a round that does not count goes first.
        once: Contestants that take too long for more than the first round.
    """
    from adbench.system.parallel import libraries_known

    taken: dict[str, list[float]] = {name: [] for name in contestants}
    with libraries_known():  # as in `adbench run`
        for turn in range(-1 if warm_up else 0, repeats):
            for name in list(taken):
                if turn > 0 and name in once:
                    continue
                set_threads(threads)
                start = time.perf_counter()
                try:
                    own = contestants[name](max(turn, 0))
                except PeerFailed:
                    del taken[name]
                    continue
                took = own if isinstance(own, float) else time.perf_counter() - start
                if turn >= 0:
                    taken[name].append(took)
    return {name: statistics.median(times) for name, times in taken.items()}


def key(*words: object) -> str:
    """The name of a figure: lower-case words joined by underscores."""
    return re.sub(r"\W+", "_", " ".join(map(str, words)).lower()).strip("_")


@dataclass
class Report:
    """What one benchmark finds: lines for people as they are found, and named numbers."""

    options: argparse.Namespace
    figures: dict[str, float] = field(default_factory=dict)
    lines: list[str] = field(default_factory=list)
    started: float = field(default_factory=time.perf_counter)

    def say(self, line: str) -> None:
        """Print a line and keep it."""
        print(line, flush=True)
        self.lines.append(line)

    def table(
        self, medians: Mapping[str, float], ours: str, notes: Mapping[str, str] | None = None
    ) -> None:
        """A line per contestant: seconds, and how many times those of ``ours``.

        Figures are ``<name>_s``.
        """
        width = max(map(len, medians))
        for name, value in medians.items():
            shown = f"{value:10.2f} s " if value >= 10 else f"{1e3 * value:10.2f} ms"
            note = (notes or {}).get(name, "")
            self.say(f"{name:{width}} {shown} {value / medians[ours]:9.2f} x  {note}".rstrip())
            self.figures[key(name, "s")] = value

    def peer_processes(self, makers: Mapping[str, Callable[[], Any]]) -> dict[str, Peer]:
        """What the makers make, each in a process of its own with the limits of the options.

        See ``Peer`` for what a maker must be. A peer that is not installed or cannot be made is
        left out, and the report says so.
        """
        made: dict[str, Peer] = {}
        for name, make in makers.items():
            with contextlib.suppress(PeerFailed):  # it has said why
                made[name] = Peer(name, make, self.options.threads, limits(self.options), self.say)
        return made

    def finish(self, ratio: float | None) -> None:
        """Print the last line, and write the JSON file if there is to be one.

        Args:
            ratio: A peer's time over ours; None where there is no peer.
        """
        if ratio is not None:
            self.figures["ratio"] = ratio
        shown = "no peer to compare with" if ratio is None else f"{ratio:.2f}"
        print(f"ratio: {shown}", flush=True)
        if self.options.json:
            from adbench.system import machine
            from adbench.system.files import write_whole

            set_threads(self.options.threads)
            content = {
                "script": Path(sys.argv[0]).name,
                "threads": self.options.threads,
                "quick": self.options.quick,
                "figures": self.figures,
                "lines": self.lines,
                "seconds": round(time.perf_counter() - self.started, 1),
                "machine": machine.describe("cpu"),
                "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            }
            write_whole(self.options.json, json.dumps(content, indent=1) + "\n")


def over(medians: Mapping[str, float], peer: str, ours: str) -> float | None:
    """How many times the seconds of ours a peer takes; None where it failed or is not there."""
    return medians[peer] / medians[ours] if peer in medians else None
