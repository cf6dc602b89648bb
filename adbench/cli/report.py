"""``adbench report``: one HTML file of a folder of results."""

import math
import re
import shlex
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from adbench.cli.screen import say
from adbench.cli.sides import results_of
from adbench.cli.words import values_of
from adbench.config.compose import Configs
from adbench.config.quoting import quoted
from adbench.errors import AdbenchError
from adbench.reports.page.gallery import LIMIT, PICTURES, SIZE, Wanted
from adbench.reports.page.gather import gather
from adbench.reports.page.render import render
from adbench.system.files import expanded, try_file, write_whole

NAME = "report.html"
KEYS = ("results", "out", "pictures", "picture_size", "limit")
PIXELS = (64, 4096)
"""The fewest and the most pixels of the longer side of a picture."""


@dataclass(frozen=True)
class _Words:
    """What was typed."""

    results: Path
    out: Path
    wanted: Wanted
    command: str


def command(given: Namespace, configs: Configs) -> int:
    """Write the page, and name it with its size."""
    words = _parsed(given.words, configs)
    write_page(words.results, words.out, words.wanted, words.command, configs)
    return 0


def write_page(results: Path, out: Path, wanted: Wanted, command: str, configs: Configs) -> None:
    """Write the page of a folder of results, and name it with its size.

    Args:
        results: The folder.
        out: The file.
        wanted: How many pictures, and how large.
        command: The words that make the page again.
        configs: Where tables and presets are found.

    Raises:
        AdbenchError: There are no records, or the file cannot be written.
    """
    try:
        try_file(out)
        page = gather(results, wanted, command, configs)
        content = render(page).encode("utf-8", "backslashreplace")  # a name may be no text
        write_whole(out, content)
    except OSError as error:
        raise AdbenchError(
            f"cannot write {out}: {error.strerror or error}; set out=FILE.html in a folder that "
            "can be written"
        ) from None
    say(f"{out} ({len(content) / 1e6:.1f} MB)")


def repeating(results: Path) -> str:
    """The words that make the page of a folder of results."""
    plain = re.fullmatch(r"[\w./-]+", str(results))
    value = str(results) if plain else quoted(str(results))
    return shlex.join(["adbench", "report", f"results={value}"])


def _parsed(words: Sequence[str], configs: Configs) -> _Words:
    """The words with their values checked.

    Raises:
        AdbenchError: A word is unknown, or a value is wrong.
    """
    values = values_of("report", words, KEYS)
    wanted = Wanted(
        int(_number(values, "pictures", PICTURES, (0, 100_000), whole=True)),
        int(_number(values, "picture_size", SIZE, PIXELS, whole=True)),
        _number(values, "limit", LIMIT, (0, 1000)),
    )
    results = results_of(words, configs)
    out = expanded(values["out"]) if "out" in values else results / NAME
    if out.is_dir():
        raise AdbenchError(f"report: out={out} is a folder; name a file, such as out={out / NAME}")
    if out.suffix.lower() not in (".html", ".htm"):  # so that no record is overwritten
        raise AdbenchError(f"report: out={out}: the name of a page ends in .html")
    command = shlex.join(["adbench", "report", *words])
    return _Words(results, out, wanted, command)


def _number(
    values: dict[str, str],
    name: str,
    default: float,
    ends: tuple[float, float],
    whole: bool = False,
) -> float:
    """The value of a word as a number between two ends."""
    if name not in values:
        return default
    least, most = ends
    try:
        number = float(values[name])
    except ValueError:
        number = math.nan
    if not least <= number <= most or (whole and number != int(number)):
        kind = "a whole number" if whole else "a number"
        raise AdbenchError(f"report: {name}={values[name]}: is {kind} from {least:g} to {most:g}")
    return number
