"""A dataset that is drawn on the spot, so that a first run needs no download."""

import logging
import os
import shutil
import tempfile
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from filelock import FileLock
from PIL import Image
from pydantic import Field
from pydantic.dataclasses import dataclass

from adbench.data.content import fingerprint
from adbench.data.drawings import PRODUCTS
from adbench.data.geometry import Geometry
from adbench.data.layout import Layout
from adbench.data.samples import Split
from adbench.data.survey import survey
from adbench.errors import DataError
from adbench.system.files import cache_folder
from adbench.system.parallel import workers
from adbench.system.settings import STRICT, digest
from adbench.system.waiting import turn

log = logging.getLogger(__name__)

VERSION = 1
"""Of the drawings. A change of any pixel needs a new one."""
SEAL = ".fingerprint"
"""The file of a finished category that holds the fingerprint of its images."""


@dataclass(config=STRICT)
class Demo:
    """A woven fabric and a machined part, each with five types of defects and their masks.

    The images are kept as PNG files in MVTec's layout in a cache folder, and drawn where they are
    missing or damaged. Where the folder cannot be written, they live as long as this object.
    """

    name: ClassVar[str] = "demo"

    categories: Annotated[tuple[Literal["denim", "flange"], ...], Field(min_length=1)] = (
        "denim",
        "flange",
    )
    """denim is a texture at random phase, flange an object in nearly the same pose."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Of every image. Another seed gives other images of the same products."""
    size: Annotated[int, Field(ge=64, le=2048)] = 256
    """Height and width in pixels."""
    train: Annotated[int, Field(ge=1, le=999)] = 40
    """Normal training images per category."""
    test: Annotated[int, Field(ge=2, le=999)] = 40
    """Test images per category: two fifths normal, the others of the defect types in turn."""
    cache: str | None = None
    """The cache folder; null: this system's folder for the user's caches."""

    def names(self) -> list[str]:
        """The chosen categories, each once."""
        return list(dict.fromkeys(self.categories))

    def load(self, category: str) -> Split:
        """The images of one category, drawn where they are not there yet.

        Raises:
            DataError: No folder can hold them.
        """
        images = {"seed": self.seed, "size": self.size, "train": self.train, "test": self.test}
        root = cache_folder(self.cache) / "demo" / digest({"version": VERSION, **images})
        try:
            root.mkdir(parents=True, exist_ok=True)
            with turn(FileLock(root / f"{category}.lock"), "draws the demo images"):
                return _sealed(root, category) or self._draw(root, category)
        except OSError as error:
            log.warning(
                "cannot keep the demo images in %s (%s); they are drawn for this run alone",
                root,
                error,
            )
        try:
            passing = Path(tempfile.mkdtemp(prefix="adbench-demo-"))
            weakref.finalize(self, shutil.rmtree, passing, ignore_errors=True)
            return self._draw(passing, category)
        except OSError as error:
            raise DataError(
                f"cannot write the demo images ({error}); free some space or set cache=DIR"
            ) from error

    def check(self, geometry: Geometry) -> list[dict[str, Any]]:
        """One row per category, see ``survey``."""
        return [
            survey(category, self.load, geometry, published=(self.train, self.test))
            for category in self.names()
        ]

    def _draw(self, root: Path, category: str) -> Split:
        """Draw everything beside its place and move it there only when it is whole."""
        for left_behind in root.glob(f".{category}.*"):
            shutil.rmtree(left_behind, ignore_errors=True)
        with tempfile.TemporaryDirectory(dir=root, prefix=f".{category}.") as name:
            made, place = Path(name), root / category
            with workers() as each:
                each(
                    lambda job: _draw_one(made / category, self.seed, self.size, *job),
                    self._jobs(category),
                )
            (made / category / SEAL).write_text(fingerprint(Layout().read(made, category)))
            if place.exists():
                os.replace(place, made / "damaged")
            os.replace(made / category, place)
        return Layout().read(root, category)

    def _jobs(self, category: str) -> Iterator[tuple[str, str, int]]:
        """Part, defect type and number of each image."""
        _, kinds = PRODUCTS[category]
        normal = max(1, round(0.4 * self.test))
        yield from (("train", "good", number) for number in range(self.train))
        yield from (("test", "good", number) for number in range(normal))
        yield from (
            ("test", kinds[i % len(kinds)], i // len(kinds)) for i in range(self.test - normal)
        )


def _sealed(root: Path, category: str) -> Split | None:
    """The images that were drawn before, or None where any byte of them is missing or differs."""
    if not (root / category).exists():
        return None
    try:
        split = Layout().read(root, category)
        if (root / category / SEAL).read_bytes() == fingerprint(split).encode():
            return split
        damage = "its images are not those that were drawn"
    except (OSError, DataError) as error:
        damage = str(error)
    log.warning("%s is damaged (%s) and drawn again", root / category, damage)
    return None


def _draw_one(folder: Path, seed: int, size: int, part: str, kind: str, number: int) -> None:
    draw, kinds = PRODUCTS[folder.name]
    product, defect = list(PRODUCTS).index(folder.name), ["good", *kinds].index(kind)
    places = [product, defect, ["train", "test"].index(part), number]
    picture, mask = draw(np.random.Generator(np.random.PCG64([seed, *places])), size, kind)
    _save(folder / part / kind / f"{number:03}.png", np.rint(picture * 255).astype(np.uint8))
    if kind != "good":
        _save(folder / "ground_truth" / kind / f"{number:03}_mask.png", mask.astype(np.uint8) * 255)


def _save(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, compress_level=1)
