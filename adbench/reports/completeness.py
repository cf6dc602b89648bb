"""Whether a category was measured on all of its published images.

A printed number is of the whole category. One that was measured on a part of it, such as on a
folder that holds some of the files, is another number and gets no verdict.
"""

from collections.abc import Iterable

from adbench.data.mvtec import PUBLISHED
from adbench.results.records import Record


def lacking(records: Iterable[Record]) -> str:
    """How the images of a category differ from the published ones; empty where they do not.

    Args:
        records: Of one category. The category's name decides, whatever dataset it was measured in.
            A name that no published dataset has lacks nothing.
    """
    for record in records:
        if record.category not in PUBLISHED:
            continue
        own, whole = (record.counts["train"], record.counts["test"]), PUBLISHED[record.category]
        if own != whole:
            return (
                f"measured on {own[0]} training and {own[1]} test images; "
                f"{record.category} of MVTec AD has {whole[0]} and {whole[1]}"
            )
    return ""
