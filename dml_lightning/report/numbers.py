"""Numbers of a report that no callback logs: curves, confusions, coverage, mistakes."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dml_lightning.evaluation.evidence import Evidence
from dml_lightning.evaluation.naming import names_of_known
from dml_lightning.evaluation.ood import reference_prototypes
from dml_lightning.flights.drift import FlightDrift, flight_drift
from dml_lightning.gallery.answer import answer
from dml_lightning.gallery.gallery import ALPHA, Gallery
from dml_lightning.metrics.ood import auroc
from dml_lightning.openset import PrototypeDetector
from dml_lightning.openset.conformal import samples_needed
from dml_lightning.openset.thresholds import Threshold, conformal_threshold
from dml_lightning.types import EvaluationSet, Floats

ALPHAS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.3)
POINTS = 300  # largest number of points of a curve that are drawn


def thresholds(
    evidence: Evidence, validation: Evidence | None = None, gallery: Gallery | None = None
) -> dict[str, Threshold]:
    """Thresholds by rule (B or C), on the run's score, or on the distance to the nearest prototype.

    They are those of the run's gallery. Rule A is not among them, since it has a ball for each class. Without a
    gallery, rule B is chosen on validation crops, if there are known and OOD ones, and rule C on calibration crops, if
    there are enough for an alpha of 5 %.

    Args:
        evidence: Test embeddings.
        validation: Validation embeddings of the same encoder.
        gallery: Gallery of the same run.
    """
    if gallery is not None:
        return {
            rule: each for rule, each in gallery.thresholds.items() if rule in ("B", "C") and np.isfinite(each.value)
        }
    prototypes, rules = reference_prototypes(evidence), dict[str, Threshold]()
    if validation is not None and len(validation.sets["ood"]) and len(validation.sets["known"]):
        known, ood = (validation.sets[name].vectors for name in ("known", "ood"))
        rules["B"] = prototypes.choose(known, rule="B", kind="nearest", ood=ood)
    calibration = evidence.sets["calibration"]
    if len(calibration) >= samples_needed(ALPHA):
        groups = evidence.groups["calibration"]
        rules["C"] = prototypes.choose(calibration.vectors, rule="C", kind="nearest", alpha=ALPHA, groups=groups)
    return rules


def thinned_indices(length: int) -> NDArray[np.int64]:
    """Indices of at most `POINTS` points of a curve, spread evenly from the first to the last.

    >>> len(thinned_indices(1000)), thinned_indices(1000)[:3].tolist(), thinned_indices(3).tolist()
    (300, [0, 3, 6], [0, 1, 2])
    """
    return np.unique(np.linspace(0, length - 1, min(POINTS, length)).astype(np.int64))


def roc(known: Floats, ood: Floats) -> tuple[Floats, Floats]:
    """Shares of known and of OOD crops that are refused, at every threshold from the highest score to the lowest.

    Args:
        known: Scores (N,) of known crops; larger is more OOD.
        ood: Scores (M,) of OOD crops.

    Returns:
        Shares of known and of OOD crops refused, ascending from 0 to 1, a point per threshold.

    >>> known, ood = roc(np.array([0.1, 0.2]), np.array([0.2, 0.9]))
    >>> known.tolist(), ood.tolist()
    ([0.0, 0.0, 0.5, 1.0], [0.0, 0.5, 1.0, 1.0])
    """
    cuts = np.unique(np.concatenate([known, ood]))[::-1]
    refused = [(len(s) - np.searchsorted(np.sort(s), cuts, side="left")) / len(s) for s in (known, ood)]
    return np.append(0.0, refused[0]), np.append(0.0, refused[1])


def named(evidence: Evidence) -> NDArray[np.int64]:
    """Labels (N,) that the arm's own prediction rule gives to the known crops."""
    return np.asarray(names_of_known(evidence).numpy())


def confusion_counts(evidence: Evidence) -> NDArray[np.int64]:
    """Number of known crops (C, C) by true class (rows) and the class that the arm's own rule gives (columns)."""
    table = np.zeros((evidence.num_classes, evidence.num_classes), np.int64)
    np.add.at(table, (evidence.sets["known"].labels.numpy(), named(evidence)), 1)
    return table


@dataclass(frozen=True)
class Coverage:
    """Rule C as the run uses it, checked on the known test crops."""

    refused: dict[float, float]  # share of known test crops refused, by alpha
    alpha: float  # share that the rule may refuse
    by_flight: dict[str, tuple[float, int]]  # share refused, and number of crops; empty if flights are not named
    samples: int  # number of calibration crops
    flights: int  # number of flights that they come from; as many as crops where one of each counts


def coverage(evidence: Evidence, rule: Threshold | None, gallery: Gallery | None = None) -> Coverage | None:
    """Measures the share of known test crops that rule C refuses, by the share asked for; None without rule C.

    Args:
        evidence: Test embeddings.
        rule: Rule C of `thresholds`.
        gallery: Gallery of the same run, whose score the rule is on.
    """
    if rule is None:
        return None
    assert gallery is not None or rule.kind == "nearest"
    scores = _nearest(evidence, "known") if gallery is None else gallery.scores(evidence.sets["known"])
    alphas = sorted({*ALPHAS, rule.alpha})
    refused = {
        alpha: float(conformal_threshold(rule.scores, alpha).refuses(scores).mean())
        for alpha in alphas
        if rule.samples >= samples_needed(alpha)
    }
    flights, decided = evidence.groups["known"], rule.refuses(scores)
    names = np.unique(flights)
    by_flight = {
        str(flight): (float(decided[flights == flight].mean()), int((flights == flight).sum()))
        for flight in (names if len(names) < len(flights) else ())
    }
    return Coverage(refused, rule.alpha, by_flight, rule.samples, rule.groups)


