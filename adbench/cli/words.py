"""Words of the command line that argparse reads, with errors in one sentence of ours."""

import argparse
import difflib
import re
from collections.abc import Collection, Iterable
from typing import NoReturn

from adbench.errors import AdbenchError

EXIT_STATUSES = (
    "exit status: 0 all went well, 1 something failed or a number missed its band, 2 a word or a "
    "setting is wrong"
)
_CHOICE = re.compile(r"(?:argument ([^:]+): )?invalid choice: '?([^']*)'? \(choose from (.*)\)")


class Parser(argparse.ArgumentParser):
    """A parser that raises what is wrong and tells the exit statuses."""

    def error(self, message: str) -> NoReturn:
        """Raise what is wrong with the words, with the nearest ones that there are."""
        known = [flag for action in self._actions for flag in action.option_strings]
        if found := _CHOICE.fullmatch(message):
            message = unknown(found[2], found[3].replace("'", "").split(", "))
        elif message.startswith("unrecognized arguments: "):
            word = message.split()[2]
            message = unknown(word, known) if word.startswith("-") else f"{word}: one word too many"
        message = message.removesuffix(", key=value")  # it may be left out
        command = self.prog.removeprefix("adbench").strip()
        where = f"{command}: " if command else ""
        raise AdbenchError(f"{where}{message}; `{self.prog} --help` tells more")


def unknown(word: str, known: Iterable[str]) -> str:
    """There is no such word, with the nearest of those that there are, or all."""
    words = list(known)
    near = difflib.get_close_matches(word, words, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(words)}"
    return f"no {word!r}; {hint}"


def values_of(command: str, words: Iterable[str], keys: Collection[str]) -> dict[str, str]:
    """The values of words such as ``key=value``, without white space around them.

    Raises:
        AdbenchError: A word has another key, or no value; it names the command.
    """
    values: dict[str, str] = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals or name not in keys:
            known = [f"{key}=" for key in keys]
            raise AdbenchError(f"{command}: {unknown(f'{name}=' if equals else word, known)}")
        if not value.strip():
            raise AdbenchError(f"{command}: {name}= must be followed by a value")
        values[name] = value.strip()
    return values
