"""Whether a computation fits the memory that is free, asked before it starts."""

from collections.abc import Iterator, Sequence
from typing import Any, Protocol, TypeVar, runtime_checkable

from adbench import machine
from adbench.build import check, settings_of
from adbench.core import AdbenchError, Features, FitsTogether, Method

M = TypeVar("M", bound=Method)


@runtime_checkable
class EstimatesMemory(Protocol):
    """A method that knows how much memory it will need."""

    def memory(self, normal: Features, test: int) -> int:
        """Bytes that fitting on ``normal`` and then scoring ``test`` images hold at their peak, besides the features.

        It reads the sizes of ``normal`` alone, and is an upper bound up to what allocators and threads add.
        """
        ...

    def lighter(self) -> Iterator[dict[str, Any]]:
        """Settings to change so that less memory is needed, the mildest first."""
        ...


def fits(method: Method, normal: Features, test: int, besides: int = 0) -> bool:
    """Whether fitting and scoring would fit into what is free; True for a method that makes no estimate.

    Args:
        method: Fitted or not.
        normal: The features to be fitted on.
        test: How many images are to be scored.
        besides: Bytes that the rest of the run needs while the method's are held.
    """
    return not isinstance(method, EstimatesMemory) or method.memory(normal, test) + besides <= machine.free_memory()


def require(method: Method, normal: Features, test: int, besides: int = 0) -> None:
    """Raise unless ``fits``, with the settings of the method that would.

    Raises:
        AdbenchError: With what is needed and what is free.
    """
    if not isinstance(method, EstimatesMemory) or fits(method, normal, test, besides):
        return
    settings = settings_of(method)
    lighter = (c for c in method.lighter() if fits(check(type(method), settings | c, "method"), normal, test, besides))
    change = " ".join(f"method.{name}={value}".replace(" ", "") for name, value in next(lighter, {}).items())
    needed = method.memory(normal, test) + besides
    raise AdbenchError(
        f"{type(method).__name__} on {len(normal)} images needs about {needed / 1e9:.1f} GB of memory and "
        f"{machine.free_memory() / 1e9:.1f} GB are free; "
        + (f"{change} would fit" if change else "free some, or set a smaller geometry.resize and geometry.crop")
    )


def those_that_fit(method: M, others: Sequence[M], normal: Features, test: int, besides: int = 0) -> Sequence[M]:
    """The ``others`` where all can be fitted and scored together with ``method``, else none; arguments as ``fits``."""
    if not others or not isinstance(method, FitsTogether):
        return []
    return others if method.memory_with(others, normal, test) + besides <= machine.free_memory() else []
