"""Do the conditions hold under which refusing what is unknown is guaranteed?"""

from typing_extensions import override

from dml_lightning.callbacks.base import Measurement
from dml_lightning.evidence import Evidence
from dml_lightning.openset import PrototypeDetector
from dml_lightning.openset.assumptions import assumption_report


class Assumptions(Measurement):
    """Logs which conditions of the separation theorem hold, and by how much, behind `assumption_`.

    If every known crop lies in the ball of its class and every OOD crop outside all balls, the radius-adjusted score
    separates them; if the balls are also disjoint, it names the class (`openset.assumptions`). Balls are those of the
    reference crops.

    Args:
        radius_quantile: Of a class's distances to its prototype; 1 is their maximum.
    """

    def __init__(self, radius_quantile: float = 1.0) -> None:
        self.radius_quantile = radius_quantile

    @override
    def compute(self, evidence: Evidence) -> dict[str, float]:
        sets = evidence.sets
        detector = PrototypeDetector(radius_quantile=self.radius_quantile)
        detector.fit(sets["reference"].vectors, sets["reference"].labels)
        found = assumption_report(detector, sets["known"].vectors, sets["known"].labels, sets["ood"].vectors)
        return {f"assumption_{name}": value for name, value in found.values().items()}
