"""Confusion matrix of a gallery on held-out flights, which corrects counts, and its variation between flights.

R true classes (rows): the known ones, then the enrolled species that have held-out crops, then everything else.
K answers (columns): the names in the gallery, then "unknown".
"""

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dml_lightning.evaluation.split import Split
from dml_lightning.gallery.decisions import DecidingGallery, repeated
from dml_lightning.types import UNKNOWN, EvaluationSet, Floats

FALSE = "false boxes"  # what the detector marked where there is nothing
OTHER = "other"  # the true class of all that no name in the gallery fits
PRIOR = 0.5  # weight of a class's uniform prior over the answers, in crops
LARGEST_CORRELATION = 0.95  # beyond it the moments of few flights mean nothing
HELD_OUT: tuple[EvaluationSet, ...] = ("known", "novel", "ood")


class Errors(NamedTuple):
    """Moments of the error of a class's estimated shares, relative to those of a single answer."""

    second: Floats  # (R,) of the variance
    third: Floats  # (R,) of the third central moment


@dataclass(frozen=True, eq=False)
class Confusion:
    """Answers to held-out crops, by flight.

    Example:
        >>> confusion = Confusion(["teal", OTHER], ["teal", UNKNOWN], np.array([[[3.0, 0.0], [1.0, 2.0]]]), ["f1"])
        >>> confusion.shares.round(3)
        array([[0.929, 0.071],
               [0.357, 0.643]])
    """

    rows: list[str]  # (R,) true classes, the last is OTHER
    columns: list[str]  # (K,) answers, the last is UNKNOWN
    counts: Floats  # (F, R, K) number of crops of each flight
    flights: list[str]  # (F,) names

    @property
    def shares(self) -> Floats:
        """Estimated probability (R, K) of each answer for each true class; rows sum to 1.

        The mean over flights, weighted by what their crops tell where those of one flight resemble each other, with a
        uniform prior of weight PRIOR.
        """
        weights, sizes = self._weights, self.counts.sum(axis=2)
        each = self.counts / np.maximum(sizes, 1)[:, :, None]
        smoothed = np.einsum("fr,frk->rk", weights, each) + PRIOR / self.counts.shape[-1]
        shares: Floats = smoothed / smoothed.sum(axis=-1, keepdims=True)
        return shares

    @property
    def shares_by_flight(self) -> list[Floats]:
        """`shares` (R, K) of each flight alone; of a class without crops in it those of all flights."""
        pooled, parts = self.shares, []
        for own in self.counts:
            alone = Confusion(self.rows, self.columns, own[None], ["alone"]).shares
            parts.append(np.where(own.sum(axis=1, keepdims=True) > 0, alone, pooled))
        return parts

    @property
    def errors(self) -> Errors:
        """Error of `shares`; for a class without crops that of a single crop."""
        rho, sizes = self._correlation, self.counts.sum(axis=2)
        total = self._weights.sum(axis=0)
        weights = np.where(sizes > 0, self._weights / np.maximum(total, 1e-12) / np.maximum(sizes, 1), 0)
        second = (weights**2 * sizes * (1 - rho + sizes * rho)).sum(axis=0)
        third = (weights**3 * sizes * (1 - rho + sizes * rho) * (1 - rho + 2 * sizes * rho)).sum(axis=0) / (1 + rho)
        return Errors(np.where(total > 0, second, 1), np.where(total > 0, third, 1))

    @property
    def _weights(self) -> Floats:
        """Number (F, R) of independent crops that would tell as much as those of each flight."""
        sizes = self.counts.sum(axis=2)
        weights: Floats = sizes / (1 + np.maximum(sizes - 1, 0) * self._correlation)
        return weights

    @property
    def _correlation(self) -> float:
        return 0.0 if np.isnan(self.correlation) else self.correlation

    @property
    def uncorrected(self) -> list[str]:
        """Names in the gallery that are not a true class here: enrolled species without held-out crops."""
        return [name for name in self.columns[:-1] if name not in self.rows]

    def corrigible(self) -> "Confusion":
        """The confusion without the answers in `uncorrected`."""
        kept = [i for i, name in enumerate(self.columns) if name not in self.uncorrected]
        columns = [self.columns[i] for i in kept]
        return Confusion(self.rows, columns, self.counts[:, :, kept], self.flights)

    @property
    def units(self) -> int:
        """Number of flights with crops of a species: others do not tell how differently flights answer to them."""
        return int((self.counts[:, :-1].sum(axis=(1, 2)) > 0).sum())

    @property
    def freedom(self) -> float:
        """Degrees of freedom of `correlation`: a third of the number of differences between flights, over all classes.

        By 2 mean² / variance (Satterthwaite, Biometrics Bulletin 2, 1946), in simulations with 5 to 20 flights, it
        scatters like a variance of all of them where classes have many crops, and of 0.29 to 0.37 times as many where
        they have few and nine of ten answers are right; a third is on the safe side.
        """
        return float(np.maximum((self.counts.sum(axis=2) > 0).sum(axis=0) - 1, 0).sum() / 3)

    @cached_property
    def correlation(self) -> float:
        """Intra-flight correlation of answers, from 0 (flights alike) to 1; NaN where nothing tells.

        By analysis of variance of the one-hot answers, pooled over the true classes. For a class with n_f crops in
        flight f, the mean squares between flights B and within them W have the means S (1 + (m - 1) rho) and
        S (1 - rho), where m = (N - sum_f n_f² / N) / (F - 1). Few rare answers, which dominate Pearson's statistic,
        hardly change it.
        """
        between = total = measured = 0.0
        for counts in self.counts.transpose(1, 0, 2):  # (F, K) of one class
            crops = counts[counts.sum(axis=1) > 0]
            sizes, flights = crops.sum(axis=1), len(crops)
            if flights < 2 or sizes.sum() == flights:
                continue
            number = sizes.sum()
            each, mean = crops / sizes[:, None], crops.sum(axis=0) / number
            differs = float((sizes[:, None] * (each - mean) ** 2).sum())
            within = float((sizes * (1 - (each**2).sum(axis=1))).sum()) / (number - flights)
            measured += flights - 1
            typical = (number - (sizes**2).sum() / number) / (flights - 1)
            between += differs - (flights - 1) * within
            total += differs + (flights - 1) * (typical - 1) * within
        if not measured:
            return float("nan")
        return float(np.clip(between / total, 0, LARGEST_CORRELATION)) if total > 0 else 0.0


