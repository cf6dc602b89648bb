"""What one process changed of a record, carried over to what another has made of it meanwhile."""

from dataclasses import fields, replace
from typing import Any

from adbench.results.record import Record

_APIECE = ("metrics", "intervals", "reasons", "work")
"""Fields of which each entry is changed by itself; the others are changed as a whole."""


def carried(before: Record, after: Record, now: Record) -> Record:
    """The record as it is now, with what was changed of an earlier state of it.

    Args:
        before: The earlier state.
        after: The same with the changes.
        now: What the record's file holds now. Where both changed the same, ``after`` counts.
    """
    changed: dict[str, Any] = {}
    for field in fields(Record):
        old, new, present = (getattr(record, field.name) for record in (before, after, now))
        if old == new:
            continue
        if field.name in _APIECE:
            added = {name: value for name, value in new.items() if old.get(name, ...) != value}
            removed = old.keys() - new.keys()
            new = {n: v for n, v in present.items() if n not in removed} | added
        changed[field.name] = new
    return replace(now, **changed)
