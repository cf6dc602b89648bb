"""Where the code of this package comes from."""

import contextlib
import subprocess
from pathlib import Path

PACKAGE = Path(__file__).parents[1]
"""The folder of the package."""


def commit(package: Path = PACKAGE) -> str | None:
    """The commit that the code in the folder ``package`` is of; None where nothing says it.

    A wheel and an archive of the source carry it as ``commit.txt`` (see ``hatch_build.py``). A
    checkout asks git.
    """
    with contextlib.suppress(OSError):
        return (package / "commit.txt").read_text().strip() or None
    if not (package.parent / ".git").exists():
        return None  # git would answer with the commit of a repository further up
    words = ["git", "-C", str(package.parent), "rev-parse", "HEAD"]
    with contextlib.suppress(OSError):
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        return done.stdout.strip() or None
    return None
