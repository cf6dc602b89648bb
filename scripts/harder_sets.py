"""Two harder versions of categories in MVTec's layout, for results/settings.md.

``turned``: every image and its mask is turned by an angle of its own and scaled to 512 pixels, so
that nothing stands where it stood. ``few``: the first 20 training images alone.

    python scripts/harder_sets.py DIR OUT grid bottle
"""

import shutil
import sys
from pathlib import Path

import numpy as np
from PIL import Image

SIDE, FEW = 512, 20


def main() -> None:
    root, out, categories = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:]
    angles = np.random.default_rng(0)
    for category in categories:
        for image in sorted((root / category).rglob("*.png")):
            if "ground_truth" not in image.parts:
                write_turned(root, out / "turned", image, float(angles.uniform(0, 360)))
        write_few(root / category, out / "few" / category)


def write_turned(root: Path, out: Path, image: Path, angle: float) -> None:
    """Write an image, and its mask if it has one, turned by an angle in degrees."""
    category, split, kind = image.relative_to(root).parts[:3]
    save(turned(image, angle, Image.Resampling.BILINEAR), out / image.relative_to(root))
    if split == "test" and kind != "good":
        mask = Path(category, "ground_truth", kind, f"{image.stem}_mask.png")
        save(turned(root / mask, angle, Image.Resampling.NEAREST), out / mask)


def turned(file: Path, angle: float, rule: Image.Resampling) -> Image.Image:
    """Beyond the border lies the image's mirror image, and nothing of a mask."""
    values = np.asarray(Image.open(file))
    side = len(values)
    border = [(side // 2, side // 2)] * 2 + [(0, 0)] * (values.ndim - 2)
    mask = rule == Image.Resampling.NEAREST
    padded = np.pad(values, border) if mask else np.pad(values, border, mode="symmetric")
    large = Image.fromarray(padded).rotate(angle, resample=rule)
    start = large.size[0] // 2 - side // 2
    part = large.crop((start, start, start + side, start + side))
    return part.resize((SIDE, SIDE), rule)


def save(image: Image.Image, file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    image.save(file)


def write_few(category: Path, out: Path) -> None:
    (out / "train" / "good").mkdir(parents=True)
    for image in sorted((category / "train" / "good").glob("*.png"))[:FEW]:
        shutil.copy(image, out / "train" / "good")
    for part in ("test", "ground_truth"):
        shutil.copytree(category / part, out / part)


if __name__ == "__main__":
    main()
