"""The contract of a method, and what can be done with every method."""

import copy
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Annotated, Any, ClassVar, Protocol, Self, TypeVar, runtime_checkable

import numpy as np
from pydantic import AfterValidator, Field
from torch import Tensor, nn

from adbench.errors import AdbenchError, NotFittedError
from adbench.features.features import Features
from adbench.system.settings import check


@dataclass(frozen=True)
class Scores:
    """Anomaly scores, higher is more anomalous.

    Attributes:
        images: (n,) float32.
        maps: (n, H, W) float32 at the network's input size; None where there are none or none
            were wanted.
    """

    images: Tensor
    maps: Tensor | None


def _each_once(layers: list[int]) -> list[int]:
    once = sorted(set(layers))
    if len(once) < len(layers):
        raise ValueError(f"must name each layer once, got {layers}; use {once}")
    return layers


LayerNumbers = Annotated[list[int], Field(min_length=1), AfterValidator(_each_once)]
"""The type of the setting ``layers``: at least one, and none twice.

A layer that is given twice would count twice, and would be learned in two arrays that share their
memory, which no file can hold."""


class Method(Protocol):
    """An anomaly detector on features: a dataclass of settings in one file, with one YAML file.

    What it learns are arrays and plain values under names that end in ``_``; the class docstring
    lists them. What can be rebuilt from them, such as a search index, is a cached property and has
    no such name.
    """

    layers: list[int]
    """Setting: the pyramid levels it reads, finest first."""
    needs_vectors: ClassVar[bool]
    """Whether it reads ``Features.vectors``."""
    score_settings: ClassVar[frozenset[str]]
    """Names of the settings that ``score`` alone reads: changing them costs no new fit."""
    nested: ClassVar[str | None]
    """A fit setting of which a larger value contains every smaller one, such as a ratio."""

    def fit(self, normal: Features) -> Self:
        """Learn from normal images alone, forgetting any earlier fit."""
        ...

    def score(self, test: Features) -> Scores:
        """Score each image alone: the scores of a batch are those of its images one by one."""
        ...


M = TypeVar("M", bound=Method)


@runtime_checkable
class Nests(Protocol):
    """A method with a nested setting."""

    def cut(self, value: Any) -> Self:
        """A fitted copy with a smaller value of the nested setting, as ``fit`` would give it."""
        ...


@runtime_checkable
class ScoresTogether(Protocol):
    """A method of which one pass over the test features serves several settings."""

    def score_all(
        self, test: Features, variants: Sequence[Self], maps: bool = True
    ) -> Iterator[Scores]:
        """The scores of each of ``variants``, in their order.

        The pass is made when the caller takes the first scores. It leaves the scores of positions
        of each variant. A map at the input size is made when the caller takes its scores, so that
        one map can be dropped before the next is made.

        Args:
            test: What to score.
            variants: Copies of this fitted method that differ in score settings or have a
                smaller nested setting.
            maps: Whether anomaly maps are wanted; image scores alone may be cheaper.
        """
        ...


@runtime_checkable
class EstimatesKept(Protocol):
    """A method whose pass keeps more of the settings than a score for each position."""

    def kept_bytes(self, positions: int, variants: Sequence[Self]) -> int:
        """Bytes that ``score_all`` keeps of ``variants`` until the caller takes their scores.

        Args:
            positions: Of the feature maps of all images and layers.
            variants: As of ``score_all``, fitted or not.
        """
        ...


@runtime_checkable
class Selects(Protocol):
    """A method whose fit orders the normal patches; the order costs enough to be kept.

    It learns order_, (m,) int64 rows of the patches, first pick first. The first j of them are the
    selection of size j.
    """

    def selection(self) -> dict[str, Any] | None:
        """What the order follows from apart from the features; None where it costs little."""
        ...

    def picks(self, normal: Features) -> int:
        """How many rows of the order a fit on ``normal`` needs, told from sizes alone.

        Raises:
            ImpossibleError: None at all.
        """
        ...

    def fit(self, normal: Features, order: np.ndarray | None = None) -> Self:
        """``Method.fit``, where ``order`` may hold the first picks, known from an earlier fit."""
        ...


@runtime_checkable
class EstimatesMemory(Protocol):
    """A method that knows how much memory it will need."""

    def memory(self, normal: Features, test: int) -> int:
        """Bytes at the peak of a fit on ``normal`` and a score of ``test`` images after it.

        The features themselves do not count, nor does what is held on a device, see
        ``EstimatesDeviceMemory``; ``normal.torch_device`` says whether there is one.
        It reads the sizes of ``normal`` alone, and is an upper bound up to what allocators and
        threads add.
        """
        ...

    def less_memory(self) -> Iterator[dict[str, Any]]:
        """Settings to change so that less memory is needed, the mildest first."""
        ...


@runtime_checkable
class EstimatesDeviceMemory(Protocol):
    """A method that computes on a device, and knows how much of its memory it will need.

    Its ``score`` copes with features whose tensors are on ``Features.device`` already. Every other
    method gets all features on the CPU, and so does every ``fit``.
    """

    def device_memory(self, normal: Features, test: int) -> int:
        """Bytes at the peak of a fit on ``normal`` and a score of ``test`` images after it.

        Copies of features on the device do count; blocks that shrink where memory is short do not.
        It is 0 where the method needs float64 and the device has none: the CPU computes then.
        """
        ...


