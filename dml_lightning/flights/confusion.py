"""Confusion matrix of a gallery on held-out flights, which corrects counts, and its variation between flights.

R true classes (rows): the known ones, then the enrolled species that have held-out crops, then everything else.
K answers (columns): the names in the gallery, then "unknown".
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dml_lightning.evaluation.evidence import Evidence
from dml_lightning.gallery.answer import answer
from dml_lightning.gallery.changes import repeated
from dml_lightning.gallery.gallery import Gallery
from dml_lightning.types import EvaluationSet

UNKNOWN = "unknown"  # the answer of a refused box
OTHER = "other"  # the true class of all that no name in the gallery fits
PRIOR = 1.0  # weight of a class's uniform prior over the answers, in crops
HELD_OUT: tuple[EvaluationSet, ...] = ("known", "novel", "ood")


@dataclass(frozen=True, eq=False)
class Confusion:
    """Answers to held-out crops, by flight.

    Example:
        >>> confusion = Confusion(["teal", OTHER], ["teal", UNKNOWN], np.array([[[3.0, 0.0], [1.0, 2.0]]]), ["f1"])
        >>> confusion.shares
        array([[0.875, 0.125],
               [0.375, 0.625]])
    """

    rows: list[str]  # (R,) true classes, the last is OTHER
    columns: list[str]  # (K,) answers, the last is UNKNOWN
    counts: NDArray[np.float64]  # (F, R, K) number of crops of each flight
    flights: list[str]  # (F,) names

    @property
    def shares(self) -> NDArray[np.float64]:
        """Estimated probability (R, K) of each answer for each true class; rows sum to 1."""
        return _shares(self.counts.sum(axis=0))

    def drawn(self, draws: int, seed: int) -> NDArray[np.float64]:
        """`shares` (draws, R, K) under resampled flights, by a Bayesian bootstrap, in which no class is lost.

        The F weights are drawn from Dirichlet(1 - 2/F) instead of Rubin's Dirichlet(1), which gives a mean its
        unbiased variance. This matters with few flights.

        Args:
            draws: Number of draws.
            seed: Seed of the draws.
        """
        flights = len(self.flights)
        concentration = np.full(flights, max(flights - 2, 1) / flights)
        weights = flights * np.random.default_rng(seed).dirichlet(concentration, draws)
        return _shares(np.einsum("bf,frk->brk", weights, self.counts))

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
    def overdispersion(self) -> float:
        """Intra-flight correlation of answers, from 0 (flights alike) to 1, pooled over the true classes.

        By moments of the Dirichlet-multinomial: with n_f crops of a class in flight f, x_fk of them answered by k, and
        shares p, Pearson's sum_fk (x_fk - n_f p_k)² / (n_f p_k) has the mean (K - 1) sum_f (1 + (n_f - 1) rho), here
        with the degrees of freedom corrected for the estimation of p.
        """
        excess = weight = 0.0
        for counts in self.counts.transpose(1, 0, 2):  # (F, K) of one class
            sizes = counts.sum(axis=1)
            seen, present = counts.sum(axis=0) > 0, sizes > 0
            flights, answers = int(present.sum()), int(seen.sum())
            if flights < 2 or answers < 2:
                continue
            x, n = counts[present][:, seen], sizes[present]
            expected = n[:, None] * x.sum(axis=0) / n.sum()
            pearson = float(((x - expected) ** 2 / expected).sum())
            freedom = (flights - 1) * (answers - 1)
            excess += pearson - freedom
            weight += freedom * float(((n - 1) * (1 - n / n.sum())).sum() / (flights - 1))
        return float(np.clip(excess / weight, 0, 0.99)) if weight > 0 else 0.0


def held_out_confusion(gallery: Gallery, evidence: Evidence, rule: str) -> Confusion:
    """Count the answers of a gallery to held-out crops.

    A class of the evidence that was enrolled since becomes a true class of its own if any of its crops is left;
    the crops that were enrolled are not counted.

    Args:
        gallery: Gallery of the encoder that made the evidence.
        evidence: Embeddings of held-out crops.
        rule: Rule by which crops are refused.

    Raises:
        ValueError: If a name in the gallery is "other" or "unknown".
    """
    taken = [name for name in gallery.names if name in (OTHER, UNKNOWN)]
    if taken:
        raise ValueError(
            f"a class is called {taken[0]!r}, which stands for boxes of no known class in counts: give it another name."
        )
    columns = [*gallery.names, UNKNOWN]
    fresh = {name: ~_enrolled(gallery, evidence.sets[name].vectors.numpy()) for name in HELD_OUT}
    present = {
        evidence.class_names[label]
        for name in HELD_OUT
        for label in evidence.sets[name].labels.numpy()[fresh[name]].tolist()
    }
    new = [species.label for species in gallery.enrolled if species.label in present]
    rows = [*gallery.class_names, *new, OTHER]
    row, column = ({name: i for i, name in enumerate(names)} for names in (rows, columns))
    flights = sorted({flight for name in HELD_OUT for flight in evidence.groups[name].tolist()})
    place = {flight: i for i, flight in enumerate(flights)}
    counts = np.zeros((len(flights), len(rows), len(columns)))
    for name in HELD_OUT:
        if not len(evidence.sets[name]):
            continue
        answers = answer(gallery, evidence.sets[name])
        kept = fresh[name]
        for label, predicted, known, flight in zip(
            np.array(evidence.class_names)[evidence.sets[name].labels.numpy()][kept].tolist(),
            np.array(answers.label)[kept].tolist(),
            answers.known[rule][kept].tolist(),
            evidence.groups[name][kept].tolist(),
            strict=True,
        ):
            answered = column[predicted if known else UNKNOWN]
            counts[place[flight], row.get(label, row[OTHER]), answered] += 1
    return Confusion(rows, columns, counts, flights)


def _enrolled(gallery: Gallery, vectors: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Whether each embedding (N, D) is that of an enrolled crop."""
    enrolled = np.zeros(len(vectors), bool)
    for species in gallery.enrolled if len(vectors) else ():
        enrolled |= repeated(vectors, species.vectors)
    return enrolled


def _shares(counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """Posterior mean (..., R, K) of the shares of answers by row, under a uniform Dirichlet prior of weight PRIOR."""
    smoothed = counts + PRIOR / counts.shape[-1]
    shares: NDArray[np.float64] = smoothed / smoothed.sum(axis=-1, keepdims=True)
    return shares
