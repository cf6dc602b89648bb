"""What is written of images that a saved detector judges: pictures, masks and raw anomaly maps."""

import contextlib
import errno
import io
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image

from adbench.data.geometry import Geometry
from adbench.data.images import image_size, read_image
from adbench.data.listing import is_image, shown
from adbench.data.sources import lies_in, name_below
from adbench.errors import AdbenchError
from adbench.results.overlay import Scale, View, placed
from adbench.results.overlay_sheet import Judgement, overlay_sheet
from adbench.results.panels import drawn
from adbench.results.style import LIGHT, drawn_in
from adbench.results.submission import place_of, submission_files
from adbench.system.files import try_folder, whole_file

_OF_THE_NAME = (errno.ENAMETOOLONG, errno.ENOTDIR, errno.EISDIR, errno.EEXIST)


@dataclass(frozen=True)
class Folders:
    """Where to write; None for what is not wanted."""

    overlays: Path | None = None
    """Pictures that explain the decision."""
    masks: Path | None = None
    """Of the pixels above their threshold, at the size of the image."""
    maps: Path | None = None
    """Anomaly maps as they are, at the size of the network's input."""
    submission: Path | None = None
    """What the server of MVTec AD 2 takes, see ``adbench.results.submission``."""

    def all(self) -> list[Path]:
        """Those that are wanted."""
        wanted = (self.overlays, self.masks, self.maps, self.submission)
        return [folder for folder in wanted if folder is not None]

    def require_writable(self) -> None:
        """Try whether the folders can be made and written. Raises AdbenchError."""
        for folder in self.all():
            try:
                try_folder(folder)
            except OSError as error:
                why = error.strerror or error
                raise AdbenchError(f"{shown(folder)}: cannot be written to: {why}") from None


@dataclass
class Writer:
    """Writes files under the names of their images, and nothing outside of its folders."""

    folders: Folders
    below: Path
    """Names are paths below this folder, see ``adbench.data.sources.name_below``."""
    geometry: Geometry
    """Brings a map back to the image."""
    scale: Scale | None
    """Of overlays and masks; it begins at the threshold of pixels."""
    _named: dict[Path, Path] = field(default_factory=dict)
    """Images by the names of their pictures."""
    _placed: dict[Path, Path] = field(default_factory=dict)
    """Images by their places in the submission, which has no folders above their category."""

    def write(self, path: Path, heat: np.ndarray | None, judgement: Judgement | None) -> None:
        """Write what is wanted of an image.

        Args:
            path: Of the image.
            heat: (H, W) float32, its anomaly map.
            judgement: What an overlay says of it.

        Raises:
            AdbenchError: There is no map, the image lies in one of the folders or can no longer be
                read, or another image had the same name; then nothing of this one is written.
        """
        if not self.folders.all():
            return
        if heat is None:
            raise AdbenchError(f"{shown(path)}: this detector gives no anomaly maps")
        if lies_in(path, self.folders.all()):
            raise AdbenchError(
                f"{shown(path)}: lies in a folder that is written to, where it might be "
                "overwritten; name another folder"
            )
        name = self._name(path)
        if self.folders.submission is not None:
            self._refuse_second(path)
        if self.folders.maps is not None:
            content = io.BytesIO()  # np.save into a file hides why a write failed
            np.save(content, heat, allow_pickle=False)
            with _file(self.folders.maps, name.with_name(f"{path.name}.npy")) as file:
                file.write(content.getbuffer())
        if self.folders.submission is not None:
            whole = placed(heat, self.geometry, image_size(path))
            level = None if self.scale is None else self.scale.low
            for place, encoded in submission_files(path, whole, level).items():
                with _file(self.folders.submission, place) as file:
                    file.write(encoded)
        if self.scale is None:
            return
        if self.folders.masks is not None:
            mask = placed(heat, self.geometry, image_size(path)) > self.scale.low
            _save(Image.fromarray(mask.astype(np.uint8) * 255), self.folders.masks, name)
        if self.folders.overlays is not None and judgement is not None:
            _save(self._overlay(path, heat, judgement, self.scale), self.folders.overlays, name)

    def _overlay(
        self, path: Path, heat: np.ndarray, judgement: Judgement, scale: Scale
    ) -> Image.Image:
        image = read_image(path)
        whole = placed(heat, self.geometry, (image.shape[0], image.shape[1]))
        with drawn_in(LIGHT):
            return drawn(overlay_sheet(View(image, whole, None), scale, judgement))

    def _name(self, path: Path) -> Path:
        """The name of a picture: that of the image, with .png behind it where it is none."""
        name = name_below(path, self.below)
        if name.suffix != ".png" or is_image(Path(name.stem)):  # 1.jpg.png is that of 1.jpg
            name = name.with_name(f"{name.name}.png")
        other = self._named.setdefault(name, path)
        if other != path:
            raise AdbenchError(f"{shown(path)}: its picture has the name of that of {shown(other)}")
        return name

    def _refuse_second(self, path: Path) -> None:
        """Refuse an image whose map would overwrite that of another one."""
        place = place_of(path)
        other = self._placed.setdefault(place, path)
        if other != path:
            raise AdbenchError(
                f"{shown(path)}: its map has the place of that of {shown(other)} in a submission, "
                f"{place.as_posix()}.tiff; leave one of them out"
            )


def _save(image: Image.Image, folder: Path, name: Path) -> None:
    content = io.BytesIO()  # a file would take many small writes
    image.save(content, format="PNG")
    with _file(folder, name) as file:
        file.write(content.getbuffer())


@contextlib.contextmanager
def _file(folder: Path, name: Path) -> Iterator[BinaryIO]:
    path = folder / name
    if not lies_in(path.parent, [folder]):
        raise AdbenchError(f"{shown(path)}: a link leads out of {shown(folder)}; remove it")
    try:
        with whole_file(path) as file:
            yield file
    except OSError as error:
        if error.errno not in _OF_THE_NAME:  # such as a full disk, which ends the work
            raise
        raise AdbenchError(f"cannot write {shown(path)}: {error.strerror}") from error
