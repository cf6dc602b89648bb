"""Where the numbers beside the marks of a chart stand, so that none covers another or a mark."""

from collections.abc import Sequence

DIGIT, TALL = 7.5, 11.0
"""Width of a digit and height of a number, in the units of a panel."""
HALF = 4.5
"""Half the side of a mark."""
AWAY = 6.0
"""From the middle of a mark to its number."""

Box = tuple[float, float, float, float]
"""Left, top, right and bottom."""


def places(
    points: Sequence[tuple[float, float]], numbers: Sequence[str]
) -> list[tuple[float, float] | None]:
    """The left end of the base line of each number; None where no side of its mark is free.

    Args:
        points: The middles of the marks; y grows downwards.
        numbers: What is to stand beside each; an empty one stands nowhere.
    """
    taken = [(x - HALF, y - HALF, x + HALF, y + HALF) for x, y in points]
    found: list[tuple[float, float] | None] = []
    for (x, y), number in zip(points, numbers, strict=True):
        boxes = _around(x, y, DIGIT * len(number)) if number else []
        free = next((box for box in boxes if not any(_meet(box, other) for other in taken)), None)
        if free is None:
            found.append(None)
        else:
            taken.append(free)
            found.append((free[0], free[3]))
    return found


def _around(x: float, y: float, width: float) -> list[Box]:
    """Above to the right first, then the other corners, then the sides."""
    right, left = x + AWAY, x - AWAY - width
    above, below, beside = y - AWAY, y + AWAY + TALL, y + TALL / 2
    ends = [(right, above), (right, below), (left, above), (left, below)]
    ends += [(right, beside), (left, beside)]
    return [(start, base - TALL, start + width, base) for start, base in ends]


def _meet(one: Box, other: Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]
