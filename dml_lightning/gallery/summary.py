"""What a gallery says without its embeddings: names, thresholds, calibration crops and enrolled species.

It is read without PyTorch, for what only lists a gallery or compares predictions with it.
"""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self, TypeVar, cast, get_args

import numpy as np
from numpy.typing import NDArray

from dml_lightning.gallery import records
from dml_lightning.gallery.calibration import Calibration
from dml_lightning.gallery.contents import read_calibration, read_radii, read_thresholds
from dml_lightning.gallery.radius import RadiusPrior
from dml_lightning.openset.arrays import unnested
from dml_lightning.openset.conformal import conformal_quantile
from dml_lightning.openset.judge import DecisionRule
from dml_lightning.openset.scores import text
from dml_lightning.openset.thresholds import ScoreChoice, Threshold
from dml_lightning.runs import digests
from dml_lightning.types import PredictionRule

Kept = TypeVar("Kept", bound="GallerySummary")


@dataclass(frozen=True, eq=False)
class EnrolledSpecies:
    """A species that was enrolled from a few crops."""

    label: str
    vectors: NDArray[np.float32]  # (k, D)
    radius: float  # by `RadiusPrior`; a crop within it of the prototype counts as known

    @property
    def prototype(self) -> NDArray[np.float64]:
        """Mean of the crops, (D,)."""
        mean: NDArray[np.float64] = self.vectors.astype(np.float64).mean(axis=0)
        return mean


@dataclass(frozen=True, eq=False, kw_only=True)
class GallerySummary:
    """Names, thresholds by rule, calibration crops and enrolled species of a gallery; see `gallery.gallery`."""

    class_names: list[str]  # of the known classes, by label
    prediction_rule: PredictionRule  # the arm's own way of naming a class
    radii: NDArray[np.float64]  # (C,) of the known classes
    sizes: NDArray[np.int64]  # (C,) number of their reference crops
    thresholds: dict[str, Threshold]  # by rule
    prior: RadiusPrior  # for the radii of enrolled species
    encoder: str  # digest
    enrolled: tuple[EnrolledSpecies, ...] = ()
    calibration: Calibration | None = None  # None without a calibration split, and in galleries of version 0.1
    choice: ScoreChoice = field(default_factory=ScoreChoice)  # score of rules B and C; that of prototypes in older ones
    base: int = 0  # number of the base record that it was read from
    record: int = 0  # number of the last record of that folder

    @property
    def version(self) -> str:
        """Encoder and number of the last record; galleries of equal version answer alike."""
        return f"{self.encoder}-{self.record}"

    @property
    def file(self) -> str:
        """Path of its base below the run's folder."""
        return f"gallery/{self.base:04d}.json"

    @property
    def why(self) -> str:
        """Which score rules B and C refuse by and why, as a sentence; empty where none was chosen."""
        chosen = self.choice
        return f"Rules B and C refuse by the {text(chosen.kind)}: {chosen.reason}." if chosen.reason else ""

    @property
    def per_flight(self) -> bool:
        """Whether rule C takes one crop of each flight; a gallery that does not tell has as many of both then."""
        if self.calibration is not None:
            return self.calibration.per_flight
        return "C" in self.thresholds and 0 < self.thresholds["C"].samples == self.thresholds["C"].groups

    def calibration_scores(self) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Distances (n,) to the nearest prototype and flights (n,) of all calibration crops.

        In a gallery of version 0.1 they are of the crops of rule C.

        Raises:
            ValueError: If the gallery has no rule C.
        """
        threshold = self.threshold("C")
        if self.calibration is None:
            return threshold.scores, threshold.owners
        return self.calibration.scores, self.calibration.flights

    def distance_threshold(self) -> float:
        """Threshold of rule C if it were on the distance to the nearest prototype, whatever its score is.

        Raises:
            ValueError: If the gallery has no rule C.
        """
        threshold = self.threshold("C")
        if threshold.kind == "nearest" or self.calibration is None:
            return threshold.value
        counted = self.calibration.rows(threshold.alpha)
        return conformal_quantile(self.calibration.scores[counted], threshold.alpha)

    @property
    def default_rule(self) -> str:
        """C if its threshold is finite, else B, else A."""
        if "C" in self.thresholds and np.isfinite(self.thresholds["C"].value):
            return "C"
        return "B" if "B" in self.thresholds else "A"

    def threshold(self, rule: str) -> Threshold:
        """Threshold of a rule.

        Raises:
            ValueError: If the gallery has no such rule.
        """
        if rule not in self.thresholds:
            raise ValueError(
                f"there is no rule {rule!r} in this gallery, which has {', '.join(self.thresholds)}."
                + (" Rule C needs a calibration split." if rule.startswith("C") else "")
            )
        return self.thresholds[rule]

    @property
    def rules(self) -> dict[str, DecisionRule]:
        """Rules by name, in the form of `openset.judge`."""
        return {name: threshold.decision_rule(self.radii) for name, threshold in self.thresholds.items()}

    @property
    def names(self) -> list[str]:
        """Names of the known classes, then of the enrolled species."""
        return self.class_names + [species.label for species in self.enrolled]

    @classmethod
    def of_run(cls, run: Path) -> Self:
        """Read the gallery of a run whose files belong together.

        Raises:
            ValueError: If there is none, a file is damaged, or `digests.check` refuses the folder.
        """
        digests.check(run)
        gallery = cls.load(run / "gallery")
        recorded = [name for name in digests.recorded(run, "val") if name.startswith("gallery/")]
        if recorded and gallery.file not in recorded:
            raise ValueError(
                f"{run / gallery.file} is of another run: dml validate wrote {recorded[0]}; restore the whole folder."
            )
        return gallery

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read a gallery with everything that was enrolled, removed or recalibrated.

        Raises:
            ValueError: If there is none, or a file is damaged.
        """
        records.check_gallery(folder)
        gallery, last = cast("Self | None", None), 0
        for record in records.read(folder):
            try:
                if record.kind == "base":
                    gallery = cls(**cls.contents(record, gallery))
                elif gallery is not None:
                    gallery = _with_change(gallery, record)
            except (KeyError, TypeError, AttributeError) as error:
                what = f"lacks {error}" if isinstance(error, KeyError) else str(error)
                raise ValueError(
                    f"record {record.number} of {folder} is damaged ({what}); restore the whole folder."
                ) from None
            last = record.number
        if gallery is None:
            raise ValueError(f"{folder} has no base record: restore the whole folder.")
        return replace(gallery, record=last)

    @classmethod
    def contents(cls, record: records.Record, before: "GallerySummary | None" = None) -> dict[str, Any]:
        """Values of the fields in a base, after a gallery whose enrolled species stay if its encoder is the same."""
        fields, radii = record.words, read_radii(record)
        same_encoder = before is not None and before.encoder == fields["encoder"]
        _check_names(record.number, fields["class_names"], fields["prediction_rule"], len(radii))
        return {
            "class_names": list(fields["class_names"]),
            "prediction_rule": cast(PredictionRule, fields["prediction_rule"]),
            "radii": radii,
            "sizes": counted_labels(record.arrays["labels"], len(radii)),
            "thresholds": read_thresholds(record),
            "prior": RadiusPrior(**fields["prior"]),
            "encoder": fields["encoder"],
            "enrolled": before.enrolled if before is not None and same_encoder else (),
            "calibration": read_calibration(record),
            "choice": _read_choice(record),
            "base": record.number,
        }


