"""Fitted methods kept while the process lives, so that settings asked only at score time cost no second fit."""

import copy
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
from torch import Tensor

from adbench.build import check, jsonable, settings_of
from adbench.core import AdbenchError, Features, FitsTogether, Method
from adbench.memo import digest

M = TypeVar("M", bound=Method)


def ask(method: M, **settings: Any) -> M:
    """The same fitted method asked with other score-time settings; it shares the learned state and fits nothing.

    Example:
        >>> crd = CRD().fit(normal)
        >>> sweep = {value: ask(crd, lambda_=value).score(test) for value in (0.1, 1.0, 5.0)}

    Raises:
        AdbenchError: A setting that the fit depends on, or a value that the method refuses.
    """
    fixed = sorted(set(settings) - method.asked)
    if fixed:
        raise AdbenchError(
            f"{type(method).__name__}: {', '.join(fixed)} shape the fit and cannot be changed after it; "
            f"score-time settings are {', '.join(sorted(method.asked)) or 'none'}"
        )
    wanted = {name: jsonable(value) for name, value in settings.items()}
    checked = check(type(method), {**settings_of(method), **wanted}, type(method).__name__)
    asked = copy.copy(method)
    for name in settings:
        setattr(asked, name, getattr(checked, name))
    return asked


def state_bytes(method: Method) -> int:
    """Bytes of the learned state: all arrays and tensors under attributes that end in ``_``."""
    settings = settings_of(method)  # a setting such as lambda_ ends in an underscore too
    return _bytes(value for name, value in vars(method).items() if name.endswith("_") and name not in settings)


def _bytes(values: Iterable[Any]) -> int:
    total = 0
    for value in values:
        if isinstance(value, Tensor | np.ndarray):
            total += value.nbytes
        elif isinstance(value, dict):
            total += _bytes(value.values())
        elif isinstance(value, list | tuple):
            total += _bytes(value)
        elif isinstance(getattr(value, "nbytes", None), int):
            total += value.nbytes
    return total


@dataclass(frozen=True)
class Fit:
    """A fitted method and the seconds that fitting it took when that was done."""

    method: Method
    seconds: float


@dataclass
class Fits:
    """The latest fitted methods, as many as ``limit`` bytes of learned state hold."""

    limit: int = 2 * 1024**3
    kept: list[dict[str, Fit]] = field(default_factory=list)
    """What was fitted together, by what shapes a fit; the latest last."""
    seen: set[str] = field(default_factory=set)
    """All that was ever fitted. What had to go comes back alone: what was made for the others is known by then."""

    def fit(self, method: M, normal: Features, others: Sequence[M] = ()) -> Fit:
        """Fit ``method``, or take over the state of one that differs in score-time settings only.

        Args:
            method: Left as it is; a copy is fitted.
            normal: What to fit on.
            others: Methods of the same class that will be fitted on it too; where one fit gives their states, it does.
        """
        settings = settings_of(method)
        key = _key(method, normal)
        for place, together in enumerate(self.kept):
            if normal.key and key in together:
                self.kept.append(self.kept.pop(place))
                known = together[key]
                return Fit(ask(known.method, **{name: settings[name] for name in method.asked}), known.seconds)
        normal.memo.credit = 0.0
        start = time.perf_counter()
        fitted: list[tuple[M, float]]
        if isinstance(method, FitsTogether):
            fitted = copy.copy(method).fit_with([] if key in self.seen else others, normal)
        else:
            fitted = [(copy.copy(method).fit(normal), 0.0)]
        seconds = time.perf_counter() - start + normal.memo.credit
        fits = {_key(m, normal): Fit(m, seconds - spared) for m, spared in reversed(fitted)}
        if normal.key:  # features made by hand have no name to find the fit by
            self.kept.append(fits)
            self.seen.update(fits)
        while len(self.kept) > 1 and sum(_bytes_together(some) for some in self.kept) > self.limit:
            self.kept.pop(0)
        return fits[key]


def _key(method: Method, normal: Features) -> str:
    fitted_by = {name: value for name, value in settings_of(method).items() if name not in method.asked}
    return digest({"class": type(method).__qualname__, "settings": fitted_by, "features": normal.key})


def _bytes_together(fits: dict[str, Fit]) -> int:
    """What they hold: states of one fit lie within the largest of them, but for indexes of a few percent."""
    return max(state_bytes(fit.method) for fit in fits.values())
