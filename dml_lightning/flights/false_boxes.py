"""False boxes of a detector: boxes that show nothing of any class, measured on flights without birds.

Their number and answers come from the user's own flights without birds, never from the clutter of an evaluation set,
whose amount and mixture are whatever was annotated.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dml_lightning.types import Floats


@dataclass(frozen=True, eq=False)
class FalseBoxes:
    """Boxes that were found on flights without birds.

    The number of false boxes of a flight is taken to grow with its frames, and to scatter among flights as here.

    Example:
        >>> FalseBoxes(np.array([[0.0, 6.0], [2.0, 12.0]]), np.array([10.0, 30.0])).rates
        array([0.05, 0.45])
    """

    counts: Floats  # (E, K) number of boxes by answer, of each flight
    frames: Floats  # (E,) number of frames, of each flight

    @property
    def rates(self) -> Floats:
        """Number (K,) of false boxes per frame by answer."""
        rates: Floats = self.counts.sum(axis=0) / self.frames.sum()
        return rates

    def variances(self, weights: Floats) -> Floats:
        """Variance (R,), per frame, of a weighted number of boxes; over the flights, whatever correlates the answers.

        Args:
            weights: Weights (R, K) of a box of each answer.
        """
        residuals = (self.counts - self.frames[:, None] * self.rates) @ weights.T  # (E, R)
        variances: Floats = (residuals**2 / self.frames[:, None]).sum(axis=0) / (len(self.frames) - 1)
        return variances


@dataclass(frozen=True, eq=False)
class Subtracted:
    """Answers of flights less the expected false boxes."""

    remaining: Floats  # (G, K) may be negative
    boxes: Floats  # (G,) all boxes, false ones included
    false: FalseBoxes | None = None
    frames: Floats | None = None  # (G,)

    @property
    def positive(self) -> Floats:
        """Number (G, K) of remaining boxes, at least 0."""
        return np.maximum(self.remaining, 0)

    def variance(self, weights: Floats) -> Floats:
        """Variance (G, R) of weighted counts that the false boxes add, with the error of their rate."""
        if self.false is None or self.frames is None:
            return np.zeros((len(self.boxes), len(weights)))
        factor = self.frames * (1 + self.frames / self.false.frames.sum())
        variance: Floats = factor[:, None] * self.false.variances(weights)
        return variance

    def summed(self) -> "Subtracted":
        """All flights as one."""
        frames = None if self.frames is None else self.frames.sum(keepdims=True)
        return Subtracted(self.remaining.sum(axis=0)[None], self.boxes.sum(keepdims=True), self.false, frames)


def subtract(answers: NDArray[np.int64] | Floats, false: FalseBoxes | None, frames: Floats | None) -> Subtracted:
    """Subtracts the expected false boxes from the answers.

    Args:
        answers: Number (G, K) of boxes of each flight by answer.
        false: False boxes; None if there are none.
        frames: Number (G,) of frames of each flight, needed with `false`.
    """
    boxes = answers.sum(axis=1).astype(float)
    if false is None:
        return Subtracted(answers.astype(float), boxes)
    assert frames is not None
    return Subtracted(answers - frames[:, None] * false.rates, boxes, false, frames)
