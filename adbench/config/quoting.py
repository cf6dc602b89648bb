"""Words as Hydra's grammar wants them (hydra.cc, "Basic Override syntax")."""

import re
from collections.abc import Sequence

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, Quote, QuotedString
from hydra.errors import HydraException

from adbench.errors import AdbenchError

_WORD = re.compile(r"([+~]{0,2}[\w./@:-]+)=(.*)", re.DOTALL)
_STRUCTURE = re.compile(r"^['\"]|[,\[\]{}]")
"""What makes a value more than a plain text: a quote in front, or the signs of several values."""


def parse(word: str) -> Override:
    """An override as Hydra reads it.

    Raises:
        AdbenchError: It is not key=value, or its value has to be quoted.
    """
    if word.startswith("="):
        raise AdbenchError(f"{word}: no setting stands before the =")
    try:
        return OverridesParser.create().parse_override(word)
    except HydraException:
        raise AdbenchError(f"{word}: {_why(word)}") from None


def readable(words: Sequence[str]) -> list[str]:
    """The words, with plain texts quoted that Hydra's grammar would not read, such as paths."""
    return [_readable(word) for word in words]


def quoted(text: str) -> str:
    """A text as one value of an override, whatever signs are in it."""
    return str(QuotedString(text, Quote.single).with_quotes())


def _why(word: str) -> str:
    """Why Hydra cannot read a word, and how it could."""
    found = _WORD.fullmatch(word)
    if not found:
        return "not key=value; a value with spaces is quoted together with its key"
    key, value = found.groups()
    if value.count("[") != value.count("]"):
        return "a bracket of the list is missing"
    if value.startswith("["):
        what, example = "a text of a list", f"{key}=['a b','c']"
    else:
        what, example = "a text", f"{key}={quoted(value.strip(chr(39)))}"
    return (
        f"cannot be read; {what} with other signs than letters, digits and ./_:- is quoted twice, "
        f'for Hydra and for the shell: "{example}"'
    )


def _readable(word: str) -> str:
    found = _WORD.fullmatch(word)
    if not found or _STRUCTURE.search(found[2]):
        return word
    try:
        OverridesParser.create().parse_override(word)
    except HydraException:
        return f"{found[1]}={quoted(found[2])}"
    return word
