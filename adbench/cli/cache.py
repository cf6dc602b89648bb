"""``adbench cache``: what is kept because it takes long to make, where, and how large it is."""

import shutil
from argparse import Namespace
from pathlib import Path

from adbench.cli.screen import say
from adbench.config.compose import Configs
from adbench.errors import AdbenchError
from adbench.system.files import cache_folder

KINDS = {
    "features": "features of images",
    "orders": "selections of patches",
    "demo": "the images of dataset=demo",
    "compiled": "machine code of the kernels",
    "records": "what is known of the records of results folders",
}
"""The folders that adbench makes in its cache, and what is in them."""


def command(given: Namespace, configs: Configs) -> int:
    """Print where the cache is and the size of each kind; delete them with ``--clear``."""
    chosen = configs.compose(given.overrides).cache
    folder = cache_folder(str(chosen) if chosen else None)
    say(str(folder))
    for name, about in KINDS.items():
        size = _size(folder / name)
        say(f"  {name:<8}  {size / 1e6:10.1f} MB  {about}")
        if given.clear and size:
            _delete(folder / name)
    if given.clear:
        say("all of it was deleted; what is needed is made again")
    return 0


def _size(folder: Path) -> int:
    return sum(f.lstat().st_size for f in folder.rglob("*") if f.is_file() and not f.is_symlink())


def _delete(folder: Path) -> None:
    try:
        shutil.rmtree(folder)
    except OSError as error:
        why = f"{error.strerror}; a run may be using it"
        raise AdbenchError(f"cannot delete {error.filename}: {why}") from None
