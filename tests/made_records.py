"""Records as a run would leave them, made from a setting's overrides instead of images."""

import io

import numpy as np

from adbench import records
from adbench.records import ImageScore, Record
from adbench.reports.matching import setting
from adbench.statistics import pixel_pairs

NORMAL, ANOMALOUS = 15, 25


def made(
    overrides, category, *, seed=0, image=0.9, pixel=0.8, images="original", seconds=0.02, distance=0.01, state=10**7
):
    """A record of this setting; metrics are fractions, intervals reach 0.02 down and 0.01 up."""
    chosen = setting(tuple(overrides.split()))
    backbone = {name: value for name, value in chosen.backbone.items() if name not in ("seed", "weights")}
    weights = chosen.backbone["weights"]
    names = {"pretrained": f"hub/{chosen.backbone['model']}", "random": f"random:{chosen.backbone['seed']}"}
    drawn = {} if chosen.method["class"] == "SPADE" else {"seed": seed}  # the one method that draws nothing
    method = {**chosen.method, "settings": {**chosen.method["settings"], **drawn}}
    return Record(
        identity={
            "dataset": {"name": chosen.labels["dataset"], "fingerprint": f"{category} {images}"},
            "category": category,
            "geometry": chosen.geometry,
            "backbone": {**backbone, "weights": names.get(weights, weights.split("/")[-1]), "sha256": "0"},
            "method": method,
        },
        labels=chosen.labels,
        counts={"train": 10, "test": NORMAL + ANOMALOUS, "anomalous": ANOMALOUS},
        metrics={"image_auroc": image, "pixel_auroc": pixel},
        intervals={"image_auroc": [image - 0.02, image + 0.01], "pixel_auroc": [pixel - 0.02, pixel + 0.01]},
        time={
            stage: {"p50": s, "p95": 2 * s}
            for stage, s in (("total", seconds), ("distance", distance), ("score", distance))
        },
        memory={"peak": 10**9, "state": state},
    )


def saved(folder, record, gap=1.0, noise=0):
    """Write a record with drawn scores, defects ``gap`` higher than normal images; ``noise`` seeds the draw."""
    random = np.random.default_rng(noise)
    anomalous = np.arange(NORMAL + ANOMALOUS) >= NORMAL
    values = random.normal(size=len(anomalous)) + gap * anomalous
    masks = np.zeros((len(anomalous), 6, 6), bool)
    masks[anomalous, :2, :3] = True
    pairs = pixel_pairs(masks, random.normal(size=masks.shape) + gap * masks)
    content = io.BytesIO()
    np.savez_compressed(content, concordant=pairs.concordant, positives=pairs.positives, negatives=pairs.negatives)
    names = [f"test/{'cut' if a else 'good'}/{i:03}.png" for i, a in enumerate(anomalous)]
    rows = [
        ImageScore(name, name.split("/")[1], bool(a), float(v))
        for name, a, v in zip(names, anomalous, values, strict=True)
    ]
    records.save(folder, record, rows, content.getvalue())
    return records.load(folder / f"{record.id}.json")
