"""``adbench plan``: rates worked by hand, jobs, what exists, and what does not fit."""

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from types import SimpleNamespace

import pytest
import yaml
from commands import adbench
from hypothesis import given
from hypothesis import strategies as st
from made_records import made
from made_runs import CONFIGS, plans, run_jobs

from adbench.bench.bundles import bundles
from adbench.bench.category import Category
from adbench.bench.cost import Costs, makespan
from adbench.bench.existing import Existing
from adbench.bench.growth import Estimate, by_images, by_line
from adbench.bench.rates import Place, Rates
from adbench.bench.samples import Kind, samples_of
from adbench.bench.shapes import Sized
from adbench.errors import AdbenchError
from adbench.reports.complete import complete as all_there
from adbench.results import records
from adbench.system.files import cache_folder

HERE = Place("a processor", "cpu", 2)
COSTS = {
    "seconds.per_image": [0.01, 0.01, 0.01],
    "seconds.per_job": [0.5, 0.5, 0.5],
    "seconds.per_start": [4.0, 0.0, 4.0],
    "seconds.per_record": [1.0, 0.5, 2.0],
    "seconds.per_picture": [0.0, 0.0, 0.0],
    "seconds.metrics_per_megapixel": [0.0, 0.0, 0.0],
    "bytes.per_record": [1000, 800, 1200],
    "bytes.per_score": [10, 10, 10],
    "bytes.per_pair": [2, 1, 3],
    "bytes.per_picture": [0, 0, 0],
    "bytes.program": [3e8, 2e8, 4e8],
}
LITE0 = "tf_efficientnet_lite0 fp32 torch"


@pytest.fixture
def rates(tmp_path):
    """A function from samples, and records of this machine, to rates."""

    def of(samples=(), records=(), threads=2, more=None):
        machine = {"processor": "another", "threads": threads, "date": "2026-01-01"}
        content = {
            "machine": machine,
            "costs": COSTS,
            "more": more or {},
            "samples": list(samples),
        }
        path = tmp_path / "rates.yaml"
        path.write_text(yaml.safe_dump(content))
        return Rates(records, HERE, path)

    return of


def measured(words="method=crd", train=100, **seconds):
    """A record of this machine with seconds that were taken alone."""
    record = made(words, "bottle", counts=(train, 50))
    environment = {"processor": "a processor", "device": "cpu", "threads": 2}
    return replace(record, seconds=seconds, environment=environment, time={})


def kind(stage, **other):
    """What a stage of CRD depends on."""
    common = {"network": LITE0, "pixels": 224 * 224}
    return Kind(stage, **{"method": "CRD", "settings": "s", "channels": 152, **common, **other})


def row(seconds, images=100, stage="fit", **other):
    """A shipped measurement."""
    return {**vars(kind(stage, **other)), "images": images, "seconds": seconds}


@pytest.mark.parametrize(
    ("points", "images", "expected"),
    [
        # twice the images in four times the seconds: the square
        ([(10, 1.0), (20, 4.0)], 40, (16.0, 16 / 2**0.25, 16 * 2**0.25)),
        # within what was measured there is no doubt but the spread
        ([(10, 1.0), (40, 4.0)], 20, (2.0, 2.0, 2.0)),
        # one number of images: anything from constant to the square
        ([(10, 1.0)], 30, (3.0, 1.0, 9.0)),
        ([(10, 1.0)], 10, (1.0, 1.0, 1.0)),
        ([(10, 1.0), (10, 4.0)], 10, (2.0, 1.0, 4.0)),
        # what falls with the images is taken as constant: about their geometric mean
        ([(10, 4.0), (20, 1.0)], 20, (2.0, 1.0, 4.0)),
    ],
)
def test_seconds_at_a_number_of_images(points, images, expected):
    found = by_images(points, images)
    assert (found.about, found.low, found.high) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("points", "images", "expected"),
    [
        # 4 s of start and 0.1 s for each image
        ([(10, 5.0), (60, 10.0)], 100, (14.0, 14.0, 14.0)),
        # one number of images: no start is known
        ([(10, 5.0), (10, 7.0)], 20, (12.0, 10.0, 14.0)),
        # a line that would begin below 0, and one that falls: in proportion
        ([(10, 1.0), (20, 4.0)], 30, (5.0, 3.0, 6.0)),
        ([(10, 4.0), (20, 2.0)], 30, (6.0, 3.0, 12.0)),
    ],
)
def test_seconds_of_making_features(points, images, expected):
    found = by_line(points, images)
    assert (found.about, found.low, found.high) == pytest.approx(expected)


