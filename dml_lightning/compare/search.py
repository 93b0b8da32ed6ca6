"""The same number of trials for every arm, judged on validation alone."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from dml_lightning.compare.jobs import Job, Outcome
from dml_lightning.runs import read_json


@dataclass(frozen=True)
class Range:
    """Numbers from `low` to `high`, evenly or, with `log`, evenly in their logarithm."""

    low: float
    high: float
    log: bool = False

    def __post_init__(self) -> None:
        if not self.low < self.high or (self.log and self.low <= 0):
            raise ValueError(
                f"a range needs low < high (and low > 0 with log), got {self.low} and {self.high}."
            )

    def draw(self, rng: np.random.Generator) -> float:
        """One number."""
        if self.log:
            return float(math.exp(rng.uniform(math.log(self.low), math.log(self.high))))
        return float(rng.uniform(self.low, self.high))


@dataclass(frozen=True)
class Search:
    """Random search before a comparison: settings are chosen once per arm, on validation, then kept for all runs.

    Args:
        trials: Per arm, the arm's own recipe being the first.
        space: For each trained arm its options, such as model.init_args.loss.init_args.margin, each with a list of
            values or a range.
        metric: Of the validation split, larger is better unless `smaller_is_better`.
        smaller_is_better: Sense of the metric.
        seed: Of the draws and of the trials' training: none of the seeds that are reported.
        fold: On which the trials are trained.
    """

    trials: int
    space: dict[str, dict[str, list[float | int | str | bool] | Range]]
    metric: str = "val/map_at_r"
    smaller_is_better: bool = False
    seed: int = 1000
    fold: int = field(default=0)

    def check(self, trained: Sequence[str], seeds: Sequence[int]) -> None:
        """Refuses a search that would favour an arm.

        Raises:
            ValueError: With what would work.
        """
        if self.trials < 2:
            raise ValueError(f"search.trials is {self.trials}; a search needs 2 or more.")
        if self.seed in seeds:
            raise ValueError(
                f"search.seed {self.seed} is one of the seeds to report; choose another."
            )
        if set(self.space) != set(trained):
            raise ValueError(
                f"search.space names {', '.join(sorted(self.space)) or 'no arm'}; every trained arm needs as many "
                f"trials as the others: {', '.join(trained)}."
            )
        if not self.metric.startswith("val/"):
            raise ValueError(f"search.metric is {self.metric}; trials are judged on val/ metrics.")

    def settings(self, arm: str) -> Iterator[tuple[str, ...]]:
        """Words of each trial; the first has none."""
        yield ()
        for trial in range(1, self.trials):
            rng = np.random.default_rng([self.seed, trial])
            yield tuple(
                f"--{option}={values.draw(rng) if isinstance(values, Range) else values[rng.integers(len(values))]}"
                for option, values in self.space[arm].items()
            )

    def best(self, outcomes: Sequence[Outcome]) -> Mapping[str, tuple[Job, float]]:
        """The trial with the best validation metric of each arm.

        Raises:
            ValueError: If an arm has a trial that failed: fewer trials would be unfair to it.
        """
        chosen: dict[str, tuple[Job, float]] = {}
        for outcome in outcomes:
            if outcome.run is None:
                raise ValueError(
                    f"{outcome.job.title} failed ({outcome.error}), and an arm with fewer trials would be at a "
                    "disadvantage: mend it and give the same command again."
                )
            value = self.value(outcome.run)
            sign = -1 if self.smaller_is_better else 1
            before = chosen.get(outcome.job.arm)
            if before is None or sign * value > sign * before[1]:
                chosen[outcome.job.arm] = (outcome.job, value)
        return chosen

    def value(self, run: Path) -> float:
        """What a trial reached on validation."""
        metrics = read_json(run / "metrics" / "val.json")
        if metrics.get(self.metric) is None:
            raise ValueError(f"{run} has no number {self.metric}; it has {', '.join(metrics)}.")
        return float(metrics[self.metric])
