"""Fitted detectors as files: learned arrays in safetensors, everything else as JSON in its header.

Nothing in such a file is ever executed: classes are named, and those that are not registered are
refused, see ``adbench.config.targets``.
"""

import copy
import hashlib
import json
import os
import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Self, cast

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from adbench.backbones.backbone import Backbone, Carries, Moves
from adbench.config.targets import settings_class
from adbench.data.geometry import Geometry
from adbench.data.listing import shown
from adbench.data.samples import Images
from adbench.detectors.arrays import put_together, taken_apart
from adbench.detectors.detector import Provider
from adbench.detectors.direct import Direct
from adbench.detectors.feature_detector import FeatureDetector
from adbench.detectors.header import Decision, Header, read
from adbench.errors import AdbenchError
from adbench.features.extract import Extractor
from adbench.methods.method import Scores, restore, state_of
from adbench.system.files import expanded, whole_file
from adbench.system.machine import device_name
from adbench.system.settings import check, settings_of

SUFFIX = ".safetensors"
HEADER, STATE, CONTENT = "adbench", "state", "content"
"""Names in the metadata: the header, the plain values of the learned state, and the checksum."""
OF_METHOD, OF_WEIGHTS = "method.", "weights."
"""Before the names of arrays."""
_LEARNED = re.compile(r"[A-Za-z]\w*_")
_CONTRACT = {
    "geometry": ("of_images", "size_of"),
    "backbone": ("identity", "extract"),
    "method": ("layers", "fit", "score"),
}
"""What tells the classes of a part from those of others."""


@dataclass(frozen=True)
class SavedDetector:
    """A fitted detector with its header, as it lies in a file or will.

    Attributes:
        detector: Fitted.
        header: What it says of itself.
    """

    detector: FeatureDetector
    header: Header

    @property
    def geometry(self) -> Geometry:
        """How images reach the network."""
        return self.detector.geometry

    @property
    def title(self) -> str:
        """The method's class."""
        return self.detector.title

    def identity(self) -> dict[str, Any]:
        """That of the detector, the images that it was fitted on, and what computes it."""
        return {**self.detector.identity(), **of_saved(self.header, "torch")}

    def fit(self, normal: Images, provider: Provider) -> Self:
        """A copy with features from ``provider``: it was fitted before it was saved."""
        # What the method rebuilds at its first score, such as a search index, goes with the copy.
        method = copy.copy(self.detector.method)
        return replace(self, detector=replace(self.detector, method=method, provider=provider))

    def score(self, images: Images) -> Scores:
        """Score images, which must reach the network at the size that it was fitted for."""
        return self.detector.score(images)

    def decision(self) -> Decision | None:
        """The thresholds that were found when it was fitted."""
        return self.header.decision()

    def facts(self) -> dict[str, Any]:
        """Those of the detector; weights and notes as they were when it was fitted."""
        kept = {"weights": self.header.weights, "notes": list(self.header.notes)}
        return {**self.detector.facts(), **kept, "fitted": FITTED_BEFORE}

    def wait(self) -> None:
        """Wait for the device that computes."""
        self.detector.wait()

    def release(self) -> None:
        """Give back the network's memory."""
        self.detector.release()


FITTED_BEFORE = "the detector was read from a file"
"""Why a record of a saved detector has no seconds of a fit."""


def of_saved(header: Header, runtime: str) -> dict[str, Any]:
    """The part of an identity that only saved detectors have.

    Args:
        header: Of the detector.
        runtime: What computes it: torch, onnxruntime or openvino.
    """
    return {"saved": {"training": header.training.content, "runtime": runtime}}


def parts_of(detector: FeatureDetector) -> dict[str, dict[str, Any]]:
    """The parts of a detector with their settings, as a config has them."""
    parts = {
        "geometry": detector.geometry,
        "backbone": detector.backbone,
        "method": detector.method,
    }
    found = {}
    for name, part in parts.items():
        cls = type(part)
        settings = settings_of(part)
        if name == "backbone":
            settings.pop("device", None)
            weights = expanded(str(settings.get("weights", "")))
            if weights.is_file():  # a relative path would mean another file elsewhere
                settings["weights"] = str(weights.absolute())
        found[name] = {"_target_": f"{cls.__module__}.{cls.__qualname__}", **settings}
    return found


