"""Results of a comparison, as numbers, as a table and as sentences."""

from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dml_lightning.stats.paired import t_interval, units_needed
from dml_lightning.stats.units import CLAIM, InferenceUnit

Verdict = Literal["better", "worse", "no difference shown", "too few units"]
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
SMALLER_IS_BETTER = (
    *("ood_fpr95", "active_", "hard_", "semihard_", "intra_", "roth_", "assumption_known_excess"),
    *("nll", "calibration_error", "classwise_calibration_error"),
)


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
        unit: Independent observation: "seed", for claims about these classes, or "fold", for claims about new ones.
        higher_is_better: Whether larger values of the metric are better.
        floors: Arms that are shown and not tested, so that they cost the others no power.
        alpha: Familywise error of the tests; intervals have level 1 − alpha.
        planned: Number of tests that were planned, including those whose runs failed: Holm's correction is for all
            of them.

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

    def __post_init__(self) -> None:
        if not 0 < self.alpha < 0.5:
            raise ValueError(f"alpha must lie in (0, 0.5), got {self.alpha}; 0.05 is usual.")


@dataclass(frozen=True)
class Estimate:
    """A mean over independent units with Student's interval.

    Example:
        >>> str(Estimate.of(np.array([0.70, 0.72, 0.71]), dropped=0, alpha=0.05))
        '0.710 [0.685, 0.735]'
    """

    mean: float
    low: float
    high: float
    sd: float  # standard deviation over units
    units: int  # number of units
    dropped: int  # number of units left out because a run is missing

    @classmethod
    def of(cls, values: NDArray[np.float64], dropped: int, alpha: float) -> "Estimate":
        """The mean of `values` (n,) with its interval at level 1 − alpha."""
        low, high = t_interval(values, 1 - alpha)
        sd = values.std(ddof=1)
        return cls(float(values.mean()), float(low), float(high), float(sd), len(values), dropped)

    def __str__(self) -> str:
        return f"{self.mean:.3f} [{self.low:.3f}, {self.high:.3f}]"


@dataclass(frozen=True)
class Difference:
    """Difference of one arm to the baseline, within units that are complete in both.

    The test assumes symmetric differences only, the intervals normal ones: if the two disagree, the test decides and
    `sentence` says so.
    """

    arm: str
    question: Question
    comparisons: int  # number of comparisons that are corrected for
    estimate: Estimate  # mean difference, with an interval for this comparison alone
    simultaneous_low: float  # ends of an interval that holds for all comparisons at once
    simultaneous_high: float
    p: float  # of the two-sided sign-flip test
    smallest_p: float  # smallest p that this number of units can give, 2/2^n
    p_holm: float  # p after Holm's correction
    smallest_p_holm: float  # smallest_p after Holm's correction

    @property
    def verdict(self) -> Verdict:
        """Whether the arm is better or worse than the baseline; neither unless Holm's p-value is at most alpha."""
        if self.p_holm <= self.question.alpha:
            above = self.estimate.mean > 0
            return "better" if above == self.question.higher_is_better else "worse"
        possible = self.smallest_p_holm <= self.question.alpha
        return "no difference shown" if possible else "too few units"

    @property
    def sentence(self) -> str:
        """The verdict as a sentence, with the simultaneous interval."""
        shown = self._shown() if self.verdict in ("better", "worse") else self._not_shown()
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
        text = (
            f"{better} is better than {worse} by {abs(self.estimate.mean):.3f} [{low:.3f}, {high:.3f}] "
            f"in {self.question.metric} {self._tested()}."
        )
        if low <= 0:
            text += " The interval is wider than the test and includes 0: by how much is uncertain."
        return text

    def _not_shown(self) -> str:
        text = (
            f"No difference shown between {self.arm} and {self.question.baseline} in {self.question.metric}: "
            f"{self.estimate.mean:+.3f} [{self.simultaneous_low:.3f}, {self.simultaneous_high:.3f}] {self._tested()}."
        )
        if self.simultaneous_low > 0 or self.simultaneous_high < 0:
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
    """One arm: its mean over units with Student's interval, and its difference to the baseline."""

    arm: str
    question: Question
    estimate: Estimate
    difference: Difference | None  # None for the baseline itself and for floors

    @property
    def sentence(self) -> str:
        """The mean as a sentence."""
        over = f"{self.estimate.units} {self.question.unit}s"
        return f"{self.arm}: {self.question.metric} {self.estimate} over {over}."

    def to_frame(self) -> pd.DataFrame:
        """The arm as a table of one row."""
        row = {"arm": self.arm, "metric": self.question.metric, **asdict(self.estimate)}
        if self.difference is not None:
            estimate = asdict(self.difference.estimate)
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

    @property
    def differences(self) -> tuple[Difference, ...]:
        """Differences of the arms that were tested."""
        return tuple(arm.difference for arm in self.arms if arm.difference is not None)

    @property
    def sentence(self) -> str:
        """The sentences of all arms, then the scope of the claim; the means if nothing was tested."""
        unit = self.question.unit
        scope = f"Units are {unit}s: this speaks of {CLAIM[unit]}."
        shown = [each.sentence for each in self.differences or self.arms]
        if self.left_out:
            shown.append(f"Left out, with fewer than two complete {unit}s: {', '.join(self.left_out)}.")
        return " ".join([*shown, scope])

    def to_frame(self) -> pd.DataFrame:
        """Table with a row per arm; the columns of the difference are empty if an arm was not tested."""
        return pd.concat([arm.to_frame() for arm in self.arms], ignore_index=True)

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers, strings and lists, for JSON."""
        return {**asdict(self), "sentence": self.sentence}
