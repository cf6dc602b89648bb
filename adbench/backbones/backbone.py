"""The contract of a backbone."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, Self, runtime_checkable

from torch import Tensor, nn


class Backbone(Protocol):
    """A frozen network, which is made at the first use. Its settings are its dataclass fields."""

    def identity(self) -> dict[str, Any]:
        """What bears on its numbers: architecture, sha256 of the weights, precision, engine."""
        ...

    def weights_in_words(self) -> dict[str, Any]:
        """Where the weights come from, for the record.

        ``setting`` is what the user gave, with a path as its file name. ``name`` is that of the
        file, tag or repository. ``seed`` is that of random weights, else None.
        """
        ...

    def versions(self) -> dict[str, str | None]:
        """The libraries that make its numbers, for the keys of kept features."""
        ...

    def release(self) -> None:
        """Give back the memory of the network; the next ``extract`` makes it anew."""
        ...

    def extract(
        self, images: Tensor, layers: Sequence[int], vectors: bool
    ) -> tuple[list[Tensor], Tensor | None]:
        """Features of a batch.

        Args:
            images: (b, 3, H, W) uint8 RGB; the backbone normalises them itself.
            layers: Pyramid levels, 1 is the finest; level i of a CNN has stride 2^(i + 1), as layer
                i of a ResNet.
            vectors: Whether to return the (b, d) average-pooled last stage too.

        Returns:
            (b, c, h, w) float32 per layer, and the vectors or None: on the device that computed
            them, or on the CPU. Who wants them elsewhere moves them.

        Raises:
            ImpossibleError: A layer that the network lacks, naming those it has, or an image size
                that it does not take, naming what to set.
        """
        ...


@runtime_checkable
class OnDevice(Protocol):
    """A backbone that has a device of its own, which need not be that of the method."""

    def computes_on(self) -> str:
        """The torch device of the network, such as ``cuda:0``.

        Raises:
            AdbenchError: It is not there.
        """
        ...


@runtime_checkable
class Moves(Protocol):
    """A backbone whose numbers depend on more than the content of the file of its weights."""

    def moved(self, weights: str) -> Self:
        """A copy that gives the same numbers from the same weights in another file.

        Args:
            weights: The path of that file.
        """
        ...


@runtime_checkable
class Carries(Protocol):
    """A backbone whose network can be made again from tensors, without its file."""

    def carried(self, size: tuple[int, int]) -> dict[str, Tensor]:
        """The tensors of the network for images of (H, W)."""
        ...

    def carry(self, state: Mapping[str, Tensor], sha256: str, words: Mapping[str, Any]) -> Self:
        """A copy whose network has these tensors.

        Args:
            state: What ``carried`` gave; the copy takes images of the same size.
            sha256: Of the file that they came from, for the identity.
            words: What ``weights_in_words`` is to say.

        Raises:
            AdbenchError: The tensors do not fit the network; raised when that is made.
        """
        ...


@runtime_checkable
class Exports(Protocol):
    """A backbone whose network can be written as a graph of standard operations."""

    def module(self, size: tuple[int, int], layers: Sequence[int]) -> nn.Module:
        """The network as its library wrote it, in float32 and in evaluation mode.

        It goes from (n, H, W, 3) uint8 RGB images to the (n, c, h, w) float32 maps of the layers,
        finest first, and n is free.

        Args:
            size: (H, W) of the images in pixels.
            layers: Pyramid levels.

        Raises:
            ImpossibleError: As ``Backbone.extract``.
        """
        ...
