"""Intervals of earlier records, computed anew from their raw files."""

from dataclasses import replace

import pytest
from made_records import made, saved

from adbench.errors import AdbenchError
from adbench.results import records
from adbench.results.raw import SCORES
from adbench.results.renewed import renew_intervals


def test_earlier_intervals_are_computed_anew(tmp_path):
    saved(tmp_path, made("method.ratio=0.1", "bottle"))
    renew_intervals(tmp_path, print)
    present = records.load_all(tmp_path)[0]
    low, high = present.intervals["image_auroc"]
    assert low < present.metrics["image_auroc"] <= high
    earlier = replace(present, intervals={"image_auroc": [0.1, 0.2]})
    records.update(tmp_path, present, earlier)
    said = []
    assert renew_intervals(tmp_path, said.append) == 1
    assert said == [f"{present.name}.json"]
    renewed = records.load_all(tmp_path)[0]
    assert renewed == replace(present, intervals={"image_auroc": [low, high]})
    assert renew_intervals(tmp_path, said.append) == 0


def test_raw_files_that_changed_are_refused(tmp_path):
    saved(tmp_path, made("method.ratio=0.1", "bottle"))
    record = records.load_all(tmp_path)[0]
    path = tmp_path / (record.name + SCORES)
    path.write_text(path.read_text() + "\n")
    with pytest.raises(AdbenchError, match="raw scores are not those that were measured"):
        renew_intervals(tmp_path, print)
