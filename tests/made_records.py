"""Records as a run would leave them, made from a setting's words instead of images.

Their identities are those that the product's own detectors give. Only weights that would have to be
downloaded or drawn are replaced, by files and tensors that are told apart by the network's name.
"""

import copy
import functools
import hashlib
import tempfile
from pathlib import Path

import numpy as np
import torch

from adbench.config.build import build
from adbench.config.compose import Configs
from adbench.data.mvtec import PUBLISHED
from adbench.detectors.feature_detector import FeatureDetector
from adbench.evaluation.pixels import pixel_pairs
from adbench.results import records
from adbench.results.records import ImageScore, Record

SHARE = 0.6
"""Of the test images that are anomalous."""
CONFIGS = Configs()
HUB = tempfile.TemporaryDirectory()
LITE_CHANNELS = {"1": 24, "2": 40, "3": 112, "4": 320}


def made(
    words,
    category,
    *,
    seed=0,
    image=0.9,
    pixel=0.8,
    images="original",
    seconds=0.02,
    distance=0.01,
    state=10**7,
    counts=None,
):
    """A record of this setting; metrics are fractions, intervals reach 0.02 down and 0.01 up.

    It has as many training and test images as the category of MVTec AD, or ``counts``.
    """
    identity, weights, labels, dataset = described((f"seed={seed}", *words.split()))
    train, test = counts or PUBLISHED.get(category, (10, 40))
    lite0 = identity["backbone"]["model"] == "tf_efficientnet_lite0"
    return Record(
        identity={
            "dataset": {"name": dataset, "fingerprint": f"{category} {images}"},
            "category": category,
            **copy.deepcopy(identity),
        },
        labels=dict(labels),
        weights=dict(weights),
        channels=LITE_CHANNELS if lite0 else {},
        counts={"train": train, "test": test, "anomalous": round(SHARE * test)},
        metrics={"image_auroc": image, "pixel_auroc": pixel},
        intervals={
            "image_auroc": [image - 0.02, image + 0.01],
            "pixel_auroc": [pixel - 0.02, pixel + 0.01],
        },
        time={
            stage: {"p50": s, "p95": 2 * s}
            for stage, s in (("total", seconds), ("distance", distance), ("score", distance))
        },
        memory={"peak": 10**9, "state": state},
    )


@functools.cache
def described(words):
    """What the detector of these words says of itself, its weights, labels and dataset."""
    config = CONFIGS.compose(words)
    names = ("dataset", "geometry", "backbone", "method")
    dataset, geometry, backbone, method = (build(config[name], name) for name in names)
    backbone = offline(backbone)
    detector = FeatureDetector(geometry, backbone, method)
    labels = {name: str(config[name].name) for name in names}
    return detector.identity(), backbone.weights_in_words(), labels, dataset.name


def offline(backbone):
    """The backbone with stand-ins for weights that are downloaded or drawn."""

    class Offline(type(backbone)):
        def _find_file(self):
            return hub_file(self.model) if self.weights == "pretrained" else super()._find_file()

        def _weights_name(self):
            return f"hub/{self.model}" if self.weights == "pretrained" else super()._weights_name()

        def _random_state(self):
            name = int.from_bytes(hashlib.sha256(self.model.encode()).digest()[:4])
            return {"drawn": torch.tensor([name, self.seed])}

    stands_in = copy.copy(backbone)
    stands_in.__class__ = Offline
    return stands_in


def hub_file(model):
    """The file that stands for the published weights of a network."""
    path = Path(HUB.name) / f"{model}.safetensors"
    path.write_text(model)
    return path


def saved(folder, record, gap=1.0, noise=0):
    """Write a record with drawn scores, defects ``gap`` higher than normal images."""
    random = np.random.default_rng(noise)
    test = record.counts["test"]
    anomalous = np.arange(test) >= test - record.counts["anomalous"]
    values = random.normal(size=len(anomalous)) + gap * anomalous
    masks = np.zeros((len(anomalous), 6, 6), bool)
    masks[anomalous, :2, :3] = True
    pairs = pixel_pairs(masks, random.normal(size=masks.shape) + gap * masks)
    names = [f"test/{'cut' if a else 'good'}/{i:03}.png" for i, a in enumerate(anomalous)]
    rows = [
        ImageScore(name, name.split("/")[1], bool(a), float(v))
        for name, a, v in zip(names, anomalous, values, strict=True)
    ]
    return records.load(records.save(folder, record, rows, pairs))
