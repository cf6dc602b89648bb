"""The printed numbers of the published tables: ``published/*.csv``, and tables of the user's."""

import csv
from pathlib import Path

from pydantic.dataclasses import dataclass

from adbench.errors import AdbenchError
from adbench.system.settings import STRICT

FOLDER = Path(__file__).parent / "published"
PEERS = "peers"
"""The source of the numbers that public code bases print of their own runs."""

AVERAGE = "average"
"""Stands for the mean over the categories."""

Numbers = dict[tuple[str, str], float]
"""(metric, category or ``average``) -> the printed number."""


@dataclass(frozen=True, config=STRICT)
class Printed:
    """Where numbers are printed: columns of ``published.csv``, or the numbers themselves.

    What is left out is the table's own or the only one.
    """

    system: str = ""
    setting: str | None = None
    table: str | None = None
    source: str | None = None
    """``peers``: the numbers that a public code base prints of its own runs."""
    numbers: dict[str, dict[str, float]] | None = None
    """Metric -> category or ``average`` -> number, for a table that has no CSV."""


class Library:
    """All printed numbers, read once."""

    def __init__(self) -> None:
        self.systems: dict[tuple[str, str, str], dict[str, Numbers]] = {}
        """(source, table, system) -> setting -> numbers."""
        for name in ("published.csv", "peers.csv"):
            with (FOLDER / name).open(newline="", encoding="utf-8") as file:
                for line in csv.DictReader(file):
                    key = (line.get("source", PEERS), line.get("table", ""), line["system"])
                    settings = self.systems.setdefault(key, {})
                    numbers = settings.setdefault(line["setting"], {})
                    numbers[line["metric"], line["category"]] = float(line["value"])

    def numbers(self, place: Printed, source: str, table: str) -> Numbers:
        """The numbers at a place.

        Args:
            place: What a row says.
            source: Of the table that the row stands in.
            table: The printed table's name there.

        Raises:
            AdbenchError: It is not one printed setting.
        """
        if place.numbers is not None:
            return {
                (metric, category): value
                for metric, values in place.numbers.items()
                for category, value in values.items()
            }
        source = place.source or source
        own = "" if source == PEERS else place.table or table
        settings = self.systems.get((source, own, place.system), {})
        chosen = [place.setting] if place.setting else list(settings)
        if len(chosen) != 1 or chosen[0] not in settings:
            raise AdbenchError(f"{place} is not one printed setting; there are {list(settings)}")
        return settings[chosen[0]]
