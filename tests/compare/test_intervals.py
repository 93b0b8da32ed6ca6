"""The bootstrap of the OOD AUROC against scikit-learn and against its own definition."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from dml_lightning.compare.intervals import Scored, ood_interval


def scored(seed: int, groups: int = 6) -> Scored:
    rng = np.random.default_rng(seed)
    known = np.sort(rng.integers(0, 20, 40) / 10)  # with ties
    ood = rng.integers(5, 25, 15) / 10
    names = np.array([f"g{i}" for i in range(groups)])
    return Scored(known, rng.choice(names, 40), ood, rng.choice(names, 15))


def pooled(s: Scored) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    truth = np.r_[np.zeros(len(s.known)), np.ones(len(s.ood))]
    return truth, np.r_[s.known, s.ood]


@pytest.mark.parametrize("seed", range(5))
def test_counting_a_crop_twice_is_having_it_twice(seed: int) -> None:
    s = scored(seed)
    assert s.auroc() == pytest.approx(roc_auc_score(*pooled(s)))
    count = {f"g{i}": float(i % 3) for i in range(6)}
    weights = np.array([count[g] for g in np.r_[s.known_groups, s.ood_groups]])
    expected = roc_auc_score(*pooled(s), sample_weight=weights)
    assert s.auroc(count) == pytest.approx(expected)


def test_an_empty_side_has_no_auroc() -> None:
    s = scored(0)
    assert np.isnan(s.auroc(dict.fromkeys([f"g{i}" for i in range(6)], 0.0)))


def write_run(folder: Path, seed: int, effect: float, groups: int = 20) -> Path:
    """A run whose groups differ more than their crops do."""
    rng = np.random.default_rng(seed)
    shift = rng.normal(0, 0.5, groups)
    of_known, of_ood = np.repeat(np.arange(groups), 10), np.repeat(np.arange(groups), 3)
    known = np.abs(rng.normal(1, 0.1, len(of_known)) + shift[of_known])
    ood = np.abs(rng.normal(1 + effect, 0.1, len(of_ood)) + shift[of_ood])
    vectors = np.r_[np.zeros(10), known, ood][:, None].astype(np.float32)
    names = np.array(["train"] * 10 + [f"g{i}" for i in np.r_[of_known, of_ood]])
    sets = ["reference"] * 10 + ["known"] * len(known) + ["ood"] * len(ood)
    path = folder / str(seed) / "embeddings" / "test.npz"
    path.parent.mkdir(parents=True)
    labels = np.zeros(len(vectors), np.int64)
    np.savez(path, vectors=vectors, labels=labels, sets=np.array(sets), groups=names)
    return path.parents[1]


def test_an_interval_holds_the_estimate_and_says_how_many(tmp_path: Path) -> None:
    interval = ood_interval([write_run(tmp_path, 0, effect=0.4)], draws=200)
    assert interval is not None
    assert interval.low < interval.estimate < interval.high
    assert (interval.known, interval.ood, interval.groups) == (200, 60, 20)
    assert "200 known and 60 OOD crops a run, 20 groups" in str(interval)


def test_runs_that_share_flights_do_not_narrow_the_interval(tmp_path: Path) -> None:
    run = write_run(tmp_path, 0, effect=0.4)
    one, five = ood_interval([run], draws=300), ood_interval([run] * 5, draws=300)
    assert one is not None
    assert five is not None
    assert five[:3] == pytest.approx(one[:3])


@pytest.mark.slow
def test_the_interval_covers_the_truth_about_as_often_as_it_says(tmp_path: Path) -> None:
    truth = np.mean(
        [ood_interval([write_run(tmp_path, s, 0.4)], draws=2)[0] for s in range(500, 900)]
    )  # type: ignore[index]
    inside = 0
    for seed in range(150):
        interval = ood_interval([write_run(tmp_path, seed, 0.4)], draws=200)
        assert interval is not None
        inside += interval.low <= truth <= interval.high
    assert 0.85 <= inside / 150 <= 1.0
