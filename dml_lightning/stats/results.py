"""Results of a comparison, as numbers, as a table and as sentences."""

from dataclasses import asdict, dataclass
from typing import Any, Literal

import pandas as pd

from dml_lightning.metrics.bootstrap import FEWEST_UNITS
from dml_lightning.stats.estimates import Estimate
from dml_lightning.stats.flights import FlightDifference
from dml_lightning.stats.paired import units_needed
from dml_lightning.stats.units import Folds, InferenceUnit, units_are_independent

Verdict = Literal["better", "worse", "no difference shown", "too few units", "not tested"]
# Heading of each number in metrics/test.json that a table shows. Larger is better except for active triplets.
COLUMNS = {
    "balanced_accuracy": "balanced accuracy",
    "balanced_accuracy_prototype": "balanced accuracy, prototype",
    "balanced_accuracy_knn": "balanced accuracy, 5-NN",
    "recall_at_1": "Recall@1",
    "map_at_r": "MAP@R",
    "novel_recall_at_1": "novel Recall@1",
    "novel_map_at_r": "novel MAP@R",
    "inter_intra_ratio": "inter/intra",
    "active_triplet_fraction": "active triplets",
    "ood_auroc": "OOD AUROC",
    "ood_auroc_near": "near OOD AUROC",
    "ood_auroc_far": "far OOD AUROC",
}
# Prefixes of the names of numbers of which smaller is better.
SMALLER_IS_BETTER = ("ood_fpr95", "active_", "hard_", "semihard_", "intra_", "roth_", "assumption_known_excess")


def higher_is_better(metric: str) -> bool:
    """Whether larger values of a number of metrics/test.json are better.

    Example:
        >>> higher_is_better("novel_recall_at_1"), higher_is_better("ood_fpr95_ood_positive")
        (True, False)
    """
    return not metric.removeprefix("novel_").startswith(SMALLER_IS_BETTER)


@dataclass(frozen=True)
class Question:
    """Question of a comparison, fixed before the runs are looked at.

    Args:
        metric: Primary metric, a column of the table of runs.
        baseline: Arm that the others are compared with.
        unit: Observation: "seed", for claims about these classes and test flights, or "fold".
        higher_is_better: Whether larger values of the metric are better.
        floors: Arms that are shown and not tested, so that they cost the others no power.
        alpha: Familywise error of the tests; intervals have level 1 − alpha.
        planned: Number of tests that were planned, including those whose runs failed: Holm's correction is for all
            of them.
        fold_by: What is new in the test of a fold, "groups" or "classes". Folds are tested only where they are
            independent, see `units_are_independent`.

    Raises:
        ValueError: If alpha is not in (0, 0.5).

    Example:
        >>> Question("recall_at_1", baseline="softmax").unit
        'seed'
    """

    metric: str
    baseline: str
    unit: InferenceUnit = "seed"
    higher_is_better: bool = True
    floors: tuple[str, ...] = ()
    alpha: float = 0.05
    planned: int = 0
    fold_by: Folds = "groups"

    def __post_init__(self) -> None:
        if not 0 < self.alpha < 0.5:
            raise ValueError(f"alpha must lie in (0, 0.5), got {self.alpha}; 0.05 is usual.")

    @property
    def is_tested(self) -> bool:
        """Whether the units are independent, so that there is an interval, a p-value and a verdict."""
        return units_are_independent(self.unit, self.fold_by, self.metric)

    def scope(self, flights: int | None) -> str:
        """What the answer speaks of, in a sentence: that which was drawn anew from unit to unit, and no more.

        Args:
            flights: Number of test flights; None if the runs do not name them.
        """
        tested = "these test crops" if flights is None else _count(flights, "test flight")
        if self.unit == "seed":
            return f"Units are seeds: this speaks of these classes and {tested}."
        if self.is_tested:
            return f"Units are folds of classes: this speaks of new classes on {tested}."
        shared = "flights" if self.fold_by == "groups" else "known classes"
        return (
            f"Folds by {self.fold_by} share {shared}, so they are not independent: an estimate and a range, with no "
            f"p-value and no winner, that speak of these classes and {tested}."
        )


