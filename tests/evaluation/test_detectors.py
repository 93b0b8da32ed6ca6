"""The table of all detectors, row by row against the detectors and the metrics."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.typing import NDArray

from dml_lightning.evaluation.detectors import detector_table, scorers
from dml_lightning.evaluation.evidence import Evidence, LinearHead
from dml_lightning.metrics.bootstrap import expanded_level
from dml_lightning.metrics.ood import auroc, ood_metrics
from dml_lightning.openset import (
    EnergyDetector,
    KNNDetector,
    MahalanobisDetector,
    PrototypeDetector,
    RejectDetector,
    RelativeMahalanobisDetector,
    ViMDetector,
)
from dml_lightning.stats.intervals import ood_interval
from dml_lightning.types import Embeddings
from tests.metrics.slow_bootstrap import slow_bootstrap

DISTANCES = [
    "nearest prototype",
    "radius, maximum",
    "radius, quantile 0.95",
    "kNN, k = 1",
    "kNN, k = 5",
    "Mahalanobis",
    "relative Mahalanobis",
    "Mahalanobis, normalised",
]
LOGITS = ["max softmax", "max logit", "energy", "ViM"]
NAMES = ["eider", "mallard", "teal", "wigeon", "debris", "glint", "mammal", "ice"]  # teal and wigeon novel, ice clutter


def evidence(
    *, known: int = 80, ood: int = 60, novel: int = 20, flights: int = 6, head: bool = True, clutter: int = 0
) -> Evidence:
    rng = np.random.default_rng(0)
    centres = torch.from_numpy(rng.normal(size=(8, 5))).float()

    def crops(n: int, labels: list[int]) -> Embeddings:
        y = torch.from_numpy(rng.choice(labels, n))
        noise = torch.from_numpy(rng.normal(size=(n, 5))).float()
        return Embeddings(centres[y] + noise, y, torch.arange(n))

    sets: dict[Any, Embeddings] = {
        "reference": crops(100, [0, 1]),
        "known": crops(known, [0, 1]),
        "novel": crops(novel, [2, 3]),
        "ood": crops(ood, [4, 4, 4, 5, 6]),
        "calibration": crops(0, [0]),
        "clutter": crops(clutter, [7]),
    }
    groups: dict[Any, NDArray[np.str_]] = {
        name: np.array([f"flight {i}" for i in rng.integers(flights, size=len(part))], dtype=str)
        for name, part in sets.items()
    }
    return Evidence(
        sets, NAMES, 2, groups, frozenset({"debris"}), head=LinearHead(centres[:2], torch.zeros(2)) if head else None
    )


def test_rows_are_the_detectors_of_the_arm() -> None:
    assert detector_table(evidence(), draws=5).index.tolist() == DISTANCES + LOGITS
    without = detector_table(evidence(head=False), draws=5)
    assert without.index.tolist() == DISTANCES  # the same on both arms
    pd.testing.assert_frame_equal(without, detector_table(evidence(), draws=5).loc[DISTANCES])


def test_scores_are_those_of_the_detectors() -> None:
    given = evidence()
    x, y = given.sets["reference"].vectors, given.sets["reference"].labels
    z, result = given.sets["ood"].vectors, scorers(given)
    assert given.head is not None
    for name, expected in {
        "nearest prototype": PrototypeDetector().fit(x, y).score(z),
        "radius, maximum": PrototypeDetector().fit(x, y).score(z, kind="radius"),
        "radius, quantile 0.95": PrototypeDetector(0.95).fit(x, y).score(z, kind="radius"),
        "kNN, k = 1": KNNDetector(1).fit(x, y).score(z),
        "kNN, k = 5": KNNDetector(5).fit(x, y).score(z),
        "Mahalanobis": MahalanobisDetector().fit(x, y).score(z),
        "relative Mahalanobis": RelativeMahalanobisDetector().fit(x, y).score(z),
        "Mahalanobis, normalised": MahalanobisDetector(normalize=True).fit(x, y).score(z),
        "energy": EnergyDetector(*given.head).score(z),
        "ViM": ViMDetector(*given.head).fit(x, y).score(z),
    }.items():
        assert torch.equal(result[name](z), expected), name


def test_estimates_equal_the_metrics() -> None:
    given = evidence()
    table = detector_table(given, draws=5)
    for name, score in scorers(given).items():
        known, ood, novel = (score(given.sets[s].vectors) for s in ("known", "ood", "novel"))
        labels = np.array(NAMES)[given.sets["ood"].labels]
        far = np.isin(labels, [*given.far_ood])
        row = table.loc[name]
        assert row["auroc"] == auroc(known, ood)
        assert row["auroc_near"] == auroc(known, ood[~far])
        assert row["auroc_far"] == auroc(known, ood[far])
        assert row["auroc_macro"] == pytest.approx(np.mean([auroc(known, ood[labels == c]) for c in set(labels)]))
        assert row["novel_auroc"] == auroc(known, novel)
        for column, value in ood_metrics(known, ood)._asdict().items():
            assert row[column] == value
        assert (row["known"], row["ood"], row["novel"], row["groups"]) == (80, 60, 20, 6)


def test_clutter_stands_apart_from_the_others() -> None:
    given, plain = evidence(clutter=30), evidence()
    assert given.head is not None
    reject = LinearHead(torch.ones(1, 5), torch.zeros(1))
    table, without = detector_table(replace(given, reject=reject), draws=50), detector_table(plain, draws=50)
    assert table.index.tolist() == [*DISTANCES, *LOGITS, "reject class"]
    shared = [column for column in without if not column.startswith("clutter")]
    assert [column for column in table if column not in shared] == [
        "clutter_auroc",
        "clutter_auroc_low",
        "clutter_auroc_high",
        "clutter_auroc_spread",
    ]
    for name, score in scorers(replace(given, reject=reject)).items():
        known, clutter = (score(given.sets[s].vectors) for s in ("known", "clutter"))
        assert table.loc[name, "clutter_auroc"] == auroc(known, clutter)
        assert table.loc[name, "ood"] == 60
    z = given.sets["ood"].vectors
    expected = RejectDetector(*given.head, *reject).score(z)
    assert torch.equal(scorers(replace(given, reject=reject))["reject class"](z), expected)


@pytest.mark.parametrize("flights", [6, 60])
@pytest.mark.parametrize("novel", [0, 20])
def test_intervals_equal_the_slow_bootstrap(flights: int, novel: int) -> None:
    """Whether there are novel crops or not: they are not among what the OOD interval is about."""
    given = evidence(novel=novel, flights=flights)
    table, groups = detector_table(given, draws=200, seed=3), given.groups
    level = expanded_level(min(len(set(groups[s])) for s in ("known", "ood")))
    for name, score in scorers(given).items():
        known, ood = (score(given.sets[s].vectors).numpy() for s in ("known", "ood"))
        slow = slow_bootstrap(known, ood, groups["known"], groups["ood"], 200, seed=3, level=level)
        own = table.loc[name, ["auroc_low", "auroc_high"]].tolist()
        assert own == pytest.approx([slow.low, slow.high], abs=1e-12)


def test_few_flights_have_the_range_of_their_values() -> None:
    given = evidence(flights=3, novel=5)
    table, groups = detector_table(given, draws=5), given.groups
    assert set(table["auroc_spread"]) == set(table["novel_auroc_spread"]) == {"range"}
    for name, score in scorers(given).items():
        known, ood = (score(given.sets[s].vectors).numpy() for s in ("known", "ood"))
        single = [auroc(known[groups["known"] == f], ood[groups["ood"] == f]) for f in sorted(set(groups["known"]))]
        assert table.loc[name, ["auroc_low", "auroc_high"]].tolist() == pytest.approx([min(single), max(single)])
    assert set(detector_table(evidence(), draws=5)["auroc_spread"]) == {"interval"}


@pytest.mark.parametrize("flights", [3, 6])
def test_one_number_has_one_interval(tmp_path: Path, flights: int) -> None:
    """The table of detectors and the comparison say the same of one run."""
    given = evidence(flights=flights)
    given.save(tmp_path / "embeddings" / "test.npz")
    both = ood_interval([tmp_path])
    assert both is not None
    row = detector_table(given).loc["nearest prototype"]
    assert row[["auroc", "auroc_low", "auroc_high"]].tolist() == [both.estimate, both.low, both.high]


def test_the_same_seed_gives_the_same_table() -> None:
    first, again = (detector_table(evidence(), draws=50, seed=1) for _ in range(2))
    pd.testing.assert_frame_equal(first, again)
    other = detector_table(evidence(), draws=50, seed=2)
    assert (first["auroc"] == other["auroc"]).all()
    assert (first["auroc_low"] != other["auroc_low"]).any()


@pytest.mark.parametrize(
    ("sizes", "absent"),
    [
        ({"ood": 0}, ["auroc", "auroc_near_high", "auroc_macro", "aupr_ood_positive"]),
        ({"novel": 0}, ["novel_auroc", "novel_auroc_low"]),
        ({"known": 0}, ["auroc", "auroc_low", "novel_auroc", "detection_accuracy"]),
        ({"flights": 1}, ["auroc_low", "auroc_high", "novel_auroc_low"]),
        ({"known": 0, "ood": 0, "novel": 0}, ["auroc", "auroc_low", "novel_auroc_high"]),
    ],
)
def test_what_cannot_be_said_is_nan(sizes: dict[str, int], absent: list[str]) -> None:
    full, partial = detector_table(evidence(), draws=5), detector_table(evidence(**sizes), draws=5)  # type: ignore[arg-type]
    assert partial.columns.tolist() == full.columns.tolist()
    assert partial[absent].isna().all().all()
    assert not full[absent].isna().any().any()


def test_few_references_and_a_single_class() -> None:
    given = evidence()
    few = Embeddings(*(part[:3] for part in list(vars(given.sets["reference"]).values())[:3]))
    few = Embeddings(few.vectors, torch.zeros(3, dtype=torch.int64), few.index)
    table = detector_table(Evidence({**given.sets, "reference": few}, NAMES, 2, given.groups, head=given.head), draws=5)
    assert "kNN, k = 3" in table.index
    assert table.loc["relative Mahalanobis", "auroc"] == 0.5  # it says nothing about one class
    assert table["auroc"].notna().all()


def test_an_empty_reference_is_an_error() -> None:
    given = evidence()
    nothing = Embeddings(*(part[:0] for part in list(vars(given.sets["ood"]).values())[:3]))
    with pytest.raises(ValueError, match="at least one embedding"):
        detector_table(Evidence({**given.sets, "reference": nothing}, NAMES, 2, given.groups))
