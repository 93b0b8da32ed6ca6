"""Ways to name the class of an embedding, the same for both arms, and how often the name is right."""

from torch import Tensor

from dml_lightning.evaluation.evidence import Evidence
from dml_lightning.metrics.classification import balanced_accuracy, knn_labels, nearest_prototype_labels
from dml_lightning.types import Embeddings


def name_classes(queries: Embeddings, reference: Embeddings, k: int = 5) -> dict[str, Tensor]:
    """Labels (N,) of the queries by each rule: `prototype`, `knn`, and `softmax` if there are logits.

    Args:
        queries: N embeddings to name.
        reference: Training crops of the known classes.
        k: Neighbours that vote; all of them where the reference has fewer.
    """
    k = min(k, len(reference))
    names = {
        "prototype": nearest_prototype_labels(queries.vectors, reference.vectors, reference.labels),
        "knn": knn_labels(queries.vectors, reference.vectors, reference.labels, k=k),
    }
    if queries.logits is not None:
        names["softmax"] = queries.logits.argmax(1)  # known classes are 0..C-1, as the classifier's
    return names


def accuracy_values(evidence: Evidence, k: int = 5) -> dict[str, float]:
    """Accuracy and balanced accuracy over the known species, by the arm's own rule and behind `_<rule>` by each.

    Args:
        evidence: Of one split.
        k: Neighbours that vote in `accuracy_knn`.
    """
    known = evidence.sets["known"]
    found: dict[str, float] = {}
    for rule, predicted in name_classes(known, evidence.sets["reference"], k=k).items():
        values = {
            "accuracy": float((predicted == known.labels).double().mean()),
            "balanced_accuracy": balanced_accuracy(known.labels, predicted),
        }
        found |= {f"{key}_{rule}": value for key, value in values.items()}
        if rule == evidence.prediction_rule:
            found |= values
    return found
