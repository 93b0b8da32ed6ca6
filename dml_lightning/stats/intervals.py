"""Bootstrap interval over flights of an arm's OOD AUROC, with the same draws for all its runs."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dml_lightning.evaluation.evidence import read_evidence
from dml_lightning.evaluation.ood import reference_prototypes
from dml_lightning.metrics.bootstrap import FEWEST_UNITS, Resampled, expanded_interval, group_draws, value_range
from dml_lightning.metrics.ood import auroc


class OODInterval(NamedTuple):
    """A mean over runs with its 95 % interval over groups, or with the range over single groups where they are few."""

    estimate: float
    low: float  # NaN if they are few, and fewer than two of them have both known and OOD crops
    high: float
    known: float  # known test crops per run, on average
    ood: float  # OOD test crops per run, on average
    groups: int  # number of groups that were resampled
    ood_groups: int  # number of them with OOD crops
    values: tuple[float, ...] = ()  # within each group that has both, if known or OOD crops are of fewer than five

    def __str__(self) -> str:
        crops = f"{self.known:.0f} known and {self.ood:.0f} OOD crops a run"
        few = "fewer than five groups have no interval"
        if np.isnan(self.low):
            return f"{self.estimate:.3f} with {crops}; {few}, and fewer than two have both"
        if len(self.values) > 1:
            single = ", ".join(f"{value:.3f}" for value in self.values)
            return f"{self.estimate:.3f}, range {self.low:.3f} to {self.high:.3f} ({single}) with {crops}; {few}"
        return (
            f"{self.estimate:.3f} [{self.low:.3f}, {self.high:.3f}] with {crops}, "
            f"{self.groups} groups resampled ({self.ood_groups} with OOD crops)"
        )


@dataclass(frozen=True)
class Scored:
    """OOD scores of a run's test crops, their distance to the nearest prototype, with the group of each crop."""

    known: NDArray[np.float64]  # (N,)
    known_groups: NDArray[np.str_]  # (N,)
    ood: NDArray[np.float64]  # (M,)
    ood_groups: NDArray[np.str_]  # (M,)


def score_run(run: Path) -> Scored | None:
    """Score the test crops of a run by the distance to the nearest prototype; None if it has no OOD crops."""
    evidence = read_evidence(run / "embeddings" / "test.npz")
    known, ood = evidence.sets["known"], evidence.sets["ood"]
    if not len(ood):
        return None
    detector = reference_prototypes(evidence)
    return Scored(
        known=detector.score(known.vectors.numpy(), kind="nearest"),
        known_groups=evidence.groups["known"],
        ood=detector.score(ood.vectors.numpy(), kind="nearest"),
        ood_groups=evidence.groups["ood"],
    )


def ood_interval(runs: Sequence[Path], draws: int = 1000, seed: int = 0) -> OODInterval | None:
    """The mean OOD AUROC of an arm's runs; None if there are no OOD crops.

    Groups are drawn with replacement, once for all runs: runs on other splits share flights, so their AUROCs
    are not independent. The interval is about other flights of the same kind, not about other seeds. Its percentiles
    are expanded for few groups, counted on the side, known or OOD, that has fewer; fewer than five there have the range
    of the AUROCs within single groups.

    Args:
        runs: Folders of tested runs of one arm.
        draws: Number of bootstrap samples.
        seed: Seed of the draws.
    """
    scored = [scores for run in runs if (scores := score_run(run)) is not None]
    return _interval(scored, draws, seed) if scored else None


def _interval(scored: Sequence[Scored], draws: int, seed: int) -> OODInterval:
    known_groups = np.unique(np.concatenate([one.known_groups for one in scored]))
    ood_groups = np.unique(np.concatenate([one.ood_groups for one in scored]))
    names = np.union1d(known_groups, ood_groups)
    fewest = min(len(known_groups), len(ood_groups))
    values = np.empty(0)
    if fewest < FEWEST_UNITS:
        alone = np.column_stack([_aurocs(one, names, np.eye(len(names))) for one in scored])  # (groups, runs)
        values = alone.mean(axis=1)[~np.isnan(alone).any(axis=1)]
        low, high = value_range(values)
    else:
        times = group_draws(len(names), draws, seed).astype(np.float64)
        drawn = np.column_stack([_aurocs(one, names, times) for one in scored])  # (draws, runs)
        low, high = expanded_interval(drawn.mean(axis=1), fewest)
    return OODInterval(
        estimate=float(np.mean([auroc(one.known, one.ood) for one in scored])),
        low=low,
        high=high,
        known=float(np.mean([len(one.known) for one in scored])),
        ood=float(np.mean([len(one.ood) for one in scored])),
        groups=len(names),
        ood_groups=len(ood_groups),
        values=tuple(values.tolist()),
    )


def _aurocs(scored: Scored, names: NDArray[np.str_], times: NDArray[np.float64]) -> NDArray[np.float64]:
    """AUROC (T,) of each draw t, which counts the crops of group names[g] times[t, g] times; NaN if a side is empty."""
    known, ood = (np.searchsorted(names, g) for g in (scored.known_groups, scored.ood_groups))
    everything = np.ones((1, len(ood)), dtype=bool)
    return Resampled(times, known, ood).aurocs(scored.known, scored.ood, everything)[:, 0]