def test_a_record_gives_seconds_by_stage():
    record = replace(
        measured(extract=30.0, fit=4.0, score=5.0),
        time={"total": {"p50": 0.02}, "decode": {"p50": 0.01}},
    )
    found = {s.kind.stage: (s.images, s.seconds, s.threads) for s in samples_of(record)}
    assert found == {
        "extract": (150, 30.0, 2),
        "fit": (100, 4.0, 2),
        "score": (100, pytest.approx(0.1), 2),
        "time": (100, pytest.approx(0.03), 2),
    }


def test_a_record_that_was_measured_beside_others_gives_nothing():
    assert samples_of(measured(extract=None, fit=None, score=None)) == []


def test_own_records_come_before_shipped_rates_and_equal_settings_before_others(rates):
    own = measured(fit=7.0)
    (sample,) = samples_of(own)
    found = rates([row(1.0)], [own])
    same = found.seconds(sample.kind, 100)
    assert (same.own, same.how) == (True, "the same settings")
    assert same.seconds.about == pytest.approx(7.0)
    other = found.seconds(kind("fit", channels=sample.kind.channels), 100)
    assert not other.own  # but of the same settings
    assert other.seconds.about == pytest.approx(1.0)
    third = found.seconds(kind("fit", settings="t"), 100)
    assert third.how == "other settings of the method"
    assert third.seconds.about == pytest.approx(7.0)


def test_the_seed_bears_on_no_time(rates):
    one, two = measured("method=padim", fit=7.0), measured("seed=3 method=padim", fit=7.0)
    assert samples_of(one) == samples_of(two)


@pytest.mark.parametrize(
    "change", [{"processor": "another"}, {"device": "a GPU"}, {"threads": 1}], ids=str
)
def test_records_of_another_machine_or_other_threads_are_not_own(rates, change):
    record = measured(fit=7.0)
    other = replace(record, environment={**record.environment, **change})
    assert rates([], [record, other]).own == 1


def test_more_threads_may_help_as_much_as_their_number_or_not_at_all(rates):
    found = rates([row(8.0)], threads=1).seconds(kind("fit"), 100).seconds
    assert (found.low, found.high) == pytest.approx((4.0, 8.0))
    assert found.about == pytest.approx(32**0.5)


def test_a_network_takes_time_by_its_pixels(rates):
    found = rates([row(0.1, stage="extract", method="", settings="", channels=0)])
    wanted = Kind("extract", network=LITE0, pixels=4 * 224 * 224)
    assert found.seconds(wanted, 100).seconds == Estimate(*[pytest.approx(0.4)] * 3)


def test_a_method_on_another_network_takes_between_the_same_and_the_square(rates):
    found = rates([row(1.0)]).seconds(kind("fit", network="other", channels=4 * 152), 100)
    assert found.seconds == Estimate(*(pytest.approx(v) for v in (4.0, 1.0, 16.0)))
    assert found.how == "another network or image size"


def test_what_was_never_measured_has_no_seconds(rates):
    found = rates([row(1.0)])
    assert found.seconds(kind("fit", method="Other"), 100) is None
    assert found.seconds(Kind("extract", network="other", pixels=9), 100) is None


def test_the_longest_jobs_go_first():
    """Graham's rule on 2 nodes: 5 and 4 start, then 3 goes to the second, and 3 to the first."""
    assert makespan([(3, 2), (5, 1), (4, 1)], 2) == 8
    assert makespan([(3, 2), (5, 1), (4, 1)], 1) == 15
    assert makespan([(2, 3)], 256) == 2
    assert makespan([], 4) == 0
    assert makespan([(1, 10**12)], 10**6) == 10**6


