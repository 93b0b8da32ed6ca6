"""Numbers behind a report that no callback logs: curves, confusions, coverage, mistakes."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dml_lightning.evaluation.evidence import Evidence
from dml_lightning.evaluation.naming import name_classes
from dml_lightning.evaluation.ood import reference_prototypes
from dml_lightning.flights.drift import FlightDrift, flight_drift
from dml_lightning.gallery.gallery import ALPHA, Gallery
from dml_lightning.openset import PrototypeDetector
from dml_lightning.openset.conformal import samples_needed
from dml_lightning.openset.thresholds import Threshold, conformal_threshold
from dml_lightning.types import EvaluationSet, Floats

ALPHAS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.3)
POINTS = 300  # of a curve that are drawn


def thresholds(
    evidence: Evidence, validation: Evidence | None = None, gallery: Gallery | None = None
) -> dict[str, Threshold]:
    """Thresholds on the distance to the nearest prototype, by their rule: those that the run decides by.

    Rule A is no threshold on this distance, for each class has its own ball. Embeddings without a gallery get rule B
    from validation crops, if there are any with OOD ones among them, and C from calibration crops, if there are enough
    for an alpha of 5 %.

    Args:
        evidence: Of the test.
        validation: Of the validation split.
        gallery: Of the run that the evidence is of.
    """
    if gallery is not None:
        return {
            rule: each
            for rule, each in gallery.thresholds.items()
            if rule in ("B", "C") and each.kind == "nearest" and np.isfinite(each.value)
        }
    prototypes, found = reference_prototypes(evidence), dict[str, Threshold]()
    if validation is not None and len(validation.sets["ood"]) and len(validation.sets["known"]):
        known, ood = (validation.sets[name].vectors for name in ("known", "ood"))
        found["B"] = prototypes.choose(known, rule="B", kind="nearest", ood=ood)
    calibration = evidence.sets["calibration"]
    if len(calibration) >= samples_needed(ALPHA):
        groups = evidence.groups["calibration"]
        found["C"] = prototypes.choose(calibration.vectors, rule="C", kind="nearest", alpha=ALPHA, groups=groups)
    return found


def thinned(length: int) -> NDArray[np.int64]:
    """Which points of a curve are drawn: at most `POINTS`, evenly, with the first and the last."""
    return np.unique(np.linspace(0, length - 1, min(POINTS, length)).astype(np.int64))


def roc(known: Floats, ood: Floats) -> tuple[Floats, Floats]:
    """Share of known crops refused, and of OOD crops, at every threshold from strict to lenient.

    Returns:
        Two ascending arrays from 0 to 1, thinned to at most `POINTS`.
    """
    cuts = np.unique(np.concatenate([known, ood]))[::-1]
    refused = [np.append(0.0, 1 - np.searchsorted(np.sort(s), cuts, side="left") / len(s)) for s in (known, ood)]
    kept = thinned(len(cuts) + 1)
    return refused[0][kept], refused[1][kept]


def named(evidence: Evidence) -> NDArray[np.int64]:
    """Labels (N,) that the arm's own rule gives the known crops."""
    rules = name_classes(evidence.sets["known"], evidence.sets["reference"])
    return np.asarray(rules[evidence.prediction_rule].numpy())


def confusion_counts(evidence: Evidence) -> NDArray[np.int64]:
    """Known crops (C, C) by true class (rows) and by the class that the arm's own rule gives (columns)."""
    table = np.zeros((evidence.num_classes, evidence.num_classes), np.int64)
    np.add.at(table, (evidence.sets["known"].labels.numpy(), named(evidence)), 1)
    return table


@dataclass(frozen=True)
class Coverage:
    """Rule C as the run uses it, checked on the known test crops."""

    refused: dict[float, float]  # share of known test crops refused, by alpha
    alpha: float  # of the rule
    by_flight: dict[str, tuple[float, int]]  # share refused by the rule, and crops; empty if unnamed
    samples: int  # calibration crops
    flights: int  # they came from


