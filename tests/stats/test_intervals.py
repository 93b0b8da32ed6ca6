"""The bootstrap of the OOD AUROC against scikit-learn and against its own definition."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from dml_lightning.metrics.bootstrap import expanded_level, group_draws
from dml_lightning.metrics.ood import auroc
from dml_lightning.stats import intervals
from dml_lightning.stats.intervals import OODInterval, Scored, ood_interval, score_run
from tests.metrics.slow_bootstrap import slow_bootstrap

Floats = NDArray[np.float64]


def write_run(run: Path, known: Floats, ood: Floats, known_groups: Sequence[str], ood_groups: Sequence[str]) -> Path:
    """A run with one class whose prototype is 0: the scores are the distances given."""
    sizes = [10, len(known), len(ood)]
    path = run / "embeddings" / "test.npz"
    path.parent.mkdir(parents=True)
    np.savez(
        path,
        vectors=np.r_[np.zeros(10), known, ood][:, None],
        labels=np.repeat(["duck", "duck", "dog"], sizes),
        roles=np.repeat(["reference", "known", "ood"], sizes),
        groups=np.array(["train"] * 10 + [*known_groups, *ood_groups]),
        index=np.arange(sum(sizes)),
    )
    return run


def flights(run: Path, seed: int, effect: float = 0.4, groups: int = 20) -> Path:
    """A run whose flights differ more than their crops do."""
    rng = np.random.default_rng(seed)
    ease = rng.normal(0, 0.5, groups)  # how far a flight's OOD crops stand out
    of_known, of_ood = np.repeat(np.arange(groups), 10), np.repeat(np.arange(groups), 3)
    known = np.abs(rng.normal(1, 0.3, len(of_known)))
    ood = np.abs(rng.normal(1 + effect, 0.3, len(of_ood)) + ease[of_ood])
    return write_run(run, known, ood, *([f"g{i}" for i in of] for of in (of_known, of_ood)))


def found(interval: OODInterval | None) -> OODInterval:
    assert interval is not None
    return interval


def slow(runs: Sequence[Path], draws: int) -> tuple[float, float]:
    """Ends of the interval from crops repeated as often as their group is drawn, with scikit-learn's AUROC."""
    scored = [score_run(run) for run in runs]
    names = sorted({g for s in scored if s for g in (*s.known_groups, *s.ood_groups)})
    means = []
    for times in group_draws(len(names), draws, seed=0):
        count = dict(zip(names, times, strict=True))
        values = []
        for s in scored:
            assert s is not None
            weights = np.array([count[g] for g in (*s.known_groups, *s.ood_groups)])
            truth = np.r_[np.zeros(len(s.known)), np.ones(len(s.ood))]
            sides = [weights[truth == side].sum() for side in (0, 1)]
            value = roc_auc_score(truth, np.r_[s.known, s.ood], sample_weight=weights) if all(sides) else np.nan
            values.append(value)
        means.append(np.mean(values))
    fewest = min(
        len({g for s in scored if s for g in s.known_groups}), len({g for s in scored if s for g in s.ood_groups})
    )
    level = expanded_level(fewest)
    return tuple(np.nanquantile(means, [(1 - level) / 2, (1 + level) / 2]))  # type: ignore[return-value]


def tied(run: Path, seed: int) -> Path:
    rng = np.random.default_rng(seed)
    known, ood = rng.integers(1, 20, 40) / 10, rng.integers(5, 25, 6) / 10
    names = np.array([f"g{i}" for i in range(8)])
    of_ood = [*names[:5], rng.choice(names[:5])]  # five flights, the fewest that have an interval
    return write_run(run, known, ood, rng.choice(names, 40).tolist(), of_ood)


def test_the_interval_is_that_of_repeated_crops(tmp_path: Path) -> None:
    runs = [tied(tmp_path / str(seed), seed) for seed in range(2)]  # some draws have no OOD crop
    interval = found(ood_interval(runs, draws=60))
    assert (interval.low, interval.high) == pytest.approx(slow(runs, 60))


def test_one_run_gets_what_the_metric_of_one_run_gives(tmp_path: Path) -> None:
    run = tied(tmp_path, 3)
    s = score_run(run)
    assert s is not None
    level = expanded_level(len(set(s.ood_groups)))
    one = slow_bootstrap(s.known, s.ood, s.known_groups, s.ood_groups, 100, level=level)
    interval = found(ood_interval([run], draws=100))
    assert (interval.estimate, interval.low, interval.high) == pytest.approx(one[:3])


def test_an_interval_holds_the_estimate_and_says_how_many(tmp_path: Path) -> None:
    interval = found(ood_interval([flights(tmp_path, 0)], draws=200))
    assert interval.low < interval.estimate < interval.high
    assert (interval.known, interval.ood, interval.groups) == (200, 60, 20)
    assert "200 known and 60 OOD crops a run, 20 groups" in str(interval)