@given(
    st.lists(st.tuples(st.integers(0, 9), st.integers(0, 30)), max_size=5),
    st.integers(min_value=1, max_value=7),
)
def test_whole_rounds_at_once_are_the_jobs_one_by_one(jobs, nodes):
    free = [0] * nodes
    for seconds, times in sorted(jobs, reverse=True):
        for _ in range(times):
            free[free.index(min(free))] += seconds
    assert makespan(jobs, nodes) == max(free)


@pytest.mark.fault("words", shows="error")
@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["images=1e6", "--nodes", "1e9"], "--nodes=1e9: is a whole number from 1 to 1,000,000"),
        (["-m", "hydra/launcher=nonsense"], "hydra/launcher=nonsense: there is no such launcher"),
        (["split=seeds"], "is split=features or split=settings"),
        (["progress=xml"], "progress=xml: is progress=json"),
        (["report=maybe"], "is report=true or report=false"),
        (["bars.foo=7"], "bars.foo"),
    ],
)
def test_words_that_run_refuses_are_refused(command, words, why):
    told = command("plan", *words)
    assert told.status == 2
    assert why in told.err


@pytest.mark.skipif(sys.platform == "win32", reason="links are POSIX")
@pytest.mark.fault("record", shows="inert")
def test_a_link_that_leads_nowhere_among_the_records_is_no_rate(tmp_path):
    (tmp_path / "x-0123456789abcdef.json").symlink_to("/nonexistent")
    assert Existing().records(tmp_path) == []


def costs(folder, found, *jobs, common=()):
    """The costs of jobs on the demo, each bundle by its category."""
    made_plans = plans(folder, *jobs, common=common)
    calculated = Costs(made_plans, found, Existing())
    return {
        bundle.category: calculated.of(bundle, Category.load(made_plans[0], bundle.category))
        for bundle in bundles(dict(enumerate(made_plans)))
    }


SMALL = ("dataset.train=6", "dataset.test=5", "dataset.categories=[denim]")


def test_a_bundle_is_worked_by_hand(tmp_path, rates):
    """Two lambdas share features, fit and pass; the second costs half of the first's pass."""
    samples = [
        row(20.0, stage="extract", method="", settings="", channels=0),
        row(3.0, images=6),
        row(0.4, images=6, stage="score"),
    ]
    found = rates(samples, more={"CRD": 0.5})
    jobs = ("method=crd", "method=crd method.lambda_=7")
    cost = costs(tmp_path, found, *jobs, common=SMALL)["denim"]
    assert {name: s.about for name, s in cost.stages.items()} == {
        "start": 4.0,
        "jobs": 1.0,
        "images": pytest.approx(11 * 0.01),
        "extract": pytest.approx(11 * 0.2),
        "fit": pytest.approx(3.0),
        "score": pytest.approx(5 * 0.4 * 1.5),
        "metrics": 2.0,
        "pictures": 0.0,
    }
    assert (cost.settings, cost.present, cost.images, cost.unknown) == (2, 0, 11, set())
    # layers 2 and 3 of EfficientNet-Lite0 at 224 pixels: 40 x 28 x 28 and 112 x 14 x 14 float32
    assert cost.features == 11 * 4 * (40 * 28 * 28 + 112 * 14 * 14)
    # 5 test images, and 5 x 5 pairs of them
    assert cost.results == Estimate(2 * 1100, 2 * 875, 2 * 1325)
    assert cost.memory.low > 2e8


def test_the_size_of_features_is_that_of_the_files_that_a_run_writes(tmp_path, rates):
    jobs = ("method=crd", "method=padim")
    cost = costs(tmp_path, rates(), *jobs, common=SMALL)["denim"]
    run_jobs(tmp_path, *jobs, common=SMALL)
    files = list((tmp_path / "cache" / "features").rglob("*.npy"))
    header, checksum = 128, 4
    assert sum(f.stat().st_size - header - checksum for f in files) == cost.features


