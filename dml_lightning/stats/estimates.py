"""The mean over independent units with its interval, or with the range of the single values where they are few.

One rule for everything that is printed: below `FEWEST_UNITS` units (flights, seeds, folds) the single values and their
range, from there on an interval. A range says what was seen, not where the truth may lie.
"""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from dml_lightning.metrics.bootstrap import FEWEST_UNITS
from dml_lightning.stats.paired import t_interval

Spread = Literal["interval", "range"]
Limits = tuple[float, float]  # smallest and largest value that a number can have
NO_LIMITS: Limits = (-np.inf, np.inf)


@dataclass(frozen=True)
class Estimate:
    """A mean over units, with the ends of its interval, or of the range of the units' values.

    Example:
        >>> Estimate.of(np.array([0.70, 0.72, 0.71]), dropped=0, alpha=0.05).text()
        '0.710, range 0.700 to 0.720 (0.700, 0.720, 0.710)'
        >>> Estimate.of(np.array([0.70, 0.72, 0.71, 0.72, 0.70]), dropped=0, alpha=0.05).text()
        '0.710 [0.698, 0.722]'
        >>> Estimate.of(np.array([0.99, 0.98, 1.0, 1.0, 1.0]), dropped=0, alpha=0.05, limits=(0, 1)).text()
        '0.994 [0.983, 1.000]'
    """

    mean: float
    low: float
    high: float
    sd: float  # standard deviation over units
    units: int  # number of units
    dropped: int  # number of units left out because a run is missing
    spread: Spread  # what `low` and `high` are the ends of
    values: tuple[float, ...]  # of the single units

    @classmethod
    def of(
        cls,
        values: NDArray[np.float64],
        dropped: int,
        alpha: float,
        independent: bool = True,
        limits: Limits = NO_LIMITS,
    ) -> "Estimate":
        """The mean of `values` (n,) with its interval at level 1 − alpha, or their range.

        Args:
            values: Value of each unit, two or more.
            dropped: Number of units left out.
            alpha: Error of the interval.
            independent: Whether the units are; units that share data have a range, however many there are.
            limits: Smallest and largest value that is possible, beyond which no interval reaches.
        """
        if independent and len(values) >= FEWEST_UNITS:
            spread: Spread = "interval"
            possible = min(limits[0], values.min()), max(limits[1], values.max())
            low, high = map(float, np.clip(t_interval(values, 1 - alpha), *possible))
        else:
            spread, low, high = "range", float(values.min()), float(values.max())
        sd = float(values.std(ddof=1))
        return cls(float(values.mean()), low, high, sd, len(values), dropped, spread, tuple(values.tolist()))

    @property
    def is_range(self) -> bool:
        """Whether `low` and `high` are the smallest and the largest value."""
        return self.spread == "range"

    def text(self, sign: str = "", ends: tuple[float, float] | None = None) -> str:
        """The mean with its interval, or with its range and, if they are few, the single values.

        Args:
            sign: "+" to write the sign of positive numbers.
            ends: Ends of another interval to write instead.
        """
        low, high = ends or (self.low, self.high)
        if not self.is_range:
            return f"{self.mean:{sign}.3f} [{low:.3f}, {high:.3f}]"
        single = f" ({', '.join(f'{v:{sign}.3f}' for v in self.values)})" if self.units < FEWEST_UNITS else ""
        return f"{self.mean:{sign}.3f}, range {low:{sign}.3f} to {high:{sign}.3f}{single}"

    def numbers(self) -> dict[str, Any]:
        """The fields by name, without the single values."""
        fields = asdict(self)
        del fields["values"]
        return fields


def cell_text(values: NDArray[np.float64], independent: bool = True, limits: Limits = NO_LIMITS) -> str:
    """A cell of a table: the mean with its 95 % interval in square brackets, or with the range in round ones.

    Example:
        >>> cell_text(np.array([0.70, 0.72])), cell_text(np.array([0.7])), cell_text(np.array([]))
        ('0.710 (0.700 to 0.720)', '0.700', '–')
    """
    if len(values) < 2:
        return f"{values[0]:.3f}" if len(values) else "–"
    found = Estimate.of(values, 0, 0.05, independent, limits)
    return bracketed(found.mean, found.low, found.high, found.spread)


def bracketed(mean: float, low: float, high: float, spread: Spread) -> str:
    """A mean with the ends of its interval in square brackets, or with those of a range in round ones."""
    return f"{mean:.3f} [{low:.3f}, {high:.3f}]" if spread == "interval" else f"{mean:.3f} ({low:.3f} to {high:.3f})"


def cells_note(cells: Iterable[str], unit: str) -> str:
    """What the brackets in cells of `cell_text` are; empty if there are none.

    Args:
        cells: The cells of a table.
        unit: Name of the unit.

    Example:
        >>> cells_note(["0.710 (0.700 to 0.720)", "0.3"], "seed")
        'Round brackets: range over seeds, where they are fewer than five or share data; no interval.'
    """
    text = "".join(cells)
    notes = {
        "[": f"Square brackets: 95 % interval over {unit}s.",
        "(": f"Round brackets: range over {unit}s, where they are fewer than five or share data; no interval.",
    }
    return " ".join(note for bracket, note in notes.items() if bracket in text)
