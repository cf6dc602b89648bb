"""Settings as words of a command, such as those of ``compare`` and ``plot``.

Each word is a setting: overrides of ``adbench run`` in one string, or the id of a record. One that
begins with ``results=`` or ``cache=`` names a folder, as it does in every command.
"""

from collections.abc import Sequence
from pathlib import Path

from adbench.config.compose import Configs
from adbench.system.files import expanded

RESULTS, CACHE = "results=", "cache="


def sides_of(words: Sequence[str]) -> list[str]:
    """The settings among the words."""
    return [word for word in words if not word.startswith((RESULTS, CACHE))]


def results_of(words: Sequence[str], configs: Configs) -> Path:
    """The folder of results: that of the word which names it, or the default of a run."""
    chosen = [word for word in words if word.startswith(RESULTS)]
    return expanded(str(configs.compose(chosen).results))
