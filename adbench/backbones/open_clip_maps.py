"""Feature maps of the image encoders in open_clip (Ilharco et al., OpenCLIP), without the text."""

import difflib
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from pydantic.dataclasses import dataclass
from torch import Tensor, nn

from adbench.backbones import weights as files
from adbench.backbones.network import Network, Size, wrong_size
from adbench.backbones.network_maps import NetworkMaps
from adbench.backbones.state import load_carried, misfit, require_weights, unwrapped
from adbench.errors import AdbenchError
from adbench.system.settings import STRICT

_HUB_FILES = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")
_CLIP = {"mean": (0.48145466, 0.4578275, 0.40821073), "std": (0.26862954, 0.26130258, 0.27577711)}


@dataclass(config=STRICT)
class OpenClipMaps(NetworkMaps):
    """An image encoder of open_clip, cut after the deepest level that is wanted."""

    library: ClassVar[str] = "open_clip_torch"

    model: str
    """open_clip's name, such as ``ViT-B-16-quickgelu``."""
    weights: str
    """TAG: published weights of that model, such as ``openai``, from the Hugging Face hub or its
    local cache. PATH: a .safetensors or torch file of the whole CLIP model. random: drawn from
    ``seed``."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self._tag: str | None = None

    def moved(self, weights: str) -> Self:
        """See ``adbench.backbones.backbone.Moves``; the normalisation is that of the tag."""
        copied = super().moved(weights)
        copied._tag = self.weights
        return copied

    def _find_file(self) -> Path:
        if self._is_path:
            return files.find_file(self.weights)
        repository, _, name = self._published()["hf_hub"].rpartition("/")
        return files.find_on_hub(repository, (name,) if name else _HUB_FILES, self.model)

    def _weights_name(self) -> str:
        return self._file.name if self._is_path else self.weights

    def _random_state(self) -> dict[str, Tensor]:
        state: dict[str, Tensor] = self._encoder(None).state_dict()
        return state

    def carried(self, size: Size) -> dict[str, Tensor]:
        """See ``adbench.backbones.backbone.Carries``; those of the image encoder alone."""
        state: dict[str, Tensor] = self._encoder(size).state_dict()
        return state

    def _network(self, size: Size) -> Network:
        encoder = self._encoder(size)
        if hasattr(encoder, "trunk"):  # a network of timm
            reductions = [int(output["reduction"]) for output in encoder.trunk.feature_info]
        elif hasattr(encoder, "transformer"):
            reductions = [int(encoder.patch_size[0])] * len(encoder.transformer.resblocks)
        else:  # CLIP's ResNet: stem and four stages
            reductions = [4, 4, 8, 16, 32]
        published = self._published()
        return Network(
            name=self.model,
            reductions=reductions,
            mean=published["mean"],
            std=published["std"],
            cut=lambda outputs: _Cut(encoder, outputs, self.norm),
            made_for=self._made_for,
        )

    @property
    def _made_for(self) -> Size:
        edge = _library().get_model_config(self.model)["vision_cfg"].get("image_size", 224)
        return (edge, edge) if isinstance(edge, int) else (int(edge[0]), int(edge[1]))

    def _encoder(self, size: Size | None) -> Any:
        """The image encoder with its weights; position embeddings are interpolated to (H, W)."""
        open_clip = _library()
        self._published()
        if isinstance(open_clip.get_model_config(self.model)["vision_cfg"].get("layers"), list):
            size = None  # CLIP's ResNet: only its head, which is left out, depends on the size
        path = None if self.is_random or self._carried else self._file
        if path:
            _require_readable(path)
        with torch.random.fork_rng(devices=[]), _without_warning():
            torch.default_generator.manual_seed(self.seed)
            try:
                encoder = open_clip.create_model(
                    self.model,
                    str(path) if path else None,
                    force_image_size=size,
                    pretrained_text=False,
                    require_pretrained=path is not None,
                ).visual
            except (
                Exception
            ) as error:  # open_clip converts states of others, which fails in any way
                if path or size is None:
                    raise misfit(self.model, self.weights, error) from error
                raise wrong_size(self.model, size, self._made_for) from error
        if self._carried:
            load_carried(encoder, self._carried.state, self.model)
        return encoder

    def _published(self) -> dict[str, Any]:
        """What open_clip knows of the published weights: where they are, and the normalisation."""
        open_clip = _library()
        config = open_clip.get_model_config(self.model)
        if config is None:
            near = difflib.get_close_matches(self.model, open_clip.list_models(), n=4)
            raise AdbenchError(
                f"backbone.model={self.model}: unknown to open_clip {open_clip.__version__}; "
                f"nearest: {near}"
            )
        tags = open_clip.list_pretrained_tags_by_model(self.model)
        if self.is_random or self._is_path or (self._carried and self.weights not in tags):
            return self._unpublished(tags)
        if self.weights not in tags:
            raise AdbenchError(
                f"backbone.weights={self.weights}: no such file, and {self.model} was published "
                f"as {', '.join(tags)}"
            )
        published: dict[str, Any] = open_clip.get_pretrained_cfg(self.model, self.weights)
        if published.get("quick_gelu") and not config.get("quick_gelu"):
            raise AdbenchError(
                f"backbone.weights={self.weights}: trained with another activation than "
                f"{self.model} has; set backbone.model={self.model}-quickgelu"
            )
        return published

    def _unpublished(self, tags: list[str]) -> dict[str, Any]:
        """The normalisation of weights without a tag: that of the model's published weights."""
        known: dict[str | None, dict[str, Any]] = {
            tag: _library().get_pretrained_cfg(self.model, tag) for tag in tags
        }
        if self._tag in known:
            return known[self._tag]
        first = known[tags[0]] if tags else _CLIP
        others = [tag for tag in tags if not _normalise_alike(known[tag], first)]
        if others and self._is_path and not self._carried:
            raise AdbenchError(
                f"backbone.weights={self.weights}: a file does not say how its images are "
                f"normalised, and the published weights of {self.model} differ in it: "
                f"{', '.join(others)} from the others; set backbone.weights to the file's tag, one "
                f"of {', '.join(tags)}, or take another model"
            )
        return first


