"""The contract of a backbone."""

from collections.abc import Sequence
from typing import Any, Protocol

from torch import Tensor


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

        Raises:
            ImpossibleError: A layer that the network lacks, naming those it has, or an image size
                that it does not take, naming what to set.
        """
        ...