def save(path: Path, saved: SavedDetector) -> int:
    """Write a fitted detector to a file, whole or not at all.

    Args:
        path: The file, which is replaced where it exists.
        saved: Its header says whether the weights go into the file.

    Returns:
        The bytes of the file.

    Raises:
        AdbenchError: The file cannot be written, or what the method learned cannot be.
    """
    state = state_of(saved.detector.method)
    state.pop("source_", None)  # follows from the other parts
    plain, arrays = taken_apart(state, OF_METHOD)
    if saved.header.has_weights:
        arrays |= _weights(saved.detector.backbone, saved.header.size)
    header, values = saved.header.to_json(), json.dumps(plain)
    metadata = {HEADER: header, STATE: values, CONTENT: checksum([header, values], arrays)}
    try:
        with whole_file(path) as file:
            save_file(arrays, file.name, metadata)
            _as_any_other(Path(file.name), os.fstat(file.fileno()).st_mode)
    except (OSError, SafetensorError) as error:
        why = getattr(error, "strerror", None) or error
        raise AdbenchError(f"cannot write {shown(path)}: {why}") from error
    return path.stat().st_size


def _as_any_other(path: Path, mode: int) -> None:
    """Give a file, which its writer may have replaced by a private one, the usual rights."""
    path.chmod(stat.S_IMODE(mode))
    with path.open("rb") as file:
        os.fsync(file.fileno())


def read_header(path: Path) -> Header:
    """What the detector in a file says of itself.

    Raises:
        AdbenchError: As ``load``, but for the weights, which are not looked for.
    """
    metadata, arrays = _opened(path)
    header = read(metadata[HEADER], path)
    _require_content(path, metadata, arrays)
    return header


def load(path: Path, device: str = "auto", weights: str | None = None) -> SavedDetector:
    """A detector from a file.

    Args:
        path: What ``save`` wrote.
        device: Where it is to compute: auto, cpu, mps, cuda or cuda:N.
        weights: The file of the backbone's weights on this machine, where it has another place than
            on that of the fit.

    Raises:
        AdbenchError: The file is missing, damaged, none of a detector, or of another format; or the
            backbone's weights are missing here, or are others.
    """
    metadata, arrays = _opened(path)
    header = read(metadata[HEADER], path)
    _require_content(path, metadata, arrays)
    computes_on = device_name(device)  # refuses a device that is not there
    backbone = built(path, header, "backbone", device)
    geometry, method = (built(path, header, part) for part in ("geometry", "method"))
    backbone = _with_weights(path, header, backbone, arrays, weights)
    detector = FeatureDetector(geometry, backbone, method, computes_on)
    layers, vectors = detector.reads()
    source, _ = Extractor(backbone, geometry).names(Images(), layers, vectors)
    learned = _learned(path, metadata[STATE], arrays, type(method))
    detector = replace(
        detector,
        method=restore(method, {**learned, "source_": source}),
        provider=Direct(device=detector.device),
        shapes=header.shapes,
        size=header.size,
    )
    return SavedDetector(detector, header)


