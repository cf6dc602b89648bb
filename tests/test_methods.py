"""The contract that every preset of a method keeps, whatever the method."""

import copy
import typing
from dataclasses import is_dataclass, replace

import numpy as np
import pytest
import torch
from made_runs import METHODS

from adbench.config.build import build
from adbench.config.compose import Configs
from adbench.detectors.feature_detector import FeatureDetector
from adbench.errors import AdbenchError, NotFittedError
from adbench.features.features import Features
from adbench.methods.method import (
    CountsWork,
    EstimatesMemory,
    HasRivals,
    Method,
    Nests,
    ScoresTogether,
    Selects,
    ask,
    replaced,
    restore,
    state_bytes,
    state_of,
)
from adbench.system.settings import settings_of

CHANNELS = {1: 8, 2: 64, 3: 128}
OFFICIAL = {1: 8, 2: 512, 3: 1024}  # the channels for which the official embedding is defined
SEED = 271828


def preset(name: str, *overrides: str) -> Method:
    return build(Configs().compose([f"method={name}", *overrides]).method, "method")


def features(method: Method, n: int, seed: int, defect: bool = False) -> Features:
    """Smooth maps with a mean of their own at each position, as of aligned objects."""
    fixed, drawn = torch.Generator().manual_seed(0), torch.Generator().manual_seed(seed)
    maps = {}
    official = getattr(getattr(method, "embedding", None), "kind", None) == "official"
    for level, channels in (OFFICIAL if official else CHANNELS).items():
        side = 32 >> level
        typical = torch.randn(1, channels, side, side, generator=fixed)
        maps[level] = typical + 0.1 * torch.randn(n, channels, side, side, generator=drawn)
        if defect:
            maps[level][-1, :, : max(1, side // 4), : max(1, side // 4)] += 1.0
    vectors = torch.randn(1, 16, generator=fixed) + 0.1 * torch.randn(n, 16, generator=drawn)
    if defect:
        vectors[-1] += 1.0
    return Features([maps[i] for i in sorted(method.layers)], vectors, (32, 32), source="toy")


@pytest.fixture(params=METHODS)
def name(request) -> str:
    return request.param


@pytest.fixture
def method(name) -> Method:
    return preset(name)


def assert_same(a, b):
    torch.testing.assert_close(a.images, b.images, rtol=0, atol=0)
    torch.testing.assert_close(a.maps, b.maps, rtol=0, atol=0)


def test_fit_returns_self_and_scores_have_the_shapes_and_are_finite(method):
    assert method.fit(features(method, 9, 1)) is method
    scores = method.score(features(method, 4, 2))
    assert scores.images.shape == (4,)
    assert scores.maps.shape == (4, 32, 32)
    for tensor in (scores.images, scores.maps):
        assert tensor.dtype == torch.float32
        assert bool(torch.isfinite(tensor).all())
    assert state_bytes(method) > 0


def test_same_seed_same_scores(method):
    other = copy.deepcopy(method)
    test = features(method, 3, 2)
    assert_same(*(m.fit(features(method, 9, 1)).score(test) for m in (method, other)))


def test_a_second_fit_forgets_the_first(method):
    test = features(method, 3, 2)
    fresh = copy.deepcopy(method).fit(features(method, 8, 5)).score(test)
    fitted = method.fit(features(method, 9, 1))
    fitted.score(test)  # so that what is rebuilt from the state is there to be forgotten
    assert_same(fitted.fit(features(method, 8, 5)).score(test), fresh)


def test_each_image_is_scored_alone(method):
    method.fit(features(method, 9, 1))
    test = features(method, 5, 2)
    whole = method.score(test)
    parts = [method.score(test[a:b]) for a, b in [(0, 1), (1, 4), (4, 5)]]
    images, maps = torch.cat([p.images for p in parts]), torch.cat([p.maps for p in parts])
    torch.testing.assert_close(images, whole.images, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(maps, whole.maps, rtol=1e-5, atol=1e-5)


def test_features_are_not_written_to(method):
    normal, test = features(method, 12, 1), features(method, 3, 2)
    before = [m.clone() for m in (*normal.maps, normal.vectors, *test.maps, test.vectors)]
    method.fit(normal).score(test)
    after = (*normal.maps, normal.vectors, *test.maps, test.vectors)
    for was, now in zip(before, after, strict=True):
        torch.testing.assert_close(now, was, rtol=0, atol=0)


def test_a_planted_defect_scores_higher_and_where_it_is(method):
    method.fit(features(method, 20, 1))
    scores = method.score(features(method, 6, 2, defect=True))
    assert int(scores.images.argmax()) == 5
    inside, outside = scores.maps[-1, :8, :8].mean(), scores.maps[-1, 16:, 16:].mean()
    assert float(inside) > float(outside)


def test_score_before_fit_raises(method):
    with pytest.raises(NotFittedError, match="before fit"):
        method.score(features(method, 3, 2))


def test_a_fit_that_names_no_source_is_not_taken_for_none(method):
    method.fit(features(method, 9, 1))
    del method.source_
    with pytest.raises(NotFittedError, match=r"does not set self\.source_ = normal\.source"):
        method.score(features(method, 3, 2))


def test_features_of_another_source_are_refused(method):
    method.fit(features(method, 9, 1))
    test = features(method, 3, 2)
    with pytest.raises(AdbenchError, match="another"):
        method.score(Features(test.maps, test.vectors, test.size, source="another"))


def test_nan_features_are_refused(method):
    broken = features(method, 9, 1)
    broken.maps[0][0] = float("nan")
    with pytest.raises(AdbenchError, match="NaN"):
        method.fit(broken)


def test_no_images_are_refused(method):
    with pytest.raises(AdbenchError, match="images"):
        method.fit(features(method, 9, 1)[:0])


def test_a_layer_that_is_given_twice_is_refused(method, name):
    layers = [3, *method.layers, 3]
    once = sorted({3, *layers})
    message = rf"method\.layers: must name each layer once, got \{layers}; use \{once}"
    with pytest.raises(AdbenchError, match=message):
        preset(name, f"method.layers={layers}".replace(" ", ""))


def test_score_settings_and_the_nested_one_are_settings(method):
    names = set(type(method).__dataclass_fields__)
    assert method.score_settings <= names
    if method.nested:
        assert method.nested in names - method.score_settings
        assert isinstance(method, Nests)


def test_the_state_is_plain_and_makes_a_fitted_method(method, name):
    test = features(method, 3, 2)
    state = state_of(method.fit(features(method, 9, 1)))
    assert is_plain(state)
    assert_same(restore(preset(name), copy.deepcopy(state)).score(test), method.score(test))


def is_plain(value) -> bool:
    """Arrays, numbers, strings, None, and lists, tuples or dicts of them: what a file can hold."""
    if isinstance(value, dict):
        return all(isinstance(key, str) and is_plain(item) for key, item in value.items())
    if isinstance(value, list | tuple):
        return all(map(is_plain, value))
    return value is None or isinstance(value, torch.Tensor | np.ndarray | int | float | str)


def test_state_is_not_settings_and_a_new_method_has_none(name):
    assert state_of(preset(name)) == {}


def test_variants_scored_together_are_each_alone(method):
    fitted, test = method.fit(features(method, 12, 1)), features(method, 3, 2)
    variants = variants_of(fitted)
    assert len(variants) >= len(method.score_settings) / 2
    if not isinstance(fitted, ScoresTogether):
        pytest.skip("the method scores each setting by a pass of its own")
    together = list(fitted.score_all(test, variants))
    without = list(fitted.score_all(test, variants, maps=False))
    for scores, images, variant in zip(together, without, variants, strict=True):
        assert_same(scores, variant.score(test))
        assert images.maps is None
        torch.testing.assert_close(images.images, scores.images, rtol=0, atol=0)


def tensors_in(value):
    """All tensors inside lists, tuples and mappings."""
    if isinstance(value, torch.Tensor):
        return [value]
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list | tuple):
        return [tensor for inner in value for tensor in tensors_in(inner)]
    return []


def test_a_pass_keeps_no_more_of_its_settings_than_the_detector_says(method):
    """What a suspended pass holds in its variables is what it keeps until its end."""
    test = features(method, 3, 2)
    fitted = method.fit(features(method, 12, 1))
    if not isinstance(fitted, ScoresTogether):
        pytest.skip("the method scores each setting by a pass of its own")
    shapes = tuple(tuple(m.shape[1:]) for m in test.maps)
    detector = FeatureDetector(None, None, fitted, shapes=shapes)
    variants = variants_of(fitted)
    made = fitted.score_all(test, variants)
    next(made)
    held = [t.untyped_storage() for v in made.gi_frame.f_locals.values() for t in tensors_in(v)]
    kept = sum({storage.data_ptr(): storage.nbytes() for storage in held}.values())
    most = detector.kept_bytes(3, [replace(detector, method=v) for v in variants])
    little = 8 * (3 + sum(c for c, _, _ in shapes))  # such as a score for each image or channel
    assert 0 < kept <= most + little * len(variants)


def test_a_method_that_gives_too_few_scores_is_named(method, monkeypatch):
    test = features(method, 3, 2)
    fitted = method.fit(features(method, 12, 1))
    if not isinstance(fitted, ScoresTogether):
        pytest.skip("the method scores each setting by a pass of its own")
    monkeypatch.setattr(type(fitted), "score_all", lambda *given: [])
    monkeypatch.setattr(FeatureDetector, "_test_features", lambda self, images: test)
    detector = FeatureDetector(None, None, fitted)
    with pytest.raises(AdbenchError, match=r"score_all gave 0 scores for 2 settings"):
        list(detector.score_all(None, [detector, detector], maps=True))


def test_a_changed_score_setting_is_that_of_a_fit(method):
    test = features(method, 3, 2)
    fitted = method.fit(features(method, 12, 1))
    for variant in variants_of(fitted):
        fresh = replaced(variant, {}).fit(features(method, 12, 1))
        assert settings_of(fresh) == settings_of(variant)
        assert_same(fresh.score(test), variant.score(test))


def variants_of(fitted: Method) -> list[Method]:
    """Copies that differ in one score setting each, where the others allow it, and a cut one."""
    hints = typing.get_type_hints(type(fitted))
    found = []
    for setting in sorted(fitted.score_settings):
        other = another(getattr(fitted, setting), hints[setting])
        try:
            found.append(ask(fitted, **{setting: other}))
        except AdbenchError:  # a value that the other settings exclude
            continue
    if has_smaller(fitted):
        found.append(fitted.cut(reduced(getattr(fitted, fitted.nested))))
    return found


def another(value, hint):
    """A setting of the same type with another value."""
    if is_dataclass(value):
        field = next(iter(value.__dataclass_fields__))
        return replace(
            value,
            **{field: another(getattr(value, field), typing.get_type_hints(type(value))[field])},
        )
    options = [arg for arg in typing.get_args(hint) if arg != value]
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return value * 2
    return options[0]


def has_smaller(method: Method) -> bool:
    """Whether the method has a nested setting whose value is not all there is."""
    return isinstance(method, Nests) and getattr(method, method.nested) != 1.0


def reduced(value):
    return type(value)(value / 2)


def test_a_cut_method_is_that_of_a_fit_with_the_smaller_value(method):
    if not has_smaller(method):
        pytest.skip("the method has no nested setting, or keeps all there is in no order")
    normal, test = features(method, 12, 1), features(method, 3, 2)
    smaller = reduced(getattr(method, method.nested))
    fresh = replaced(method, {method.nested: smaller}).fit(normal)
    fitted = method.fit(normal)
    before = fitted.score(test)
    cut = fitted.cut(smaller)
    assert settings_of(cut) == settings_of(fresh)
    assert_same(cut.score(test), fresh.score(test))
    assert state_bytes(cut) == state_bytes(fresh) < state_bytes(fitted)
    assert_same(fitted.score(test), before)


def test_known_picks_give_the_same_fit(method):
    if not isinstance(method, Selects) or method.selection() is None:
        pytest.skip("the method selects nothing that is worth keeping")
    normal, test = features(method, 12, 1), features(method, 3, 2)
    fresh = copy.deepcopy(method).fit(normal)
    for known in (fresh.order_, fresh.order_[: len(fresh.order_) // 2]):
        again = copy.deepcopy(method).fit(normal, known)
        np.testing.assert_array_equal(again.order_, fresh.order_)
        assert_same(again.score(test), fresh.score(test))


def test_a_seed_is_a_setting_only_where_something_is_drawn(name, monkeypatch):
    """So that runs over several seeds of a method that draws nothing are one experiment."""
    drawn = []
    generator = np.random.default_rng
    monkeypatch.setattr(
        np.random, "default_rng", lambda seed=None: drawn.append(seed) or generator(seed)
    )
    method = preset(name, f"seed={SEED}")
    method.fit(features(method, 9, 1)).score(features(method, 3, 2))
    uses = any(SEED in np.ravel(seed).tolist() for seed in drawn)
    assert (settings_of(preset(name, "seed=1")) != settings_of(method)) == uses


def test_memory_is_estimated_and_settings_that_need_less_are_valid(method):
    if not isinstance(method, EstimatesMemory):
        pytest.skip("the method makes no estimate")
    assert method.memory(features(method, 9, 1), 10) > 0
    for change in method.less_memory():
        assert settings_of(replaced(method, change)) != settings_of(method)


def test_work_is_counted_after_the_fit(method):
    if not isinstance(method, CountsWork):
        pytest.skip("the method does not count its work")
    assert method.fit(features(method, 9, 1)).multiply_adds() >= 0


def test_rivals_are_unfitted_methods_that_count_their_work(method):
    if not isinstance(method, HasRivals):
        pytest.skip("the method names no rivals")
    for rival in method.rivals().values():
        assert state_of(rival) == {}
        assert rival.layers == method.layers
        assert isinstance(rival.fit(features(method, 60, 1)).multiply_adds(), int)
