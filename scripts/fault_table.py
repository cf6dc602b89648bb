"""Count the faults that the tests put in, by kind, and what became of them.

    python scripts/fault_table.py          # collects the tests: kinds, cases, errors asserted
    python scripts/fault_table.py --run    # runs them too: what was lost, and what was executed
    python scripts/fault_table.py --run -m "not slow"

A test says by ``@pytest.mark.fault(kind, shows=...)`` what it shows: ``error``, the named error;
``kept``, that everything else is kept; ``inert``, that nothing hostile was executed. A case that
fails counts as lost, or as executed where it was to show ``inert``. Words behind the flags go to
pytest. The exit status is 1 where any case failed.
"""

import sys
from collections import Counter, defaultdict
from pathlib import Path

import pytest
from tabulate import tabulate

SHOWS = ("error", "kept", "inert")
RUN = "--run"


class Counts:
    """Of the marked tests, by kind; a plugin of pytest."""

    def __init__(self) -> None:
        self.kinds: dict[str, str] = {}
        """Test -> kind."""
        self.shows: dict[str, str] = {}
        """Test -> what it shows."""
        self.failed: set[str] = set()
        self.errors: list[str] = []

    def pytest_collection_modifyitems(
        self, config: pytest.Config, items: list[pytest.Item]
    ) -> None:
        """Keep the marked tests alone."""
        marked = [item for item in items if item.get_closest_marker("fault")]
        config.hook.pytest_deselected(items=[item for item in items if item not in set(marked)])
        items[:] = marked

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Note what is left after every selection."""
        for item in session.items:
            mark = item.get_closest_marker("fault")
            assert mark is not None
            shows = mark.kwargs.get("shows", "error")
            if shows not in SHOWS:
                self.errors.append(f"{item.nodeid}: shows={shows!r} is none of {', '.join(SHOWS)}")
            self.kinds[item.nodeid] = mark.args[0]
            self.shows[item.nodeid] = shows

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note what failed."""
        if report.failed:
            self.failed.add(report.nodeid)

    def table(self, ran: bool) -> list[dict[str, object]]:
        """One row per kind, and their sum."""
        rows: dict[str, Counter[str]] = defaultdict(Counter)
        for test, kind in self.kinds.items():
            shows, failed = self.shows[test], test in self.failed
            for name in (kind, "sum"):
                rows[name]["cases"] += 1
                rows[name]["errors asserted"] += shows == "error" and not failed
                rows[name]["lost"] += failed and shows != "inert"
                rows[name]["executed"] += failed and shows == "inert"
        if not ran:
            for counts in rows.values():
                del counts["lost"], counts["executed"]
        order = sorted(rows, key=lambda name: (name == "sum", name))
        return [{"kind": name, **rows[name]} for name in order]


def main() -> int:
    words = [word for word in sys.argv[1:] if word != RUN]
    ran = RUN in sys.argv
    counts = Counts()
    tests = str(Path(__file__).parents[1] / "tests")
    given = ["-q", "--no-header", "-p", "no:cacheprovider", *words, tests]
    status = pytest.main(given if ran else [*given, "--collect-only", "-qq"], plugins=[counts])
    print(tabulate(counts.table(ran), headers="keys"))
    for line in [*counts.errors, *(f"failed: {test}" for test in sorted(counts.failed))]:
        print(line, file=sys.stderr)
    return 1 if status or counts.errors else 0


if __name__ == "__main__":
    sys.exit(main())
