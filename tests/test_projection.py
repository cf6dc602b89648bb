"""Random linear maps: what they promise in expectation, and that a seed is a seed."""

import math

import numpy as np
import pytest
import torch
from sklearn.random_projection import johnson_lindenstrauss_min_dim

from adbench.errors import AdbenchError
from adbench.kernels.projection import gaussian, jl_dimension, orthonormal, select, sparse

MAPS = [gaussian, orthonormal, sparse]


@pytest.mark.parametrize("n", [2, 784, 163_856, 306_544])
@pytest.mark.parametrize("eps", [0.05, 0.3, 0.7, 0.9, 0.99])
def test_dimension_is_scikit_learns(n, eps):
    assert jl_dimension(n, eps) == johnson_lindenstrauss_min_dim(n, eps=eps)


def test_dimensions_of_the_report():
    assert jl_dimension(163_856, 0.9) == 296
    assert jl_dimension(163_856, 0.7) == 367


def test_one_point_keeps_a_dimension():
    assert jl_dimension(1, 0.5) == 1


@pytest.mark.parametrize("eps", [0, 1, -0.1, 1.5])
def test_an_eps_that_is_no_distortion_is_refused(eps):
    with pytest.raises(
        AdbenchError, match=f"eps {eps} is no distortion; use a value between 0 and 1"
    ):
        jl_dimension(100, eps)


def test_an_eps_that_asks_for_too_much_is_refused_with_one_that_does_not():
    message = (
        "eps 0.2 asks for 2770 dimensions for 163856 points, but the points have 1536; "
        "use an eps of at least 0.28"
    )
    with pytest.raises(AdbenchError, match=message):
        jl_dimension(163_856, 0.2, d=1536)
    assert jl_dimension(163_856, 0.28, d=1536) <= 1536 < jl_dimension(163_856, 0.27)
    with pytest.raises(AdbenchError, match="no eps asks for so few"):
        jl_dimension(163_856, 0.9, d=100)


@pytest.mark.parametrize("make", MAPS)
def test_shape_type_and_seed(make):
    matrix = make(60, 20, 7)
    assert matrix.shape == (60, 20)
    assert matrix.dtype == torch.float32
    assert torch.equal(matrix, make(60, 20, 7))
    assert not torch.equal(matrix, make(60, 20, 8))


@pytest.mark.parametrize("make", MAPS)
def test_squared_lengths_are_kept_in_expectation(make):
    x = torch.from_numpy(np.random.default_rng(0).standard_normal(50)).float()
    ratios = [((x @ make(50, 10, seed)) ** 2).sum() / (x**2).sum() for seed in range(2000)]
    # the ratio has a standard deviation of at most sqrt(2 / 10), somewhat more for sparse:
    # 4 standard errors
    assert abs(np.mean(ratios) - 1) < 4 * 0.5 / math.sqrt(2000)


@pytest.mark.parametrize("make", MAPS)
def test_distances_are_kept_within_eps(make):
    n, d, eps = 60, 1000, 0.6
    points = torch.from_numpy(
        np.random.default_rng(1).standard_normal((n, d)) * 0.999 ** np.arange(d)
    ).float()
    projected = points @ make(d, jl_dimension(n, eps), 3)
    ratios = (torch.pdist(projected) / torch.pdist(points)) ** 2
    assert 1 - eps < ratios.min() < 1 < ratios.max() < 1 + eps


def test_orthonormal_columns_are_orthogonal_of_equal_length():
    matrix = orthonormal(30, 12, 5).double()
    torch.testing.assert_close(
        matrix.T @ matrix, 30 / 12 * torch.eye(12, dtype=torch.float64), atol=1e-5, rtol=0
    )
    square = orthonormal(8, 8, 0).double()
    torch.testing.assert_close(
        square @ square.T, torch.eye(8, dtype=torch.float64), atol=1e-6, rtol=0
    )


def test_orthonormal_is_uniform_in_sign():
    """Without fixing the signs, a QR's diagonal would lean to one side."""
    diagonal = [float(orthonormal(3, 3, seed)[0, 0]) for seed in range(1000)]
    assert abs(np.mean(diagonal)) < 4 / math.sqrt(3 * 1000)


def test_sparse_values_and_density():
    matrix = sparse(400, 100, 2)
    value = math.sqrt(20 / 100)  # density 1 / sqrt(400)
    assert set(np.round(torch.unique(matrix).tolist(), 6)) == {
        round(-value, 6),
        0.0,
        round(value, 6),
    }
    assert abs(float((matrix != 0).float().mean()) - 1 / 20) < 0.005
    assert abs(float((matrix > 0).float().mean()) - 1 / 40) < 0.004


def test_selection_is_ascending_distinct_and_seeded():
    chosen = select(448, 100, 3)
    assert chosen.shape == (100,)
    assert chosen.dtype == torch.int64
    assert (chosen.diff() > 0).all()
    assert chosen.min() >= 0
    assert chosen.max() < 448
    assert torch.equal(chosen, select(448, 100, 3))
    assert not torch.equal(chosen, select(448, 100, 4))
    assert torch.equal(select(5, 5, 0), torch.arange(5))


@pytest.mark.parametrize("make", [*MAPS, select])
@pytest.mark.parametrize("dim", [0, 11])
def test_more_dimensions_than_there_are_or_none_are_refused(make, dim):
    with pytest.raises(
        AdbenchError, match=f"cannot reduce 10 dimensions to {dim}; ask for 1 to 10"
    ):
        make(10, dim, 0)