def held_out_confusion(gallery: DecidingGallery, evidence: Split, rule: str) -> Confusion:
    """Count the answers of a gallery to held-out crops, of flights that chose none of its thresholds.

    Flights with a crop that rule C was recalibrated on are left out. A class of the evidence that was enrolled since
    becomes a true class of its own if any of its crops is left; of flights whose crops of it were enrolled, none is
    counted.

    Args:
        gallery: Gallery of the encoder that made the evidence.
        evidence: Embeddings of held-out crops.
        rule: Rule by which crops are refused.

    Raises:
        ValueError: If a name in the gallery is that of a row of counts, or no crop of a species is left.
    """
    taken = [name for name in gallery.names if name in (OTHER, UNKNOWN, FALSE)]
    if taken:
        raise ValueError(
            f"a class is called {taken[0]!r}, which stands for boxes of no known class in counts: give it another name."
        )
    columns = [*gallery.names, UNKNOWN]
    chose = _calibrated_on(gallery, evidence)
    fresh = {name: _fresh(gallery, evidence, name) & ~np.isin(evidence.groups[name], chose) for name in HELD_OUT}
    present = {
        evidence.class_names[label] for name in HELD_OUT for label in evidence.sets[name].labels[fresh[name]].tolist()
    }
    new = [species.label for species in gallery.enrolled if species.label in present]
    rows = [*gallery.class_names, *new, OTHER]
    row, column = ({name: i for i, name in enumerate(names)} for names in (rows, columns))
    flights = sorted({flight for name in HELD_OUT for flight in evidence.groups[name][fresh[name]].tolist()})
    place = {flight: i for i, flight in enumerate(flights)}
    counts = np.zeros((len(flights), len(rows), len(columns)))
    for name in HELD_OUT:
        part, kept = evidence.sets[name], fresh[name]
        if not len(part.labels):
            continue
        labels, is_known = gallery.decide(part, rule)
        for label, predicted, known, flight in zip(
            np.array(evidence.class_names)[part.labels][kept].tolist(),
            np.array(labels)[kept].tolist(),
            is_known[kept].tolist(),
            evidence.groups[name][kept].tolist(),
            strict=True,
        ):
            answered = column[predicted if known else UNKNOWN]
            counts[place[flight], row.get(label, row[OTHER]), answered] += 1
    matrix = Confusion(rows, columns, counts, flights)
    if not matrix.units:
        why = "rule C was recalibrated on crops of every test flight" if chose else "the test has no crop of a species"
        raise ValueError(f"{why}, so none is left to count by.")
    return matrix


def _calibrated_on(gallery: DecidingGallery, evidence: Split) -> list[str]:
    """Flights of the evidence with a crop that rule C was calibrated on, told by its distances to the prototypes."""
    known = evidence.sets["known"]
    if gallery.calibration is None or not len(known.labels):
        return []
    distances = gallery.distances(known.vectors).astype(np.float32)
    same = repeated(distances, gallery.calibration.distances.astype(np.float32))
    return sorted(set(evidence.groups["known"][same].tolist()))


def _fresh(gallery: DecidingGallery, evidence: Split, name: EvaluationSet) -> NDArray[np.bool_]:
    """Whether each crop (N,) is of a class and flight of which no crop was enrolled."""
    part = evidence.sets[name]
    enrolled = np.zeros(len(part.vectors), bool)
    for species in gallery.enrolled if len(part.vectors) else ():
        enrolled |= repeated(part.vectors, species.vectors)
    owners = list(zip(part.labels.tolist(), evidence.groups[name].tolist(), strict=True))
    taken = {owner for owner, is_enrolled in zip(owners, enrolled, strict=True) if is_enrolled}
    return np.array([owner not in taken for owner in owners], dtype=bool)