def counted_labels(labels: NDArray[np.int64], classes: int) -> NDArray[np.int64]:
    """Number of crops (C,) of each class, from the labels (N,).

    Example:
        >>> counted_labels(np.array([0, 2, 0]), 3)
        array([2, 0, 1])
    """
    return (labels[:, None] == np.arange(classes)).sum(axis=0)  # type: ignore[no-any-return] # NumPy says so


def _read_choice(record: records.Record) -> ScoreChoice:
    """The score of a base; the distance to the nearest prototype before format 3."""
    if "score" not in record.words:
        return ScoreChoice()
    arrays = unnested("score", record.arrays)
    return ScoreChoice(**record.words["score"], known=arrays.pop("known"), arrays=arrays)


def _check_names(number: int, names: Any, rule: Any, classes: int) -> None:
    """Refuse a base whose names are not those of its prototypes, or of an unknown rule."""
    texts = isinstance(names, list) and all(isinstance(name, str) for name in names)
    if not texts or len(set(names)) != len(names) or len(names) != classes:
        raise ValueError(
            f"record {number} of the gallery is damaged: its class_names must be {classes} different names, got "
            f"{names}; restore the whole folder."
        )
    if rule not in get_args(PredictionRule):
        raise ValueError(
            f"record {number} of the gallery is damaged: its prediction_rule is {rule!r}, none of "
            f"{', '.join(get_args(PredictionRule))}; restore the whole folder."
        )


def _with_change(gallery: Kept, record: records.Record) -> Kept:
    fields = record.words
    if fields["encoder"] != gallery.encoder:
        return gallery  # a change of the gallery of another encoder
    if record.kind == "enroll":
        return _with_crops(gallery, fields["label"], record.arrays["vectors"])
    if record.kind == "remove":
        return replace(gallery, enrolled=_others(gallery, fields["label"]))
    if record.kind == "calibrate":
        thresholds = uncalibrated(gallery.thresholds) | read_thresholds(record)
        return replace(gallery, thresholds=thresholds, calibration=read_calibration(record))
    raise ValueError(f"record {record.number} of the gallery is of an unknown kind {record.kind!r}.")


def uncalibrated(thresholds: dict[str, Threshold]) -> dict[str, Threshold]:
    """The thresholds that a calibration does not replace."""
    return {rule: each for rule, each in thresholds.items() if not rule.startswith("C")}


def _with_crops(gallery: Kept, label: str, crops: NDArray[np.float32]) -> Kept:
    """The gallery with more crops of a species, or with a new species."""
    before = [species.vectors for species in gallery.enrolled if species.label == label]
    vectors = np.concatenate([*before, crops])
    species = EnrolledSpecies(label, vectors, gallery.prior.radius(vectors))
    return replace(gallery, enrolled=(*_others(gallery, label), species))


def _others(gallery: GallerySummary, label: str) -> tuple[EnrolledSpecies, ...]:
    return tuple(species for species in gallery.enrolled if species.label != label)
