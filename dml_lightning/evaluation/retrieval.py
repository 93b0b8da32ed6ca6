"""Retrieval: whether the nearest neighbours of a crop are of its own species.

Crops of one flight resemble each other, so that many nearest neighbours are of the query's own flight. Numbers that end
in `_other_groups` leave out all crops of the query's group, of its class and of others.
"""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from dml_lightning.evaluation.evidence import SEEN_AND_NOVEL, Evidence
from dml_lightning.metrics.retrieval import retrieval_summary
from dml_lightning.types import EvaluationSet

MOST_LOST = 0.2  # share of queries that may lose every crop of their class before other groups choose no checkpoint
PLAIN = "map_at_r"
OTHER_GROUPS = "_other_groups"


def retrieval_values(evidence: Evidence) -> dict[str, float]:
    """Recall@1, R-precision and MAP@R of each crop against all others of its set; novel species as `novel_*`.

    `recall_at_1_other_groups` and `map_at_r_other_groups` search only crops of other groups than the query's;
    `left_out_other_groups` is the number of crops that find none of their class there, which are in neither mean: of
    nothing there is no mean. All three are missing where `evidence.other_groups` is False. A collective: every rank
    must call it with the same arguments.

    Args:
        evidence: Embeddings of one split.
    """
    values: dict[str, float] = {}
    for prefix, name in SEEN_AND_NOVEL.items():
        if len(evidence.sets[name]):
            values |= {prefix + key: value for key, value in _values(evidence, name).items()}
    return values


def _values(evidence: Evidence, name: EvaluationSet) -> dict[str, float]:
    vectors, labels = evidence.sets[name].vectors, evidence.sets[name].labels
    plain = retrieval_summary(vectors, labels, split_over_ranks=True)
    values = {"recall_at_1": plain.recall_at[1], "r_precision": plain.r_precision, PLAIN: plain.map_at_r}
    if not evidence.other_groups:
        return values
    groups = torch.from_numpy(np.unique(evidence.groups[name], return_inverse=True)[1])
    others = retrieval_summary(vectors, labels, groups=groups, split_over_ranks=True)
    values[f"left_out{OTHER_GROUPS}"] = float(others.left_out)
    if others.queries:
        values[f"recall_at_1{OTHER_GROUPS}"] = others.recall_at[1]
        values[f"map_at_r{OTHER_GROUPS}"] = others.map_at_r
    return values


class Selection(NamedTuple):
    """The number of `retrieval_values` by which checkpoints are chosen."""

    metric: str
    reason: str  # why crops of the query's own group are searched too; "" if they are not


def selection(labels: NDArray[np.int64], groups: NDArray[np.str_], other_groups: bool = True) -> Selection:
    """Whether checkpoints are chosen by MAP@R over other groups or by the plain one, from labels and groups alone.

    Every arm on the same data is therefore chosen by the same number, and every epoch of a fit. It is the plain one if,
    of the crops that can find one of their class, more than a fifth or all of a class cannot find one in another group.

    Args:
        labels: Labels (N,) of the known crops.
        groups: Group (N,) of each of them.
        other_groups: Whether numbers over other groups are computed at all.

    Example:
        >>> labels = np.array([0, 0, 1, 1])
        >>> selection(labels, np.array(["a", "b", "a", "b"]))
        Selection(metric='map_at_r_other_groups', reason='')
        >>> selection(labels, np.array(["a", "b", "b", "b"])).metric
        'map_at_r'
    """
    if not other_groups:
        return Selection(PLAIN, "data.other_groups is false")
    classes, own = np.unique(labels, return_inverse=True)
    _, pairs = np.unique(np.stack([own, np.unique(groups, return_inverse=True)[1]]), axis=1, return_inverse=True)
    of_class, of_pair = np.bincount(own)[own], np.bincount(pairs.ravel())[pairs.ravel()]
    asked = of_class > 1
    if not asked.any():
        return Selection(PLAIN, "no known crop has another of its class")
    lost = asked & (of_class == of_pair)
    whole = [each for each in range(len(classes)) if (asked & (own == each)).any() and lost[own == each].all()]
    if lost.sum() > MOST_LOST * asked.sum() or whole:
        return Selection(
            PLAIN,
            f"{lost.sum()} of {asked.sum()} known crops, among them all of {len(whole)} of {len(classes)} classes, "
            "have no other of their class in another group",
        )
    return Selection(PLAIN + OTHER_GROUPS, "")
