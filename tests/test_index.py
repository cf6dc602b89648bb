"""Records through the index: the same as reading every file, whatever became of the index."""

import errno
import gc
import json
import logging
import os
import sqlite3
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from made_records import CONFIGS, made, saved
from test_records import EVERY, PIXELS, SCORES, record

from adbench.errors import AdbenchError
from adbench.reports.claims import judge, load_claims
from adbench.reports.compare import compare
from adbench.reports.needed import records_of
from adbench.reports.tables import overview, table
from adbench.results import index_file, records
from adbench.results.index import KIND, Records
from adbench.results.raw import RecordError
from adbench.results.record import to_json

RESULTS = Path(__file__).parents[1] / "results" / "records"


def variant(number, **changes):
    """A record of its own experiment."""
    one = record("bottle" if number % 2 else "grid", **changes)
    one.identity["method"]["settings"]["ratio"] = number / 1000
    return one


@pytest.fixture
def folder(tmp_path):
    """Three records."""
    for number in range(3):
        records.save(tmp_path / "records", variant(number), SCORES)
    return tmp_path / "records"


def index_of(cache):
    """The file of the only index."""
    (file,) = (cache / KIND).glob("*.sqlite")
    return file


def run_in(file, statement):
    """What a statement gives in the index."""
    with closing(sqlite3.connect(file, isolation_level=None)) as data:
        return data.execute(statement).fetchall()


def edited(path, **changes):
    """Write a record again as someone else would, its checksum not made anew."""
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_it_gives_what_the_files_say_at_first_and_later(folder, tmp_path):
    for _ in range(2):
        assert Records(folder, tmp_path / "cache").all() == records.load_all(folder)
    assert Records(folder).all() == records.load_all(folder)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.tuples(st.sampled_from("wudrk"), st.integers(0, 9)), min_size=1, max_size=12))
def test_any_history_of_a_folder_gives_what_the_files_say(tmp_path_factory, history):
    """Written, updated, deleted, renamed and killed in any order, with a look after each step."""
    base = tmp_path_factory.mktemp("history")
    folder = base / "records"
    records.save(folder, variant(10), SCORES)
    for step, (action, number) in enumerate(history):
        one = variant(number, notes=[f"step {step}"])
        found = next(iter(folder.glob(f"*{one.id}.json")), None)
        if action == "w":
            records.save(folder, one, SCORES)
        elif action == "u" and found:
            records.update(folder, records.load(found), one)
        elif action == "d" and found:
            records.remove(folder, one)
        elif action == "r" and found:
            found.rename(folder / f"renamed-{one.id}.json")
        elif action == "k":
            index_of(base / "cache").unlink(missing_ok=True) if (base / "cache").exists() else None
        assert Records(folder, base / "cache").all() == records.load_all(folder)


def test_a_changed_file_of_the_same_size_and_time_is_read_again(folder, tmp_path):
    Records(folder, tmp_path / "cache")
    path = min(folder.glob("*.json"))
    before = path.stat()
    path.write_text(path.read_text().replace("0.123457", "0.923457"))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_size == before.st_size
    with pytest.raises(records.RecordError, match=rf"{path.name}: was changed after"):
        Records(folder, tmp_path / "cache").all()


def test_a_file_with_a_time_in_the_future_is_a_record_as_any_other(folder, tmp_path):
    for path in folder.iterdir():
        os.utime(path, (2**32, 2**32))
    for _ in range(2):
        assert len(Records(folder, tmp_path / "cache").all()) == 3


