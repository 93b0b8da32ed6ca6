"""Random search with the same number of trials for every arm, judged on validation alone."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from dml_lightning.compare.jobs import Job, Outcome
from dml_lightning.runs.folder import SELECTION, read_metrics


@dataclass(frozen=True)
class Range:
    """Range of a number in a search; `Search.check` checks it.

    Args:
        low: Smallest number.
        high: Largest number.
        log: Whether numbers are drawn uniformly in their logarithm instead of uniformly.
    """

    low: float
    high: float
    log: bool = False

    def draw(self, rng: np.random.Generator) -> float:
        """Draws one number."""
        if self.log:
            return float(math.exp(rng.uniform(math.log(self.low), math.log(self.high))))
        return float(rng.uniform(self.low, self.high))


def _check_values(where: str, values: Sequence[object] | Range) -> None:
    """Refuses values that cannot be tried; not in `Range` itself, for the parser would answer with a page of text."""
    if not isinstance(values, Range):
        if None in values:
            raise ValueError(
                f"{where}: null is no value to try; leave it out, the first trial is the arm's own recipe."
            )
    elif not values.low < values.high or (values.log and values.low <= 0):
        raise ValueError(
            f"{where}: a range needs low < high (and low > 0 with log), got {values.low} and {values.high}."
        )


@dataclass(frozen=True)
class Search:
    """Random search before a comparison: settings are chosen once per arm, on validation, then kept for all runs.

    Args:
        trials: Number of trials per arm, the first of which is the arm's own recipe.
        space: Options to search for each trained arm, such as model.init_args.loss.init_args.margin, each with a list
            of values or a range; options that the arms have to share cannot be searched.
        metric: Metric of the validation split that trials are judged by.
        smaller_is_better: Whether smaller values of the metric are better.
        seed: Seed of the draws and of the trials' training; it must not be one of the seeds that are reported.
        fold: Number of the split that trials are trained on.
    """

    trials: int
    space: dict[str, dict[str, list[int | float | bool | str | None] | Range]]
    metric: str = SELECTION
    smaller_is_better: bool = False
    seed: int = 1000
    fold: int = field(default=0)

    def check(self, trained: Sequence[str], seeds: Sequence[int], folds: Sequence[int]) -> None:
        """Refuses a search that would favour an arm or see test data.

        Args:
            trained: Names of the arms that are fitted.
            seeds: Seeds of the runs to report.
            folds: Folds of the runs to report.

        Raises:
            ValueError: If the arms would not get equally many different trials, a value cannot be tried, there are
                several folds, or seed, fold or metric cannot be used.
        """
        if self.trials < 2:
            raise ValueError(f"search.trials is {self.trials}; a search needs 2 or more.")
        if len(folds) > 1:
            raise ValueError(
                f"a search on one fold sees what the other {len(folds) - 1} test: give one fold, or no search."
            )
        if self.fold not in folds:
            raise ValueError(f"search.fold {self.fold} is not among the folds {list(folds)}.")
        if self.seed in seeds:
            raise ValueError(f"search.seed {self.seed} is one of the seeds to report; choose another.")
        if set(self.space) != set(trained):
            raise ValueError(
                f"search.space names {', '.join(sorted(self.space)) or 'no arm'}; every trained arm needs as many "
                f"trials as the others: {', '.join(trained)}."
            )
        for arm, space in self.space.items():
            for option, values in space.items():
                _check_values(f"search.space of {arm}, {option}", values)
            sizes = [math.inf if isinstance(v, Range) else len(set(v)) for v in space.values()]
            settings = math.prod(sizes) if sizes and 0 not in sizes else 0
            if settings < self.trials - 1:
                raise ValueError(
                    f"search.space of {arm} has {settings:g} settings beside its own recipe, and every arm is to have "
                    f"{self.trials} different trials: give ranges or more values."
                )
        if not self.metric.startswith("val/"):
            raise ValueError(f"search.metric is {self.metric}; trials are judged on val/ metrics.")

    def settings(self, arm: str) -> Iterator[tuple[str, ...]]:
        """Draws the options of each trial of an arm; the first trial has none.

        >>> search = Search(trials=2, space={"triplet": {"margin": [0.1]}})
        >>> list(search.settings("triplet"))
        [(), ('--margin=0.1',)]
        """
        yield ()
        rng, seen = np.random.default_rng(self.seed), set[tuple[str, ...]]()
        while len(seen) < self.trials - 1:
            setting = tuple(
                f"--{option}={values.draw(rng) if isinstance(values, Range) else values[rng.integers(len(values))]}"
                for option, values in self.space[arm].items()
            )
            if setting not in seen:
                seen.add(setting)
                yield setting

    def best(self, outcomes: Sequence[Outcome]) -> Mapping[str, tuple[Job, float]]:
        """Finds the trial with the best validation metric of each arm; one that failed or diverged is the worst.

        Args:
            outcomes: Outcomes of all trials.

        Returns:
            The job of the best trial and its metric, by arm.

        Raises:
            ValueError: If no trial of an arm has a value.
        """
        chosen: dict[str, tuple[Job, float]] = {}
        for outcome in outcomes:
            value = self.value(outcome)
            before = chosen.get(outcome.job.arm)
            if before is None or self._better(value, before[1]):
                chosen[outcome.job.arm] = (outcome.job, value)
        for arm, (_, value) in chosen.items():
            if math.isnan(value):
                errors = [o.error for o in outcomes if o.job.arm == arm and o.error]
                raise ValueError(
                    f"no trial of {arm} has reached a value of {self.metric}: {errors[0] if errors else 'all diverged'}"
                )
        return chosen

    def value(self, outcome: Outcome) -> float:
        """The metric of a trial on validation; NaN if it failed or diverged.

        Raises:
            ValueError: If its run has no such metric.
        """
        if outcome.run is None:
            return math.nan
        metrics = {f"val/{name}": value for name, value in read_metrics(outcome.run, "val").items()}
        if self.metric not in metrics:
            raise ValueError(f"{outcome.run} has no number {self.metric}; it has {', '.join(metrics)}.")
        return metrics[self.metric]

    def _better(self, value: float, before: float) -> bool:
        """Whether a value is better than the best before it; NaN is never better."""
        if math.isnan(value) or math.isnan(before):
            return math.isnan(before) and not math.isnan(value)
        return value < before if self.smaller_is_better else value > before