@dataclass(frozen=True)
class RuleOnTest:
    """A rule of a gallery on the test crops."""

    score: str  # what it compares with its threshold
    known_refused: float  # share of known crops
    ood_refused: float  # share of OOD crops
    auroc: float  # of the score


def rules_on_test(evidence: Evidence, gallery: Gallery) -> dict[str, RuleOnTest]:
    """What each rule of a run refuses of its known and OOD test crops, by rule.

    Args:
        evidence: Test embeddings.
        gallery: Gallery of the same run, whose enrolled species count as known.
    """
    known, ood = (answer(gallery, evidence.sets[name]) for name in ("known", "ood"))
    return {
        rule: RuleOnTest(
            each.score,
            float((~known.known[rule]).mean()),
            float((~ood.known[rule]).mean()),
            auroc(known.score[rule], ood.score[rule]),
        )
        for rule, each in gallery.thresholds.items()
    }


def drift_of_test(evidence: Evidence, rule: Threshold | None, gallery: Gallery | None = None) -> list[FlightDrift]:
    """Tests each test flight's known crops for drift from the calibration flights of rule C.

    Args:
        evidence: Test embeddings.
        rule: Rule C of `thresholds`.
        gallery: Gallery of the same run, which holds all calibration crops where rule C takes one per flight.

    Returns:
        An entry per flight; none without rule C, or with too few calibration flights or crops for a test.
    """
    if rule is None or rule.groups < 3 or not len(evidence.sets["known"]):
        return []
    calibration, owners = (rule.scores, rule.owners) if gallery is None else gallery.calibration_scores()
    scores, flights = _nearest(evidence, "known"), evidence.groups["known"]
    try:
        return flight_drift(calibration, owners, scores, flights, cut=False)
    except ValueError:
        return []  # three flights, but too few crops of each


def _nearest(evidence: Evidence, name: EvaluationSet) -> Floats:
    """Distance (N,) of each crop of a set to the nearest prototype."""
    return np.asarray(reference_prototypes(evidence).score(evidence.sets[name].vectors.numpy(), kind="nearest"))


@dataclass(frozen=True)
class Mistake:
    """A crop whose class the model gets wrong with confidence."""

    truth: str  # true class
    said: str  # class that the model gives, or "unknown"
    confidence: str  # as text, such as "probability 0.98"
    flight: str
    thumbnail: NDArray[np.uint8] | None  # (S, S)


def mistakes(evidence: Evidence, number: int = 12) -> dict[str, list[Mistake]]:
    """The most confident mistakes of three kinds: wrong names, OOD taken for known, known taken for OOD.

    Args:
        evidence: Test embeddings.
        number: Largest number of crops of a kind.

    Returns:
        Mistakes by a title of their kind, the most confident first; kinds without a crop are left out.
    """
    detector = reference_prototypes(evidence)
    names = evidence.class_names
    predicted, confidence, unit = _confidence(evidence, detector)
    known, ood = evidence.sets["known"], evidence.sets["ood"]
    wrong = np.flatnonzero(predicted != known.labels.numpy())
    worst = wrong[np.argsort(-confidence[wrong], kind="stable")][:number]
    kinds = {
        "Named wrongly, with the most confidence": [
            _mistake(evidence, "known", row, names[predicted[row]], f"{unit} {confidence[row]:.2f}") for row in worst
        ]
    }
    if len(ood):
        distances = np.asarray(detector.distances(ood.vectors.numpy()))
        nearest = distances.min(1)
        kinds["Not a known species, and closest to one"] = [
            _mistake(evidence, "ood", row, names[distances[row].argmin()], f"distance {nearest[row]:.2f}")
            for row in np.argsort(nearest, kind="stable")[:number]
        ]
    distances = np.asarray(detector.distances(known.vectors.numpy()))
    nearest = distances.min(1)
    kinds["Known species, and farthest from all of them"] = [
        _mistake(evidence, "known", row, "unknown", f"distance {nearest[row]:.2f}")
        for row in np.argsort(-nearest, kind="stable")[:number]
    ]
    return {title: crops for title, crops in kinds.items() if crops}


def _confidence(evidence: Evidence, detector: PrototypeDetector) -> tuple[NDArray[np.int64], Floats, str]:
    """Labels (N,) given to the known crops, the confidence (N,) in each, and the name of that measure."""
    known, predicted = evidence.sets["known"], named(evidence)
    if evidence.prediction_rule == "softmax" and known.logits is not None:
        return predicted, known.logits.double().softmax(1).amax(1).numpy(), "probability"
    distances = np.asarray(detector.distances(known.vectors.numpy()))
    rows = np.arange(len(predicted))
    return predicted, distances[rows, known.labels.numpy()] - distances[rows, predicted], "closer by"


def _mistake(evidence: Evidence, name: str, row: int, predicted: str, confidence: str) -> Mistake:
    """The mistake at one row of an evaluation set."""
    part = evidence.sets[name]  # type: ignore[index] # one of the evaluation sets
    images = evidence.thumbnails.get(name)  # type: ignore[call-overload]
    return Mistake(
        truth=evidence.class_names[int(part.labels[row])],
        said=predicted,
        confidence=confidence,
        flight=str(evidence.groups[name][row]),  # type: ignore[index]
        thumbnail=None if images is None else images[row],
    )
