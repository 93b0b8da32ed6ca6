"""Results of a comparison of arms, as numbers, as a table and as sentences."""

from dataclasses import asdict, dataclass
from typing import Any

import pandas as pd

from dml_lightning.metrics.bootstrap import FEWEST_UNITS
from dml_lightning.stats.estimates import Estimate
from dml_lightning.stats.flights import FlightDifference
from dml_lightning.stats.results import Difference, Question


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
            tests = ("simultaneous_low", "simultaneous_high", "p", "p_holm", "smallest_p_holm", "equal_p_holm")
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