def test_what_exists_is_not_counted_again(tmp_path, rates):
    job = "method=patchcore"
    run_jobs(tmp_path, job, common=SMALL)
    found = rates([row(1.0, images=6, method="PatchCore")])
    done = costs(tmp_path, found, job, common=SMALL)["denim"]
    assert (done.present, done.images, done.stages, done.features) == (1, 0, {}, 0)
    # Another setting of what scoring reads alone: features and selection are kept.
    more = costs(tmp_path, found, job, f"{job} method.map_k=2", common=SMALL)["denim"]
    assert (more.settings, more.present, more.images, more.features) == (2, 1, 0, 0)
    assert "fit" not in more.stages
    # A larger bank needs more picks than were kept.
    larger = costs(tmp_path, found, f"{job} method.ratio=0.5", common=SMALL)["denim"]
    assert "fit" in larger.stages
    # Other layers: those that are kept are not written again.
    layers = costs(tmp_path, found, f"{job} method.layers=[1,2]", common=SMALL)["denim"]
    assert layers.features == 11 * 4 * 24 * 56 * 56
    again = costs(tmp_path, found, job, common=(*SMALL, "existing=redo"))["denim"]
    assert (again.present, again.images) == (0, 0)


TIMED = ("timing.enabled=true", "timing.warmup=1", "timing.repeats=2", "timing.batch=3")


def times_and_fits(rates):
    """What the time per image is made of: CRD and its rival, which is fitted for it."""
    return rates(
        [
            row(0.5, images=6, stage="time"),
            row(2.0, images=6, stage="fit"),
            row(0.25, images=6, stage="time", method="PatchCore"),
            row(3.0, images=6, stage="fit", method="PatchCore"),
        ]
    )


def test_a_record_without_time_is_to_be_completed(tmp_path, rates):
    run_jobs(tmp_path, "method=crd", common=SMALL)
    found = times_and_fits(rates)
    cost = costs(tmp_path, found, "method=crd", common=(*SMALL, *TIMED))["denim"]
    # 1 + 2 + 3 * 3 images of CRD and of its rival, which is fitted for that
    assert cost.stages["time"].about == pytest.approx(12 * (0.5 + 0.25) + 3.0)
    assert cost.stages["fit"].about == 2.0
    assert "score" not in cost.stages
    assert cost.images == 0


def test_time_alone_is_planned_of_the_records_that_are_there(tmp_path, rates):
    run_jobs(tmp_path, "method=crd", common=SMALL)
    found = times_and_fits(rates)
    jobs = ("method=crd", "method=crd method.lambda_=7")
    made_plans = plans(tmp_path, *jobs, common=(*SMALL, *TIMED))
    alone = [replace(p, only_time=True) for p in made_plans]
    (bundle,) = bundles(dict(enumerate(alone)))
    cost = Costs(alone, found, Existing()).of(bundle, Category.load(alone[0], "denim"))
    assert (cost.settings, cost.present, cost.absent) == (2, 0, 1)
    # of one record; the metrics and the pass of the other setting are not counted
    assert cost.stages["time"].about == pytest.approx(12 * (0.5 + 0.25) + 3.0)
    assert "score" not in cost.stages


def test_folds_take_their_fits_and_one_pass(tmp_path, rates):
    folds = ("threshold=folds", "folds=3", "alpha=0.5")
    found = rates([row(2.0, images=4), row(0.1, images=4, stage="score")])
    cost = costs(tmp_path, found, "method=crd", common=(*SMALL, *folds))["denim"]
    assert cost.stages["threshold"].about == pytest.approx(3 * 2.0 + 6 * 0.1)


def test_settings_that_are_impossible_fail_alone(tmp_path, rates):
    jobs = ("method=padim", "method=padim method.dims=5000")
    cost = costs(tmp_path, rates(), *jobs, common=SMALL)["denim"]
    assert len(cost.impossible) == 1
    assert "5000" in cost.impossible[0]
    assert cost.images == 11


@pytest.mark.fault("record", shows="error")
def test_a_damaged_record_fails_alone(tmp_path, rates):
    jobs = ("method=crd", "method=crd method.lambda_=7")
    run_jobs(tmp_path, jobs[0], common=SMALL)
    (record,) = (tmp_path / "records").glob("*.json")
    record.write_text(record.read_text()[:100])
    cost = costs(tmp_path, rates(), *jobs, common=SMALL)["denim"]
    (why,) = cost.impossible
    assert record.name in why
    assert (cost.settings, cost.present, cost.images) == (2, 0, 0)
    assert cost.stages["jobs"].about == 0.5


