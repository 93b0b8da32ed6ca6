"""What a comparison found, as numbers, as a table and in plain words."""

from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dml_lightning.stats.paired import t_interval, units_needed
from dml_lightning.stats.units import CLAIM, InferenceUnit

Verdict = Literal["better", "worse", "no difference shown", "too few units"]
# Number in metrics/test.json -> heading. Larger is better but for the active fraction.
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
# Beginnings of the names of numbers that should be small.
SMALLER_IS_BETTER = ("ood_fpr95", "active_", "hard_", "semihard_", "intra_", "roth_", "assumption_known_excess")


def higher_is_better(metric: str) -> bool:
    """The sense of a number of metrics/test.json."""
    return not metric.removeprefix("novel_").startswith(SMALLER_IS_BETTER)


@dataclass(frozen=True)
class Question:
    """What is asked of the runs, before they are looked at.

    Args:
        metric: The primary one, a column of the table of runs.
        baseline: Arm that the others are compared with.
        unit: What counts as one observation: "seed", for claims about these classes, or "fold", about new ones.
        higher_is_better: Sense of the metric.
        floors: Arms that are shown and not tested, so that they cost the others no power.
        alpha: Familywise error of the tests; intervals have level 1 − alpha.
        planned: Tests that were to be made, those included whose runs failed: what is corrected for is chosen
            beforehand.

    Raises:
        ValueError: If alpha is not in (0, 0.5).
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
    """A mean over independent units with Student's interval."""

    mean: float
    low: float
    high: float
    sd: float  # over units
    units: int
    dropped: int  # units left out because a run is missing

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
    """One arm minus the baseline, within units that are complete in both.

    The test asks for symmetric differences only, the intervals for normal ones: where the two disagree, the test
    decides and `sentence` says so.
    """

    arm: str
    question: Question
    comparisons: int  # that are corrected for
    estimate: Estimate  # of the mean difference, with the interval of this one alone
    simultaneous_low: float  # interval that holds for all comparisons at once
    simultaneous_high: float
    p: float  # sign flips, two-sided
    smallest_p: float  # that so many units can give, 2/2^n
    p_holm: float
    smallest_p_holm: float

    @property
    def verdict(self) -> Verdict:
        """The arm beside the baseline; no difference is shown unless Holm's p-value is at most alpha."""
        if self.p_holm <= self.question.alpha:
            above = self.estimate.mean > 0
            return "better" if above == self.question.higher_is_better else "worse"
        possible = self.smallest_p_holm <= self.question.alpha
        return "no difference shown" if possible else "too few units"

    @property
    def sentence(self) -> str:
        """The verdict in plain words, with the simultaneous interval."""
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
    difference: Difference | None  # none of the baseline itself and of floors

    @property
    def sentence(self) -> str:
        """The mean in plain words."""
        over = f"{self.estimate.units} {self.question.unit}s"
        return f"{self.arm}: {self.question.metric} {self.estimate} over {over}."

    def to_frame(self) -> pd.DataFrame:
        """One row."""
        row = {"arm": self.arm, "metric": self.question.metric, **asdict(self.estimate)}
        if self.difference is not None:
            estimate = asdict(self.difference.estimate)
            row |= {f"difference_{name}": value for name, value in estimate.items()}
            tests = ("simultaneous_low", "simultaneous_high", "p", "p_holm", "smallest_p_holm")
            row |= {name: getattr(self.difference, name) for name in (*tests, "verdict")}
        whole = {"difference_units", "difference_dropped"} & row.keys()  # beside empty fields, too
        return pd.DataFrame([row]).astype(dict.fromkeys(whole, "Int64"))


@dataclass(frozen=True)
class Comparison:
    """Every arm beside the baseline in one metric."""

    question: Question
    arms: tuple[ArmResult, ...]  # in order of appearance, the baseline among them
    left_out: tuple[str, ...] = ()  # arms with fewer than two complete units

    @property
    def differences(self) -> tuple[Difference, ...]:
        """Of the arms that were tested."""
        return tuple(arm.difference for arm in self.arms if arm.difference is not None)

    @property
    def sentence(self) -> str:
        """What was shown, arm after arm, and what it is about; the means where nothing was tested."""
        unit = self.question.unit
        scope = f"Units are {unit}s: this speaks of {CLAIM[unit]}."
        shown = [each.sentence for each in self.differences or self.arms]
        if self.left_out:
            shown.append(f"Left out, with fewer than two complete {unit}s: {', '.join(self.left_out)}.")
        return " ".join([*shown, scope])

    def to_frame(self) -> pd.DataFrame:
        """A row per arm; what concerns a difference is empty where an arm was not tested."""
        return pd.concat([arm.to_frame() for arm in self.arms], ignore_index=True)

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers, words and lists, for JSON."""
        return {**asdict(self), "sentence": self.sentence}
