"""The sizes of features that were not made yet, and what follows from sizes alone."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch

from adbench.backbones.backbone import Backbone
from adbench.data.geometry import Geometry
from adbench.data.images import Size, image_size
from adbench.data.samples import Images
from adbench.detectors.direct import Unshared
from adbench.errors import AdbenchError
from adbench.features.extract import array_names
from adbench.features.features import Features
from adbench.system.settings import class_name, digest, settings_of

Shape = tuple[int, ...]


@dataclass
class Shapes(Unshared):
    """A provider of features without values: their shapes are right, and nothing is computed.

    The methods' own estimates of memory read nothing else. A network of the same settings but with
    random weights looks at one blank image, so that no weights are fetched.
    """

    device: str = "cpu"
    """Where methods are to compute, as of ``Features.device``."""
    _known: dict[str, dict[str, Shape]] = field(default_factory=dict)

    def of(
        self, backbone: Backbone, size: Size, layers: Sequence[int], vectors: bool
    ) -> dict[str, Shape]:
        """The shape of each array of one image, under the names of the kept files.

        Args:
            backbone: The network.
            size: (H, W) of its input.
            layers: Pyramid levels.
            vectors: Whether pooled vectors are read.

        Raises:
            AdbenchError: A layer that the network lacks, or a size that it does not take.
        """
        wanted = array_names(layers, vectors)
        key = digest([class_name(type(backbone)), settings_of(backbone), list(size)])
        known = self._known.setdefault(key, {})
        if any(name not in known for name in wanted):
            blank = torch.zeros(1, 3, *size, dtype=torch.uint8)
            maps, pooled = _with_random_weights(backbone).extract(blank, layers, vectors)
            known.update(
                {f"layer{i}": tuple(m.shape[1:]) for i, m in zip(layers, maps, strict=True)}
            )
            if pooled is not None:
                known["vectors"] = tuple(pooled.shape[1:])
        return {name: known[name] for name in wanted}

    def features(
        self,
        backbone: Backbone,
        geometry: Geometry,
        images: Images,
        layers: Sequence[int],
        vectors: bool,
    ) -> Features:
        """See ``adbench.detectors.detector.Provider``."""
        size, layers = input_size(geometry, images), sorted(layers)
        shapes = self.of(backbone, size, layers, vectors)
        empty = {n: torch.empty(len(images), *s, device="meta") for n, s in shapes.items()}
        maps = [empty[f"layer{layer}"] for layer in layers]
        return Features(maps, empty.get("vectors"), size, device=self.device)


@dataclass(frozen=True)
class Sized:
    """A category that is not there: so many images, of which nothing else is known."""

    name: str
    train: Images
    test: Images
    times: int = 1
    """How many categories of this size there are."""
    fingerprint: str = ""

    @classmethod
    def of(cls, train: int, test: int, times: int = 1) -> "Sized":
        """A category of so many images."""
        nowhere = Path("nowhere")
        return cls("category", Images((nowhere,) * train), Images((nowhere,) * test), times)

    def pixels(self, geometry: Geometry) -> int:
        """How many pixels of the test images are compared."""
        height, width = input_size(geometry, self.test)
        return len(self.test) * height * width


def input_size(geometry: Geometry, images: Images) -> Size:
    """(H, W) of the network's input.

    Raises:
        AdbenchError: It depends on the images, and these are not there.
    """
    if geometry.size is not None:
        return geometry.size
    if not images.digests:
        raise AdbenchError(
            "images=N: under this geometry the size depends on the images; set a geometry that "
            "brings all images to one size, such as geometry=square256"
        )
    return geometry.size_of(image_size(images.paths[0]))


def _with_random_weights(backbone: Backbone) -> Backbone:
    names = [f.name for f in dataclasses.fields(backbone)]  # type: ignore[arg-type]
    random = {"weights": "random"} if "weights" in names else {}
    cpu = {"device": "cpu"} if "device" in names else {}
    found: Backbone = dataclasses.replace(backbone, **random, **cpu)  # type: ignore[type-var]
    return found
