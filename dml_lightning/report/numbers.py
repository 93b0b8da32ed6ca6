"""Numbers behind a report that no callback logs: curves, confusions, coverage, mistakes."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dml_lightning.callbacks import (
    Accuracy,
    ActiveTriplets,
    Assumptions,
    DistanceRatio,
    OODDetection,
    Retrieval,
    Structure,
)
from dml_lightning.callbacks.base import Measurement
from dml_lightning.evaluation.evidence import Evidence
from dml_lightning.evaluation.naming import name_classes
from dml_lightning.flights.drift import FlightDrift, flight_drift
from dml_lightning.openset import AssumptionReport, PrototypeDetector, assumption_report
from dml_lightning.openset.conformal import samples_needed

MEASUREMENTS: tuple[Measurement, ...] = (
    Accuracy(),
    DistanceRatio(),
    Retrieval(),
    OODDetection(),
    ActiveTriplets(),
    Assumptions(),
    Structure(),
)
ALPHAS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.3)
POINTS = 300  # of a curve that are drawn
Floats = NDArray[np.float64]


def measure(evidence: Evidence) -> dict[str, float]:
    """Every number of a test, by its name without the stage, with the callbacks' default settings."""
    found: dict[str, float] = {}
    for measurement in MEASUREMENTS:
        found |= measurement.compute(evidence)
    return {key: found[key] for key in sorted(found)}


def fitted(evidence: Evidence) -> PrototypeDetector:
    """Prototypes and radii of the reference crops."""
    reference = evidence.sets["reference"]
    return PrototypeDetector().fit(reference.vectors.numpy(), reference.labels.numpy())


def thresholds(evidence: Evidence, validation: Evidence | None = None) -> dict[str, float]:
    """Thresholds on the distance to the nearest prototype, by the name of their rule.

    Rule B from validation crops, if there are any with OOD ones among them; C from calibration crops, if there are
    enough. Rule A is no threshold on this distance, for each class has its own ball.
    """
    detector = fitted(evidence)
    found: dict[str, float] = {}
    if validation is not None and len(validation.sets["ood"]) and len(validation.sets["known"]):
        known, ood = (validation.sets[name].vectors.numpy() for name in ("known", "ood"))
        detector.calibrate(known, rule="B", kind="nearest", ood=ood)
        found["B: validation"] = detector.threshold.value
    calibration = evidence.sets["calibration"]
    if len(calibration) >= samples_needed(0.05):
        detector.calibrate(calibration.vectors.numpy(), rule="C", kind="nearest", alpha=0.05)
        found["C: conformal 5 %"] = detector.threshold.value
    return {rule: cut for rule, cut in found.items() if np.isfinite(cut)}


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


def confusion(evidence: Evidence) -> NDArray[np.int64]:
    """Known crops (C, C) by true class (rows) and by the class that the arm's own rule gives (columns)."""
    table = np.zeros((evidence.num_classes, evidence.num_classes), np.int64)
    np.add.at(table, (evidence.sets["known"].labels.numpy(), named(evidence)), 1)
    return table


def assumptions(evidence: Evidence) -> AssumptionReport:
    """Which conditions of the separation theorem hold on the test crops."""
    known, ood = evidence.sets["known"], evidence.sets["ood"]
    return assumption_report(fitted(evidence), known.vectors.numpy(), known.labels.numpy(), ood.vectors.numpy())


@dataclass(frozen=True)
class Coverage:
    """Rule C on the calibration crops, checked on the known test crops."""

    refused: dict[float, float]  # share of known test crops refused, by alpha
    by_flight: dict[str, tuple[float, int]]  # share refused at 5 %, and crops; empty if unnamed
    samples: int  # calibration crops
    flights: int  # they came from


def coverage(evidence: Evidence) -> Coverage | None:
    """False rejection that was asked for, and that was had; None without enough calibration crops for 5 %."""
    calibration, known = evidence.sets["calibration"], evidence.sets["known"]
    if len(calibration) < samples_needed(0.05):
        return None
    detector, refused = fitted(evidence), {}
    for alpha in ALPHAS:
        if len(calibration) >= samples_needed(alpha):
            detector.calibrate(calibration.vectors.numpy(), rule="C", kind="nearest", alpha=alpha)
            refused[alpha] = float(detector.predict(known.vectors.numpy()).is_ood.mean())
    detector.calibrate(calibration.vectors.numpy(), rule="C", kind="nearest", alpha=0.05)
    decided = detector.predict(known.vectors.numpy()).is_ood
    flights = evidence.groups["known"]
    names = np.unique(flights)
    by_flight = {
        str(flight): (float(decided[flights == flight].mean()), int((flights == flight).sum()))
        for flight in (names if len(names) < len(known) else ())
    }
    return Coverage(refused, by_flight, len(calibration), len(np.unique(evidence.groups["calibration"])))


def drift(evidence: Evidence) -> list[FlightDrift]:
    """Each test flight's known crops beside the calibration flights; empty with fewer than three of those."""
    calibration, known = evidence.sets["calibration"], evidence.sets["known"]
    _, owners = np.unique(evidence.groups["calibration"], return_inverse=True)
    if len(np.unique(owners)) < 3 or not len(known):
        return []
    detector = fitted(evidence)
    known_scores, held_out = (detector.score(part.vectors.numpy(), kind="nearest") for part in (known, calibration))
    try:
        return flight_drift(held_out, owners, known_scores, evidence.groups["known"], cut=False)
    except ValueError:
        return []  # three flights, but not with enough crops each


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
    detector = fitted(evidence)
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