def coverage(evidence: Evidence, rule: Threshold | None) -> Coverage | None:
    """False rejection that was asked for, and that was had; None without rule C.

    Args:
        evidence: Of the test.
        rule: C, as `thresholds` has it.
    """
    if rule is None:
        return None
    scores = _nearest(evidence, "known")
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


def drift_of_test(evidence: Evidence, rule: Threshold | None) -> list[FlightDrift]:
    """Each test flight's known crops beside rule C's calibration flights; empty with fewer than three of those."""
    if rule is None or rule.groups < 3 or not len(evidence.sets["known"]):
        return []
    scores, flights = _nearest(evidence, "known"), evidence.groups["known"]
    try:
        return flight_drift(rule.scores, rule.owners, scores, flights, cut=False)
    except ValueError:
        return []  # three flights, but not with enough crops each


def _nearest(evidence: Evidence, name: EvaluationSet) -> Floats:
    """Distance (N,) of each crop of a set to the nearest prototype."""
    return np.asarray(reference_prototypes(evidence).score(evidence.sets[name].vectors.numpy(), kind="nearest"))


@dataclass(frozen=True)
class Mistake:
    """A crop that the model is sure of, and wrong about."""

    truth: str
    said: str
    confidence: str  # in words
    flight: str
    thumbnail: NDArray[np.uint8] | None  # (S, S)


def mistakes(evidence: Evidence, number: int = 12) -> dict[str, list[Mistake]]:
    """The worst of three kinds of mistakes: wrong names, OOD taken for known, known taken for OOD."""
    detector = reference_prototypes(evidence)
    names = evidence.class_names
    said, sure, unit = _confidence(evidence, detector)
    known, ood = evidence.sets["known"], evidence.sets["ood"]
    wrong = np.flatnonzero(said != known.labels.numpy())
    worst = wrong[np.argsort(-sure[wrong], kind="stable")][:number]
    found = {
        "Named wrongly, with the most confidence": [
            _mistake(evidence, "known", row, names[said[row]], f"{unit} {sure[row]:.2f}") for row in worst
        ]
    }
    if len(ood):
        distances = np.asarray(detector.distances(ood.vectors.numpy()))
        nearest = distances.min(1)
        found["Not a known species, and closest to one"] = [
            _mistake(evidence, "ood", row, names[distances[row].argmin()], f"distance {nearest[row]:.2f}")
            for row in np.argsort(nearest, kind="stable")[:number]
        ]
    distances = np.asarray(detector.distances(known.vectors.numpy()))
    nearest = distances.min(1)
    found["Known species, and farthest from all of them"] = [
        _mistake(evidence, "known", row, "unknown", f"distance {nearest[row]:.2f}")
        for row in np.argsort(-nearest, kind="stable")[:number]
    ]
    return {title: crops for title, crops in found.items() if crops}


def _confidence(evidence: Evidence, detector: PrototypeDetector) -> tuple[NDArray[np.int64], Floats, str]:
    """The names given to the known crops, how sure the arm is of each, and what that is called."""
    known, said = evidence.sets["known"], named(evidence)
    if evidence.prediction_rule == "softmax" and known.logits is not None:
        return said, known.logits.double().softmax(1).amax(1).numpy(), "probability"
    distances = np.asarray(detector.distances(known.vectors.numpy()))
    rows = np.arange(len(said))
    return said, distances[rows, known.labels.numpy()] - distances[rows, said], "closer by"


def _mistake(evidence: Evidence, name: str, row: int, said: str, confidence: str) -> Mistake:
    part = evidence.sets[name]  # type: ignore[index] # one of the evaluation sets
    images = evidence.thumbnails.get(name)  # type: ignore[call-overload]
    return Mistake(
        truth=evidence.class_names[int(part.labels[row])],
        said=said,
        confidence=confidence,
        flight=str(evidence.groups[name][row]),  # type: ignore[index]
        thumbnail=None if images is None else images[row],
    )