@runtime_checkable
class CountsWork(Protocol):
    """A method whose distance stage has a countable cost."""

    def multiply_adds(self) -> int:
        """Multiply-adds per patch of the distance stage, after the fit."""
        ...


@runtime_checkable
class Exports(Protocol):
    """A fitted method that can be written as a graph of standard operations."""

    def graph(self, shapes: Sequence[tuple[int, int, int]], size: tuple[int, int]) -> nn.Module:
        """A module that scores as ``score`` does, and that ``torch.onnx.export`` can write.

        It takes the (n, c, h, w) float32 maps of the layers, one positional argument each, finest
        first as in ``Features.maps``. It returns (n,) image scores and (n, H, W) anomaly maps, both
        float32. The number n of images is free. What it learned are buffers of the module.

        Args:
            shapes: (c, h, w) of each layer.
            size: (H, W) of the maps, in pixels.

        Raises:
            ImpossibleError: A setting that has no graph.
        """
        ...


@runtime_checkable
class HasRivals(Protocol):
    """A method that is to be timed beside others on the same features."""

    def rivals(self) -> dict[str, Any]:
        """Unfitted methods that count their work, by the name under which the record shows them."""
        ...


def require_fitted(method: Any, test: Features) -> None:
    """Raise unless ``method`` was fitted, and on features of the same source as ``test``."""
    fitted: str | None = getattr(method, "source_", None)
    if fitted is None and state_of(method):
        raise NotFittedError(
            f"{type(method).__name__} has learned something but has no source_: its fit did not "
            "end, or does not set self.source_ = normal.source"
        )
    if fitted is None:
        raise NotFittedError(
            f"{type(method).__name__}.score was called before fit; call fit(normal features) first"
        )
    if fitted != test.source:
        raise AdbenchError(
            f"{type(method).__name__} was fitted on features of source {fitted!r} and cannot score "
            f"features of source {test.source!r}: same backbone, weights, layers, geometry and "
            "precision are needed"
        )


def ask(method: M, **settings: Any) -> M:
    """A copy of a fitted method with other score settings, which shares what was learned.

    Example:
        >>> crd = CRD().fit(normal)
        >>> sweep = {value: ask(crd, lambda_=value).score(test) for value in (0.1, 1.0, 5.0)}

    Raises:
        AdbenchError: A setting that the fit depends on, or a value that the method refuses.
    """
    fixed = sorted(set(settings) - method.score_settings)
    if fixed:
        raise AdbenchError(
            f"{type(method).__name__}: {', '.join(fixed)} shape the fit and cannot be changed "
            f"after it; score settings are {', '.join(sorted(method.score_settings)) or 'none'}"
        )
    checked = replaced(method, settings)
    copied = copy.copy(method)
    for name in settings:
        setattr(copied, name, getattr(checked, name))
    return copied


def replaced(method: M, settings: Mapping[str, Any]) -> M:
    """An unfitted method with some settings changed, every one of them checked.

    The others stay as they are, those included that are not read now but may be read after the
    change.
    """
    changed = {name: getattr(method, name) for name in _names(method)} | dict(settings)
    plain = {n: asdict(v) if hasattr(v, "__dataclass_fields__") else v for n, v in changed.items()}
    return check(type(method), plain, type(method).__name__)


def state_of(method: Method) -> dict[str, Any]:
    """What a fitted method learned: arrays and plain values, by name."""
    names = _names(method)  # a setting such as lambda_ ends in an underscore too
    return {
        name: value
        for name, value in vars(method).items()
        if name.endswith("_") and not name.startswith("_") and name not in names
    }


def forget(method: Method, *rebuilt: str) -> None:
    """Drop what a method learned and what was rebuilt from it: a failed fit then leaves nothing.

    Args:
        method: Fitted or not.
        rebuilt: Names of its cached properties.
    """
    for name in (*state_of(method), *rebuilt):
        vars(method).pop(name, None)


def restore(method: M, state: Mapping[str, Any]) -> M:
    """A fitted copy of an unfitted method with the state that ``state_of`` gave."""
    fitted = copy.copy(method)
    for name, value in state.items():
        setattr(fitted, name, value)
    return fitted


def state_bytes(method: Method) -> int:
    """Bytes of what a fitted method learned; what is rebuilt from it does not count."""
    return _bytes(state_of(method).values())


def _names(method: object) -> set[str]:
    """Names of all settings, whether they are read or not."""
    return {f.name for f in fields(method) if f.init}  # type: ignore[arg-type]


def _bytes(values: Iterable[Any]) -> int:
    total = 0
    for value in values:
        if isinstance(value, Tensor | np.ndarray):
            total += value.nbytes
        elif isinstance(value, dict):
            total += _bytes(value.values())
        elif isinstance(value, list | tuple):
            total += _bytes(value)
    return total
