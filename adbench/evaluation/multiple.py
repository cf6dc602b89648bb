"""Several tests at once (Holm, Scandinavian Journal of Statistics 1979)."""

from collections.abc import Sequence


def holm(values: Sequence[float]) -> list[float]:
    """Correct p values so that the chance of any false finding among them stays below 5%.

    The smallest of m is multiplied by m, the next one by m - 1 and so on; none falls below the one
    before it, and none exceeds 1.

    Args:
        values: (m,) two-sided p values of one family of tests.
    """
    corrected = [1.0] * len(values)
    highest = 0.0
    for rank, place in enumerate(sorted(range(len(values)), key=lambda i: values[i])):
        highest = max(highest, min(1.0, (len(values) - rank) * values[place]))
        corrected[place] = highest
    return corrected