def test_runs_that_share_flights_do_not_narrow_the_interval(tmp_path: Path) -> None:
    run = flights(tmp_path, 0)
    one, five = found(ood_interval([run], draws=300)), found(ood_interval([run] * 5, draws=300))
    assert five[:3] == pytest.approx(one[:3])


def test_no_interval_without_ood_crops_or_with_one_group(tmp_path: Path) -> None:
    run = write_run(tmp_path / "a", np.ones(4), np.empty(0), ["g"] * 4, [])
    assert ood_interval([run]) is None
    single = write_run(tmp_path / "b", np.ones(4), np.full(2, 2.0), ["g"] * 4, ["g"] * 2)
    interval = found(ood_interval([single], draws=20))
    assert interval.estimate == 1.0
    assert np.isnan([interval.low, interval.high]).all()
    assert "nan" not in str(interval)
    assert "; fewer than five groups have no interval, and fewer than two have both" in str(interval)


def test_fewer_than_five_groups_have_their_values_and_a_range(tmp_path: Path) -> None:
    rng, names = np.random.default_rng(0), [f"g{i}" for i in range(9)]
    paths, single = [], []
    for number in range(2):
        known, ood = rng.integers(1, 20, 90) / 10, rng.integers(5, 25, 8) / 10
        of_ood = ["g0", "g1", "g2", "g2", "g5", "g5", "g1", "g0"]
        paths.append(write_run(tmp_path / str(number), known, ood, names * 10, of_ood))
        of_known, flights = np.array(names * 10), np.array(of_ood)
        sides = [(known[of_known == f], ood[flights == f]) for f in ("g0", "g1", "g2", "g5")]
        single.append([roc_auc_score(np.r_[np.zeros(len(k)), np.ones(len(o))], np.r_[k, o]) for k, o in sides])
    interval = found(ood_interval(paths))
    values = np.mean(single, axis=0)
    assert interval.values == pytest.approx(tuple(values))
    assert (interval.low, interval.high) == pytest.approx((values.min(), values.max()))
    shown = ", ".join(f"{value:.3f}" for value in values)
    assert f"range {values.min():.3f} to {values.max():.3f} ({shown}) with 90 known and 8 OOD crops a run; few" in str(
        interval
    )


def simulated(seed: int) -> Scored:
    """Scores of 40 flights, 15 with OOD crops; flights are hard or easy."""
    rng, shared = np.random.default_rng([seed, 0]), np.random.default_rng([seed, 2])
    known, ood = np.repeat(np.arange(40), 6), np.repeat(np.arange(15), 6)
    names = np.array([f"g{i:02d}" for i in range(40)])
    return Scored(
        known=rng.normal(0, 1, len(known)) + shared.normal(0, 0.5, 40)[known],
        known_groups=names[known],
        ood=rng.normal(1, 1, len(ood)) + shared.normal(0, 1.5, 40)[ood],
        ood_groups=names[ood],
    )


def test_intervals_over_flights_cover_and_those_over_crops_do_not(monkeypatch: pytest.MonkeyPatch) -> None:
    run = Path("run")
    truth = np.mean([auroc(s.known, s.ood) for s in map(simulated, range(10**6, 10**6 + 1000))])
    simulations = 300
    rows = []
    for seed in range(simulations):
        scored = simulated(seed)
        monkeypatch.setattr(intervals, "score_run", {run: scored}.__getitem__)
        interval = found(ood_interval([run], draws=200))
        crops = np.arange(len(scored.known)), np.arange(len(scored.ood)) + len(scored.known)
        wrong = slow_bootstrap(scored.known, scored.ood, *crops, 100) if seed < 60 else None
        rows.append([interval.low <= truth <= interval.high, wrong.low <= truth <= wrong.high if wrong else np.nan])
    by_flight, by_crop = np.nanmean(np.array(rows, dtype=float), axis=0)
    error = (0.95 * 0.05 / simulations) ** 0.5
    assert by_flight == pytest.approx(0.95, abs=4 * error)
    assert by_crop < 0.8


def test_percentiles_are_expanded_by_the_side_with_fewer_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    scored = simulated(0)
    monkeypatch.setattr(intervals, "score_run", lambda run: scored)
    interval = found(ood_interval([Path("a")], draws=300))
    assert (interval.groups, interval.ood_groups) == (40, 15)
    sides = scored.known, scored.ood, scored.known_groups, scored.ood_groups
    wide, plain = (slow_bootstrap(*sides, 300, level=q) for q in (expanded_level(15), 0.95))
    assert (interval.low, interval.high) == pytest.approx((wide.low, wide.high))
    assert wide.low < plain.low < plain.high < wide.high
