"""The question of a comparison, and the difference of one arm to the baseline, as numbers and as sentences."""

import re
from dataclasses import dataclass
from typing import Literal

from dml_lightning.stats.estimates import NO_LIMITS, Estimate, Limits
from dml_lightning.stats.paired import units_needed
from dml_lightning.stats.units import Folds, InferenceUnit, check_margin, units_are_independent

Verdict = Literal["better", "worse", "no difference shown", "too few units", "not tested", "equal"]
# Heading of each number in metrics/test.json that a table shows. Larger is better except for FNMR, active
# triplets and AURC.
COLUMNS = {
    "balanced_accuracy": "balanced accuracy",
    "balanced_accuracy_prototype": "balanced accuracy, nearest prototype",
    "balanced_accuracy_knn": "balanced accuracy, 5-NN",
    "recall_at_1": "Recall@1",
    "map_at_r": "MAP@R",
    "recall_at_1_other_groups": "Recall@1, other groups",
    "map_at_r_other_groups": "MAP@R, other groups",
    "fnmr_at_fmr_1_in_100_other_groups": "FNMR at FMR 0.01, other groups",
    "novel_recall_at_1": "novel Recall@1",
    "novel_map_at_r": "novel MAP@R",
    "novel_map_at_r_other_groups": "novel MAP@R, other groups",
    "inter_intra_ratio": "inter/intra",
    "active_triplet_fraction": "active triplets",
    "ood_auroc": "OOD AUROC",
    "ood_auroc_near": "near OOD AUROC",
    "ood_auroc_far": "far OOD AUROC",
    "clutter_auroc": "AUROC, clutter of kinds seen",
    "reject_clutter_auroc": "the same, by the reject class",
    "reject_ood_auroc": "OOD AUROC by the reject class",
    "oscr": "OSCR",
    "aurc": "AURC",
}
# Prefixes of the names of numbers of which smaller is better.
SMALLER_IS_BETTER = (
    *(
        "ood_fpr95",
        "clutter_fpr95",
        "active_",
        "hard_",
        "semihard_",
        "intra_",
        "roth_",
        "assumption_known_excess",
        "aurc",
    ),
    *("nll", "calibration_error", "classwise_calibration_error", "fnmr_"),
)
# Parts of the names of numbers between 0 and 1.
SHARES = re.compile("accuracy|precision|recall|map_at|auroc|fpr|fnmr|fraction|oscr|aurc|calibration_error")


def plain_name(metric: str) -> str:
    """Name of a number of metrics/test.json for headings and sentences.

    Example:
        >>> plain_name("map_at_r"), plain_name("worst_gap")
        ('MAP@R', 'worst gap')
    """
    return COLUMNS.get(metric, metric.replace("_", " "))


def higher_is_better(metric: str) -> bool:
    """Whether larger values of a number of metrics/test.json are better.

    Example:
        >>> higher_is_better("novel_recall_at_1"), higher_is_better("ood_fpr95_ood_positive")
        (True, False)
    """
    return not metric.removeprefix("novel_").startswith(SMALLER_IS_BETTER)


def limits(metric: str) -> Limits:
    """Smallest and largest possible value of a number of metrics/test.json; infinite where it is no share.

    Example:
        >>> limits("novel_recall_at_1"), limits("inter_intra_ratio")
        ((0.0, 1.0), (-inf, inf))
    """
    return (0.0, 1.0) if SHARES.search(metric) else NO_LIMITS


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
        margin: Largest difference that counts as none, in units of the metric, for a test of equality; None for none.

    Raises:
        ValueError: If alpha is not in (0, 0.5), or the margin not above 0.

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
    margin: float | None = None

    def __post_init__(self) -> None:
        if not 0 < self.alpha < 0.5:
            raise ValueError(f"alpha must lie in (0, 0.5), got {self.alpha}; 0.05 is usual.")
        if self.margin is not None:
            check_margin(self.margin)

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
    equal_p_holm: float | None = None  # of the test of equality, after Holm's correction; None where there is none

    @property
    def is_equal(self) -> bool:
        """Whether the arms are shown to be equal within the margin."""
        return self.equal_p_holm is not None and self.equal_p_holm <= self.question.alpha

    @property
    def verdict(self) -> Verdict:
        """Whether the arm is better or worse than the baseline; neither unless Holm's p-value is at most alpha.

        "equal" if no difference is shown, and equality within the margin is.
        """
        if self.p_holm is None or self.smallest_p_holm is None:
            return "not tested"
        if self.p_holm <= self.question.alpha:
            above = self.estimate.mean > 0
            return "better" if above == self.question.higher_is_better else "worse"
        if self.is_equal:
            return "equal"
        possible = self.smallest_p_holm <= self.question.alpha
        return "no difference shown" if possible else "too few units"

    @property
    def sentence(self) -> str:
        """The verdict as a sentence, with the simultaneous interval or the range."""
        texts = {"better": self._shown, "worse": self._shown, "not tested": self._not_tested, "equal": self._equal}
        shown = texts.get(self.verdict, self._not_shown)() + self._of_margin()
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

    def _equal(self) -> str:
        question, ends = self.question, (self.simultaneous_low, self.simultaneous_high)
        text = (
            f"{self.arm} and {question.baseline} are equal within {question.margin:g} in {question.metric}: "
            f"{self.estimate.text('+', ends)} ({self.estimate.units} {question.unit}s, two one-sided t-tests, "
            f"Holm-corrected p = {self.equal_p_holm:.2g})."
        )
        if question.margin is not None and max(-ends[0], ends[1]) > question.margin:
            text += " The interval reaches beyond the margin, for it asks for more than the two tests."
        return text

    def _of_margin(self) -> str:
        """What the test of equality adds to a verdict other than "equal", from the space before it."""
        margin, unit = self.question.margin, self.question.unit
        if margin is None or self.verdict == "equal":
            return ""
        if self.equal_p_holm is None:
            return f" Equality within {margin:g} is not tested: that takes five independent {unit}s or more."
        tests = f"two one-sided t-tests, Holm-corrected p = {self.equal_p_holm:.2g}"
        if self.is_equal:
            return f" The difference lies within the margin of {margin:g} ({tests})."
        return f" Equality within {margin:g} is not shown ({tests})."

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


def _count(number: int, name: str) -> str:
    """A number with its name, such as "this test flight" or "these 4 test flights"."""
    return f"this {name}" if number == 1 else f"these {number} {name}s"
