"""Comparison of arms with a baseline: means, paired differences, and tests corrected for their number.

One metric at a time, which has to be chosen before the runs are looked at: Holm corrects over arms (and over the
points of a curve), not over metrics that were tried.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dml_lightning.metrics.bootstrap import FEWEST_UNITS
from dml_lightning.stats.comparison import ArmResult, Comparison
from dml_lightning.stats.equivalence import equivalence_p
from dml_lightning.stats.estimates import Estimate
from dml_lightning.stats.flights import (
    FlightDifference,
    RunEvidence,
    flight_differences,
    flights_of,
    mean_over_flights,
)
from dml_lightning.stats.paired import family_level, holm, sign_flip_p, smallest_p
from dml_lightning.stats.results import Difference, Question, limits
from dml_lightning.stats.units import complete, unit_means

METRIC_ROUNDING = 8 * float(np.finfo(np.float32).eps)  # relative error of a number in metrics/test.json


def compare_arms(table: pd.DataFrame, question: Question) -> Comparison:
    """Compare every arm with the baseline; arms with fewer than two complete units are left out and named.

    Args:
        table: Table with a row per run and the columns arm, seed, fold and the metric.
        question: Metric, baseline, unit and error level.

    Raises:
        ValueError: If the baseline has fewer than two complete units.

    Example:
        >>> rows = [("softmax", s, 0, 0.6 + s / 100) for s in range(6)] + [("triplet", s, 0, 0.7) for s in range(6)]
        >>> table = pd.DataFrame(rows, columns=["arm", "seed", "fold", "recall_at_1"])
        >>> (difference,) = compare_arms(table, Question("recall_at_1", baseline="softmax")).differences
        >>> difference.verdict, round(difference.estimate.mean, 3), difference.p
        ('better', 0.075, 0.03125)
    """
    means = unit_means(table, question.metric, question.unit)
    if question.baseline not in means:
        have = ", ".join(map(str, means))
        raise ValueError(f"arm {question.baseline!r} has no runs here; arms with runs: {have}.")
    complete(means, question.baseline)
    return _compare([table], question)[0]


def beside_flights(comparison: Comparison, runs: Iterable[RunEvidence], metric: str) -> Comparison:
    """Add the number of test flights, and over seeds the difference of each tested arm flight by flight.

    Args:
        comparison: Comparison of the runs.
        runs: The same runs with their embeddings.
        metric: Name of the metric in metrics/test.json.
    """
    question, names = comparison.question, set[str]()

    def noted() -> Iterator[RunEvidence]:
        for run in runs:  # one at a time: their embeddings are large
            names.update(flights_of(run.evidence, metric))
            yield run

    gaps = flight_differences(noted(), metric, question.baseline)
    by_flight = tuple(
        FlightDifference(each.arm, question.baseline, question.metric, mean_over_flights(gaps[each.arm]))
        for each in comparison.differences
        if question.unit == "seed" and len(gaps.get(each.arm, ())) > 1
    )
    return replace(comparison, flights=len(names) or None, by_flight=by_flight)


def curve_table(table: pd.DataFrame, x: str, question: Question) -> pd.DataFrame:
    """Compare every arm with the baseline at each value of the column `x`, such as the number of samples per class.

    Holm and the simultaneous intervals run over arms and values together, since a curve is searched for the point where
    an arm wins. At a value where the baseline has fewer than two complete units, the other arms are shown without a
    difference; an arm that has fewer has no row there.

    Args:
        table: Table as for `compare_arms`, with the column `x`.
        x: Name of the column of values, kept in order of appearance.
        question: Question as for `compare_arms`; its `planned` counts the tests at all values together.

    Returns:
        The rows of `Comparison.to_frame` for each value, after the column `x`.

    Raises:
        ValueError: If there is no column `x`, or no arm has two complete units at any value.

    Example:
        >>> rows = [("softmax", s, 0, 5, 0.6) for s in (0, 1)] + [("triplet", s, 0, 5, 0.7) for s in (0, 1)]
        >>> table = pd.DataFrame(rows, columns=["arm", "seed", "fold", "shots", "recall_at_1"])
        >>> curve = curve_table(table, "shots", Question("recall_at_1", baseline="softmax"))
        >>> curve[["shots", "arm", "mean"]].values.tolist()
        [[5, 'softmax', 0.6], [5, 'triplet', 0.7]]
    """
    if x not in table:
        have = ", ".join(map(str, table))
        raise ValueError(f"the table of runs has no column {x!r}; it has {have}.")
    values = table[x].unique().tolist()
    results = _compare([table[table[x] == value] for value in values], question)
    frames = {value: result.to_frame() for value, result in zip(values, results, strict=True) if result.arms}
    if not frames:
        raise ValueError(f"no arm has two complete {question.unit}s at any {x}, and a comparison needs two or more.")
    for value, frame in frames.items():
        frame.insert(0, x, value)
    return pd.concat(frames.values(), ignore_index=True)


def _compare(tables: Sequence[pd.DataFrame], question: Question) -> list[Comparison]:
    """One comparison per table, all of them corrected as one family."""
    means = [unit_means(table, question.metric, question.unit) for table in tables]
    named = (question.baseline, *question.floors)
    kept = [_arms_with_units(point, question) for point in means]
    left_out = [tuple(str(arm) for arm in m if arm not in k) for m, k in zip(means, kept, strict=True)]
    means = [point[arms] for point, arms in zip(means, kept, strict=True)]
    pairs = [
        (i, arm)
        for i, point in enumerate(means)
        for arm in map(str, point)
        if question.baseline in point and arm not in named
    ]
    tested = dict(zip(pairs, _differences([(means[i], arm) for i, arm in pairs], question), strict=True))
    return [
        Comparison(
            question, tuple(_arm(point, arm, question, tested.get((i, arm))) for arm in map(str, point)), left_out[i]
        )
        for i, point in enumerate(means)
    ]


def _arms_with_units(means: pd.DataFrame, question: Question) -> list[str]:
    """Arms with two or more complete units; if the baseline has as many, units complete in both, but for floors."""
    present = paired = means.notna()
    if question.baseline in present and present[question.baseline].sum() >= 2:
        paired = present & present[[question.baseline]].to_numpy()
    units = {arm: (present if arm in question.floors else paired)[arm].sum() for arm in means}
    return [str(arm) for arm in means if units[arm] >= 2]


def _arm(means: pd.DataFrame, arm: str, question: Question, difference: Difference | None) -> ArmResult:
    values, dropped = complete(means, arm)
    estimate = Estimate.of(values[:, 0], dropped, question.alpha, question.is_tested, limits(question.metric))
    return ArmResult(arm, question, estimate, difference)


def _differences(pairs: Sequence[tuple[pd.DataFrame, str]], question: Question) -> Iterator[Difference]:
    """Difference of each arm to the baseline in its table of means, with Holm's correction over all planned tests."""
    kept = [complete(means, arm, question.baseline) for means, arm in pairs]
    paired = [values[:, 0] - values[:, 1] for values, _ in kept]
    rounding = [METRIC_ROUNDING * np.abs(values).sum() for values, _ in kept]
    p = np.array([sign_flip_p(d[:, None], rounding=r)[0] for d, r in zip(paired, rounding, strict=True)])
    least = np.array([smallest_p(len(values)) for values in paired])
    family = max(len(pairs), question.planned)
    p_holm, least_holm = (_holm_in_family(values, family) for values in (p, least))
    tested = question.is_tested
    equal = _equal_p(paired, family, question)
    for i, (_, arm) in enumerate(pairs):
        alone, together = (
            Estimate.of(paired[i], kept[i][1], alpha, tested)
            for alpha in (question.alpha, 1 - family_level(1 - question.alpha, family))
        )
        yield Difference(
            arm=arm,
            question=question,
            comparisons=family,
            estimate=alone,
            simultaneous_low=together.low,
            simultaneous_high=together.high,
            p=float(p[i]) if tested else None,
            smallest_p=float(least[i]) if tested else None,
            p_holm=float(p_holm[i]) if tested else None,
            smallest_p_holm=float(least_holm[i]) if tested else None,
            equal_p_holm=equal[i],
        )


def _equal_p(paired: Sequence[NDArray[np.float64]], family: int, question: Question) -> list[float | None]:
    """Holm's p-value of equality within the margin of each comparison; None without a margin or too few units."""
    margin = question.margin
    if margin is None or not question.is_tested:
        return [None] * len(paired)
    enough = [len(values) >= FEWEST_UNITS for values in paired]
    p = np.array([equivalence_p(v[:, None], margin)[0] if e else 1.0 for v, e in zip(paired, enough, strict=True)])
    return [float(each) if e else None for each, e in zip(_holm_in_family(p, family), enough, strict=True)]


def _holm_in_family(p: NDArray[np.float64], family: int) -> NDArray[np.float64]:
    """Holm's adjusted p-values in a family of more tests than there are, the others with p = 1."""
    return holm(np.concatenate([p, np.ones(family - len(p))]))[: len(p)]
