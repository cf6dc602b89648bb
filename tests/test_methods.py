"""The contract that every method YAML keeps, whatever the method."""

import copy

import pytest
import torch

from adbench.build import build, settings_of
from adbench.compose import choices, compose
from adbench.core import AdbenchError, Features, Method, NotFittedError, ScoresImages
from adbench.fitting import state_bytes

METHODS = choices("method")
CHANNELS = {1: 8, 2: 64, 3: 128}
OFFICIAL = {1: 8, 2: 512, 3: 1024}  # what the official embedding of PatchCore is defined for


def features(method: Method, n: int, seed: int, defect: bool = False) -> Features:
    """Smooth maps with a mean of their own at each position, as a backbone gives of aligned objects."""
    fixed, drawn = torch.Generator().manual_seed(0), torch.Generator().manual_seed(seed)
    maps = {}
    official = getattr(method, "embedding", None) == "official"
    for level, channels in (OFFICIAL if official else CHANNELS).items():
        side = 16 >> level
        typical = torch.randn(1, channels, side, side, generator=fixed)
        maps[level] = typical + 0.1 * torch.randn(n, channels, side, side, generator=drawn)
        if defect:
            maps[level][-1, :, : max(1, side // 4), : max(1, side // 4)] += 1.0
    vectors = torch.randn(1, 16, generator=fixed) + 0.1 * torch.randn(n, 16, generator=drawn)
    if defect:
        vectors[-1] += 1.0
    return Features([maps[i] for i in sorted(method.layers)], vectors, (32, 32), source="toy")


@pytest.fixture(params=METHODS)
def method(request) -> Method:
    return build(compose([f"method={request.param}"]).method, "method")


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
    a, b = (m.fit(features(method, 9, 1)).score(test) for m in (method, other))
    torch.testing.assert_close(a.images, b.images, rtol=0, atol=0)
    torch.testing.assert_close(a.maps, b.maps, rtol=0, atol=0)


def test_a_second_fit_forgets_the_first(method):
    test = features(method, 3, 2)
    fresh = copy.deepcopy(method).fit(features(method, 8, 5)).score(test)
    again = method.fit(features(method, 9, 1)).fit(features(method, 8, 5)).score(test)
    torch.testing.assert_close(again.images, fresh.images, rtol=0, atol=0)


def test_each_image_is_scored_alone(method):
    method.fit(features(method, 9, 1))
    test = features(method, 5, 2)
    whole = method.score(test)
    parts = [method.score(test[a:b]) for a, b in [(0, 1), (1, 4), (4, 5)]]
    torch.testing.assert_close(torch.cat([p.images for p in parts]), whole.images, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(torch.cat([p.maps for p in parts]), whole.maps, rtol=1e-5, atol=1e-5)


def test_features_are_not_written_to(method):
    normal, test = features(method, 9, 1), features(method, 3, 2)
    before = [m.clone() for m in (*normal.maps, normal.vectors, *test.maps, test.vectors)]
    method.fit(normal).score(test)
    for was, now in zip(before, (*normal.maps, normal.vectors, *test.maps, test.vectors), strict=True):
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


def test_what_is_asked_at_score_time_is_a_setting(method):
    assert method.asked <= set(settings_of(method))


def test_image_scores_alone_are_those_of_score(method):
    if not isinstance(method, ScoresImages):
        pytest.skip("the method has no shorter way to image scores")
    method.fit(features(method, 9, 1))
    test = features(method, 4, 2)
    torch.testing.assert_close(method.image_scores(test), method.score(test).images, rtol=1e-6, atol=1e-6)
