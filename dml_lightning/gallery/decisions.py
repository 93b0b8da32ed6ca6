"""What a gallery decides on crops, from their embeddings and without PyTorch."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from dml_lightning.evaluation.split import Rows
from dml_lightning.gallery import records
from dml_lightning.gallery.contents import read_points
from dml_lightning.gallery.summary import GallerySummary
from dml_lightning.openset.arrays import ArrayState
from dml_lightning.openset.judge import distances, judge
from dml_lightning.openset.scores import Crops, nearest_rows, needs_features, score, text
from dml_lightning.types import Floats

SAME = 1e-5  # tolerance relative to the largest component: embeddings of one crop in other batches differ by less


@dataclass(frozen=True, eq=False, kw_only=True)
class DecidingGallery(GallerySummary):
    """A gallery that names crops and refuses them, as `gallery.answer` does."""

    points: NDArray[np.float64]  # (C, D) prototypes of the known classes
    score_arrays: ArrayState  # what its score was fitted on, by the names of `openset.scores`

    @override
    @classmethod
    def contents(cls, record: records.Record, before: GallerySummary | None = None) -> dict[str, Any]:
        fields = super().contents(record, before)
        stored = {name: record.arrays[name] for name in ("vectors", "features") if name in record.arrays}
        arrays = {"radii": fields["radii"], **stored, **fields["choice"].arrays}
        return fields | {"points": read_points(record), "score_arrays": arrays}

    def decide(self, crops: Rows, rule: str) -> tuple[list[str], NDArray[np.bool_]]:
        """Name crops and refuse unknown ones.

        Args:
            crops: Embeddings of N crops.
            rule: Rule by which crops are refused.

        Returns:
            Names by the arm's own rule, or of the enrolled species in whose ball the crop lies; and whether each crop
            (N,) is known.

        Raises:
            ValueError: If there is no such rule, or its score is of features and the crops have none.
        """
        self.threshold(rule)
        decision = self.rules[rule]
        trained, balls = self.distances(crops.vectors), [species.radius for species in self.enrolled]
        centres = np.array([species.prototype for species in self.enrolled]).reshape(-1, self.points.shape[1])
        classifies = self.prediction_rule == "softmax" and crops.logits is not None
        judged = judge(
            trained,
            distances(crops.vectors.astype(np.float64), centres),
            self.radii,
            np.array(balls),
            {rule: decision},
            classified=crops.logits.argmax(axis=1) if classifies and crops.logits is not None else None,
            given=self._scores(trained, crops) if decision.given else None,
        )
        return np.array(self.names)[judged.name].tolist(), judged.known[rule]

    def distances(self, vectors: NDArray[np.float32]) -> Floats:
        """Distances (N, C) of crops to the prototypes of the known classes."""
        return distances(vectors.astype(np.float64), self.points)

    def _scores(self, trained: Floats, crops: Rows) -> Floats:
        return scores_of(self.choice.kind, Crops(trained, crops.vectors, crops.features), self.score_arrays)


def scores_of(kind: str, crops: Crops, arrays: ArrayState) -> Floats:
    """Scores (N,) of crops by the score of a gallery's rules B and C.

    Args:
        kind: Kind of the score.
        crops: The crops.
        arrays: What the score was fitted on.

    Raises:
        ValueError: If the score is of features and the crops have none.
    """
    if crops.features is None and needs_features(kind, arrays):
        raise ValueError(
            f"this gallery refuses by the {text(kind)}, and the crops come without features: embed them again "
            "(the test crops of a run: dml test --run RUN)."
        )
    return score(kind, crops, arrays)


def repeated(vectors: NDArray[np.float32], others: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Whether each embedding (k, D) is that of a crop among the others (n, D), to the rounding of another batch.

    Example:
        >>> repeated(np.array([[0.0, 1.0], [1.0, 0.0]], np.float32), np.array([[0.0, 0.999999]], np.float32))
        array([ True, False])
    """
    if not len(others):
        return np.zeros(len(vectors), bool)
    nearest = others[nearest_rows(vectors, others, 1)[:, 0]]  # (k, D)
    same: NDArray[np.bool_] = np.abs(vectors - nearest).max(axis=1) <= SAME * np.abs(others).max()
    return same
