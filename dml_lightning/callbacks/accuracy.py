"""Is the species named correctly, by each way of naming it?"""

from typing_extensions import override

from dml_lightning.callbacks.base import Measurement
from dml_lightning.evidence import Evidence
from dml_lightning.metrics.classification import balanced_accuracy
from dml_lightning.openset.naming import name_classes


class Accuracy(Measurement):
    """Logs accuracy and balanced accuracy over the known species, for each rule that names a class.

    `accuracy` is the arm's own rule: softmax argmax, or the nearest prototype. The rules that both arms have
    stand beside it: `accuracy_prototype` and `accuracy_knn`.

    Args:
        k: Neighbours that vote in `accuracy_knn`.
    """

    def __init__(self, k: int = 5) -> None:
        self.k = k

    @override
    def compute(self, evidence: Evidence) -> dict[str, float]:
        known = evidence.sets["known"]
        found: dict[str, float] = {}
        for rule, predicted in name_classes(known, evidence.sets["reference"], k=self.k).items():
            values = {
                "accuracy": float((predicted == known.labels).double().mean()),
                "balanced_accuracy": balanced_accuracy(known.labels, predicted),
            }
            found |= {f"{key}_{rule}": value for key, value in values.items()}
            if rule == evidence.prediction_rule:
                found |= values
        return found
