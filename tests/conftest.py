"""Fixtures of several test files: small images in MVTec's layout, and the real ones if there."""

import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

REPOSITORY = Path(__file__).parents[1]


@pytest.fixture
def make_category() -> Callable[..., Path]:
    """Makes ``root/category`` in MVTec's layout.

    It has 3 training images, 2 good test images and 2 of each defect with masks.
    """

    def make(
        root: Path,
        category: str = "bottle",
        defects: Sequence[str] = ("crack", "dent"),
        edge: int = 32,
    ) -> Path:
        folder, rng = root / category, np.random.default_rng(0)

        def save(path: Path, pixels: np.ndarray) -> None:
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(path)

        counts = {"train/good": 3, "test/good": 2, **{f"test/{defect}": 2 for defect in defects}}
        for place, count in counts.items():
            for number in range(count):
                noise = rng.integers(0, 255, (edge, edge, 3), dtype=np.uint8)
                save(folder / place / f"{number:03}.png", noise)
        mask = np.zeros((edge, edge), np.uint8)
        mask[edge // 4 : edge // 2, edge // 4 : edge // 2] = 255
        for defect in defects:
            for number in range(2):
                save(folder / "ground_truth" / defect / f"{number:03}_mask.png", mask)
        return folder

    return make


@dataclass
class Told:
    """How a command ended and what it told."""

    status: int
    out: str
    err: str


@pytest.fixture
def command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Told]:
    """Runs a command in this process and in the folder of the test, which saves its start."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ADBENCH_CACHE", str(tmp_path / "cache"))

    def run(*words: str) -> Told:
        from adbench.cli.main import main

        monkeypatch.setattr(sys, "argv", ["adbench", *words])
        capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            main()
        told = capsys.readouterr()
        return Told(int(end.value.code or 0), told.out, told.err)

    return run


@pytest.fixture
def real_mvtec() -> Path:
    """The folder of MVTec AD's images, as far as they are on this machine."""
    places = [Path(os.environ["ADBENCH_DATA"])] if "ADBENCH_DATA" in os.environ else []
    for place in [*places, REPOSITORY.parent / "shared" / "data"]:
        if (place / "mvtec" / "bottle").is_dir():
            return place / "mvtec"
    pytest.skip("no MVTec AD images: neither ADBENCH_DATA nor ../shared/data holds mvtec/bottle")