def _normalise_alike(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return all(tuple(one[name]) == tuple(other[name]) for name in ("mean", "std"))


def _require_readable(path: Path) -> None:
    """Say in words what is wrong with a file that open_clip would not read, or not as it should."""
    state, under = unwrapped(path)
    require_weights(state, path)
    if under not in ("", "state_dict"):
        raise AdbenchError(
            f"backbone.weights={path}: holds its tensors under {under}, where open_clip does not "
            "look; save them alone, or under state_dict"
        )


@contextmanager
def _without_warning() -> Iterator[None]:
    """open_clip warns where it loads no weights; then random ones are wanted, or others follow."""

    def other(record: logging.LogRecord) -> bool:
        return "No pretrained weights loaded" not in str(record.msg)

    logging.getLogger().addFilter(other)
    try:
        yield
    finally:
        logging.getLogger().removeFilter(other)


def _library() -> Any:
    """open_clip, which is slow to import and has no types."""
    import open_clip

    return open_clip


class _Cut(nn.Module):
    """(b, 3, H, W) to some of the encoder's outputs."""

    def __init__(self, encoder: Any, outputs: list[int], norm: bool) -> None:
        super().__init__()
        if hasattr(encoder, "layer4"):
            for stage in range(outputs[-1] + 1, 5):  # open_clip 3.3 runs every stage of its ResNet
                setattr(encoder, f"layer{stage}", nn.Identity())
        self.encoder, self.outputs, self.norm = encoder, outputs, norm

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        maps = self.encoder.forward_intermediates(
            images,
            indices=self.outputs,
            stop_early=True,
            normalize_intermediates=self.norm,
            intermediates_only=True,
        )
        return tuple(maps["image_intermediates"])
