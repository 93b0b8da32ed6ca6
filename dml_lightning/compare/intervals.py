"""How far an OOD AUROC can be trusted: a bootstrap over flights, shared by all splits of an arm."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dml_lightning.openset import PrototypeDetector


class Interval(NamedTuple):
    """A mean over runs with its 95 % percentile interval."""

    estimate: float
    low: float
    high: float
    known: float  # known test crops per run, on average
    ood: float  # OOD test crops per run
    groups: int  # that were resampled

    def __str__(self) -> str:
        return (
            f"{self.estimate:.3f} [{self.low:.3f}, {self.high:.3f}] with {self.known:.0f} known and "
            f"{self.ood:.0f} OOD crops a run, {self.groups} groups resampled"
        )


@dataclass(frozen=True)
class Scored:
    """One run's test crops, scored by the distance to the nearest prototype."""

    known: NDArray[np.float64]  # (N,) ascending
    known_groups: NDArray[np.str_]  # (N,)
    ood: NDArray[np.float64]  # (M,)
    ood_groups: NDArray[np.str_]  # (M,)

    def auroc(self, count: "dict[str, float] | None" = None) -> float:
        """AUROC with each crop counted as often as its group; NaN if a side is empty. Ties are one half."""
        known, ood = (
            np.array([1.0 if count is None else count[name] for name in names])
            for names in (self.known_groups, self.ood_groups)
        )
        if not known.sum() or not ood.sum():
            return float("nan")
        below = np.concatenate([[0.0], np.cumsum(known)])
        first = below[np.searchsorted(self.known, self.ood, side="left")]
        last = below[np.searchsorted(self.known, self.ood, side="right")]
        return float((ood * (first + last) / 2).sum() / (known.sum() * ood.sum()))


def score_run(run: Path) -> Scored | None:
    """The test crops of a run; None if it has no OOD crops."""
    with np.load(run / "embeddings" / "test.npz") as file:
        arrays: dict[str, NDArray[Any]] = {
            name: file[name] for name in ("vectors", "labels", "sets", "groups")
        }
    rows = {name: arrays["sets"] == name for name in ("reference", "known", "ood")}
    if not rows["ood"].any():
        return None
    vectors, groups = arrays["vectors"], arrays["groups"]
    detector = PrototypeDetector()
    detector.fit(vectors[rows["reference"]], arrays["labels"][rows["reference"]])
    known, ood = (detector.score(vectors[rows[name]], kind="nearest") for name in ("known", "ood"))
    order = np.argsort(known, kind="stable")
    return Scored(known[order], groups[rows["known"]][order], ood, groups[rows["ood"]])


def ood_interval(runs: Sequence[Path], draws: int = 1000, seed: int = 0) -> Interval | None:
    """The mean OOD AUROC of an arm's runs; None if there are no OOD crops.

    Groups are drawn with replacement, once for all runs: runs on other splits share flights, so their AUROCs
    are not independent. The interval speaks of other flights of the same kind, not of other seeds.

    Args:
        runs: Tested runs of one arm.
        draws: Bootstrap samples.
        seed: Of the draws.
    """
    scored = [found for run in runs if (found := score_run(run)) is not None]
    if not scored:
        return None
    names = np.unique(np.concatenate([g for s in scored for g in (s.known_groups, s.ood_groups)]))
    rng = np.random.default_rng(seed)
    samples = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), size=draws)
    counts = (dict(zip(names.tolist(), row.astype(float).tolist(), strict=True)) for row in samples)
    means = [np.mean([s.auroc(count) for s in scored]) for count in counts]
    low, high = np.nanquantile(means, [0.025, 0.975])
    return Interval(
        estimate=float(np.mean([s.auroc() for s in scored])),
        low=float(low),
        high=float(high),
        known=float(np.mean([len(s.known) for s in scored])),
        ood=float(np.mean([len(s.ood) for s in scored])),
        groups=len(names),
    )
