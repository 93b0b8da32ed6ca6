"""Classification of embeddings by several rules, the same for all arms, and its accuracy."""

from torch import Tensor

from dml_lightning.evaluation.evidence import Evidence
from dml_lightning.metrics.classification import balanced_accuracy, knn_labels, nearest_prototype_labels
from dml_lightning.types import Embeddings, PredictionRule


def name_classes(queries: Embeddings, reference: Embeddings, k: int = 5) -> dict[str, Tensor]:
    """Labels (N,) of the queries by each rule: `prototype`, `knn`, and `softmax` if there are logits.

    Args:
        queries: Embeddings of the N crops to name.
        reference: Embeddings of training crops of the known classes.
        k: Number of neighbours that vote; all where the reference has fewer.

    Example:
        >>> import torch
        >>> reference = Embeddings(torch.tensor([[0.0], [9.0]]), torch.tensor([0, 1]), torch.arange(2))
        >>> queries = Embeddings(torch.tensor([[8.0]]), torch.tensor([1]), torch.arange(1))
        >>> name_classes(queries, reference)
        {'prototype': tensor([1]), 'knn': tensor([1])}
    """
    k = min(k, len(reference))
    names = {
        "prototype": nearest_prototype_labels(queries.vectors, reference.vectors, reference.labels),
        "knn": knn_labels(queries.vectors, reference.vectors, reference.labels, k=k),
    }
    if queries.logits is not None:
        names["softmax"] = queries.logits.argmax(1)  # known classes are 0..C-1, as the classifier's
    return names


def names_of_known(evidence: Evidence, rule: PredictionRule | None = None) -> Tensor:
    """Labels (N,) that a rule gives to the known crops; the arm's own rule if none is named.

    Args:
        evidence: Embeddings of one split.
        rule: `prototype`, or `softmax` where there are logits.
    """
    known, reference = evidence.sets["known"], evidence.sets["reference"]
    if (rule or evidence.prediction_rule) == "softmax" and known.logits is not None:
        return known.logits.argmax(1)
    return nearest_prototype_labels(known.vectors, reference.vectors, reference.labels)


def accuracy_values(evidence: Evidence, k: int = 5) -> dict[str, float]:
    """Accuracy and balanced accuracy over the known species.

    `accuracy` and `balanced_accuracy` are by the arm's own rule, `accuracy_<rule>` and `balanced_accuracy_<rule>` by
    each rule of `name_classes`.

    Args:
        evidence: Embeddings of one split.
        k: Number of neighbours that vote in `accuracy_knn`.
    """
    known = evidence.sets["known"]
    values: dict[str, float] = {}
    for rule, predicted in name_classes(known, evidence.sets["reference"], k=k).items():
        accuracies = {
            "accuracy": float((predicted == known.labels).double().mean()),
            "balanced_accuracy": balanced_accuracy(known.labels, predicted),
        }
        values |= {f"{key}_{rule}": value for key, value in accuracies.items()}
        if rule == evidence.prediction_rule:
            values |= accuracies
    return values
