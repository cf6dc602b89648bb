"""Small fitted detectors for tests, and pictures to fit and try them on."""

import numpy as np
from PIL import Image

from adbench.backbones.timm_maps import TimmMaps
from adbench.bench.fitting import Wish, fit, images_of
from adbench.data.geometry import Geometry
from adbench.detectors.detector import Provider
from adbench.detectors.direct import Direct
from adbench.detectors.feature_detector import FeatureDetector

GEOMETRY = Geometry(resize=72, crop=64)
WISH = Wish(alpha=0.2, folds=3, seed=0)


def pictures(folder, count=12, size=(80, 96), seed=0):
    """Paths of pictures with a common pattern and some noise."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[: size[0], : size[1]]
    pattern = 128 + 60 * np.sin(rows / 7)[..., None] * np.cos(columns / 9)[..., None]
    paths = []
    for number in range(count):
        noisy = pattern + rng.normal(0, 12, (*size, 3))
        paths.append(folder / f"{number:03}.png")
        Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(paths[-1])
    return paths


def fitted(method, paths, wish=WISH, geometry=GEOMETRY, **backbone):
    """A detector on a random ResNet that is fitted on files, and can be saved."""
    provider: Provider = Direct()
    network = TimmMaps("resnet18", weights="random", device="cpu", **backbone)
    detector = FeatureDetector(geometry, network, method, provider=provider)
    labels = {"geometry": "made", "backbone": "made", "method": "made"}
    return fit(detector, labels, images_of(paths), provider, wish, "made")