def test_a_dataset_that_is_not_there_counts_as_often_as_it_has_categories(tmp_path, rates):
    (planned,) = plans(tmp_path, "method=crd")
    (bundle, *_) = bundles({0: planned})
    cost = Costs([planned], rates(), Existing()).of(bundle, Sized.of(30, 10, times=5))
    assert (cost.times, cost.images) == (5, 40)


def test_a_geometry_without_a_size_needs_images(tmp_path, rates):
    (planned,) = plans(tmp_path, "method=crd geometry=whole")
    (bundle, *_) = bundles({0: planned})
    with pytest.raises(AdbenchError, match="set a geometry that brings all images to one size"):
        Costs([planned], rates(), Existing()).of(bundle, Sized.of(30, 10))


def test_weights_that_are_not_here_are_not_fetched(tmp_path, rates, monkeypatch):
    """The jobs are counted as if nothing was there, and the sizes of features are known."""
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))
    common = (*SMALL, "backbone=resnet18", "backbone.weights=package:nowhere")
    cost = costs(tmp_path, rates(), "method=crd", common=common)["denim"]
    assert cost.features == 11 * 4 * (128 * 28 * 28 + 256 * 14 * 14)


# The command

WORDS = ("timing.enabled=false", "heatmaps=0", *SMALL, "results=runs")


@pytest.fixture(scope="module")
def complete(tmp_path_factory):
    """A folder in which two settings are complete."""
    folder = tmp_path_factory.mktemp("complete")
    adbench(folder, "run", "-m", *WORDS, "method=crd,padim")
    return folder


@pytest.mark.slow
def test_the_command_on_the_demo(tmp_path):
    done = adbench(tmp_path, "plan", *WORDS, "-m", "method=crd,padim", "--json", "--nodes", "2")
    found = json.loads(done.stdout)
    (bundle,) = found["bundles"]
    assert (bundle["category"], bundle["settings"], bundle["images_to_extract"]) == ("denim", 2, 11)
    assert found["sum"]["records_to_make"] == 2
    about = found["sum"]["seconds"]
    assert 0 < about["low"] <= about["about"] <= about["high"]
    assert sum(s["about"] for s in bundle["stages"].values()) == pytest.approx(about["about"])
    assert found["seconds_on_nodes"]["about"] == pytest.approx(about["about"])
    assert not (tmp_path / "runs").exists()


def test_the_quick_look_keeps_its_index_in_the_cache_that_the_words_name(tmp_path, monkeypatch):
    monkeypatch.setenv("ADBENCH_CACHE", str(tmp_path / "usual"))
    words = ("method=crd", *SMALL, f"results={tmp_path}", f"cache={tmp_path / 'named'}")
    records.save_contents(tmp_path / "records", made("method=crd", "denim"), {})
    assert not all_there([words], CONFIGS)  # of other images
    assert list((tmp_path / "named" / "records").iterdir())
    assert not (tmp_path / "usual" / "records").exists()


@pytest.mark.slow
def test_a_complete_sweep_is_told_without_a_network_library(complete):
    program = (
        "import sys\n"
        "from adbench.cli.main import main\n"
        "try:\n    main(sys.argv[1:])\nexcept SystemExit as end:\n    code = end.code or 0\n"
        "heavy = ('torch', 'timm', 'numba', 'sklearn')\n"
        "print('LOADED', code, *(name for name in heavy if name in sys.modules))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, "plan", "-m", *WORDS, "method=crd,padim"],
        cwd=complete,
        env={**os.environ, "ADBENCH_CACHE": str(complete / "cache")},
        capture_output=True,
        text=True,
    )
    *said, last = done.stdout.splitlines()
    assert last == "LOADED 0", done.stderr
    assert said == ["2 jobs have every record already: nothing is to be run"]


