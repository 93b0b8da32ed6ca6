"""Check of the separation theorem's conditions on data: which hold, and by how much.

The ball of a class is centred on its prototype and has its radius. If every known sample lies in the ball of its
class and every OOD sample outside all balls, the radius-adjusted score separates them. If the balls are also
disjoint, the class with the smallest radius-adjusted distance is the true one.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dml_lightning.openset.prototypes import PrototypeDetector
from dml_lightning.pairs.blocks import Vectors, to_numpy


@dataclass(frozen=True)
class AssumptionReport:
    """Shares of samples and margins in units of distance; NaN where there is nothing to count."""

    known_inside: float  # share of known samples inside the ball of their class
    known_inside_by_class: dict[int, float]
    pairs_disjoint: float  # share of class pairs with |mu - mu'| > r + r'
    smallest_gap: float  # min of |mu - mu'| - r - r' over the pairs
    median_gap: float
    closest_pair: tuple[int, int] | None  # the classes with the smallest gap
    ood_outside: float  # share of OOD samples outside every ball
    known_excess: float  # largest distance of a known sample outside its ball; at most 0 if all are inside
    ood_clearance: float  # smallest distance of an OOD sample outside every ball; above 0 if all are outside
    radius_ratio: float  # largest radius / smallest; only at 1 does the theorem cover the nearest score too

    @property
    def separation_holds(self) -> bool:
        """Whether the conditions hold on every sample: then s1 <= 0 on known samples and s1 > 0 on OOD ones."""
        return self.known_inside == 1.0 and self.ood_outside == 1.0

    def values(self) -> dict[str, float]:
        """The numbers by name, for a log; without those of single classes."""
        return {name: value for name, value in vars(self).items() if isinstance(value, float)} | {
            "separation_holds": float(self.separation_holds) if np.isfinite(self.ood_outside) else float("nan")
        }


def assumption_report(
    detector: PrototypeDetector, known: Vectors, known_labels: Vectors, ood: Vectors
) -> AssumptionReport:
    """Check the balls of a fitted detector on held-out samples.

    Args:
        detector: Fitted detector, whose prototypes and radii are the balls.
        known: Held-out samples (N, D) of the detector's classes.
        known_labels: Classes (N,) of `known`.
        ood: OOD samples (M, D); M may be 0.

    Raises:
        ValueError: If a label is none of the detector's classes.

    Example:
        >>> x, y = np.array([[0.0], [2.0], [10.0], [12.0]]), np.array([0, 0, 1, 1])
        >>> report = assumption_report(PrototypeDetector().fit(x, y), x, y, ood=np.array([[6.0]]))
        >>> report.smallest_gap, report.ood_clearance, report.separation_holds
        (8.0, 4.0, True)
    """
    labels = to_numpy(known_labels)
    columns = detector.columns(labels)
    own = detector.distances(to_numpy(known))[np.arange(len(columns)), columns]
    inside = own <= detector.radii[columns]  # (N,)
    clearance = detector.score(to_numpy(ood), kind="radius")  # (M,)
    outside = clearance > 0
    first, second = np.triu_indices(len(detector.classes), k=1)
    centres = detector.distances(detector.prototypes)  # (C, C)
    gaps = centres[first, second] - detector.radii[first] - detector.radii[second]  # (pairs,)
    return AssumptionReport(
        known_inside=_share(inside),
        known_inside_by_class={int(c): _share(inside[labels == c]) for c in np.unique(labels)},
        pairs_disjoint=_share(gaps > 0),
        smallest_gap=_smallest(gaps),
        median_gap=float(np.median(gaps)) if len(gaps) else float("nan"),
        closest_pair=_pair(detector, first, second, gaps),
        ood_outside=_share(outside),
        known_excess=-_smallest(detector.radii[columns] - own),
        ood_clearance=_smallest(clearance),
        radius_ratio=_ratio(detector.radii),
    )


def _share(holds: NDArray[np.bool_]) -> float:
    return float(holds.mean()) if len(holds) else float("nan")


def _smallest(values: NDArray[np.float64]) -> float:
    return float(values.min()) if len(values) else float("nan")


def _ratio(radii: NDArray[np.float64]) -> float:
    """Largest radius / smallest; infinite if only some are 0, and 1 if all are."""
    largest, smallest = float(radii.max()), float(radii.min())
    if smallest == 0:
        return 1.0 if largest == 0 else float("inf")
    return largest / smallest


def _pair(
    detector: PrototypeDetector, first: NDArray[np.int64], second: NDArray[np.int64], gaps: NDArray[np.float64]
) -> tuple[int, int] | None:
    """The two classes whose balls come closest or overlap most."""
    if len(gaps) == 0:
        return None
    worst = int(gaps.argmin())
    return int(detector.classes[first[worst]]), int(detector.classes[second[worst]])
