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

    The number of false boxes of a flight is taken to grow with its frames, and their rates to scatter among flights as
    here.

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

    @property
    def freedom(self) -> int:
        """Number of differences between flights that the scatter of rates is measured on."""
        return len(self.frames) - 1

    def scatter(self, weights: Floats) -> tuple[Floats, Floats]:
        """Variances (R,) of a weighted number of boxes: of single boxes, per frame, and of flights' rates.

        By moments, over the flights, as in the random-effects model of DerSimonian and Laird (1986). That of single
        boxes is Poisson's, of one box more than there were: none in few frames does not mean that there never is one.

        Args:
            weights: Weights (R, K) of a box of each answer.
        """
        frames, total = self.frames, self.frames.sum()
        single = weights**2 @ ((self.counts.sum(axis=0) + 1 / self.counts.shape[1]) / total)
        residuals = (self.counts - frames[:, None] * self.rates) @ weights.T  # (E, R)
        differs = (residuals**2 / frames[:, None]).sum(axis=0)
        return single, np.maximum(differs - self.freedom * single, 0) / (total - (frames**2).sum() / total)

    def variance(self, weights: Floats, frames: Floats, squares: Floats) -> Floats:
        """Variance (G, R) of the weighted number of false boxes in new flights, with the error of the rates.

        Args:
            weights: Weights (R, K) of a box of each answer.
            frames: Number (G,) of frames, of a flight or a sum over flights.
            squares: Sum (G,) over the flights of their squared number of frames.
        """
        single, between = self.scatter(weights)
        total = self.frames.sum()
        error = single / total + between * (self.frames**2).sum() / total**2
        variance: Floats = frames[:, None] * single + squares[:, None] * between + frames[:, None] ** 2 * error
        return variance


@dataclass(frozen=True, eq=False)
class Subtracted:
    """Answers of flights less the expected false boxes."""

    remaining: Floats  # (G, K) may be negative
    boxes: Floats  # (G,) all boxes, false ones included
    false: FalseBoxes | None = None
    frames: Floats | None = None  # (G,)
    squares: Floats | None = None  # (G,) sum over the flights of their squared number of frames

    @property
    def positive(self) -> Floats:
        """Number (G, K) of remaining boxes, at least 0."""
        return np.maximum(self.remaining, 0)

    def variance(self, weights: Floats) -> Floats:
        """Variance (G, R) of weighted counts that the false boxes add, with the error of their rate."""
        if self.false is None or self.frames is None or self.squares is None:
            return np.zeros((len(self.boxes), len(weights)))
        return self.false.variance(weights, self.frames, self.squares)

    def summed(self) -> "Subtracted":
        """All flights as one."""
        frames, squares = (None if each is None else each.sum(keepdims=True) for each in (self.frames, self.squares))
        return Subtracted(self.remaining.sum(axis=0)[None], self.boxes.sum(keepdims=True), self.false, frames, squares)


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
    return Subtracted(answers - frames[:, None] * false.rates, boxes, false, frames, frames**2)
