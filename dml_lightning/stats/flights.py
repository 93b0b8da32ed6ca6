"""The difference of an arm to the baseline flight by flight, beside the one over seeds.

Seeds on one test split say nothing of other flights: where four flights spread half more than seeds do, 30 % of
worlds without a difference on flights to come had a winner over seeds. Here flights are the units: a metric is computed
for each test flight from the embeddings of a run, and the difference of a flight is its mean over the runs that tested
it.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple, Self

import numpy as np
import torch
from numpy.typing import NDArray

from dml_lightning.evaluation.clutter import clutter_values
from dml_lightning.evaluation.evidence import Evidence, read_evidence
from dml_lightning.evaluation.naming import accuracy_values
from dml_lightning.evaluation.ood import ood_values
from dml_lightning.evaluation.open_set import open_set_values
from dml_lightning.evaluation.retrieval import OTHER_GROUPS
from dml_lightning.metrics.bootstrap import FEWEST_UNITS, expanded_interval, group_draws
from dml_lightning.metrics.ranks import QueryRanks, query_ranks
from dml_lightning.metrics.retrieval import summarise_retrieval
from dml_lightning.stats.estimates import Estimate
from dml_lightning.types import EvaluationSet

DRAWS = 2000
TEST_SETS: tuple[EvaluationSet, ...] = ("known", "novel", "ood", "clutter")
RETRIEVAL = ("recall_at_1", "r_precision", "map_at_r")


class RunEvidence(NamedTuple):
    """What a difference over flights needs of a tested run."""

    arm: str
    seed: int
    fold: int
    evidence: Evidence

    @classmethod
    def read(cls, arm: str, seed: int, fold: int, file: Path) -> Self:
        """Read from the run's npz file what the metrics look at: neither features nor pictures of the crops."""
        return cls(arm, seed, fold, read_evidence(file, skip=("features", "thumbnails")))


@dataclass(frozen=True)
class FlightDifference:
    """Mean over test flights of the difference of an arm to the baseline within the flight."""

    arm: str
    baseline: str
    metric: str
    estimate: Estimate  # units are flights

    @property
    def sentence(self) -> str:
        """The difference as a sentence."""
        text = f"Flight by flight, {self.arm} minus {self.baseline} in {self.metric}: {self.estimate.text('+')}"
        flights = f"over {self.estimate.units} test flights"
        if self.estimate.is_range:
            return f"{text} {flights}, too few to speak of other flights."
        return f"{text} {flights}, the 95 % interval of these trained models on flights like them."


def flights_of(evidence: Evidence, metric: str) -> set[str]:
    """Names of the test flights that a metric is about; empty where each crop is its own, as in a file without flights.

    Args:
        evidence: Embeddings of a test.
        metric: Name of the metric: OOD and novel crops of other flights do not count where it is about known ones.
    """
    groups = np.concatenate([evidence.groups[name] for name in _sets_of(metric)])
    names = set(groups.tolist())
    return names if len(names) < len(groups) else set()


def _sets_of(metric: str) -> tuple[EvaluationSet, ...]:
    if metric.startswith(("novel_auroc", "novel_oscr")):
        return "known", "novel"
    if metric.startswith("novel"):
        return ("novel",)
    if metric.startswith(("clutter_", "reject_clutter", "reject_novel")):
        return "known", "novel" if metric.startswith("reject_novel") else "clutter"
    return ("known", "ood") if metric.startswith(("ood_", "oscr", "reject_ood")) else ("known",)


def flight_values(evidence: Evidence, metric: str) -> dict[str, float]:
    """A metric of each test flight, NaN where the flight lacks the crops for it.

    Numbers of retrieval search among all crops of the test, for the queries of the flight. Accuracies and numbers of
    OOD detection and of naming with refusal are those of the flight's crops alone.

    Args:
        evidence: Embeddings of a test.
        metric: Name of the metric; other kinds of numbers, which describe a test as a whole, give no values.
    """
    flights = sorted(flights_of(evidence, metric))
    name = metric.removeprefix("novel_").removesuffix(OTHER_GROUPS)
    if name in RETRIEVAL:
        return dict(zip(flights, _retrieval(evidence, metric, name, flights), strict=True))
    for values in (accuracy_values, ood_values, clutter_values, open_set_values):
        if metric in values(evidence):
            return {each: _value(values, _of_flight(evidence, each), metric) for each in flights}
    return {}


def flight_differences(runs: Iterable[RunEvidence], metric: str, baseline: str) -> dict[str, NDArray[np.float64]]:
    """Differences (n,) to the baseline of the n flights that both arms tested, by arm.

    Args:
        runs: Tested runs; each is read once.
        metric: Name of the metric.
        baseline: Name of the baseline.
    """
    cells: dict[tuple[int, int], dict[str, dict[str, float]]] = {}
    for run in runs:
        cells.setdefault((run.seed, run.fold), {})[run.arm] = flight_values(run.evidence, metric)
    gaps: dict[str, dict[str, list[float]]] = {}
    for arms in cells.values():
        for arm, own in arms.items():
            for flight in own.keys() & arms.get(baseline, {}).keys() if arm != baseline else ():
                gaps.setdefault(arm, {}).setdefault(flight, []).append(own[flight] - arms[baseline][flight])
    means = {arm: np.array([_mean(gaps[arm][flight]) for flight in sorted(gaps[arm])]) for arm in gaps}
    return {arm: each[np.isfinite(each)] for arm, each in means.items()}


def mean_over_flights(values: NDArray[np.float64]) -> Estimate:
    """The mean of the values (n,) of n flights with `expanded_interval`, or with their range.

    Args:
        values: Value of each flight, two or more.

    Example:
        >>> mean_over_flights(np.array([0.0, 0.1, 0.2, 0.1, 0.1])).text("+")
        '+0.100 [0.020, 0.180]'
    """
    seen = Estimate.of(values, 0, 0.05, independent=False)
    if len(values) < FEWEST_UNITS:
        return seen
    means = group_draws(len(values), DRAWS, seed=0) @ values / len(values)
    low, high = expanded_interval(means, len(values))
    return replace(seen, low=low, high=high, spread="interval")


def _value(values: Callable[[Evidence], dict[str, float]], of_flight: Evidence, metric: str) -> float:
    return values(of_flight).get(metric, float("nan")) if len(of_flight.sets["known"]) else float("nan")


def _mean(gaps: list[float]) -> float:
    finite = [gap for gap in gaps if np.isfinite(gap)]
    return float(np.mean(finite)) if finite else float("nan")


def _retrieval(evidence: Evidence, metric: str, name: str, flights: list[str]) -> Iterator[float]:
    chosen: EvaluationSet = "novel" if metric.startswith("novel_") else "known"
    part, groups = evidence.sets[chosen], evidence.groups[chosen]
    codes = torch.from_numpy(np.unique(groups, return_inverse=True)[1])
    ranks = query_ranks(part.vectors, part.labels, groups=codes if metric.endswith(OTHER_GROUPS) else None)
    for flight in flights:
        own = torch.from_numpy(groups == flight)
        summary = summarise_retrieval(QueryRanks(*(each[own] for each in ranks)))
        yield summary.recall_at[1] if name == "recall_at_1" else float(getattr(summary, name))


def _of_flight(evidence: Evidence, flight: str) -> Evidence:
    """The evidence with the test crops of one flight, and all others."""
    sets, groups = dict(evidence.sets), dict(evidence.groups)
    for name in TEST_SETS:
        rows = groups[name] == flight
        sets[name] = sets[name].at(torch.from_numpy(rows))
        groups[name] = groups[name][rows]
    return replace(evidence, sets=sets, groups=groups)
