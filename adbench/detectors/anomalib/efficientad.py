"""EfficientAD: a fast student, teacher and autoencoder (Batzner et al., arXiv 2303.14535)."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import torch
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor, nn

from adbench.backbones.backbone import Backbone
from adbench.backbones.network import Seed
from adbench.backbones.state import read_state
from adbench.data.geometry import Geometry
from adbench.data.images import Size
from adbench.detectors.anomalib import library, training
from adbench.detectors.anomalib.detector import AnomalibDetector, Normal, Trained, detector
from adbench.detectors.anomalib.images import Drawn, require_images
from adbench.detectors.anomalib.teacher import CHANNELS, FIELD, STATISTICS, Distillation
from adbench.errors import AdbenchError, ImpossibleError
from adbench.methods.method import LayerNumbers
from adbench.system.files import expanded
from adbench.system.settings import STRICT, When

DISTILL = "distill"
SMALLEST = 256
"""Pixels of the shorter side: the encoder's last kernel of 8 x 8 has a stride of 32 before it."""


@dataclass(frozen=True, config=STRICT)
class EfficientAD:
    """A student learns a teacher's output and an autoencoder's; where they differ is anomalous."""

    at_once: ClassVar[int] = 4

    distill_layers: Annotated[LayerNumbers, When("distills")]
    """Pyramid levels of the backbone that the teacher learns; 2, 3 in the paper."""
    steps: Annotated[int, Field(ge=1)] = 70_000
    """Of the training, with one image each; all of them are made."""
    epochs: Annotated[int, Field(ge=1)] | None = None
    """Passes over the images, where they are fewer steps than ``steps``; null: no such end."""
    lr: Annotated[float, Field(gt=0)] = 0.0001
    """Learning rate of Adam; a tenth of it in the last twentieth of the steps."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.00001
    """Of Adam."""
    model: Literal["small", "medium"] = "small"
    """Size of teacher and student."""
    holdout: Annotated[float, Field(gt=0, lt=1)] = 0.1
    """Share of the normal images that are not trained on and scale the two kinds of maps."""
    teacher: str = DISTILL
    """distill: the teacher is trained here to give the backbone's features. PATH: a file with the
    state_dict of anomalib's teacher."""
    distill_steps: Annotated[int, Field(ge=1), When("distills")] = 60_000
    """Of that training."""
    distill_batch: Annotated[int, Field(ge=1), When("distills")] = 16
    """Images in a step of it."""
    distill_images: Annotated[str | None, When("distills")] = None
    """A folder of images to learn from; the paper takes ImageNet. null: the normal images."""
    penalty_images: str | None = None
    """A folder of images on which the student is held back; the paper takes ImageNet. null: the
    penalty is left out."""
    seed: Seed = 0
    """Of all weights, of the order of the images and of what is held out."""

    @property
    def distills(self) -> bool:
        """The teacher is distilled."""
        return self.teacher == DISTILL

    def detector(self, geometry: Geometry, backbone: Backbone, device: str) -> AnomalibDetector:
        """See ``adbench.detectors.detector.MakesDetector``."""
        return detector(self, geometry, backbone, device)

    def require(self, size: Size | None, backbone: Backbone) -> None:
        """See ``System``; the autoencoder takes no images below 256 x 256."""
        if size is not None and min(size) < SMALLEST:
            raise ImpossibleError(
                f"EfficientAD takes images of at least {SMALLEST} x {SMALLEST} pixels; the "
                f"geometry gives {size[0]} x {size[1]} (height x width): set geometry=square256"
            )
        for name, path in self.files().items():
            if name != "teacher":
                require_images(f"method.{name}", path)
            elif not path.is_file():
                raise AdbenchError(
                    f"method.teacher={self.teacher}: there is no such file; give {DISTILL}, or the "
                    "path of a state_dict of anomalib's teacher"
                )

    def files(self) -> Mapping[str, Path]:
        """The teacher and the folders of images, where they are given."""
        named = {
            "teacher": None if self.distills else self.teacher,
            "distill_images": self.distill_images if self.distills else None,
            "penalty_images": self.penalty_images,
        }
        return {name: expanded(path) for name, path in named.items() if path is not None}

    def train(self, normal: Normal) -> Trained:
        """Get the teacher, train student and autoencoder, then scale their maps."""
        self.require(normal.size, normal.backbone)
        learned, held = self._parted(normal.images)
        code = library.module("models.image.efficient_ad.torch_model")
        model = code.EfficientAdModel(CHANNELS, code.EfficientAdModelSize(self.model))
        self._teach(model.teacher, normal, learned)
        model.to(normal.device).train()
        model.teacher.eval()
        model.mean_std.update(_statistics(model.teacher, learned, normal.device))
        optimizer = torch.optim.Adam(
            [*model.student.parameters(), *model.ae.parameters()],
            lr=self.lr,
            weight_decay=self.weight_decay,
        )
        draw = self._penalty(normal)
        total = min(self.steps, len(learned) * (self.epochs or self.steps))
        training.train(
            title=type(self).__name__,
            drawn=training.batches(learned, 1, -(-total // len(learned)), self.seed),
            total=total,
            loss_of=lambda image: loss(model, image.to(normal.device) / 255, draw()),
            optimizer=optimizer,
            schedule=torch.optim.lr_scheduler.StepLR(
                optimizer, max(1, int(0.95 * total)), gamma=0.1
            ),
        )
        model.eval()
        model.quantiles.update(_quantiles(model, held, normal.device, code.reduce_tensor_elems))
        notes = self._notes(total, len(learned), len(held))
        return Trained(FromBytes(model), notes, {}, () if self.distills else (model.teacher,))

    def _parted(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """The images to train on, and those that are held out."""
        held = max(1, round(self.holdout * len(images)))
        if held >= len(images):
            raise AdbenchError(
                f"EfficientAD holds out {held} of {len(images)} normal images and has none left to "
                "train on; give more images, or a smaller method.holdout"
            )
        rows = torch.randperm(len(images), generator=torch.Generator().manual_seed(self.seed))
        return images[rows[held:]], images[rows[:held]]

    def _teach(self, teacher: nn.Module, normal: Normal, learned: Tensor) -> None:
        """Load the teacher's weights, or distill it."""
        if not self.distills:
            try:
                state = read_state(self.files()["teacher"])
            except AdbenchError as error:  # which is written for the weights of a backbone
                raise AdbenchError(
                    str(error).replace("backbone.weights", "method.teacher")
                ) from None
            try:
                teacher.load_state_dict(state)
            except RuntimeError as error:
                raise AdbenchError(
                    f"method.teacher={self.teacher}: does not fit the {self.model} teacher of "
                    f"anomalib: {str(error).splitlines()[-1].strip()}; set method.model, or give "
                    "another file"
                ) from error
            return
        if (folder := self.files().get("distill_images")) is not None:
            images = Drawn(folder, self.seed)
            geometry = normal.geometry
            if geometry.size is None:  # the images of a folder have many aspects
                geometry = replace(geometry, resize=normal.size)
            draw = partial(images.batch, self.distill_batch, geometry)
        else:
            endless = training.batches(
                learned, self.distill_batch, self.distill_steps + STATISTICS + 1, self.seed
            )
            draw = partial(next, endless)
        Distillation(
            normal.backbone, sorted(self.distill_layers), self.distill_steps, draw, normal.device
        ).train(teacher)

    def _penalty(self, normal: Normal) -> Callable[[], Tensor | None]:
        """Gives a penalty image for each step, (1, 3, H, W) in [0, 1], or None."""
        if (folder := self.files().get("penalty_images")) is None:
            return lambda: None
        images = Drawn(folder, self.seed)
        return lambda: images.penalty(normal.size).to(normal.device) / 255

    def _notes(self, total: int, learned: int, held: int) -> list[str]:
        steps = (
            f"trained for {total} steps with one image each; it ends there, and nothing was "
            "chosen on test images"
        )
        parts = f"trained on {learned} normal images; {held} others of them scaled the maps"
        teacher = "the teacher was read from a file, and the backbone was not used"
        if self.distills:
            images = "images of a folder" if self.distill_images else "the normal images"
            teacher = (
                f"the teacher was distilled from the backbone's layers {self.distill_layers} in "
                f"{self.distill_steps} steps with batches of {self.distill_batch} of {images}"
            )
        penalty = "penalty images of a folder" if self.penalty_images else "no penalty images"
        return [steps, parts, teacher, f"the student was trained with {penalty}"]


class FromBytes(nn.Module):
    """(b, 3, H, W) RGB in [0, 255] to what a model gives for values in [0, 1]."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Any:
        """Score the images."""
        return self.model(images / 255)


def loss(model: Any, image: Tensor, penalty: Tensor | None) -> Tensor:
    """The sum of the model's three losses (algorithm 1), with or without the penalty.

    Args:
        model: Of anomalib.
        image: (1, 3, H, W) in [0, 1].
        penalty: The same, of an image of another kind; None: the term is left out.
    """
    if penalty is not None:
        return torch.stack(model(image, penalty)).sum()
    # The model's loss always has the term. On an image of a single position it costs next to
    # nothing, and what is added is subtracted here.
    single = image.new_zeros(1, 3, FIELD, FIELD)
    added: Tensor = (model.student(single)[:, : model.teacher_out_channels] ** 2).mean()
    return torch.stack(model(image, single)).sum() - added


def _statistics(teacher: nn.Module, images: Tensor, device: str) -> dict[str, Tensor]:
    """(1, c, 1, 1) mean and standard deviation of the teacher's output over images."""
    total = squares = torch.zeros(())
    count = 0
    with torch.no_grad():
        for image in images.split(1):
            found = teacher(image.to(device) / 255).double()
            total = total.to(device) + found.sum(dim=(0, 2, 3))
            squares = squares.to(device) + (found**2).sum(dim=(0, 2, 3))
            count += found[:, 0].numel()
    mean = total / count
    std = (squares / count - mean**2).clamp(min=0).sqrt()
    return {n: v.float()[None, :, None, None] for n, v in (("mean", mean), ("std", std))}


def _quantiles(
    model: Any, images: Tensor, device: str, fewer: Callable[[Tensor], Tensor]
) -> dict[str, Tensor]:
    """What scales the maps: their quantiles at 0.9 and 0.995 over images (algorithm 1, line 49)."""
    with torch.no_grad():
        pairs = [model.get_maps(image.to(device) / 255) for image in images.split(1)]
    found = {}
    for name, maps in zip(("st", "ae"), zip(*pairs, strict=True), strict=True):
        values = fewer(torch.cat(maps))
        found[f"qa_{name}"], found[f"qb_{name}"] = values.quantile(0.9), values.quantile(0.995)
    return found
