import math
from dataclasses import replace

import pytest
from made_records import CONFIGS, made, saved

from adbench.errors import AdbenchError
from adbench.evaluation.bootstrap import paired_bootstrap
from adbench.evaluation.intervals import Difference, mean_difference, paired_auroc
from adbench.reports import compare as reports
from adbench.reports.compare import in_words, to_markdown
from adbench.reports.pairing import over_seeds
from adbench.results import raw
from adbench.results.records import load, load_pixels, load_scores, save

LITE = "backbone=efficientnet_lite0"
A, B = f"method=padim {LITE}", f"method=padim_jl {LITE}"


def compare(a, b, folder, records):
    return reports.compare(a, b, folder, records, CONFIGS)


def loaded(folder, record):
    return *raw.arrays(load_scores(folder, record)), load_pixels(folder, record)


def test_one_category_is_the_paired_tests_of_statistics(tmp_path):
    a = saved(tmp_path, made(A, "bottle", image=0.93, pixel=0.91), gap=2.0, noise=1)
    b = saved(tmp_path, made(B, "bottle", image=0.88, pixel=0.90), gap=1.0, noise=2)
    done = compare(A, B, tmp_path, [a, b])
    (labels, ours, pixels), (_, theirs, other) = loaded(tmp_path, a), loaded(tmp_path, b)
    (image,), (pixel,) = done.lines["image_auroc"], done.lines["pixel_auroc"]
    assert image.difference == paired_auroc(labels, ours, theirs)
    assert pixel.difference == paired_bootstrap(pixels, other)
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
    lines = compare(A, B, tmp_path, records).lines["image_auroc"]
    assert [line.category for line in lines] == ["bottle", "grid", "mean of 2"]
    assert lines[2].difference == mean_difference([lines[0].difference, lines[1].difference])
    assert in_words(lines[2]) == "exceeds the noise, A is higher"
    narrow = compare(f"{A} dataset.categories=[grid]", B, tmp_path, records).lines["image_auroc"]
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
    (line,) = compare(A, B, tmp_path, records).lines["image_auroc"]
    assert (line.a.mean, line.a.std, line.a.n) == (pytest.approx(0.91), pytest.approx(0.01), 3)
    pairs = zip(*[[loaded(tmp_path, r) for r in records[side::2]] for side in (0, 1)], strict=True)
    single = [paired_auroc(a[0], a[1], b[1]) for a, b in pairs]
    assert line.difference == over_seeds(single)
    assert line.difference.difference == pytest.approx(sum(d.difference for d in single) / 3)


def test_one_seed_is_paired_with_its_own_and_a_side_without_seeds_with_all(tmp_path):
    records = [
        saved(tmp_path, made(A, "bottle", seed=seed, image=0.9 + seed / 100), noise=seed)
        for seed in range(3)
    ]
    records.append(saved(tmp_path, made(B, "bottle", seed=1, image=0.8), noise=9))
    (line,) = compare(A, B, tmp_path, records).lines["image_auroc"]
    assert (line.a.mean, line.a.n, line.b.n) == (pytest.approx(0.91), 1, 1)
    spade = f"method=spade {LITE}"
    records.append(saved(tmp_path, made(spade, "bottle", image=0.8), noise=10))
    (line,) = compare(A, spade, tmp_path, records).lines["image_auroc"]
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
    (line,) = compare(A, A, tmp_path, [record]).lines["pixel_auroc"]
    assert line.difference == (0.0, 0.0, 0.0, 1.0)
    assert in_words(line) == "does not exceed the noise"


def test_a_side_may_be_the_id_of_a_record(tmp_path):
    a, other = (saved(tmp_path, made(A, category), noise=1) for category in ("bottle", "grid"))
    b = saved(tmp_path, made(B, "grid"), noise=2)
    lines = compare(a.id, b.id, tmp_path, [a, other, b]).lines["image_auroc"]
    assert [line.category for line in lines] == ["grid"]  # the id stands for its setting
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
