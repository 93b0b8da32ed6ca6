"""Choice of the score by which a run refuses crops, on its validation split alone.

Scores are fitted on the reference crops, which are of training flights, and told apart by their AUROC on validation
crops. Half of it is over OOD classes, and half over species that nobody has seen, for which each known class stands in
turn: OOD classes alone would choose the score that was trained against background whenever they look like it, and it
tells little else. A better score is taken only if it is better by more than the standard error over flights: the
simplest within one of the best wins. Calibration crops are never looked at, so that the promise of rule C holds
whatever was chosen.

Letters: N known and M unknown validation crops, G flights, T draws of flights.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dml_lightning.evaluation.evidence import Evidence
from dml_lightning.metrics.bootstrap import Resampled, group_draws, mean_of_held
from dml_lightning.metrics.ood import Scores, auroc
from dml_lightning.openset.arrays import ArrayState
from dml_lightning.openset.mahalanobis import MahalanobisDetector
from dml_lightning.openset.prototypes import PrototypeDetector
from dml_lightning.openset.scores import RANK_SUM, Crops, kinds, rank_sum, ranked, score, text
from dml_lightning.openset.thresholds import ScoreChoice
from dml_lightning.pairs.blocks import to_numpy
from dml_lightning.printing import listed
from dml_lightning.types import Embeddings

DRAWS = 1000
NAMED = 9  # classes of a kind of unknown in a reason
OF_CROPS = ("radii", "vectors", "features")  # arrays that a gallery holds as prototypes and reference crops
OF_SCORE = {  # other arrays of each score that has some
    "mahalanobis": ("centre", "whitening", "means"),
    "reject": ("classifier_weight", "classifier_bias"),
}


class Trial(NamedTuple):
    """Known and unknown validation crops, by scores that were fitted without the latter."""

    unknown_class: str
    known: dict[str, Scores]  # (N,) by kind of score
    unknown: dict[str, Scores]  # (M,)
    known_flights: NDArray[np.str_]  # (N,)
    unknown_flights: NDArray[np.str_]  # (M,)


class Compared(NamedTuple):
    """Mean AUROC by kind of score, and how far flights let it vary."""

    aurocs: dict[str, float]
    errors: dict[str, float]  # standard error over flights; infinite if known or unknown crops are of a single one
    flights: int  # number of flights on the side, known or unknown, that has fewer


class Fitted(NamedTuple):
    """What scores are fitted on."""

    prototypes: PrototypeDetector
    arrays: ArrayState  # by the names of `openset.scores`

    def crops(self, part: Embeddings) -> Crops:
        """What the scores look at of some crops; without features where the reference crops have none."""
        features = None if part.features is None or "features" not in self.arrays else to_numpy(part.features)
        return Crops(to_numpy(self.prototypes.distances(part.vectors)), to_numpy(part.vectors), features)

    def scores(self, part: Embeddings) -> dict[str, Scores]:
        """Scores (N,) of crops by kind, without their rank sum."""
        crops = self.crops(part)
        return {kind: score(kind, crops, self.arrays) for kind in kinds(self.arrays)}


def choose_score(
    evidence: Evidence,
    asked: str | None = None,
    draws: int = DRAWS,
    seed: int = 0,
    prototypes: PrototypeDetector | None = None,
) -> ScoreChoice:
    """Choose the score by the OOD classes of validation and by each known class held out, as far as there are some.

    Args:
        evidence: Embeddings of the validation split. No OOD class in it may have been trained on. Without features
            or a reject class there are fewer scores to choose from.
        asked: Kind of score to take without a choice.
        draws: Number of draws of flights for the standard error.
        seed: Seed of the draws.
        prototypes: Those of the reference crops, if they are fitted already.

    Raises:
        ValueError: If the score that is asked for is none of those that there are.
    """
    everything = fitted(evidence, prototypes=prototypes)
    known = everything.scores(evidence.sets["known"])
    ranks = ranked(known) if len(evidence.sets["known"]) else {}
    arrays = everything.arrays | ranks
    if asked is not None and asked not in kinds(arrays):
        raise ValueError(f"there is no score {asked!r} of these embeddings, only {', '.join(kinds(arrays))}.")
    choice = ScoreChoice(asked, "it was asked for") if asked else _chosen(evidence, everything, known, draws, seed)
    own = {name: array for name, array in arrays.items() if _is_needed(name, choice.kind)}
    scores = rank_sum(known, ranks) if choice.kind == RANK_SUM else known[choice.kind]
    return replace(choice, arrays=own, known=scores)


def _chosen(evidence: Evidence, everything: Fitted, known: dict[str, Scores], draws: int, seed: int) -> ScoreChoice:
    unknown = {
        "OOD classes": list(_ood_trials(evidence, everything, known)),
        "known classes, each held out as unknown": list(_held_out_trials(evidence)),
    }
    unknown = {what: trials for what, trials in unknown.items() if trials}
    if not unknown:
        return ScoreChoice(reason="there is neither an OOD class nor a second known class on validation")
    compared = compare(list(unknown.values()), draws, seed)
    kind = simplest(compared)
    names = {what: listed([trial.unknown_class for trial in trials], NAMED) for what, trials in unknown.items()}
    over = " and, counted as much, over ".join(f"{what} ({classes})" for what, classes in names.items())
    return ScoreChoice(kind, _reason(compared, kind, over), compared.aurocs)


def fitted(evidence: Evidence, without: int | None = None, prototypes: PrototypeDetector | None = None) -> Fitted:
    """What the scores need of reference crops and of a reject class.

    Args:
        evidence: Evidence of a run.
        without: Class that is held out as unknown: its crops and its row of the classifier are left out.
        prototypes: Those of the reference crops, if they are fitted already.
    """
    every = evidence.sets["reference"]
    reference = every if without is None else every.at(every.labels != without)
    vectors, labels = to_numpy(reference.vectors), to_numpy(reference.labels)
    detector = PrototypeDetector().fit(vectors, labels) if prototypes is None else prototypes
    arrays: ArrayState = {"radii": detector.radii, "vectors": vectors, **_classifier(evidence, without)}
    if reference.features is not None:
        features = to_numpy(reference.features)
        gaussian = MahalanobisDetector().fit(features, labels)
        arrays |= {"features": features, "centre": gaussian.centre}
        arrays |= {"whitening": gaussian.whitening, "means": gaussian.means}
    return Fitted(detector, arrays)


def _classifier(evidence: Evidence, without: int | None) -> ArrayState:
    """Weight (C + 1, D) and bias (C + 1,) of a classifier, its reject class last; nothing where it has none."""
    if evidence.head is None or evidence.reject is None:
        return {}
    parts = zip(evidence.head, evidence.reject, strict=True)
    weight, bias = (np.concatenate([to_numpy(own), to_numpy(reject)]) for own, reject in parts)
    rows = np.arange(len(bias)) != (-1 if without is None else without)
    return {"classifier_weight": weight[rows], "classifier_bias": bias[rows]}


def compare(kinds_of_unknown: Sequence[Sequence[Trial]], draws: int = DRAWS, seed: int = 0) -> Compared:
    """Mean AUROC of each score over the trials of each kind, then over kinds; flights are drawn once for all scores.

    The standard error is corrected for the number of flights, sqrt(n / (n - 1)), as that of a mean would be.
    """
    trials = [trial for own in kinds_of_unknown for trial in own]
    sides = [(trial.known_flights, trial.unknown_flights) for trial in trials]
    names = np.unique(np.concatenate([flights for side in sides for flights in side]))
    times = group_draws(len(names), draws, seed).astype(np.float64)
    fewest = min(len(np.unique(np.concatenate(side))) for side in zip(*sides, strict=True))
    aurocs, errors = {}, {}
    for kind in trials[0].known:
        means = [np.mean([auroc(trial.known[kind], trial.unknown[kind]) for trial in own]) for own in kinds_of_unknown]
        aurocs[kind], errors[kind] = float(np.mean(means)), float("inf")
        if fewest > 1:
            columns = [[_drawn(trial, kind, times, names) for trial in own] for own in kinds_of_unknown]
            drawn = mean_of_held(np.stack([mean_of_held(np.stack(own, axis=1)) for own in columns], axis=1))
            errors[kind] = float(np.nanstd(drawn, ddof=1) * np.sqrt(fewest / (fewest - 1)))
    return Compared(aurocs, errors, fewest)


def simplest(compared: Compared) -> str:
    """The first score, simplest first, that is within one standard error of the best.

    Example:
        >>> simplest(Compared({"nearest": 0.7, "knn1": 0.85, "knn5": 0.9}, {"knn5": 0.06}, flights=8))
        'knn1'
    """
    best = _best(compared)
    return next(
        kind for kind, value in compared.aurocs.items() if value >= compared.aurocs[best] - compared.errors[best]
    )


def _best(compared: Compared) -> str:
    return max(compared.aurocs, key=lambda kind: compared.aurocs[kind])


def _reason(compared: Compared, kind: str, over: str) -> str:
    """Why a score was chosen, as a sentence without a full stop."""
    best = _best(compared)
    mean = f"validation AUROC {compared.aurocs[kind]:.3f}, mean over {over}"
    if kind == best and np.isfinite(compared.errors[best]):
        return f"{mean}; no other score is better, and no simpler one is within one standard error"
    if np.isinf(compared.errors[best]):
        return f"{mean}; known or unknown crops are of a single flight, which does not tell scores apart"
    return (
        f"{mean}; the simplest score within one standard error ({compared.errors[best]:.3f}, {compared.flights} "
        f"flights) of the best, the {text(best)}, with {compared.aurocs[best]:.3f}"
    )


def _ood_trials(evidence: Evidence, everything: Fitted, known: dict[str, Scores]) -> Iterator[Trial]:
    """A trial for each OOD class."""
    if not len(evidence.sets["ood"]):  # which has no features then, whatever the other sets have
        return
    labels, groups = to_numpy(evidence.sets["ood"].labels), evidence.groups
    scores = everything.scores(evidence.sets["ood"])
    ranks = ranked(known)
    own, unknown = (_with_rank_sum(each, ranks) for each in (known, scores))
    for label in np.unique(labels):
        rows = labels == label
        chosen = {kind: values[rows] for kind, values in unknown.items()}
        yield Trial(evidence.class_names[label], own, chosen, groups["known"], groups["ood"][rows])


def _held_out_trials(evidence: Evidence) -> Iterator[Trial]:
    """A trial for each known class, whose crops are left out of the references and are the unknown ones."""
    known, flights = evidence.sets["known"], evidence.groups["known"]
    labels = to_numpy(known.labels)
    for label in np.unique(labels):
        rows = labels == label
        if (evidence.sets["reference"].labels != label).any() and not rows.all():
            single = fitted(evidence, without=int(label)).scores(known)
            scores = _with_rank_sum(single, ranked({kind: values[~rows] for kind, values in single.items()}))
            own, unknown = ({kind: values[side] for kind, values in scores.items()} for side in (~rows, rows))
            yield Trial(evidence.class_names[label], own, unknown, flights[~rows], flights[rows])


def _with_rank_sum(single: dict[str, Scores], ranks: ArrayState) -> dict[str, Scores]:
    """Scores of some crops and the sum of their ranks among the known crops of a trial, which `ranked` gives."""
    return {**single, RANK_SUM: rank_sum(single, ranks)}


def _drawn(trial: Trial, kind: str, times: Scores, names: NDArray[np.str_]) -> Scores:
    """AUROC (T,) of a trial in each draw of flights, NaN where a draw lacks a side."""
    owners = (np.searchsorted(names, flights) for flights in (trial.known_flights, trial.unknown_flights))
    everything = np.ones((1, len(trial.unknown_flights)), bool)
    return Resampled(times, *owners).aurocs(trial.known[kind], trial.unknown[kind], everything)[:, 0]


def _is_needed(name: str, kind: str) -> bool:
    """Whether a score needs an array beside those that a gallery has anyway."""
    if name in OF_CROPS:
        return False
    return kind == RANK_SUM or name in OF_SCORE.get(kind, ())
