"""Fitted methods kept while the process lives, so that settings asked only at score time cost no second fit."""

import copy
import time
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
from torch import Tensor

from adbench.build import check, jsonable, settings_of
from adbench.core import AdbenchError, Features, Method
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
    kept: OrderedDict[str, Fit] = field(default_factory=OrderedDict)

    def fit(self, method: Method, normal: Features) -> Fit:
        """Fit ``method``, or take over the state of one that differs in score-time settings only."""
        settings = settings_of(method)
        fitted_by = {name: value for name, value in settings.items() if name not in method.asked}
        key = digest({"class": type(method).__qualname__, "settings": fitted_by, "features": normal.key})
        if normal.key and key in self.kept:
            self.kept.move_to_end(key)
            known = self.kept[key]
            return Fit(ask(known.method, **{name: settings[name] for name in method.asked}), known.seconds)
        normal.memo.credit = 0.0
        start = time.perf_counter()
        # A copy, because a plan fits one method on every category in turn.
        fit = Fit(copy.copy(method).fit(normal), time.perf_counter() - start + normal.memo.credit)
        if not normal.key:  # features made by hand have no name to find the fit by
            return fit
        self.kept[key] = fit
        while len(self.kept) > 1 and sum(state_bytes(f.method) for f in self.kept.values()) > self.limit:
            self.kept.popitem(last=False)
        return fit
