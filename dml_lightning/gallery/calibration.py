"""Calibration crops of a gallery: distances, classes and flights of all of them, whatever part rule C is chosen on."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dml_lightning.openset.arrays import ArrayState
from dml_lightning.openset.conformal import counted_rows


@dataclass(frozen=True, eq=False)
class Calibration:
    """Held-out crops of the classes trained on, which serve rule C, the drift test and sets of species alone.

    Example:
        >>> held_out = Calibration(np.array([[1.0, 4.0], [5.0, 2.0]]), np.array([0, 1]), np.array([7, 7]))
        >>> held_out.scores, held_out.rows(alpha=0.5)
        (array([1., 2.]), array([0, 1]))
    """

    distances: NDArray[np.float64]  # (n, C) to the prototypes of the classes trained on
    labels: NDArray[np.int64]  # (n,) true classes
    flights: NDArray[np.int64]  # (n,) number of each crop's flight
    logits: NDArray[np.float32] | None = None  # (n, C) of an arm that classifies
    per_flight: bool = False  # whether one random crop of each flight is to count, not every crop

    @property
    def scores(self) -> NDArray[np.float64]:
        """Distances (n,) of all crops to their nearest prototype."""
        nearest: NDArray[np.float64] = self.distances.min(axis=1)
        return nearest

    def rows(self, alpha: float) -> NDArray[np.int64]:
        """Rows of the crops that rule C counts: all, or one random crop of each flight if those suffice for alpha."""
        return counted_rows(self.flights, alpha, self.per_flight)

    def state(self) -> ArrayState:
        """The crops as plain arrays."""
        arrays = {"distances": self.distances, "labels": self.labels, "flights": self.flights}
        logits = {} if self.logits is None else {"logits": self.logits}
        return arrays | logits | {"per_flight": np.array(self.per_flight)}

    @classmethod
    def from_state(cls, state: Mapping[str, NDArray[Any]]) -> "Calibration":
        """The crops whose `state` this is."""
        distances, labels, flights = (np.asarray(state[name]) for name in ("distances", "labels", "flights"))
        return cls(distances, labels, flights, state.get("logits"), bool(state["per_flight"]))
