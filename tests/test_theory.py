import math

import numpy as np
import pytest
import torch

from dml_lightning import theory


@pytest.mark.parametrize(
    ("classes", "dim", "bound"),
    [
        (8, 7, math.sqrt(16 / 7)),
        (8, 128, math.sqrt(16 / 7)),
        (2, 1, 2.0),
        (3, 1, 0.0),
        (3, 2, math.sqrt(3)),
        (5, 2, 2 * math.sin(math.pi / 5)),
        (8, 4, math.sqrt(2)),
        (6, 4, math.sqrt(2)),
        (9, 4, math.sqrt(2)),
    ],
)
def test_rankin(classes: int, dim: int, bound: float) -> None:
    assert theory.max_feasible_margin(classes, dim) == pytest.approx(bound)
    assert theory.max_feasible_margin(classes, dim, squared=True) == pytest.approx(bound**2)


def test_the_example_of_eight_classes() -> None:
    assert round(theory.max_feasible_margin(8, 7), 4) == 1.5119


@pytest.mark.parametrize("classes", [2, 3, 5, 8])
def test_a_simplex_attains_the_bound(classes: int) -> None:
    points = torch.eye(classes, dtype=torch.float64) - 1 / classes
    points /= points.norm(dim=1, keepdim=True)
    nearest = torch.pdist(points).min().item()
    assert nearest == pytest.approx(theory.max_feasible_margin(classes, classes - 1))


def test_strictly_below_beyond_twice_the_dimension() -> None:
    assert theory.is_feasible_margin(math.sqrt(2), 8, 4)
    assert not theory.is_feasible_margin(math.sqrt(2), 9, 4)
    assert theory.is_feasible_margin(1.414, 9, 4)
    assert not theory.is_feasible_margin(2.0, 9, 4, squared=True)


@pytest.mark.parametrize(("classes", "dim"), [(8, 7), (5, 2), (8, 4), (2, 1)])
@pytest.mark.parametrize("squared", [False, True])
def test_the_attained_bound_itself_is_feasible(classes: int, dim: int, squared: bool) -> None:
    bound = theory.max_feasible_margin(classes, dim, squared)
    assert theory.is_feasible_margin(bound, classes, dim, squared)
    assert not theory.is_feasible_margin(bound * 1.0001, classes, dim, squared)


def test_the_refusal_names_bound_classes_and_dimension() -> None:
    with pytest.raises(ValueError, match=r"1\.6 .* 8 classes .* 16 dimensions .* at most 1\.5119"):
        theory.check_margin(1.6, 8, 16)
    with pytest.raises(ValueError, match=r"below 1\.4142"):
        theory.check_margin(1.5, 40, 16)
    theory.check_margin(1.6, 8, 16, squared=True)


@pytest.mark.parametrize(("classes", "dim"), [(1, 4), (4, 0)])
def test_no_classes_or_no_dimension(classes: int, dim: int) -> None:
    with pytest.raises(ValueError, match="at least"):
        theory.max_feasible_margin(classes, dim)


def test_the_table_never_rises_with_the_classes() -> None:
    rows = theory.margin_table(8, 16)
    assert any(row.num_classes == 8 for row in rows)
    bounds = [row.euclidean for row in rows]
    assert bounds == sorted(bounds, reverse=True)
    assert [row.attained for row in rows] == [row.num_classes <= 32 for row in rows]


def worst_triangle(share: float, p: float) -> float:
    """Smallest d(x, z) + d(z, y) − d(x, y) on a grid."""
    grid = np.linspace(0, 1, 61)
    d = -np.log1p(-share * np.abs(grid[:, None] - grid) ** p)
    return float((d[:, :, None] + d[None, :, :] - d[:, None, :]).min())


@pytest.mark.parametrize(("p", "bound"), [(0.25, 0.9642), (0.5, 0.8284), (0.75, 0.5352)])
def test_metric_bound_is_sharp_on_a_grid(p: float, bound: float) -> None:
    assert theory.metric_bound(p) == pytest.approx(bound, abs=1e-4)
    assert worst_triangle(0.98 * bound, p) > -1e-12
    assert worst_triangle(1.02 * bound, p) < -1e-6
    assert theory.is_metric(0.0, 0.99 * bound, p)
    assert not theory.is_metric(0.0, min(1.0, 1.01 * bound), p)


def test_p_of_one_is_never_a_metric() -> None:
    assert theory.metric_bound(1.0) == 0
    assert not theory.is_metric(0.0, 1e-6, 1.0)


@pytest.mark.parametrize(("a", "b", "p"), [(-0.1, 0.5, 0.5), (0, 0, 0.5), (0, 1.1, 0.5), (1, 1, 0), (1, 1, 1.1)])
def test_parameters_out_of_range(a: float, b: float, p: float) -> None:
    with pytest.raises(ValueError, match="must be"):
        theory.check_metric_parameters(a, b, p)


def test_label_distance() -> None:
    assert theory.label_distance(0.0, 1.0, 1.0) == math.inf
    assert theory.label_distance(1.0, 1.0, 0.5) == pytest.approx(math.log(2))
