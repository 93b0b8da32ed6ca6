"""Is the species named correctly, by each way of naming it?"""

import lightning as L
from typing_extensions import override

from dml_lightning.callbacks.base import EvaluationCallback
from dml_lightning.metrics.classification import balanced_accuracy
from dml_lightning.models import EmbeddingModule
from dml_lightning.openset.naming import name_classes


class Accuracy(EvaluationCallback):
    """Logs accuracy and balanced accuracy over the known species, for each rule that names a class.

    `accuracy` is the arm's own rule: softmax argmax, or the nearest prototype. The rules that both arms have
    stand beside it: `accuracy_prototype` and `accuracy_knn`.

    Args:
        k: Neighbours that vote in `accuracy_knn`.
    """

    def __init__(self, k: int = 5) -> None:
        self.k = k

    @override
    def evaluate(self, trainer: L.Trainer, module: EmbeddingModule, stage: str) -> None:
        sets = module.embeddings()
        known = sets["known"]
        names = name_classes(known, sets["reference"], k=self.k)
        for rule, predicted in names.items():
            values: dict[str, float] = {
                "accuracy": float((predicted == known.labels).double().mean()),
                "balanced_accuracy": balanced_accuracy(known.labels, predicted),
            }
            self.log_values(
                module, stage, {f"{key}_{rule}": value for key, value in values.items()}
            )
            if rule == module.prediction_rule:
                self.log_values(module, stage, values)
