"""Does a crop's neighbourhood hold its own species?"""

import lightning as L
from typing_extensions import override

from dml_lightning.callbacks.base import EvaluationCallback
from dml_lightning.metrics.retrieval import retrieval_summary
from dml_lightning.models import EmbeddingModule


class Retrieval(EvaluationCallback):
    """Logs Recall@1, R-precision and MAP@R, each crop against all the others of its set (leave one out).

    Known species without a prefix; novel species, which training never saw, behind `novel_`.
    """

    @override
    def evaluate(self, trainer: L.Trainer, module: EmbeddingModule, stage: str) -> None:
        sets = module.embeddings()
        for prefix, chosen in (("", sets["known"]), ("novel_", sets["novel"])):
            if len(chosen):
                found = retrieval_summary(chosen.vectors, chosen.labels)
                values = {
                    "recall_at_1": found.recall_at[1],
                    "r_precision": found.r_precision,
                    "map_at_r": found.map_at_r,
                }
                self.log_values(
                    module, stage, {prefix + name: value for name, value in values.items()}
                )
