"""Retrieval: whether the nearest neighbours of a crop are of its own species."""

from dml_lightning.evaluation.evidence import SEEN_AND_NOVEL, Evidence
from dml_lightning.metrics.retrieval import retrieval_summary


def retrieval_values(evidence: Evidence) -> dict[str, float]:
    """Recall@1, R-precision and MAP@R of each crop against all others of its set; novel species as `novel_*`.

    A collective: every rank must call it with the same arguments.

    Args:
        evidence: Embeddings of one split.
    """
    values: dict[str, float] = {}
    for prefix, name in SEEN_AND_NOVEL.items():
        chosen = evidence.sets[name]
        if len(chosen):
            summary = retrieval_summary(chosen.vectors, chosen.labels, split_over_ranks=True)
            values |= {
                f"{prefix}recall_at_1": summary.recall_at[1],
                f"{prefix}r_precision": summary.r_precision,
                f"{prefix}map_at_r": summary.map_at_r,
            }
    return values
