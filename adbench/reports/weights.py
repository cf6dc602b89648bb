"""Which records were measured with the weights that a config asks for: the sha256 decides."""

import base64
import hashlib
import importlib.metadata
import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from adbench.results.records import Record
from adbench.system.files import expanded

PACKAGE = "package:"
SUFFIXES = (".pth", ".safetensors")


class Weights:
    """What is known of weights, here and in records.

    Args:
        records: All there are.
    """

    def __init__(self, records: Sequence[Record]) -> None:
        self._here: dict[str, str | None] = {}
        self._measured_as: dict[tuple[Any, Any], set[str]] = {}
        for record in records:
            backbone = record.identity.get("backbone", {})
            key = backbone.get("model"), record.weights.get("setting")
            self._measured_as.setdefault(key, set()).add(str(backbone.get("sha256")))

    def learn(self, other: "Weights") -> None:
        """Take over what another one knows of the weights here, which may be large files."""
        self._here = other._here

    def same(self, backbone: dict[str, Any], record: Record) -> bool:
        """Whether a record was measured with the weights of these settings of its backbone.

        Where their sha256 is not known here, such as that of weights to be downloaded, those that
        any record was measured with under the same word are meant.
        """
        word, recorded = str(backbone["weights"]), record.weights.get("setting")
        if "random" in (word, recorded):
            return word == recorded and backbone.get("seed") == record.weights.get("seed")
        sha256, known = record.identity["backbone"].get("sha256"), self.here(word)
        if known is not None:
            return bool(sha256 == known)
        name = Path(word).name
        return recorded == name or sha256 in self._measured_as.get((backbone["model"], name), set())

    def equal(self, model: Any, word: str, measured: str) -> bool:
        """Whether ``word`` names the weights that a record has under the word ``measured``."""
        return self.here(word) in self._measured_as.get((model, measured), set())

    def here(self, word: str) -> str | None:
        """The sha256 of the weights that a word names, or None where it is unknown here."""
        if word not in self._here:
            self._here[word] = sha256_here(word)
        return self._here[word]


def sha256_here(word: str) -> str | None:
    """The sha256 of the weights that ``backbone.weights`` names, or None where it is unknown here.

    It is known for ``package:NAME`` of an installed package and for the path of a file.
    """
    if word.startswith(PACKAGE):
        return _of_package(word.removeprefix(PACKAGE))
    path = expanded(word)
    return _of_file(path) if path.is_file() else None


def _of_package(package: str) -> str | None:
    """From the list that the installer left, which holds the checksum, or else from the file."""
    try:
        files = importlib.metadata.files(package) or []
    except (importlib.metadata.PackageNotFoundError, ValueError):
        files = []
    held = [file for file in files if file.suffix in SUFFIXES]
    if len(held) == 1 and held[0].hash is not None and held[0].hash.mode == "sha256":
        text = held[0].hash.value
        return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)).hex()
    spec = importlib.util.find_spec(package) if package.isidentifier() else None  # runs no code
    folders = (spec.submodule_search_locations if spec else None) or []
    found = [f for folder in folders for f in Path(folder).rglob("*") if f.suffix in SUFFIXES]
    return _of_file(found[0]) if len(found) == 1 else None


def _of_file(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