def checksum(texts: list[str], arrays: Mapping[str, Tensor]) -> str:
    """The sha256 of texts and of named arrays, whatever the order of the arrays."""
    content = hashlib.sha256("\n".join(texts).encode())
    for name, array in sorted(arrays.items()):
        content.update(f"\n{name} {array.dtype} {tuple(array.shape)}\n".encode())
        content.update(array.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return content.hexdigest()


def _opened(path: Path) -> tuple[dict[str, str], dict[str, Tensor]]:
    """The metadata and the arrays of a file of a detector."""
    if not os.path.isfile(path):
        what = "is no file" if os.path.exists(path) else "there is no such file"
        raise AdbenchError(f"{shown(path)}: {what}; adbench fit writes detectors")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            if not {HEADER, STATE, CONTENT} <= metadata.keys():
                raise AdbenchError(
                    f"{shown(path)}: is a file of tensors but of no detector; adbench fit writes "
                    "detectors"
                )
            names = list(file.keys())  # it is no mapping, and cannot be iterated over
            return metadata, {name: file.get_tensor(name) for name in names}
    except (SafetensorError, OSError, ValueError) as error:
        raise AdbenchError(
            f"{shown(path)}: is cut off, damaged or no {SUFFIX} file ({error}); copy it again, or "
            "fit the detector again"
        ) from None


def _require_content(path: Path, metadata: Mapping[str, str], arrays: dict[str, Tensor]) -> None:
    if checksum([metadata[HEADER], metadata[STATE]], arrays) != metadata[CONTENT]:
        raise AdbenchError(
            f"{shown(path)}: its content is not what was written (the checksum differs); copy it "
            "again, or fit the detector again"
        )


def built(path: Path, header: Header, part: str, device: str | None = None) -> Any:
    """A part of a saved detector: geometry, backbone or method.

    Args:
        path: Of the detector; named in errors.
        header: Of the detector.
        part: Its name.
        device: Where the part is to compute, if it has such a setting, which no file holds.

    Raises:
        AdbenchError: Its class is not registered here or is no such part, or a setting is wrong.
    """
    settings = dict(header.parts.get(part, {}))
    where = f"{shown(path)}: {part}"
    cls = settings_class(settings.pop("_target_", None), where)
    if device is not None and any(field.name == "device" for field in fields(cls)):
        settings["device"] = device
    made: Any = check(cls, settings, where)
    if not all(hasattr(made, name) for name in _CONTRACT[part]):
        raise AdbenchError(f"{where}: {cls.__name__} is no {part}; fit the detector again")
    return made


def _with_weights(
    path: Path, header: Header, backbone: Any, arrays: dict[str, Tensor], weights: str | None
) -> Backbone:
    """The backbone with the weights with which the detector was fitted."""
    wanted = str(header.identity.get("backbone", {}).get("sha256"))
    if header.has_weights and weights is None:
        if not isinstance(backbone, Carries):
            raise AdbenchError(f"{shown(path)}: {type(backbone).__name__} takes no weights")
        tensors = {
            name.removeprefix(OF_WEIGHTS): array
            for name, array in arrays.items()
            if name.startswith(OF_WEIGHTS)
        }
        carrying: Any = backbone.carry(tensors, wanted, header.weights)
        return cast(Backbone, carrying)
    made: Any = backbone
    if weights is not None:
        moves = isinstance(backbone, Moves)
        made = backbone.moved(weights) if moves else replace(backbone, weights=weights)
    advice = (
        f"this detector was fitted with the weights {header.weights.get('name')} of sha256 "
        f"{wanted[:12]}...; give weights=PATH of that file, or fit with include_weights=true"
    )
    try:
        found = str(made.identity().get("sha256"))
    except AdbenchError as error:
        raise AdbenchError(f"{shown(path)}: {error}\n{advice}") from error
    if found != wanted:
        raise AdbenchError(
            f"{shown(path)}: the weights on this machine have sha256 {found[:12]}...; {advice}"
        )
    return cast(Backbone, made)


def _weights(backbone: Backbone, size: tuple[int, int]) -> dict[str, Tensor]:
    if not isinstance(backbone, Carries):
        raise AdbenchError(
            f"include_weights=true: {type(backbone).__name__} cannot give its weights to a file"
        )
    found = backbone.carried(size)
    return {f"{OF_WEIGHTS}{name}": array.contiguous() for name, array in found.items()}


def _learned(path: Path, text: str, arrays: Mapping[str, Tensor], method: type) -> dict[str, Any]:
    """What a method learned. A setting such as lambda_ and what its class has are none of it."""
    try:
        state = put_together(json.loads(text), arrays)
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise AdbenchError(f"{shown(path)}: its learned state is damaged ({error})") from None
    if not isinstance(state, dict):
        raise AdbenchError(f"{shown(path)}: its learned state is damaged; fit the detector again")
    for name in state:
        if not _LEARNED.fullmatch(name) or hasattr(method, name):
            raise AdbenchError(
                f"{shown(path)}: {name!r} is no name of what {method.__name__} learns"
            )
    return state