@dataclass(frozen=True)
class Difference:
    """Difference of one arm to the baseline, within units that are complete in both.

    The test assumes symmetric differences only, the intervals normal ones: if the two disagree, the test decides and
    `sentence` says so.
    """

    arm: str
    question: Question
    comparisons: int  # number of comparisons that are corrected for
    estimate: Estimate  # mean difference, with an interval for this comparison alone, or a range
    simultaneous_low: float  # ends of an interval that holds for all comparisons at once; those of a range
    simultaneous_high: float
    p: float | None  # of the two-sided sign-flip test; None where units are not independent
    smallest_p: float | None  # smallest p that this number of units can give, 2/2^n
    p_holm: float | None  # p after Holm's correction
    smallest_p_holm: float | None  # smallest_p after Holm's correction

    @property
    def verdict(self) -> Verdict:
        """Whether the arm is better or worse than the baseline; neither unless Holm's p-value is at most alpha."""
        if self.p_holm is None or self.smallest_p_holm is None:
            return "not tested"
        if self.p_holm <= self.question.alpha:
            above = self.estimate.mean > 0
            return "better" if above == self.question.higher_is_better else "worse"
        possible = self.smallest_p_holm <= self.question.alpha
        return "no difference shown" if possible else "too few units"

    @property
    def sentence(self) -> str:
        """The verdict as a sentence, with the simultaneous interval or the range."""
        shown = {"better": self._shown, "worse": self._shown, "not tested": self._not_tested}.get(
            self.verdict, self._not_shown
        )()
        dropped = self.estimate.dropped
        if not dropped:
            return shown
        plural = "s" if dropped > 1 else ""
        return f"{shown} {dropped} {self.question.unit}{plural} left out as incomplete."

    def _shown(self) -> str:
        better, worse = self.arm, self.question.baseline
        if self.verdict == "worse":
            better, worse = worse, better
        low, high = self.simultaneous_low, self.simultaneous_high
        if self.estimate.mean < 0:
            low, high = -high, -low
        spread = f"range {low:.3f} to {high:.3f}" if self.estimate.is_range else f"[{low:.3f}, {high:.3f}]"
        text = (
            f"{better} is better than {worse} by {abs(self.estimate.mean):.3f} {spread} "
            f"in {self.question.metric} {self._tested()}."
        )
        if low <= 0 and not self.estimate.is_range:
            text += " The interval is wider than the test and includes 0: by how much is uncertain."
        return text

    def _not_tested(self) -> str:
        unit = f"{self.estimate.units} {self.question.unit}s"
        return (
            f"{self.arm} minus {self.question.baseline} in {self.question.metric}: {self.estimate.text('+')} over "
            f"{unit}, not tested."
        )

    def _not_shown(self) -> str:
        ends = (self.simultaneous_low, self.simultaneous_high)
        text = (
            f"No difference shown between {self.arm} and {self.question.baseline} in {self.question.metric}: "
            f"{self.estimate.text('+', ends)} {self._tested()}."
        )
        if not self.estimate.is_range and (self.simultaneous_low > 0 or self.simultaneous_high < 0):
            text += " The interval leaves 0 out only if differences are normal; the test decides."
        if self.verdict == "too few units":
            unit, needed = self.question.unit, units_needed(self.question.alpha, self.comparisons)
            text += (
                f" With {self.estimate.units} {unit}s no corrected p-value below {self.smallest_p_holm:.2g} is "
                f"possible: it takes {needed} {unit}s or more to show a difference."
            )
        return text

    def _tested(self) -> str:
        units = f"{self.estimate.units} {self.question.unit}s"
        return f"({units}, Holm-corrected p = {self.p_holm:.2g})"


@dataclass(frozen=True)
class ArmResult:
    """One arm: its mean over units with its interval or range, and its difference to the baseline."""

    arm: str
    question: Question
    estimate: Estimate
    difference: Difference | None  # None for the baseline itself and for floors

    @property
    def sentence(self) -> str:
        """The mean as a sentence."""
        over = f"{self.estimate.units} {self.question.unit}s"
        return f"{self.arm}: {self.question.metric} {self.estimate.text()} over {over}."

    def to_frame(self) -> pd.DataFrame:
        """The arm as a table of one row."""
        row = {"arm": self.arm, "metric": self.question.metric, **self.estimate.numbers()}
        if self.difference is not None:
            estimate = self.difference.estimate.numbers()
            row |= {f"difference_{name}": value for name, value in estimate.items()}
            tests = ("simultaneous_low", "simultaneous_high", "p", "p_holm", "smallest_p_holm")
            row |= {name: getattr(self.difference, name) for name in (*tests, "verdict")}
        counts = {"difference_units", "difference_dropped"} & row.keys()  # integers even where other rows have none
        return pd.DataFrame([row]).astype(dict.fromkeys(counts, "Int64"))


@dataclass(frozen=True)
class Comparison:
    """Every arm compared with the baseline in one metric."""

    question: Question
    arms: tuple[ArmResult, ...]  # in order of appearance, the baseline among them
    left_out: tuple[str, ...] = ()  # arms with fewer than two complete units
    flights: int | None = None  # number of test flights; None if the runs do not name them
    by_flight: tuple[FlightDifference, ...] = ()  # of the arms that were tested over seeds

    @property
    def differences(self) -> tuple[Difference, ...]:
        """Differences of the arms that were tested."""
        return tuple(arm.difference for arm in self.arms if arm.difference is not None)

    @property
    def sentence(self) -> str:
        """The sentences of all arms, the scope of the claim, differences by flight; the means if nothing was tested."""
        unit = self.question.unit
        shown = [each.sentence for each in self.differences or self.arms]
        if self.left_out:
            shown.append(f"Left out, with fewer than two complete {unit}s: {', '.join(self.left_out)}.")
        estimates = [each.estimate for each in self.differences or self.arms]
        if any(each.units < FEWEST_UNITS for each in estimates):
            shown.append(f"Fewer than five {unit}s have a range, the smallest and the largest value, and no interval.")
        return " ".join([*shown, self.question.scope(self.flights), *(each.sentence for each in self.by_flight)])

    def to_frame(self) -> pd.DataFrame:
        """Table with a row per arm; the columns of the difference are empty if an arm was not tested."""
        return pd.concat([arm.to_frame() for arm in self.arms], ignore_index=True)

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers, strings and lists, for JSON."""
        return {**asdict(self), "sentence": self.sentence}


def _count(number: int, name: str) -> str:
    """A number with its name, such as "this test flight" or "these 4 test flights"."""
    return f"this {name}" if number == 1 else f"these {number} {name}s"
