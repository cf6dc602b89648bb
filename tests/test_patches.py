"""Patch vectors and anomaly maps against their definitions, scipy's blur and hand-worked values."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.ndimage import gaussian_filter

from adbench.kernels.patches import pool, resize, rows, stack
from adbench.methods.anomaly_map import AnomalyMap
from adbench.system.settings import settings_of

MAPS = torch.arange(2 * 3 * 4 * 4, dtype=torch.float32).reshape(2, 3, 4, 4)


def test_rows_follow_image_then_row_then_column():
    table = rows(MAPS)
    assert table.shape == (32, 3)
    torch.testing.assert_close(table[0], MAPS[0, :, 0, 0])
    torch.testing.assert_close(table[5], MAPS[0, :, 1, 1])
    torch.testing.assert_close(table[16 + 7], MAPS[1, :, 1, 3])


@pytest.mark.parametrize(
    ("padding", "corner"), [(True, (0 + 1 + 4 + 5) / 9), (False, (0 + 1 + 4 + 5) / 4)]
)
def test_pool_averages_the_neighbourhood(padding, corner):
    pooled = pool(MAPS, 3, padding)
    assert pooled.shape == MAPS.shape
    assert float(pooled[0, 0, 0, 0]) == pytest.approx(corner)
    assert float(pooled[0, 0, 1, 1]) == pytest.approx(float(MAPS[0, 0, :3, :3].mean()))


def test_pool_of_one_is_the_map():
    assert pool(MAPS, 1) is MAPS


def test_nearest_copies_blocks_and_adaptive_averages():
    small = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]])
    expected = torch.tensor([[1.0, 1, 2, 2], [1, 1, 2, 2], [3, 3, 4, 4], [3, 3, 4, 4]])
    torch.testing.assert_close(resize(small, (4, 4), "nearest")[0, 0], expected)
    torch.testing.assert_close(resize(small, (4, 4), "adaptive")[0, 0], expected)
    assert float(resize(small, (4, 4), "bilinear")[0, 0, 0, 1]) == pytest.approx(1.25)


def test_stack_brings_layers_to_the_finest_size():
    stacked = stack([MAPS, MAPS[:, :, ::2, ::2]], "nearest")
    assert stacked.shape == (2, 6, 4, 4)
    torch.testing.assert_close(stacked[:, :3], MAPS)


@pytest.mark.parametrize(
    ("edge", "mode"), [("reflect", "reflect"), ("mirror", "mirror"), ("zero", "constant")]
)
def test_anomaly_map_is_upsampling_then_scipy_blur(edge, mode):
    scores = torch.rand(2, 7, 7, generator=torch.Generator().manual_seed(0))
    maps = AnomalyMap(sigma=2.0, radius=8, edge=edge)(scores, (28, 28))
    plain = F.interpolate(scores[:, None], (28, 28), mode="bilinear", align_corners=False)[
        :, 0
    ].numpy()
    for got, image in zip(maps.numpy(), plain, strict=True):
        expected = gaussian_filter(image.astype(np.float64), 2.0, mode=mode, truncate=4.0)
        np.testing.assert_allclose(got, expected, rtol=1e-5)


@pytest.mark.parametrize("sigma", [1.0, 4.0, 8.0])
def test_the_blur_reaches_four_sigma(sigma):
    scores = torch.zeros(1, 80, 80)
    scores[0, 40, 40] = 1.0
    blurred = AnomalyMap(sigma=sigma)(scores, (80, 80))[0, 40].numpy()
    expected = gaussian_filter(scores[0].numpy(), sigma, truncate=4.0)[40]
    np.testing.assert_allclose(blurred, expected, rtol=1e-6)
    radius = int(4 * sigma)
    assert blurred[40 + radius] > 0 == blurred[40 + radius + 1]
    short = AnomalyMap(sigma=sigma, radius=3)(scores, (80, 80))[0, 40]
    assert short[43] > 0 == short[44]


def test_one_map_alone_is_that_of_a_batch():
    scores = torch.rand(3, 7, 7, generator=torch.Generator().manual_seed(0))
    maps = AnomalyMap()(scores, (28, 28))
    assert torch.equal(AnomalyMap()(scores[1:2], (28, 28))[0], maps[1])


def test_what_bears_on_nothing_without_a_blur_is_no_setting():
    assert settings_of(AnomalyMap(sigma=0.0, radius=3, edge="zero")) == {
        "upsample": "bilinear",
        "sigma": 0.0,
    }
    assert settings_of(AnomalyMap(edge="zero"))["edge"] == "zero"


def test_without_blur_the_map_is_the_upsampled_scores():
    scores = torch.rand(1, 3, 3, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(
        AnomalyMap(upsample="nearest", sigma=0.0)(scores, (6, 6))[0],
        scores[0].repeat_interleave(2, 0).repeat_interleave(2, 1),
    )


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"sigma": float("inf")}, r"sigma\n.* finite number"),
        ({"sigma": 1e7}, r"sigma\n.* less than or equal to 2500"),
        ({"radius": 10**9}, r"radius\.?.*\n.* less than or equal to 10000"),
    ],
)
def test_a_blur_beyond_every_image_is_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        AnomalyMap(**settings)
    AnomalyMap(sigma=2500.0, radius=10_000)


def test_a_wrong_choice_is_named():
    with pytest.raises(ValueError, match="upsample"):
        AnomalyMap(upsample="cubic")