@pytest.mark.parametrize(
    "damage",
    [
        lambda file: file.write_bytes(b"not a database" * 100),
        lambda file: file.write_bytes(b""),
        lambda file: file.write_bytes(file.read_bytes()[:5000]),
        lambda file: run_in(file, "DROP TABLE records"),
        lambda file: run_in(file, "DELETE FROM parts"),
    ],
    ids=["another file", "empty", "cut", "without a table", "without parts"],
)
def test_a_damaged_index_is_made_again(folder, tmp_path, damage):
    cache = tmp_path / "cache"
    Records(folder, cache)
    damage(index_of(cache))
    for _ in range(2):
        assert Records(folder, cache).all() == records.load_all(folder)
    assert run_in(index_of(cache), "SELECT count(*) FROM records") == [(3,)]


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(place=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_no_flipped_bit_of_the_index_gives_a_wrong_record(folder, tmp_path, place, bit):
    cache = tmp_path / "cache"
    Records(folder, cache)
    content = bytearray(index_of(cache).read_bytes())
    content[int(place * len(content))] ^= 1 << bit
    index_of(cache).write_bytes(content)
    assert Records(folder, cache).all() == records.load_all(folder)


def test_a_cache_that_cannot_be_written_is_done_without(folder, tmp_path):
    (tmp_path / "file").write_text("in the way")
    assert len(Records(folder, tmp_path / "file").all()) == 3


def test_an_index_that_another_process_holds_is_done_without(folder, tmp_path):
    cache = tmp_path / "cache"
    Records(folder, cache)
    records.save(folder, variant(7), SCORES)
    holder = sqlite3.connect(index_of(cache), isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")
    assert len(Records(folder, cache).all()) == 4
    holder.execute("ROLLBACK")
    holder.close()
    assert len(Records(folder, cache).all()) == 4


def test_several_readers_build_one_index_while_records_are_written(folder, tmp_path):
    cache, done = tmp_path / "cache", threading.Event()

    def read():
        counts = []
        while not done.is_set():
            counts.append(len(Records(folder, cache).all()))
        return counts

    with ThreadPoolExecutor(3) as pool:
        readers = [pool.submit(read) for _ in range(3)]
        for number in range(3, 40):
            records.save(folder, variant(number), SCORES)
        done.set()
        for reader in readers:
            counts = reader.result()
            assert counts == sorted(counts)
    assert Records(folder, cache).all() == records.load_all(folder)


def test_records_may_be_used_and_forgotten_in_another_thread(folder, tmp_path):
    with ThreadPoolExecutor(1) as pool:
        held = pool.submit(Records, folder, tmp_path / "cache").result()
    assert held.all() == records.load_all(folder)
    del held
    gc.collect()


def test_a_full_disk_under_the_index_loses_no_record(folder, tmp_path, monkeypatch, caplog):
    full = f"{index_file._TABLES}; PRAGMA max_page_count = 8"
    monkeypatch.setattr(index_file, "_TABLES", full)
    caplog.set_level(logging.INFO)
    for number in range(3, 60):
        records.save(folder, variant(number), SCORES)
    assert Records(folder, tmp_path / "cache").all() == records.load_all(folder)
    assert "database or disk is full" in caplog.text


def newer_schema(path):
    edited(path, schema=99)


def unknown_field(path):
    one = records.load(path)
    content = json.loads(to_json(one))
    content.pop("checksum")
    content["later"] = 1
    path.write_text(json.dumps({**content, "checksum": digest_of(content)}))


def digest_of(content):
    from adbench.system.settings import digest

    return digest(content)


@pytest.mark.parametrize("change", [newer_schema, unknown_field])
@pytest.mark.parametrize("load", [records.load_all, lambda f: Records(f).all()])
def test_records_of_a_newer_version_are_left_out_with_one_warning(folder, change, load, caplog):
    first, second, third = sorted(folder.glob("*.json"))
    change(first)
    change(second)
    assert [one.name for one in load(folder)] == [third.stem]
    (warning,) = caplog.messages
    assert "2 records of a newer adbench are left out, such as" in warning
    assert first.name in warning
    assert "pip install -U adbench-vision" in warning
    assert records.find(folder, records.load(third).identity) is not None


def test_an_edited_record_is_refused_where_it_would_be_shown_and_nowhere_else(folder):
    bad, *others = sorted(folder.glob("*.json"))
    own = json.loads(bad.read_text())["identity"]["method"]["settings"]["ratio"]
    edited(bad, metrics={**EVERY, "image_auroc": 1.0})
    held = Records(folder)

    def ratio(parts):
        return parts["method"]["settings"]["ratio"]

    with pytest.raises(records.RecordError, match=rf"{bad.name}: was changed after it was written"):
        held.bearing_on(lambda parts: ratio(parts) == own)
    assert len(held.bearing_on(lambda parts: ratio(parts) != own)) == len(others)
    for path in others:
        assert records.find(folder, records.load(path).identity) is not None


def test_one_of_each_setting_is_the_first_that_can_be_trusted(tmp_path):
    for number in range(2):
        for category in ("bottle", "grid"):
            one = variant(number)
            one.identity["category"] = category
            records.save(tmp_path, one, SCORES)
    held = [records.load(path) for path in sorted(tmp_path.glob("*.json"))]
    edited(tmp_path / f"{held[0].name}.json", metrics={**EVERY, "image_auroc": 1.0})
    found = Records(tmp_path).one_of_each()
    ratios = [one.identity["method"]["settings"]["ratio"] for one in found]
    assert sorted(ratios) == [0, 0.001]
    assert held[0].id not in [one.id for one in found]
    assert [one.name for one in found] == sorted(one.name for one in found)


def test_a_cut_record_may_belong_to_anything_and_is_refused_everywhere(folder):
    cut = min(folder.glob("*.json"))
    cut.write_text(cut.read_text()[:50])
    with pytest.raises(records.RecordError, match=rf"{cut.name}: not a whole record"):
        Records(folder).bearing_on(lambda parts: False)


def test_one_experiment_under_two_names_of_presets_counts_once(folder):
    path = min(folder.glob("*.json"))
    (folder / f"other-{path.name}").write_bytes(path.read_bytes())
    assert len(Records(folder).all()) == len(records.load_all(folder)) == 3


def test_raw_scores_that_were_lost_and_found_complete_an_old_record(tmp_path):
    old = record(metrics={"image_auroc": 0.75, "pixel_auroc": 0.5}, reasons={})
    path = records.save(tmp_path / "records", old, SCORES, PIXELS)
    scores = path.with_name(path.stem + ".scores.csv")
    content = scores.read_bytes()
    for present in (False, True, False):
        scores.write_bytes(content) if present else scores.unlink(missing_ok=True)
        Records(path.parent, tmp_path / "cache")
        (found,) = Records(path.parent, tmp_path / "cache").all()
        if present:
            assert found == records.load(path)
            assert found.metrics["image_ap"] == 1.0


def test_an_empty_folder_and_one_that_cannot_be_read_are_named(tmp_path):
    with pytest.raises(AdbenchError, match=r"no records there; run `adbench run` first"):
        Records(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(AdbenchError, match=r"cannot read the records in .*file: Not a directory"):
        Records(tmp_path / "file")


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    """Records of three methods, weights of three kinds and a tool; most bear on no one report."""
    folder = tmp_path_factory.mktemp("many") / "records"
    noise = 0
    for words in (
        *(
            f"method.ratio={r} backbone={b}"
            for r in (0.01, 0.1, 0.25)
            for b in ("resnet50", "clip")
        ),
        *(f"method=crd backbone={b}" for b in ("efficientnet_lite0", "wide_resnet50")),
        *(f"method=padim method.dims={d} backbone=wide_resnet50" for d in (50, 550)),
        "method=padim backbone=efficientnet_lite0",
        "method=crd method.lambda_=3 backbone=efficientnet_lite0 backbone.weights=random",
    ):
        for category in ("bottle", "grid"):
            for seed in (0, 1) if "ratio" in words else (0,):
                noise += 1
                saved(folder, made(words, category, seed=seed, image=0.8 + noise / 1000), 1, noise)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize(
    "overrides", [(), ("backbone=efficientnet_lite0",), ("backbone=wide_resnet50",)]
)
def test_tables_from_the_index_are_those_from_all_records(many, overrides):
    held, every = Records(many), records.load_all(many)
    assert overview(held, overrides, CONFIGS) == overview(every, overrides, CONFIGS)


@pytest.mark.parametrize("name", CONFIGS.choices("table"))
def test_the_cells_of_a_table_from_the_index_are_those_from_all_records(name):
    built = []
    for stored in (Records(RESULTS), records.load_all(RESULTS)):
        try:
            built.append(table(name, stored, ["backbone=efficientnet_lite0"], CONFIGS))
        except AdbenchError as error:
            built.append(str(error))
    assert built[0] == built[1]


def test_claims_and_comparisons_from_the_index_are_those_from_all_records(many):
    held, every = Records(many), records.load_all(many)
    for claim in load_claims():
        assert judge(claim, held, many, (), CONFIGS) == judge(claim, every, many, (), CONFIGS)
    one = every[0].id
    other = "method=crd backbone=efficientnet_lite0"
    assert compare([one, other], many, held, CONFIGS) == compare([one, other], many, every, CONFIGS)


def test_the_index_lies_in_the_users_cache_and_is_the_owners_alone(folder, tmp_path, monkeypatch):
    before = sorted(folder.iterdir())
    monkeypatch.setenv("ADBENCH_CACHE", str(tmp_path / "mine"))
    records_of(folder, CONFIGS)
    assert index_of(tmp_path / "mine").exists()
    assert sorted(folder.iterdir()) == before
    if sys.platform != "win32":
        assert (tmp_path / "mine" / KIND).stat().st_mode & 0o077 == 0


WRITER = """
import sys
sys.path.insert(0, {tests!r})
from pathlib import Path
from test_index import variant
from test_records import SCORES
from adbench.results import index_file, records
folder = Path(sys.argv[1])
for number in range(20):
    records.save(folder, variant(number, notes=[sys.argv[2]] * int(sys.argv[2])), SCORES)
"""


@pytest.mark.slow
def test_two_processes_that_write_the_same_records_leave_none_torn(tmp_path):
    program = WRITER.format(tests=str(Path(__file__).parent))
    words = [sys.executable, "-c", program, str(tmp_path / "records")]
    running = [subprocess.Popen([*words, str(n)]) for n in (1, 2)]
    assert [process.wait() for process in running] == [0, 0]
    found = records.load_all(tmp_path / "records")
    assert len(found) == 20
    for one in found:
        assert records.load_scores(tmp_path / "records", one) == SCORES
    assert not list((tmp_path / "records").glob(".*.tmp"))


@pytest.mark.fault("record", shows="kept")
def test_a_file_that_could_not_be_read_for_once_is_read_the_next_time(
    folder, tmp_path, monkeypatch
):
    read_bytes = Path.read_bytes

    def stale(self):
        if self.suffix == ".json":
            raise OSError(errno.ESTALE, "Stale file handle")
        return read_bytes(self)

    with monkeypatch.context() as once:
        once.setattr(Path, "read_bytes", stale)
        with pytest.raises(RecordError, match="Stale file handle"):
            Records(folder, tmp_path / "cache").all()
    assert len(Records(folder, tmp_path / "cache").all()) == 3


@pytest.mark.skipif(sys.platform == "win32", reason="pipes and links are POSIX")
@pytest.mark.fault("record", shows="error")
@pytest.mark.parametrize(
    ("put", "why"),
    [
        (os.mkfifo, "is no regular file"),
        (lambda path: path.symlink_to("/dev/zero"), "is no regular file"),
        (lambda path: path.symlink_to(path), "not a whole record"),
    ],
    ids=["pipe", "device", "circle"],
)
def test_what_is_no_file_is_named_and_hangs_nothing(folder, tmp_path, put, why):
    path = folder / "x-0123456789abcdef.json"
    put(path)
    for _ in range(2):
        with pytest.raises(RecordError, match=f"{path.name}: {why}"):
            Records(folder, tmp_path / "cache").all()
