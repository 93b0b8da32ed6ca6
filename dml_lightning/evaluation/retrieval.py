"""Whether a crop's nearest neighbours are of its own species."""

from dml_lightning.evaluation.evidence import SEEN_AND_NOVEL, Evidence
from dml_lightning.metrics.retrieval import retrieval_summary


def retrieval_values(evidence: Evidence) -> dict[str, float]:
    """Recall@1, R-precision and MAP@R, each crop against all the others of its set; novel species behind `novel_`.

    Args:
        evidence: Of one split; a collective, which every rank must call alike.
    """
    values: dict[str, float] = {}
    for prefix, name in SEEN_AND_NOVEL.items():
        chosen = evidence.sets[name]
        if len(chosen):
            found = retrieval_summary(chosen.vectors, chosen.labels, split_over_ranks=True)
            values |= {
                f"{prefix}recall_at_1": found.recall_at[1],
                f"{prefix}r_precision": found.r_precision,
                f"{prefix}map_at_r": found.map_at_r,
            }
    return values
