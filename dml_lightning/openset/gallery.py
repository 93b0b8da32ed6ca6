"""What a finished run knows: reference embeddings of the known classes and its rule for refusing."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from dml_lightning.openset.naming import name_classes
from dml_lightning.openset.prototypes import PrototypeDetector
from dml_lightning.runs import write_npz
from dml_lightning.types import Embeddings

STATE = "detector/"  # before the detector's own arrays in the file


class Answer(NamedTuple):
    """What the gallery says of N crops."""

    label: list[str]  # by the arm's own rule
    label_prototype: list[str]
    label_knn: list[str]
    distance: NDArray[np.float64]  # (N,) to the nearest prototype
    ood_score: NDArray[np.float64]  # (N,) larger is more OOD
    known: NDArray[np.bool_]  # (N,) the decision: not refused
    rule: str  # by which threshold


@dataclass(frozen=True)
class Gallery:
    """Reference embeddings, class names and a calibrated detector."""

    reference: Embeddings
    class_names: list[str]  # of the known classes, by label
    prediction_rule: str  # softmax or prototype, the arm's own way of naming
    detector: PrototypeDetector

    @staticmethod
    def build(
        reference: Embeddings,
        known: Embeddings,
        ood: Embeddings,
        class_names: list[str],
        prediction_rule: str,
    ) -> Gallery:
        """Prototypes of the reference; the threshold by rule B, or by rule A without OOD crops.

        Args:
            reference: Training crops of the known classes.
            known: Validation crops of the known classes.
            ood: Validation crops of OOD classes, possibly none.
            class_names: Of the known classes, by label.
            prediction_rule: The arm's own way of naming a class.
        """
        detector = PrototypeDetector().fit(reference.vectors, reference.labels)
        if len(ood):
            detector.calibrate(known.vectors, rule="B", kind="nearest", ood=ood.vectors)
        else:
            detector.calibrate(rule="A", kind="nearest")
        return Gallery(reference, class_names, prediction_rule, detector)

    def answer(self, queries: Embeddings) -> Answer:
        """Names and refusals of N embeddings from the encoder that this gallery is of."""
        labels = name_classes(queries, self.reference)
        names = {
            rule: [self.class_names[i] for i in chosen.tolist()] for rule, chosen in labels.items()
        }
        said = self.detector.predict(queries.vectors)
        return Answer(
            label=names[self.prediction_rule],
            label_prototype=names["prototype"],
            label_knn=names["knn"],
            distance=said.nearest_distance,
            ood_score=said.score,
            known=~said.is_ood,
            rule=said.rule,
        )

    def save(self, path: Path) -> None:
        """Writes one npz file that is whole or absent."""
        write_npz(
            path,
            vectors=self.reference.vectors.cpu().numpy(),
            labels=self.reference.labels.cpu().numpy(),
            index=self.reference.index.cpu().numpy(),
            class_names=np.array(self.class_names),
            prediction_rule=np.array(self.prediction_rule),
            **{STATE + key: value for key, value in self.detector.state().items()},
        )

    @staticmethod
    def load(path: Path) -> Gallery:
        """Reads what `save` wrote.

        Raises:
            ValueError: If there is no such file.
        """
        if not path.is_file():
            raise ValueError(
                f"{path.parent} has no {path.name}: `dml fit` writes it when training ends."
            )
        with np.load(path) as file:
            state = {key[len(STATE) :]: file[key] for key in file if key.startswith(STATE)}
            reference = Embeddings(
                *(torch.from_numpy(file[key]) for key in ("vectors", "labels", "index"))
            )
            names, rule = file["class_names"].tolist(), str(file["prediction_rule"])
        return Gallery(reference, names, rule, PrototypeDetector.from_state(state))
