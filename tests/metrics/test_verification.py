"""False non-match rates against all pairs one by one, against scikit-learn, and over ranks."""

import math
from itertools import combinations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_curve
from torch import Tensor

from dml_lightning.metrics import verification
from dml_lightning.metrics.verification import Verification, fnmr_at_fmr
from tests.metrics.made import flights, sample
from tests.ranks import Gloo

FMRS = (0.001, 0.01, 0.05, 0.3, 0.9)


def pair_distances(x: Tensor, y: Tensor, groups: Tensor | None = None) -> tuple[list[float], list[float]]:
    """Squared distances of impostors and of genuine pairs, each pair once."""
    lists: tuple[list[float], list[float]] = ([], [])
    for i, j in combinations(range(len(x)), 2):
        if groups is None or groups[i] != groups[j]:
            lists[int(y[i] == y[j])].append(float((x[i].double() - x[j].double()).square().sum().float()))
    return lists


def slow(impostors: list[float], genuine: list[float], fmr: float) -> float:
    """The least FNMR over the limits between distances whose FMR is at most `fmr`, and allows one impostor."""
    if not genuine or fmr * len(impostors) < 1 - 1e-9:
        return math.nan
    limits = [*sorted({*impostors, *genuine}), math.inf]
    return min(
        sum(d >= limit for d in genuine) / len(genuine)
        for limit in limits
        if sum(d < limit for d in impostors) <= fmr * len(impostors) + 1e-9
    )


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    n=st.integers(0, 26),
    classes=st.integers(1, 5),
    count=st.integers(0, 4),
    tied=st.booleans(),
)
def test_rates_equal_the_definition(seed: int, n: int, classes: int, count: int, tied: bool) -> None:
    """On whole numbers many pairs are equally far."""
    x, y = sample(seed, n, classes)
    x = x.round() if tied else x
    groups = flights(seed, n, count) if count and n else None
    result = fnmr_at_fmr(x, y, FMRS, groups=groups)
    impostors, genuine = pair_distances(x, y, groups)
    assert (result.impostors, result.genuine) == (len(impostors), len(genuine))
    expected = [slow(impostors, genuine, fmr) for fmr in FMRS]
    assert list(result.fnmr_at.values()) == pytest.approx(expected, abs=1e-12, nan_ok=True)


@pytest.mark.parametrize("tied", [False, True])
def test_rates_are_those_of_the_roc_curve_of_scikit_learn(tied: bool) -> None:
    x, y = sample(3, 400, 6, dim=8)
    x = (2 * x).round() if tied else x
    first, second = torch.triu_indices(400, 400, offset=1)
    distances = (x[first].double() - x[second].double()).square().sum(1).float()
    fmr, matched, _ = roc_curve(y[first] == y[second], -distances.numpy(), drop_intermediate=False)
    result = fnmr_at_fmr(x, y, FMRS)
    for rate, value in result.fnmr_at.items():
        assert value == pytest.approx(1 - matched[fmr <= rate + 1e-12].max(), abs=1e-12)
    values = [result.fnmr_at[rate] for rate in FMRS]
    assert values == sorted(values, reverse=True)
    assert 0 < values[-1] < values[0] < 1


def test_several_blocks_make_the_same_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = sample(5, 200, 4)
    whole = fnmr_at_fmr(x, y, FMRS)
    monkeypatch.setattr("dml_lightning.pairs.distances.BLOCK_ELEMENTS", 900)
    monkeypatch.setattr("dml_lightning.pairs.distances.FEWEST_ROWS", 3)
    assert fnmr_at_fmr(x, y, FMRS) == whole


def test_the_least_rate_is_one_impostor() -> None:
    x, y = torch.tensor([[0.0], [1.0], [3.0], [7.0]]), torch.tensor([0, 0, 0, 1])
    result = fnmr_at_fmr(x, y, (0.33, 1 / 3, 0.34, 0.67))
    assert result.least_fmr == 1 / 3
    assert [math.isnan(value) for value in result.fnmr_at.values()] == [True, False, False, False]
    assert result.fnmr_at[1 / 3] == 0  # the limit lies at 6, the second impostor
    assert math.isnan(fnmr_at_fmr(x, torch.arange(4), (0.5,)).fnmr_at[0.5])  # nothing genuine
    assert math.isnan(fnmr_at_fmr(x, torch.zeros(4).long(), (0.5,)).least_fmr)  # no impostor


def test_a_collapsed_space_matches_nothing() -> None:
    """All pairs are equally far, and to match them all would be an FMR of 1."""
    result = fnmr_at_fmr(torch.ones(40, 3), torch.arange(40) % 4, (0.01, 0.9))
    assert result.fnmr_at == {0.01: 1.0, 0.9: 1.0}


def test_pairs_of_a_flight_are_left_out() -> None:
    x = torch.tensor([[0.0], [0.1], [5.0], [1.0], [5.1], [5.2]])
    y, groups = torch.tensor([0, 0, 0, 1, 1, 1]), torch.tensor([7, 7, 8, 7, 8, 9])
    assert (fnmr_at_fmr(x, y).genuine, fnmr_at_fmr(x, y).impostors) == (6, 9)
    result = fnmr_at_fmr(x, y, (0.2,), groups=groups)
    assert (result.genuine, result.impostors) == (5, 6)


@pytest.mark.parametrize("fmr", [0.0, 1.0, float("nan")])
def test_a_rate_that_is_no_share_is_refused(fmr: float) -> None:
    with pytest.raises(ValueError, match=f"strictly between 0 and 1, got {fmr}"):
        fnmr_at_fmr(torch.zeros(2, 1), torch.arange(2), (0.1, fmr))


def _together(x: Tensor, y: Tensor, groups: Tensor) -> Verification:
    return fnmr_at_fmr(x, y, FMRS, groups=groups, split_over_ranks=True)


@pytest.mark.parametrize("world", [2, 3])
@pytest.mark.parametrize("n", [2, 61])
def test_ranks_together_have_the_rates_of_one(gloo: Gloo, world: int, n: int) -> None:
    """With two crops the last of three ranks has none."""
    x, y = sample(2, n, 3)
    groups = flights(2, n, 3)
    alone = fnmr_at_fmr(x, y, FMRS, groups=groups)
    for result in gloo(world).run(_together, x, y, groups):
        assert (result.genuine, result.impostors) == (alone.genuine, alone.impostors)
        np.testing.assert_array_equal(list(result.fnmr_at.values()), list(alone.fnmr_at.values()))


def test_bits_cover_every_distance() -> None:
    assert verification.LOWER * verification.UPPER == 2**31
    x = torch.tensor([[0.0], [1e-20], [1e19], [0.0]])  # squares up to 1e38, nearly infinite in float32
    assert fnmr_at_fmr(x, torch.tensor([0, 0, 1, 1]), (0.5,)).fnmr_at == {0.5: 0.5}
