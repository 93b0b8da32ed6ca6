"""Does a crop's neighbourhood hold its own species?"""

from typing_extensions import override

from dml_lightning.callbacks.base import SEEN_AND_NOVEL, Measurement
from dml_lightning.evidence import Evidence
from dml_lightning.metrics.retrieval import retrieval_summary


class Retrieval(Measurement):
    """Logs Recall@1, R-precision and MAP@R, each crop against all the others of its set (leave one out).

    Known species without a prefix; novel species, which training never saw, behind `novel_`.
    """

    @override
    def compute(self, evidence: Evidence) -> dict[str, float]:
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
