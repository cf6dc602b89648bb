"""A published table as data: one file of ``configs/table``."""

from pathlib import Path
from typing import Any, Literal

import yaml  # type: ignore[import-untyped]
from omegaconf import OmegaConf
from pydantic.dataclasses import dataclass

from adbench.config.compose import Configs
from adbench.errors import AdbenchError
from adbench.reports.matching import Wanted
from adbench.reports.measures import MEASURES
from adbench.reports.printed import AVERAGE, FOLDER, Library, Numbers, Printed
from adbench.system.settings import STRICT, check

GROUP = "table"
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""The one in C, where it is there, reads a file in a tenth of the time."""


@dataclass(frozen=True, config=STRICT)
class Row:
    """One system or setting of a table."""

    label: str
    run: tuple[str, ...] = ()
    """Words of ``adbench run`` that are added to the table's ``base`` to measure it."""
    elsewhere: tuple[str, ...] = ()
    """Words to add where the backbone is not the published one."""
    quoted: str = ""
    """Why the row is only quoted; empty for a row that can be measured."""
    apart: str = ""
    """Why ``adbench reproduce`` leaves the row to ``adbench run``; empty for a row that it runs."""
    given: tuple[str, ...] = ()
    """Names, beside the label, of tools whose maps and scores ``adbench score`` measured; they
    fill the row where nothing was run."""
    published: tuple[Printed, ...] = ()
    x: float | None = None
    """Where it stands on the axis of the table's curve."""
    against: str | None = None
    """The row that its times and sizes are compared with."""


@dataclass(frozen=True, config=STRICT)
class Spec:
    """A published table."""

    title: str
    varies: str
    """What differs from row to row; names the axis of the curve where rows have an x."""
    lines: Literal["categories", "settings"]
    """categories: a line per category, a column per row; settings: a line per row, means over the
    categories."""
    metrics: tuple[str, ...]
    categories: tuple[str, ...]
    """Those that the printed mean is over."""
    rows: tuple[Row, ...]
    base: tuple[str, ...] = ()
    """Words of ``adbench run`` that all rows share."""
    source: str = ""
    table: str = ""
    """Where its numbers stand in ``published.csv``."""
    notes: tuple[str, ...] = ()
    """What is known to be wrong or open in the printed table."""
    seeds: tuple[int, ...] = (0,)
    own_images: bool = False
    """Whether its numbers are of other images than the whole published categories of these names,
    such as of a part of them. If not, a category that lacks images gets no verdict."""
    curve: Literal["none", "jl"] = "none"
    """jl: the curve that the PaDiM-JL report predicts is fitted and drawn."""

    def wanted(self, row: Row) -> Wanted:
        """What the records of a row must have."""
        return Wanted((*self.base, *row.run), row.elsewhere)


def load_spec(name: str, configs: Configs) -> Spec:
    """Read a table's file.

    Its ``categories`` are a list, the name of a list in ``published/categories.yaml``, or absent:
    then they are those that its ``base`` measures.

    Raises:
        AdbenchError: An unknown name, with the nearest ones, a wrong key, two rows with one label,
            or a number that belongs to no cell.
    """
    if Path(name).name != name:
        raise AdbenchError(f"table {name!r}: the name of a table is needed, not a path")
    content = _read(configs.path(GROUP, name))
    content["categories"] = _categories(content, name, configs)
    spec = check(Spec, content, f"table {name}")
    unknown = [metric for metric in spec.metrics if metric not in MEASURES]
    if unknown:
        raise AdbenchError(
            f"table {name}.metrics: unknown {', '.join(unknown)}; there are {', '.join(MEASURES)}"
        )
    _refuse_wrong_rows(spec, name)
    return spec


def printed(spec: Spec, row: Row, library: Library) -> Numbers:
    """(metric, category or ``average``) -> the printed number.

    Raises:
        AdbenchError: A place that is not one printed setting.
    """
    numbers: Numbers = {}
    for place in row.published:
        try:
            numbers |= library.numbers(place, spec.source, spec.table)
        except AdbenchError as error:
            raise AdbenchError(f"{spec.title}: {row.label}: {error}") from error
    return numbers


def _refuse_wrong_rows(spec: Spec, name: str) -> None:
    """Refuse what would be dropped silently: rows that share a label, numbers without a cell."""
    labels = [row.label for row in spec.rows]
    for row in spec.rows:
        where = f"table {name}: row {row.label!r}"
        if labels.count(row.label) > 1:
            raise AdbenchError(f"{where}: two rows have this label; give each its own")
        if row.against is not None and row.against not in labels:
            raise AdbenchError(f"{where}: against: no row {row.against!r}; there are {labels}")
        for metric, numbers in _own_numbers(row):
            if metric not in spec.metrics:
                raise AdbenchError(
                    f"{where}: numbers: {metric!r} is no metric of this table; it has "
                    f"{', '.join(spec.metrics)}"
                )
            unknown = [c for c in numbers if c not in (*spec.categories, AVERAGE)]
            if unknown:
                raise AdbenchError(
                    f"{where}: numbers.{metric}: no category {', '.join(map(repr, unknown))}; the "
                    f"table has {', '.join(spec.categories)}, and {AVERAGE} for their mean"
                )


def _own_numbers(row: Row) -> list[tuple[str, dict[str, float]]]:
    return [found for place in row.published for found in (place.numbers or {}).items()]


def _read(path: Path) -> dict[str, Any]:
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), Loader=_LOADER)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise AdbenchError(f"{path}: {error}") from error
    if not isinstance(content, dict):
        raise AdbenchError(f"{path}: a mapping is needed, got {content!r}")
    return content


def _categories(content: dict[str, Any], name: str, configs: Configs) -> Any:
    given = content.get("categories")
    if isinstance(given, str):
        lists = yaml.safe_load((FOLDER / "categories.yaml").read_text(encoding="utf-8"))
        if given not in lists:
            raise AdbenchError(
                f"table {name}.categories: no list {given!r}; there are {', '.join(lists)}, or "
                "write the categories out"
            )
        return lists[given]
    if given is not None:
        return given
    composed = OmegaConf.select(configs.compose(content.get("base", [])), "dataset.categories")
    if not OmegaConf.is_list(composed):
        raise AdbenchError(
            f"table {name}.categories: missing, and its base measures {composed!r}; write out "
            "the categories that the printed mean is over"
        )
    return list(composed)
