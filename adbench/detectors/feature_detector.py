"""A frozen backbone and a method on its features."""

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Self

import torch

from adbench.backbones.backbone import Backbone
from adbench.data.geometry import Geometry
from adbench.data.images import Size
from adbench.data.samples import Images
from adbench.detectors.detector import Detector, Provider
from adbench.errors import AdbenchError, ImpossibleError, MemoryShortError, NotFittedError
from adbench.features.features import Features
from adbench.kernels.device import has_double, memory_is_short
from adbench.methods import method as methods
from adbench.methods.method import Method, Scores
from adbench.system.machine import synchronise
from adbench.system.settings import class_name, digest, settings_of
from adbench.system.stages import stage

Shape = tuple[int, int, int]
"""Channels, height and width of a feature map."""


@dataclass(frozen=True)
class FeatureDetector:
    """From images to scores through a frozen backbone.

    Attributes:
        geometry: Brings an image to the network's input.
        backbone: Gives the features.
        method: Learns from features of normal images; fitted in a fitted detector.
        device: Where the method may compute.
        provider: Gives features; None before the fit.
        shapes: (c, h, w) of each layer that the method reads; known after the fit.
        size: (H, W) of the network's input; known after the fit.
    """

    geometry: Geometry
    backbone: Backbone
    method: Method
    device: str = "cpu"
    provider: Provider | None = None
    shapes: tuple[Shape, ...] = ()
    size: Size | None = None

    @property
    def title(self) -> str:
        """The method's class."""
        return type(self.method).__name__

    def identity(self) -> dict[str, Any]:
        """Geometry, backbone with the sha256 of its weights, and method with its settings."""
        return {
            "geometry": settings_of(self.geometry),
            "backbone": self.backbone.identity(),
            "method": {
                "class": class_name(type(self.method)),
                "settings": self._settings(),
            },
        }

    def fit(self, normal: Images, provider: Provider) -> Self:
        """A fitted copy; picks of an earlier fit on the same features are taken over.

        The stage is called ``fit`` where the whole fit was computed here.
        """
        with self._memory_named():
            return self._fitted(normal, provider)

    def _fitted(self, normal: Images, provider: Provider) -> Self:
        features = self._features(normal, provider).on_cpu()  # what is learned is kept there
        method = copy.copy(self.method)
        selection = method.selection() if isinstance(method, methods.Selects) else None
        if isinstance(method, methods.Selects) and selection is not None:
            with provider.selecting(features, selection):
                known = provider.read_order(features, selection)
                with stage("fit" if known is None else "fit with known picks"):
                    method.fit(features, known)
                provider.keep_order(features, selection, vars(method)["order_"])
        else:
            with stage("fit"):
                method.fit(features)
        features.evict()
        shapes, size = _shapes(features), features.size
        return replace(self, method=method, provider=provider, shapes=shapes, size=size)

    def score(self, images: Images) -> Scores:
        """Score images through the provider's features.

        Raises:
            AdbenchError: Images that reach the network at another size than those of the fit.
        """
        features = self._test_features(images)
        with self._memory_named(), stage("score"):
            return self.method.score(features)

    def facts(self) -> dict[str, Any]:
        """Weights, channels, notes, size of the state and work of the fitted method."""
        facts = {
            "weights": self.backbone.weights_in_words(),
            "channels": {
                str(i): shape[0] for i, shape in zip(self.reads()[0], self.shapes, strict=True)
            },
            "notes": [*getattr(self.method, "notes_", []), *self._notes_of_device()],
            "state_bytes": methods.state_bytes(self.method),
        }
        if isinstance(self.method, methods.CountsWork):
            facts["multiply_adds"] = self.method.multiply_adds()
        return facts

    def wait(self) -> None:
        """Wait for the device that computes."""
        synchronise(self.device)

    def release(self) -> None:
        """Give back the network's memory."""
        self.backbone.release()

    # What detectors with the same network share.

    def group(self) -> str:
        """Names geometry and backbone by their settings, which needs no weights."""
        parts = [self.geometry, self.backbone]
        return digest([[class_name(type(p)), settings_of(p)] for p in parts])

    def with_network_of(self, other: Self) -> Self:
        """Itself with the backbone of another detector of its group."""
        return replace(self, backbone=other.backbone)

    def reads(self) -> tuple[list[int], bool]:
        """The method's layers, and whether it reads vectors."""
        return sorted(self.method.layers), bool(self.method.needs_vectors)

    def fit_key(self) -> str:
        """Names the method with all settings but those that ``score`` alone reads."""
        other = {*self.method.score_settings, self.method.nested}
        settings = {n: v for n, v in self._settings().items() if n not in other}
        return digest([self.group(), class_name(type(self.method)), settings])

    def extent(self) -> float:
        """The nested setting, such as the ratio of a coreset; 0 where there is none."""
        return float(getattr(self.method, self.method.nested)) if self.method.nested else 0.0

    def adopt(self, fitted: Self) -> Self:
        """A fitted copy of itself with the state of ``fitted``, cut to its own extent."""
        method = fitted.method
        if isinstance(method, methods.Nests) and self.extent() != fitted.extent():
            assert self.method.nested
            method = method.cut(getattr(self.method, self.method.nested))
        settings = {name: getattr(self.method, name) for name in self.method.score_settings}
        return replace(fitted, method=methods.ask(method, **settings))

    def score_all(self, images: Images, variants: Sequence[Self], maps: bool) -> Iterator[Scores]:
        """Scores of adopted copies: in one pass where the method can, else one after another."""
        features = self._test_features(images)
        chosen: list[Any] = [variant.method for variant in variants]
        found: Iterator[Scores] | None = None
        for number in range(len(chosen)):
            with self._memory_named(), stage("score"):  # closed before somebody else computes
                found = self._each(features, chosen, maps) if found is None else found
                scores = next(found, None)
            if scores is None:
                raise AdbenchError(
                    f"{self.title}.score_all gave {number} scores for {len(chosen)} settings"
                )
            yield scores
            del scores  # with its maps, before the next ones are made

    def _each(self, features: Features, chosen: Sequence[Any], maps: bool) -> Iterator[Scores]:
        if isinstance(self.method, methods.ScoresTogether):
            return iter(self.method.score_all(features, chosen, maps))
        return (method.score(features) for method in chosen)

    def sized(self, normal: Images, provider: Provider) -> Self:
        """A copy that knows the shapes of the layers that it reads."""
        return replace(self, shapes=_shapes(self._features(normal, provider)))

    def kept_bytes(self, images: int, variants: Sequence[Self]) -> int:
        """What the method says, or a float64 score for each position of each layer."""
        positions = images * sum(h * w for _, h, w in self.shapes)
        chosen: list[Any] = [variant.method for variant in variants]
        if isinstance(self.method, methods.EstimatesKept):
            return self.method.kept_bytes(positions, chosen)
        return 8 * positions * len(variants)

    def memory(self, normal: Images, test: int, provider: Provider) -> int:
        """Bytes that the method holds on the CPU at its peak; 0 where it makes no estimate."""
        if not isinstance(self.method, methods.EstimatesMemory):
            return 0
        return self.method.memory(self._features(normal, provider), test)

    def device_memory(self, normal: Images, test: int, provider: Provider) -> int:
        """Bytes that the method holds on the device at its peak; 0 where it makes no estimate.

        They are 0 on the CPU too, where ``memory`` counts everything.
        """
        if self.device == "cpu" or not isinstance(self.method, methods.EstimatesDeviceMemory):
            return 0
        return self.method.device_memory(self._features(normal, provider), test)

    def less_memory(self) -> Iterator[tuple[str, Self]]:
        """Settings of the method that need less memory."""
        if isinstance(self.method, methods.EstimatesMemory):
            for change in self.method.less_memory():
                words = " ".join(f"method.{n}={v}".replace(" ", "") for n, v in change.items())
                yield words, replace(self, method=methods.replaced(self.method, change))

    def rivals(self) -> dict[str, Self]:
        """The methods that this one names, on the same features."""
        if not isinstance(self.method, methods.HasRivals):
            return {}
        return {n: replace(self, method=rival) for n, rival in self.method.rivals().items()}

    def _notes_of_device(self) -> list[str]:
        if has_double(torch.device(self.device)):
            return []
        return [f"{self.device} has no float64; what needs it was computed on the CPU"]

    @contextmanager
    def _memory_named(self) -> Iterator[None]:
        """A block whose error says what to set where the memory of the device runs out."""
        try:
            yield
        except RuntimeError as error:
            # On the CPU it is a fault of a library, which says more than a setting would.
            if self.device == "cpu" or not memory_is_short(error):
                raise
            smaller = next((f", or {words}" for words, _ in self.less_memory()), "")
            raise MemoryShortError(
                f"{self.title}: {self.device} ran out of memory; set device=cpu{smaller}"
            ) from error

    def _settings(self) -> dict[str, Any]:
        """The method's settings; in which order its layers were written bears on nothing."""
        return {**settings_of(self.method), "layers": self.reads()[0]}

    def _test_features(self, images: Images) -> Features:
        features = self._features(images, self.provider)
        if features.size != self.size:
            raise other_size(features.size, self.size)
        # Only a method that computes on a device copes with features that are there.
        knows = isinstance(self.method, methods.EstimatesDeviceMemory)
        return features if knows else features.on_cpu()

    def _features(self, images: Images, provider: Provider | None) -> Features:
        if provider is None:
            raise NotFittedError(
                f"{self.title}: images are scored by a fitted detector; fit it first"
            )
        layers, vectors = self.reads()
        return provider.features(self.backbone, self.geometry, images, layers, vectors)


def _shapes(features: Features) -> tuple[Shape, ...]:
    return tuple((int(m.shape[1]), int(m.shape[2]), int(m.shape[3])) for m in features.maps)


def require_saveable(detector: Detector) -> FeatureDetector:
    """The detector where it can be saved.

    Raises:
        ImpossibleError: It trains on images; only what a method learned can be saved.
    """
    if not isinstance(detector, FeatureDetector):
        raise ImpossibleError(
            f"{detector.title}: a system that trains on images cannot be saved yet; adbench run "
            "measures it"
        )
    return detector


def other_size(got: Size, fitted: Size | None) -> AdbenchError:
    """The error where images do not reach the network at the size of those of the fit."""
    height, width = fitted or got
    return AdbenchError(
        f"the image reaches the network at {got[0]}x{got[1]} pixels (height x width), and the "
        f"detector was fitted on images that reach it at {height}x{width}; take pictures of the "
        "same aspect, or fit with geometry=square256"
    )
