"""Thresholds on a score: three rules to choose one, and a record of what it was chosen on.

A sample is refused if its score is *above* the threshold. Rule A takes the threshold from the reference set, rule B
from known and OOD validation samples, and rule C (split conformal) from held-out known samples alone, with the
guarantee that `conformal` explains.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from dml_lightning.metrics.ood import Scores, as_scores, best_threshold
from dml_lightning.openset.arrays import ArrayState, nested, unnested
from dml_lightning.openset.conformal import (
    ClassThresholds,
    conformal_value,
    p_values,
    refused_when_left_out,
)
from dml_lightning.openset.judge import DecisionRule
from dml_lightning.openset.scores import text
from dml_lightning.pairs.arrays import Vectors, to_numpy

RuleName = Literal["A", "B", "C"]
ScoreKind = Literal["nearest", "radius"]
COST = 0.05  # rule B: largest share of known validation samples to refuse


@dataclass(frozen=True)
class Threshold:
    """A threshold, the score that it applies to, and what it was chosen on.

    Example:
        >>> Threshold("A", 2.0).refuses(np.array([1.0, 3.0]))
        array([False,  True])
    """

    rule: RuleName
    value: float  # scores above it are refused
    alpha: float = float("nan")  # rule C: largest share of known samples to refuse, on average
    samples: int = 0  # number of known samples that it was chosen on
    groups: int = 0  # number of their flights; 0 if not given
    scores: Scores = field(default_factory=lambda: np.empty(0), repr=False, compare=False)  # rule C: (n,) ascending
    owners: NDArray[np.int64] = field(
        default_factory=lambda: np.empty(0, np.int64), repr=False, compare=False
    )  # rule C: number (n,) of the flight of each score; empty if not given
    kind: str = "nearest"  # which score, where there are several; see `scores.KINDS`
    per_class: ClassThresholds | None = field(default=None, repr=False, compare=False)  # in place of a single value
    cost: float = float("nan")  # rule B: largest share of known validation samples to refuse; NaN: any share
    refused: float = float("nan")  # share of known validation samples refused; NaN if not measured
    left_out: float = float("nan")  # rule C: share of a flight refused by the crops of the others; NaN if not measured
    too_few_flights: bool = False  # rule C: for one crop of each, so that all crops count
    seen: bool = False  # rule B: whether the OOD samples are of kinds that training saw

    def decision_rule(self, radii: NDArray[np.float64]) -> DecisionRule:
        """This threshold in the form of `openset.judge`: with the radii (C,) that its score subtracts, if any."""
        if self.per_class is not None:
            return DecisionRule(self.value, self.per_class.values)
        balls = radii if self.kind == "radius" else None
        return DecisionRule(self.value, balls, given=self.kind not in ("nearest", "radius"))

    @property
    def name(self) -> str:
        """Rule and origin of the threshold, for tables."""
        return f"{self.rule}: {self.origin}"

    @property
    def origin(self) -> str:
        """How the threshold was chosen, as text for tables."""
        share = "" if math.isnan(self.refused) else f"; refuses {100 * self.refused:.1f} % of known validation crops"
        if self.rule == "A":
            return "radius + epsilon" + share
        if self.rule == "B":
            bound = "" if math.isnan(self.cost) else f" that refuses at most {100 * self.cost:g} % of known crops"
            seen = ", the unknown ones being of kinds that training saw" if self.seen else ""
            return f"best balanced accuracy on validation{bound}{seen}{share}"
        return self._conformal_origin + share

    @property
    def score(self) -> str:
        """What its score is, to complete "refused by its ..."."""
        return text(self.kind) if self.per_class is None else "distance beyond the threshold of the most lenient class"

    @property
    def _conformal_origin(self) -> str:
        """What rule C was calibrated on, and what is known to be wrong with that."""
        flights = f" crops of {self.groups} flights" if self.groups else ""
        single = ", one of each" if self.one_per_flight else ""
        parts = [f"split conformal, alpha={self.alpha:g}, n={self.samples}{flights}{single}"]
        if self.too_few_flights:
            parts.append("too few flights for one crop of each, so all crops count")
        if not math.isnan(self.left_out):
            excess = 100 * (self.left_out - self.alpha)
            measured = f"{100 * self.left_out:.1f} % of a flight refused by the others ({excess:+.1f} % against alpha)"
            parts.append(measured)
        if math.isinf(self.value):
            parts.append("too few for that alpha, so it refuses nothing")
        return "; ".join(parts)

    @property
    def one_per_flight(self) -> bool:
        """Whether no two of its crops are of one flight; False where the flights are not known."""
        return 0 < self.groups == self.samples

    def refuses(self, scores: Vectors) -> NDArray[np.bool_]:
        """Whether each score (N,) is above the threshold."""
        refused: NDArray[np.bool_] = as_scores(scores, "scores") > self.value
        return refused

    def p_values(self, scores: Vectors) -> Scores:
        """Conformal p-values (N,) of scores (N,) under rule C, otherwise NaN."""
        if self.rule != "C":
            return np.full(len(scores), np.nan)
        return p_values(self.scores, scores)

    def state(self) -> ArrayState:
        """The threshold as plain arrays, for `numpy.savez`."""
        state: ArrayState = {
            "rule": np.array(self.rule),
            "kind": np.array(self.kind),
            "value": np.array(self.value),
            "alpha": np.array(self.alpha),
            "samples": np.array(self.samples),
            "groups": np.array(self.groups),
            "scores": self.scores,
            "owners": self.owners,
            "cost": np.array(self.cost),
            "refused": np.array(self.refused),
            "left_out": np.array(self.left_out),
            "too_few_flights": np.array(self.too_few_flights),
            "seen": np.array(self.seen),
        }
        return state if self.per_class is None else state | nested("per_class", self.per_class.state())

    @classmethod
    def from_state(cls, state: Mapping[str, NDArray[Any]]) -> "Threshold":
        """The threshold whose `state` this is."""
        per_class, nan = unnested("per_class", state), float("nan")
        return cls(
            rule=str(state["rule"]),  # type: ignore[arg-type] # written by `state`
            value=float(state["value"]),
            alpha=float(state["alpha"]),
            samples=int(state["samples"]),
            groups=int(state["groups"]),
            scores=np.asarray(state["scores"], dtype=np.float64),
            owners=np.asarray(state.get("owners", ()), dtype=np.int64),
            kind=str(state["kind"]),
            per_class=ClassThresholds.from_state(per_class) if per_class else None,
            cost=float(state.get("cost", nan)),
            refused=float(state.get("refused", nan)),
            left_out=float(state.get("left_out", nan)),
            too_few_flights=bool(state.get("too_few_flights", False)),
            seen=bool(state.get("seen", False)),
        )


@dataclass(frozen=True, eq=False)
class ScoreChoice:
    """The score that a run refuses crops by, and why it is this one."""

    kind: str = "nearest"  # see `openset.scores`
    reason: str = ""  # a sentence; empty where nothing was chosen
    aurocs: dict[str, float] = field(default_factory=dict)  # mean AUROC on validation by kind of score
    arrays: ArrayState = field(default_factory=dict)  # what the score needs beside prototypes and reference crops
    known: Scores = field(default_factory=lambda: np.empty(0))  # scores of the known validation crops


def check_cost(cost: float) -> None:
    """Refuse a cost of rule B that is no share.

    Raises:
        ValueError: If it is not in [0, 1].

    Example:
        >>> check_cost(0.05)
    """
    if not 0 <= cost <= 1:
        raise ValueError(f"cost is a share of the known crops, from 0 to 1, got {cost}.")


def validated_threshold(known_scores: Vectors, ood_scores: Vectors, cost: float = COST) -> Threshold:
    """Rule B: the threshold of highest balanced accuracy on validation among those that cost few known samples.

    Args:
        known_scores: Scores (N,) of known validation samples.
        ood_scores: Scores (M,) of OOD validation samples.
        cost: Largest share of the known samples that it may refuse, in [0, 1].

    Raises:
        ValueError: If either side is empty, or the cost is no share.

    Example:
        >>> validated_threshold(np.array([1.0, 2.0]), np.array([4.0, 5.0])).value
        3.0
    """
    check_cost(cost)
    known = as_scores(known_scores, "known_scores")
    ood = as_scores(ood_scores, "ood_scores")
    if len(known) == 0 or len(ood) == 0:
        raise ValueError(
            f"rule B needs known and OOD samples, got {len(known)} and {len(ood)}; without OOD samples use rule C."
        )
    threshold = Threshold("B", best_threshold(known, ood, cost).value, samples=len(known), cost=cost)
    return replace(threshold, refused=float(threshold.refuses(known).mean()))


def conformal_threshold(known_scores: Vectors, alpha: float = 0.05, *, groups: Vectors | None = None) -> Threshold:
    """Rule C: the ceil((n + 1)(1 - alpha))-th smallest of n held-out known scores.

    Args:
        known_scores: Scores (n,) of known samples that are used for nothing else.
        alpha: Largest share of fresh known samples to refuse, on average over calibration draws.
        groups: Flight (n,) of each sample, to report their number. The guarantee needs exchangeable samples: for
            new flights pass one sample per flight (`one_per_group`).

    Raises:
        ValueError: If alpha is not in (0, 1), a score is NaN, or `groups` is of another length.

    Example:
        >>> threshold = conformal_threshold(np.arange(1.0, 100.0), alpha=0.05)
        >>> threshold.value, threshold.name
        (95.0, 'C: split conformal, alpha=0.05, n=99')
    """
    scores = as_scores(known_scores, "known_scores")
    order = np.argsort(scores, kind="stable")
    owners = np.empty(0, np.int64)
    if groups is not None:
        if len(groups) != len(scores):
            raise ValueError(f"there are {len(groups)} groups for {len(scores)} known_scores.")
        owners = np.unique(to_numpy(groups), return_inverse=True)[1][order]
    flights = len(np.unique(owners))
    several = 1 < flights < len(scores)
    return Threshold(
        "C",
        conformal_value(scores, alpha),
        alpha=alpha,
        samples=len(scores),
        groups=flights,
        scores=scores[order],
        owners=owners,
        left_out=refused_when_left_out(scores[order], owners, alpha) if several else float("nan"),
    )


def choose_threshold(
    rule: RuleName,
    known_scores: Vectors,
    ood_scores: Vectors | None = None,
    *,
    alpha: float = 0.05,
    groups: Vectors | None = None,
) -> Threshold:
    """Threshold by rule B, at its default cost, or by rule C from the scores of held-out samples.

    Args:
        rule: "B" or "C".
        known_scores: Scores (N,) of known samples.
        ood_scores: Rule B: scores (M,) of OOD samples.
        alpha: Rule C: largest share of known samples to refuse, on average.
        groups: Rule C: flight (N,) of each known sample.

    Raises:
        ValueError: If the rule is neither, or rule B has no OOD samples.

    Example:
        >>> choose_threshold("B", np.array([1.0, 2.0]), np.array([4.0])).value
        3.0
    """
    if rule == "C":
        return conformal_threshold(known_scores, alpha, groups=groups)
    if rule != "B":
        raise ValueError(f'held-out samples serve rule "B" or "C", got {rule!r}.')
    return validated_threshold(known_scores, np.empty(0) if ood_scores is None else ood_scores)
