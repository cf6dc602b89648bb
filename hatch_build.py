"""Writes the commit into wheels and source archives, so that records made from them name it."""

import subprocess
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

INSIDE = "adbench/commit.txt"


class CommitHook(BuildHookInterface):  # type: ignore[type-arg]
    """Adds the commit as a file of the package; the source tree stays as it is."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Add the file where git knows the commit.

        An editable install has none, since its code changes; ``adbench.system.machine`` asks git.
        """
        commit = None if version == "editable" else _commit(Path(self.root))
        if commit:
            self._folder = tempfile.TemporaryDirectory()
            file = Path(self._folder.name) / "commit.txt"
            file.write_text(f"{commit}\n")
            build_data["force_include"][str(file)] = INSIDE

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """Remove the temporary file."""
        if hasattr(self, "_folder"):
            self._folder.cleanup()


def _commit(root: Path) -> str | None:
    if not (root / ".git").exists():
        return None  # git would answer with the commit of a repository further up
    words = ["git", "-C", str(root), "rev-parse", "HEAD"]
    try:
        return subprocess.run(words, capture_output=True, text=True, check=False).stdout.strip()
    except OSError:
        return None  # there is no git
