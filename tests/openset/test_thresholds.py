"""Rules B and C for one threshold, and what flights make of their promise."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dml_lightning.openset import (
    Threshold,
    choose_threshold,
    conformal_threshold,
    one_per_group,
    p_values,
    samples_needed,
    validated_threshold,
)


@settings(max_examples=100, deadline=None)
@given(scores=st.lists(st.integers(0, 8), min_size=0, max_size=60), alpha=st.sampled_from([0.05, 0.1, 0.2, 0.25, 0.5]))
@pytest.mark.filterwarnings("ignore:.*too few for alpha")  # that warning has its own test
def test_rule_c_is_the_definition(scores: list[int], alpha: float) -> None:
    n = len(scores)
    threshold = conformal_threshold(np.array(scores, dtype=float), alpha)
    rank = next(k for k in range(n + 2) if k * 1000 >= (n + 1) * round(1000 * (1 - alpha)))
    assert threshold.value == (sorted(scores)[rank - 1] if rank <= n else math.inf)
    assert math.isinf(threshold.value) == (n < samples_needed(alpha))
    assert threshold.samples == n
    fresh = np.arange(-1.0, 10.0)
    refused = p_values(np.array(scores, dtype=float), fresh) <= alpha + 1e-12
    assert threshold.refuses(fresh).tolist() == refused.tolist()


def test_too_few_samples_warn_plainly_and_refuse_nothing() -> None:
    with pytest.warns(UserWarning, match="18 calibration samples are too few.*at least 19"):
        threshold = conformal_threshold(np.arange(18.0), 0.05)
    assert threshold.value == math.inf
    assert not threshold.refuses(np.array([1e300])).any()


def test_exchangeable_samples_are_refused_with_probability_alpha_at_most() -> None:
    rng = np.random.default_rng(0)
    n, alpha, draws = 39, 0.1, 4000
    refused = [conformal_threshold(rng.normal(size=n), alpha).refuses(rng.normal(size=50)).mean() for _ in range(draws)]
    # Exactly 1 - ceil((n + 1)(1 - alpha)) / (n + 1) for continuous scores.
    assert np.mean(refused) == pytest.approx(0.1, abs=0.005)


def flights(rng: np.random.Generator, count: int, crops: int) -> np.ndarray:  # type: ignore[type-arg]
    """Scores (count, crops) with an intra-class correlation of one half."""
    return rng.normal(size=(count, 1)) + rng.normal(size=(count, crops))


def test_crops_of_few_flights_break_the_guarantee_and_one_per_flight_restores_it() -> None:
    rng = np.random.default_rng(1)
    names, pooled, single = np.repeat(np.arange(5), 40), [], []
    for seed in range(1500):
        calibration, fresh = flights(rng, 5, 40).ravel(), flights(rng, 1, 40).ravel()
        pooled.append(conformal_threshold(calibration, 0.05).refuses(fresh).mean())
        rows = one_per_group(names, seed)
        single.append(conformal_threshold(calibration[rows], 0.2).refuses(fresh).mean())
    assert np.mean(pooled) > 0.065  # more than alpha = 0.05
    assert np.mean(np.array(pooled) > 0.1) > 0.15  # and for many flights much more
    assert np.mean(single) == pytest.approx(1 / 6, abs=0.02)  # 5 flights allow steps of 1 / 6, below 0.2


def test_rule_b() -> None:
    threshold = validated_threshold(np.array([0.0, 1.0]), np.array([3.0, 4.0]))
    assert (threshold.value, threshold.samples, threshold.rule) == (2.0, 2, "B")
    assert threshold.refuses(np.array([2.0, 2.1])).tolist() == [False, True]  # above, not at
    assert choose_threshold("B", np.array([0.0, 1.0]), np.array([3.0, 4.0])) == threshold


@settings(max_examples=100, deadline=None)
@given(
    known=st.lists(st.integers(0, 8), min_size=1, max_size=25),
    ood=st.lists(st.integers(0, 8), min_size=1, max_size=25),
    cost=st.sampled_from([0.0, 0.05, 0.2, 1.0]),
)
def test_rule_b_is_the_best_of_those_that_cost_no_more(known: list[int], ood: list[int], cost: float) -> None:
    x, o = np.array(known, float), np.array(ood, float)
    threshold = validated_threshold(x, o, cost)
    cuts = [t for t in np.arange(-0.5, 9.0) if (x > t).mean() <= cost + 1e-12]
    best = max((x <= t).mean() + (o > t).mean() for t in cuts)
    assert (x <= threshold.value).mean() + (o > threshold.value).mean() == pytest.approx(best)
    assert threshold.refused == (x > threshold.value).mean() <= cost + 1e-12


def test_rule_b_says_its_cost_and_what_it_refuses() -> None:
    threshold = validated_threshold(np.arange(40.0), np.array([37.5, 50.0]), 0.05)
    assert threshold.name == (
        "B: best balanced accuracy on validation that refuses at most 5 % of known crops; refuses 5.0 % of known "
        "validation crops"
    )
    with pytest.raises(ValueError, match=r"cost is a share of the known crops, from 0 to 1, got -0\.1"):
        validated_threshold(np.arange(3.0), np.arange(3.0), -0.1)


def test_what_a_threshold_of_before_says_is_what_it_said() -> None:
    """Version 0.1 neither bounded the cost of rule B nor measured what a rule refuses."""
    state = validated_threshold(np.arange(3.0), np.arange(3.0)).state()
    old = Threshold.from_state({name: value for name, value in state.items() if name not in ("cost", "refused")})
    assert old.name == "B: best balanced accuracy on validation"


def test_flights_left_out_measure_what_pooled_crops_refuse_too_much() -> None:
    rng, measured, true = np.random.default_rng(0), [], []
    names = np.repeat(np.arange(5), 40)
    for _ in range(300):
        threshold = conformal_threshold(flights(rng, 5, 40).ravel(), 0.05, groups=names)
        measured.append(threshold.left_out)
        true.append(threshold.refuses(flights(rng, 1, 40).ravel()).mean())
    assert 0.05 < np.mean(true) < np.mean(measured) + 0.01 < 0.13  # of four flights, so a bit more than of five
    alone = conformal_threshold(np.arange(30.0), 0.1, groups=np.zeros(30))
    single = conformal_threshold(np.arange(30.0), 0.1, groups=np.arange(30))
    assert math.isnan(alone.left_out)
    assert math.isnan(single.left_out)


def test_a_threshold_that_refuses_nothing_says_so() -> None:
    with pytest.warns(UserWarning, match="too few"):
        threshold = conformal_threshold(np.arange(8.0), 0.05, groups=np.arange(8) % 2)
    assert threshold.name == (
        "C: split conformal, alpha=0.05, n=8 crops of 2 flights; too few for that alpha, so it refuses nothing"
    )


def test_state_round_trip() -> None:
    threshold = conformal_threshold(np.arange(30.0), 0.1, groups=np.arange(30) % 4)
    copy = Threshold.from_state(threshold.state())
    assert (copy.rule, copy.value, copy.alpha, copy.samples, copy.groups) == ("C", 27.0, 0.1, 30, 4)
    assert copy.scores.tolist() == threshold.scores.tolist()
    assert copy.name == threshold.name
    assert copy.name.startswith("C: split conformal, alpha=0.1, n=30 crops of 4 flights; ")


@pytest.mark.parametrize("alpha", [0.0, 1.0, -0.1])
def test_alpha_out_of_range(alpha: float) -> None:
    with pytest.raises(ValueError, match="strictly between 0 and 1"):
        conformal_threshold(np.arange(30.0), alpha)
    with pytest.raises(ValueError, match="strictly between 0 and 1"):
        samples_needed(alpha)


def test_rule_b_without_ood_samples_points_to_rule_c() -> None:
    with pytest.raises(ValueError, match="use rule C"):
        choose_threshold("B", np.arange(3.0))
