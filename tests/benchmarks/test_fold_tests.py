"""The short form of the simulation that decides which folds are tested, with the learner against scikit-learn."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score
from sklearn.neighbors import KNeighborsClassifier, NearestCentroid

from dml_lightning.metrics.open_set import oscr
from dml_lightning.stats.units import units_are_independent
from tests.benchmarks.conftest import benchmark

simulation = benchmark("fold_tests")
WORLDS = 600
TOLERANCE = 4 * (0.05 * 0.95 / WORLDS) ** 0.5


@pytest.mark.parametrize("case", list(simulation.CASES))
def test_folds_that_are_tested_keep_the_level_and_the_others_do_not(case: str) -> None:
    fold_by, metric, _ = simulation.CASES[case]
    named = simulation.winners(simulation.differences(case, 8, WORLDS, seed=5))
    if units_are_independent("fold", fold_by, metric):
        assert named <= 12 / 256 + TOLERANCE
    else:
        assert named > 0.05 + TOLERANCE


def test_the_learner_is_what_it_says() -> None:
    crops = simulation.worlds(np.random.default_rng(0), 1, "classes")
    known, novel, train, test = np.arange(6), np.arange(6, 9), simulation.TRAIN, simulation.TEST
    args = (crops, known, train, novel, test)
    whiten = simulation.trained(crops, known, train)[0][0, 1]
    rows = {name: simulation.part(crops, *where) for name, where in
            {"train": (known, train), "known": (known, test), "novel": (novel, test)}.items()}  # fmt: skip
    embedded = {name: (own[0, 1] @ whiten, labels) for name, (own, labels) in rows.items()}
    rest = np.concatenate([embedded["train"][0][embedded["train"][1] == c] - 0 for c in known])
    spread = sum(np.cov(rest.reshape(6, -1, simulation.FEATURES)[c].T, bias=True) for c in known) / 6
    assert spread == pytest.approx(np.eye(simulation.FEATURES), abs=0.06)  # but for the ridge
    means = NearestCentroid().fit(*embedded["train"])
    assert simulation.accuracy(*args)[0, 1] == pytest.approx(means.score(*embedded["known"]))
    points, labels = embedded["novel"]
    second = KNeighborsClassifier(2).fit(points, labels).kneighbors(points, return_distance=False)[:, 1]
    assert simulation.novel_recall(*args)[0, 1] == pytest.approx((labels[second] == labels).mean())
    nearest = {
        name: np.linalg.norm(embedded[name][0][:, None] - means.centroids_, axis=2).min(1)
        for name in ("known", "novel")
    }
    truth = np.r_[np.zeros(len(nearest["known"])), np.ones(len(nearest["novel"]))]
    scores = np.r_[nearest["known"], nearest["novel"]]
    assert simulation.novel_auroc(*args)[0, 1] == pytest.approx(roc_auc_score(truth, scores))
    right = means.predict(embedded["known"][0]) == embedded["known"][1]
    area = oscr(nearest["known"], right, nearest["novel"])
    assert simulation.novel_oscr(*args)[0, 1] == pytest.approx(area)


def test_folds_are_cut_as_the_datamodule_cuts_them() -> None:
    parts = list(simulation.splits("classes", 6))
    assert sorted(np.concatenate([novel for _, _, novel, _ in parts])) == list(range(simulation.CLASSES))
    for known, train, novel, test in parts:
        assert (len(known), len(novel)) == (16, 4)
        assert not {*known} & {*novel}
        assert not {*train} & {*test}
    for _, train, _, test in simulation.splits("groups", 6):
        assert not {*train} & {*test}
