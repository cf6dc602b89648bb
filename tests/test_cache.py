"""``adbench cache``: what is kept, and its removal."""

import pytest

from adbench.cli.cache import KINDS
from adbench.cli.main import main


@pytest.fixture
def kept(tmp_path, monkeypatch):
    """A cache with two kinds of files, and one of the user's own."""
    folder = tmp_path / "cache"
    for name in ("features", "orders"):
        (folder / name / "deep").mkdir(parents=True)
        (folder / name / "deep" / "file").write_bytes(b"0" * 2_000_000)
    (folder / "mine").write_text("not of adbench")
    monkeypatch.setenv("ADBENCH_CACHE", str(folder))
    return folder


def cache(capsys, *words):
    with pytest.raises(SystemExit) as end:
        main(["cache", *words])
    assert not end.value.code
    return capsys.readouterr().out


def test_the_folder_and_the_size_of_each_kind_are_shown(kept, capsys):
    lines = cache(capsys).splitlines()
    assert lines[0] == str(kept)
    sizes = {line.split()[0]: float(line.split()[1]) for line in lines[1:]}
    assert sizes == {**dict.fromkeys(KINDS, 0.0), "features": 2.0, "orders": 2.0}
    assert (kept / "features").is_dir()


def test_clearing_deletes_what_adbench_made_and_nothing_else(kept, capsys):
    cache(capsys, "--clear")
    assert [file.name for file in kept.iterdir()] == ["mine"]


def test_another_folder_can_be_named(kept, tmp_path, capsys):
    assert cache(capsys, f"cache={tmp_path / 'other'}").splitlines()[0] == str(tmp_path / "other")