@pytest.mark.slow
def test_one_more_setting_is_all_that_is_to_be_made(complete):
    words = ("plan", "-m", *WORDS, "method=crd,padim", "seed=0,1", "--json")
    found = json.loads(adbench(complete, *words).stdout)
    # CRD draws nothing, so that its records serve both seeds
    assert found["sum"]["records_present"] == 3
    assert found["sum"]["records_to_make"] == 1
    assert found["sum"]["images_to_extract"] == 0


@pytest.mark.slow
def test_a_size_in_place_of_a_dataset_and_a_disk_that_cannot_hold_it(tmp_path):
    words = ("plan", "method=crd", "timing.enabled=false", "images=1e9", "categories=2500000")
    done = adbench(tmp_path, *words, "test_share=0.25", "--json", "--check", check=False)
    assert done.returncode == 1
    found = json.loads(done.stdout)
    (bundle,) = found["bundles"]
    assert (bundle["times"], bundle["images_to_extract"]) == (2_500_000, 400)
    per_image = 4 * (40 * 28 * 28 + 112 * 14 * 14)
    assert found["sum"]["feature_bytes"] == 10**9 * per_image
    assert found["misfits"][0] in done.stderr
    assert "GB needed" in done.stderr
    assert [room["suffices"] for room in found["checked"]] == [False, True]


@pytest.mark.slow
def test_a_table_is_planned_as_it_would_be_reproduced(tmp_path):
    words = ("dataset=demo", *SMALL, "backbone=efficientnet_lite0")
    found = json.loads(adbench(tmp_path, "plan", "han2024_table3", *words, "--json").stdout)
    rows = CONFIGS.read("table", "han2024_table3").rows
    assert found["sum"]["records_to_make"] <= len(rows)
    assert found["sum"]["records_to_make"] > 1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["images=1"], "images=1: is a whole number from 2 to 1,000,000,000,000"),
        (["images=ten"], "images=ten: is a whole number from 2 to 1,000,000,000,000"),
        (["images=10", "categories=8"], "a category needs 2 images at least"),
        (["images=10", "test_share=1"], "test_share=1: is the part of the images that is tested"),
        (["images=10", "dataset=demo"], "dataset=demo: images=N stands in the place of a dataset"),
        (["categories=3"], "categories=3: goes with images=N alone"),
        (["--nodes", "0"], "--nodes=0: is a whole number from 1 to 1,000,000"),
        (["timing=only", "images=10"], "that are there; leave images=10 out"),
        (["timing=only", "han2024_table3"], "leave han2024_table3 out"),
        (["timing=only", "timing.enabled=false"], "timing=only: no time is taken here"),
        (["one", "two"], "one two: name one table, or none"),
        (["method=nowhere"], "nowhere"),
    ],
    ids=" ".join,
)
def test_wrong_words_are_refused_before_any_work(tmp_path, words, said, capsys, monkeypatch):
    from adbench.cli.main import main

    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as end:
        main(["plan", *words])
    assert end.value.code == 2
    assert said in capsys.readouterr().err


@pytest.fixture
def checked(tmp_path, rates):
    """A function from free bytes of disk and memory to what is said of both."""
    from adbench.cli import plan_table

    (planned,) = plans(tmp_path, "method=crd")
    (bundle, *_) = bundles({0: planned})
    content = Sized.of(700, 300)
    found = Costs([planned], rates(), Existing())
    cost = found.of(bundle, content)

    def rooms(monkeypatch, disk, memory):
        usage = SimpleNamespace(free=disk)
        monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage)
        monkeypatch.setattr(plan_table, "free_memory", lambda: memory)
        return plan_table.rooms(plan_table.written_by(bundle, cost, content, found), [cost])

    return rooms


def test_what_fits_is_said_with_what_is_free(checked, monkeypatch):
    disk, memory = checked(monkeypatch, 10**12, 10**12)
    assert disk.suffices
    assert re.fullmatch(r"the disk of .*: 0\.\d+ GB needed, 1,000 GB free", str(disk))
    assert memory.suffices
    assert re.fullmatch(
        r"the memory, for .* with \S+ \S+: 0\.\d+ GB needed, 1,000 GB free", str(memory)
    )


