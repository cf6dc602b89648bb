"""Feature maps of the networks in timm (Wightman, PyTorch Image Models)."""

import difflib
import logging
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import torch
from pydantic.dataclasses import dataclass
from torch import Tensor, nn

from adbench.backbones import weights as files
from adbench.backbones.lite import from_package_names, in_package_names
from adbench.backbones.network import Network, Size, wrong_size
from adbench.backbones.network_maps import NetworkMaps
from adbench.backbones.state import State, load_carried, misfit, read_state, without_prefix
from adbench.errors import AdbenchError, ImpossibleError
from adbench.system.settings import STRICT

log = logging.getLogger(__name__)

_HUB_FILES = ("model.safetensors", "pytorch_model.bin")


@dataclass(config=STRICT)
class TimmMaps(NetworkMaps):
    """A network of timm, cut after the deepest level that is wanted."""

    library: ClassVar[str] = "timm"

    model: str
    """timm's name with the tag of the weights, such as ``wide_resnet50_2.tv_in1k``: its default
    tags are not the weights of the papers."""
    weights: str = "pretrained"
    """pretrained: those of the tag, from the Hugging Face hub or its local cache. PATH: a
    .safetensors or torch file with all of the network's weights. package:NAME: the file that an
    installed Python package ships. random: drawn from ``seed``."""

    def _find_file(self) -> Path:
        if self.weights != "pretrained":
            return files.find_file(self.weights)
        return files.find_on_hub(self._repository, _HUB_FILES, self.model)

    def _weights_name(self) -> str:
        return self._repository if self.weights == "pretrained" else self._file.name

    @cached_property
    def _repository(self) -> str:
        """The hub's repository of the pretrained weights."""
        usual = f"timm/{self.model}"
        if "." in self.model and files.find_in_hub_cache(usual, _HUB_FILES):
            return usual  # to ask timm itself would take the seconds of its import
        published = self._published()
        if not published.hf_hub_id:
            raise AdbenchError(
                f"weights of {self.model}: fetch {published.url} and set backbone.weights=PATH "
                "to it"
            )
        return str(published.hf_hub_id)

    def _random_state(self) -> dict[str, Tensor]:
        return self._module().state_dict()

    def carried(self, size: Size) -> dict[str, Tensor]:
        """See ``adbench.backbones.backbone.Carries``; the weights fit images of every size."""
        names = self._without_head().state_dict()
        return {n: v for n, v in self._module().state_dict().items() if n in names}

    def _network(self, size: Size) -> Network:
        module: Any = self._module()
        if not hasattr(module, "forward_intermediates"):
            raise ImpossibleError(
                f"backbone.model={self.model}: this version of timm gives no maps of it; "
                "try a newer one"
            )
        published = self._published()
        made_for = tuple(published.input_size[1:])
        # The position embeddings of a transformer are interpolated.
        if hasattr(module, "set_input_size"):
            try:
                module.set_input_size(img_size=size)
            except (AssertionError, RuntimeError, ValueError) as error:
                raise wrong_size(self.model, size, made_for) from error
        return Network(
            name=self.model,
            reductions=[int(output["reduction"]) for output in module.feature_info],
            mean=published.mean,
            std=published.std,
            cut=lambda outputs: _Cut(module, outputs, self.norm),
            made_for=made_for,
        )

    def _module(self) -> nn.Module:
        """The whole network with its weights; the head may be left out."""
        import timm

        self._published()
        if self._carried:
            network = self._without_head()
            load_carried(network, self._carried.state, self.model)
            return network
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(self.seed)
            if self.is_random:
                return timm.create_model(self.model)
            state = read_state(self._file)
            if not in_package_names(state):
                try:
                    return self._loaded(state)
                except Exception as error:  # in any way, see _loaded
                    log.info("%s is looked at again, without a head: %s", self._file.name, error)
            return self._headless(state)

    def _loaded(self, state: State, **options: Any) -> nn.Module:
        """A network with the weights of a state, by timm's own loader.

        That one is strict, and knows older and foreign names of the layers. Its code for these may
        fail in any way.
        """
        import timm

        overlay = {"state_dict": state, **options}
        return timm.create_model(
            self.model, pretrained=True, pretrained_cfg_overlay=overlay, **options
        )

    def _headless(self, state: State) -> nn.Module:
        """The network without its head, with the weights of one that has another head or none."""
        names = list(self._without_head().state_dict())
        state = without_prefix(state, names)
        if in_package_names(state):
            state = from_package_names(state, names, self.model)
        heads = self._published().classifier or ()
        heads = (heads,) if isinstance(heads, str) else heads
        above = tuple(f"{head}." for head in heads)
        state = {n: v for n, v in state.items() if n in names or not n.startswith(above)}
        try:
            return self._loaded(state, num_classes=0)
        except Exception as error:
            raise misfit(self.model, self.weights, error) from error

    def _without_head(self) -> nn.Module:
        """The network without its head, with any weights."""
        import timm

        with torch.random.fork_rng(devices=[]):
            return timm.create_model(self.model, num_classes=0)

    def _published(self) -> Any:
        """What timm knows of the published weights: where they are, and the normalisation."""
        import timm

        name, _, tag = self.model.partition(".")
        if not timm.is_model(name):
            near = difflib.get_close_matches(name, timm.list_models(), n=4)
            raise AdbenchError(
                f"backbone.model={self.model}: unknown to timm {timm.__version__}; nearest: {near}"
            )
        names = timm.list_models(f"{name}.*", pretrained=True)
        if self.model not in names and (tag or self.weights == "pretrained"):
            raise AdbenchError(
                f"backbone.model={self.model}: name the weights in full, one of {', '.join(names)}"
            )
        return timm.get_pretrained_cfg(self.model)


class _Cut(nn.Module):
    """(b, 3, H, W) to some of the network's outputs."""

    def __init__(self, network: Any, outputs: list[int], norm: bool) -> None:
        super().__init__()
        self.network, self.outputs, self.norm = network, outputs, norm

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        maps = self.network.forward_intermediates(
            images, indices=self.outputs, norm=self.norm, stop_early=True, intermediates_only=True
        )
        return tuple(maps)
