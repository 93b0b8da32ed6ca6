"""Ways to name the class of an embedding, the same for both arms."""

from torch import Tensor

from dml_lightning.metrics.classification import knn_labels, nearest_prototype_labels
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