def test_a_disk_that_is_too_small_is_named_with_what_to_set(checked, monkeypatch):
    # 1,000 images x 4 x (40 x 28 x 28 + 112 x 14 x 14) bytes of features and about 4 kB of records
    disk, memory = checked(monkeypatch, 200_000_000, 10**12)
    assert (disk.suffices, memory.suffices) == (False, True)
    assert re.search(r": 0\.21\d GB needed, 0\.2 GB free; .* set cache=DIR", str(disk))


@pytest.fixture
def own_disks(monkeypatch):
    """Every folder is a disk of its own, with 1 GB free."""
    from adbench.cli import plan_table

    monkeypatch.setattr(plan_table, "_disk", lambda folder: (10**9, hash(folder)))
    return plan_table


def test_each_disk_is_asked_for_what_is_written_there(tmp_path, rates, own_disks):
    jobs = plans(tmp_path, "method=crd", "method=padim", "method=crd method.lambda_=7")
    first, second = tmp_path / "one", tmp_path / "two"
    folders = [(first, None), (second, None), (second, str(tmp_path / "other"))]
    jobs = [
        replace(job, options=replace(job.options, results=str(folder), cache=cache))
        for job, (folder, cache) in zip(jobs, folders, strict=True)
    ]
    found = Costs(jobs, rates(), Existing())
    content, written, costs = Sized.of(30, 10, times=5), [], []
    for bundle in bundles(dict(enumerate(jobs))):
        if bundle.category == jobs[0].categories[0]:
            costs.append(found.of(bundle, content))
            written += own_disks.written_by(bundle, costs[-1], content, found)
    assert [cost.settings for cost in costs] == [2, 1]  # the first two share their features
    rooms = {room.of: room.needed for room in own_disks.rooms(written, costs)[:-1]}
    record = 5 * (1200 + 10 * 10 + 3 * 10**2)
    assert rooms == {
        f"the disk of {cache_folder(None)}": 5 * costs[0].features,
        f"the disk of {tmp_path / 'other'}": 5 * costs[1].features,
        f"the disk of {first}": record,
        f"the disk of {second}": 2 * record,
    }
    assert min(cost.features for cost in costs) > 0


def test_memory_that_is_too_small_is_named(checked, monkeypatch):
    disk, memory = checked(monkeypatch, 10**12, 10**8)
    assert (disk.suffices, memory.suffices) == (True, False)
    assert "GB needed, 0.1 GB free; choose a smaller method.ratio" in str(memory)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("geometry=crop224", "efficientnet_lite0 crop224"),
        ("geometry=crop224 geometry.crop=200", "efficientnet_lite0 crop224 200 x 200 pixels"),
    ],
)
def test_a_geometry_whose_size_was_changed_tells_its_size(tmp_path, rates, words, said):
    (planned,) = plans(tmp_path, words)
    (bundle, *_) = bundles({0: planned})
    assert Costs([planned], rates(), Existing()).of(bundle, Sized.of(7, 3)).network == said


@pytest.mark.slow
def test_a_small_run_takes_about_as_long_as_planned(tmp_path):
    """A plausibility: within a factor of 30 of what was measured, on whatever machine this is."""
    words = (*WORDS, "method=crd", "timing.enabled=false")
    planned = json.loads(adbench(tmp_path, "plan", *words, "--json").stdout)
    adbench(tmp_path, "run", *words)
    shown = adbench(tmp_path, "plan", *WORDS, "method=crd", "seed=1", "method.lambda_=7").stdout
    assert "measured here" in shown
    assert "extract: this machine, the same settings" not in shown  # its features are kept
    assert "fit: this machine, other settings of the method" in shown
    (record,) = (json.loads(p.read_text()) for p in (tmp_path / "runs/records").glob("*.json"))
    for stage in ("extract", "fit", "score"):
        seconds = planned["sum"]["stages"][stage]["about"]
        assert record["seconds"][stage] / 30 < seconds < 30 * record["seconds"][stage]
    peak = record["memory"]["peak"]
    assert peak / 4 < planned["sum"]["memory_bytes"]["about"] < 4 * peak
