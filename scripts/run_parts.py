"""What ``bench_run`` and ``bench_sweep`` run in processes of their own: ``PART WORD ...``.

Nothing heavy is imported up here, because they import the names of files from here.
"""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from processes import set_threads

WEIGHTS = "weights.pt"


def save_weights(folder: str) -> None:
    import timm
    import torch

    torch.default_generator.manual_seed(0)
    torch.save(timm.create_model("wide_resnet50_2").state_dict(), Path(folder, WEIGHTS))


def draw(folder: str, train: str, test: str) -> None:
    from adbench.data.demo import Demo

    demo = Demo(categories=("flange",), train=int(train), test=int(test), cache=folder)
    print(json.dumps(str(demo.load("flange").train[0].path.parents[3])))


def count_and_run(*words: str) -> None:
    """``adbench run``, and at the end how many images went through the backbone."""
    from adbench.backbones.engine import Engine
    from adbench.cli.main import main

    extract, counts = Engine.extract, []

    def counting(self: Engine, images: Any, *arguments: Any) -> Any:
        counts.append(len(images))
        return extract(self, images, *arguments)

    Engine.extract = counting  # type: ignore[assignment, method-assign]
    try:
        main(["run", *words])
    finally:
        print(json.dumps(sum(counts)))


def anomalib(category: str, folder: str, threads: str) -> None:
    """Fit and test by the Engine.

    Half of the test images validate, as is its default, so that each is scored once.
    """
    import torch
    from anomalib.data import Folder
    from anomalib.engine import Engine
    from anomalib.models import Patchcore

    set_threads(int(threads))
    root = Path(category)
    kinds = sorted(path.name for path in (root / "ground_truth").iterdir())
    images = Folder(
        name="parts",
        normal_dir=root / "train" / "good",
        normal_test_dir=root / "test" / "good",
        abnormal_dir=[root / "test" / kind for kind in kinds],
        mask_dir=[root / "ground_truth" / kind for kind in kinds],
        num_workers=int(threads) - 1,  # beside the process itself
    )
    processor = Patchcore.configure_pre_processor(
        image_size=(256, 256), center_crop_size=(224, 224)
    )
    model = Patchcore(
        backbone="wide_resnet50_2",
        layers=["layer2", "layer3"],
        pre_trained=False,
        coreset_sampling_ratio=0.1,
        num_neighbors=1,
        pre_processor=processor,
        visualizer=False,
    )
    state = torch.load(Path(folder, WEIGHTS), weights_only=True)
    network = model.model.feature_extractor.feature_extractor
    if missing := network.load_state_dict(state, strict=False).missing_keys:
        raise RuntimeError(f"anomalib's network lacks {missing[:3]} of the weights' file")
    engine = Engine(accelerator="cpu", devices=1, default_root_dir=Path(folder, "anomalib"))
    engine.fit(model=model, datamodule=images)
    engine.test(model=model, datamodule=images)


PARTS: dict[str, Callable[..., None]] = {
    "weights": save_weights,
    "images": draw,
    "adbench": count_and_run,
    "anomalib": anomalib,
}

if __name__ == "__main__":
    PARTS[sys.argv[1]](*sys.argv[2:])
