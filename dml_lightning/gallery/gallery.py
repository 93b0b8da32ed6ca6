"""The gallery of a finished run: embeddings of the known classes, thresholds for refusing, and species enrolled since.

On disk a gallery is a folder of records (`gallery.records`): the base that a fit writes, then one record for each
species enrolled or removed and for each recalibration (`gallery.changes`). Nothing is overwritten.
"""

import hashlib
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, cast, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from dml_lightning.distributed import whole
from dml_lightning.evaluation.evidence import Evidence
from dml_lightning.gallery import records
from dml_lightning.gallery.calibration import Calibration
from dml_lightning.gallery.contents import read_calibration, read_prototypes, read_thresholds, written_contents
from dml_lightning.gallery.radius import RadiusPrior
from dml_lightning.openset import judge
from dml_lightning.openset.arrays import ArrayState, nested
from dml_lightning.openset.conformal import samples_needed
from dml_lightning.openset.judge import DecisionRule
from dml_lightning.openset.prototypes import PrototypeDetector
from dml_lightning.openset.sets import SetThresholds, set_thresholds
from dml_lightning.openset.thresholds import Threshold
from dml_lightning.pairs.blocks import to_numpy
from dml_lightning.runs import digests
from dml_lightning.types import Embeddings, PredictionRule

ALPHA = 0.05  # largest share of known crops that rule C refuses, on average


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


class Stored(NamedTuple):
    """Embeddings of all crops of a gallery: of the classes trained on, then of the enrolled species."""

    vectors: Tensor  # (M, D)
    labels: Tensor  # (M,) positions in the gallery's `names`
    crops: list[str]  # (M,) index in the crop table, or "label/number" of an enrolled species' crop


@dataclass(frozen=True, eq=False)
class Gallery:
    """Reference embeddings, their prototypes, thresholds by rule, and enrolled species.

    Rules: `A`, outside every ball of the reference crops; `B`, distance to the nearest prototype beyond a threshold
    validated on known and OOD crops; `C`, the same with a split-conformal threshold; `C_class`, refused by the
    conformal threshold of every class. All embeddings are of one encoder, whose digest is `encoder`.
    """

    reference: Embeddings
    class_names: list[str]  # of the known classes, by label
    prediction_rule: PredictionRule  # the arm's own way of naming a class
    prototypes: PrototypeDetector  # prototypes and radii of the known classes
    thresholds: dict[str, Threshold]  # by rule
    prior: RadiusPrior  # for the radii of enrolled species
    encoder: str  # digest
    enrolled: tuple[EnrolledSpecies, ...] = ()
    calibration: Calibration | None = None  # None without a calibration split, and in galleries of version 0.1
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

    @staticmethod
    def build(evidence: Evidence, encoder: str, alpha: float = ALPHA, per_flight: bool = False) -> "Gallery":
        """Build the gallery of a run; with rule B if there are OOD crops, with rule C if there is a calibration set.

        Args:
            evidence: Embeddings of the validation split.
            encoder: Digest of the encoder that made the embeddings.
            alpha: Rule C: largest share of known crops to refuse, on average.
            per_flight: Whether rule C takes one random crop of each flight, see `calibrated`.
        """
        sets = evidence.sets
        reference, known = sets["reference"].to("cpu"), sets["known"]
        prototypes = PrototypeDetector().fit(reference.vectors, reference.labels)
        thresholds = {"A": prototypes.threshold}
        if len(sets["ood"]):
            thresholds["B"] = prototypes.choose(known.vectors, rule="B", kind="nearest", ood=sets["ood"].vectors)
        gallery = Gallery(
            reference=reference,
            class_names=evidence.class_names[: evidence.num_classes],
            prediction_rule=evidence.prediction_rule,
            prototypes=prototypes,
            thresholds=thresholds,
            prior=RadiusPrior.fit(prototypes, known.vectors, known.labels),
            encoder=encoder,
        )
        held_out = sets["calibration"]
        if not len(held_out):
            return gallery
        return gallery.calibrated(held_out, evidence.groups["calibration"], alpha, per_flight)

    def calibrated(
        self, crops: Embeddings, groups: NDArray[Any], alpha: float = ALPHA, per_flight: bool = False
    ) -> "Gallery":
        """The same gallery with rule C from new calibration crops, and with `C_class` if each class has enough of them.

        Args:
            crops: Embeddings of n crops of known classes, used for nothing else.
            groups: Flights (n,) of the crops.
            alpha: Largest share of known crops to refuse, on average.
            per_flight: Whether to take one random crop of each flight. These are exchangeable with a crop of a new
                flight; all crops of a few flights are not, and a threshold from them may refuse more than alpha. All
                crops are kept, for the drift test.
        """
        calibration = Calibration(
            to_numpy(self.prototypes.distances(crops.vectors)),
            to_numpy(crops.labels),
            np.unique(groups, return_inverse=True)[1],
            None if crops.logits is None else to_numpy(crops.logits),
            per_flight,
        )
        rows = calibration.rows
        embeddings, labels, groups = crops.vectors[rows], crops.labels[rows], groups[rows]
        thresholds = _uncalibrated(self.thresholds)
        thresholds["C"] = self.prototypes.choose(embeddings, rule="C", kind="nearest", alpha=alpha, groups=groups)
        sizes = np.bincount(to_numpy(labels), minlength=len(self.class_names))
        if sizes.min() >= samples_needed(alpha):
            thresholds["C_class"] = self.prototypes.choose(
                embeddings, labels, rule="C", alpha=alpha, groups=groups, per_class=True
            )
        return replace(self, thresholds=thresholds, calibration=calibration)

    @property
    def per_flight(self) -> bool:
        """Whether rule C takes one crop of each flight; a gallery that does not tell has as many of both then."""
        if self.calibration is not None:
            return self.calibration.per_flight
        return "C" in self.thresholds and 0 < self.thresholds["C"].samples == self.thresholds["C"].groups

    def calibration_scores(self) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Scores (n,) and flights (n,) of all calibration crops; of those of rule C in a gallery of version 0.1.

        Raises:
            ValueError: If the gallery has no rule C.
        """
        threshold = self.threshold("C")
        if self.calibration is None:
            return threshold.scores, threshold.owners
        return self.calibration.scores, self.calibration.flights

    def set_thresholds(self, alpha: float = ALPHA) -> SetThresholds:
        """Thresholds of the sets of species that hold the true one of a known crop with probability 1 - alpha.

        Raises:
            ValueError: If the gallery does not keep its calibration crops by class, or alpha is not in (0, 1).
        """
        kept = self.calibration
        if kept is None or (self.prediction_rule == "softmax" and kept.logits is None):
            raise ValueError(
                "this gallery keeps no calibration crops by class, so there are no sets of species: dml validate --run "
                "RUN writes them if the run has a calibration split, and dml gallery recalibrate takes checked crops."
            )
        behind = judge.gaps(kept.distances, kept.logits if self.prediction_rule == "softmax" else None)
        return set_thresholds(behind, kept.labels, kept.flights, alpha, kept.per_flight)

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
        return {name: self.prototypes.rule(threshold) for name, threshold in self.thresholds.items()}

    @property
    def names(self) -> list[str]:
        """Names of the known classes, then of the enrolled species."""
        return self.class_names + [species.label for species in self.enrolled]

    @cached_property
    def stored(self) -> Stored:
        """All crops, for the search of nearest neighbours."""
        known = self.reference
        vectors, labels = [known.vectors], [known.labels]
        crops = [str(index) for index in known.index.tolist()]
        for number, species in enumerate(self.enrolled, len(self.class_names)):
            size = len(species.vectors)
            vectors.append(torch.from_numpy(species.vectors))
            labels.append(torch.full((size,), number))
            crops += [f"{species.label}/{i}" for i in range(size)]
        return Stored(torch.cat(vectors), torch.cat(labels), crops)

    # Files ---------------------------------------------------------------------------------------

    def save(self, folder: Path) -> None:
        """Write this gallery as the base in `folder`, unless the last base is the same; enrolled species stay.

        A base of another encoder drops the species enrolled before, whose embeddings it cannot be compared with. One
        that only adds the calibration crops, which version 0.1 did not keep, does not undo a recalibration.
        """
        every = records.read(folder)
        bases = [record for record in every if record.kind == "base"]
        if bases:
            last = _with_base(None, bases[-1])
            later = [each for each in every if each.number > last.base and each.kind == "calibrate"]
            recalibrated = any(each.words["encoder"] == self.encoder for each in later)
            if _same(last, self) or (recalibrated and _same(last, replace(self, calibration=None))):
                return
        arrays, fields = written_contents(self.thresholds, self.prototypes, self.calibration)
        arrays |= _reference_arrays(self)
        content: dict[str, Any] = {
            "encoder": self.encoder,
            "class_names": self.class_names,
            "prediction_rule": self.prediction_rule,
            "prior": asdict(self.prior),
            **fields,
        }
        records.append(folder, "base", content, arrays)

    @staticmethod
    def of_run(run: Path) -> "Gallery":
        """Read the gallery of a run whose files belong together.

        Raises:
            ValueError: If there is none, a file is damaged, or `digests.check` refuses the folder.
        """
        digests.check(run)
        gallery = Gallery.load(run / "gallery")
        recorded = [name for name in digests.recorded(run, "val") if name.startswith("gallery/")]
        if recorded and gallery.file not in recorded:
            raise ValueError(
                f"{run / gallery.file} is of another run: dml validate wrote {recorded[0]}; restore the whole folder."
            )
        return gallery

    @staticmethod
    def load(folder: Path) -> "Gallery":
        """Read a gallery with everything that was enrolled, removed or recalibrated.

        Raises:
            ValueError: If there is none, or a file is damaged.
        """
        records.check_gallery(folder.parent)
        gallery, last = cast("Gallery | None", None), 0
        for record in records.read(folder):
            try:
                if record.kind == "base":
                    gallery = _with_base(gallery, record)
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


def encoder_digest(encoder: nn.Module, options: Any) -> str:
    """Digest, in 16 hex digits, of an encoder's weights and of the options that cut and normalise its crops."""
    digest = hashlib.sha256(repr(options).encode())
    for name, shards in sorted(encoder.state_dict().items()):
        tensor = whole(shards)
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]


def _same(first: Gallery, second: Gallery) -> bool:
    """Whether two bases are equal to the rounding of another batch size or device."""
    names = ("encoder", "class_names", "prediction_rule")
    if any(getattr(first, name) != getattr(second, name) for name in names):
        return False
    one, other = (_numbers(each) for each in (first, second))
    return one.keys() == other.keys() and all(_equal(one[key], other[key]) for key in one)


def _numbers(gallery: Gallery) -> ArrayState:
    """All arrays and texts of a base by name, for comparison."""
    arrays, fields = written_contents(gallery.thresholds, gallery.prototypes, gallery.calibration)
    prior = {key: np.array(value) for key, value in asdict(gallery.prior).items()}
    texts = {key: np.array(text) for key, text in fields["texts"].items()}
    return arrays | nested("prior", prior) | texts | _reference_arrays(gallery)


def _reference_arrays(gallery: Gallery) -> ArrayState:
    """Embeddings, labels and indices of the reference crops, by the names of a record's arrays."""
    return {key: getattr(gallery.reference, key).numpy() for key in ("vectors", "labels", "index")}


def _equal(first: NDArray[Any], second: NDArray[Any]) -> bool:
    """Whether two arrays are equal, numbers to a tolerance too small to hide a recalibration."""
    if second.dtype.kind != "f":
        return np.array_equal(first, second)
    # rules A and B have alpha = NaN
    return first.shape == second.shape and np.allclose(first, second, 1e-4, 1e-5, equal_nan=True)


def _with_base(before: Gallery | None, record: records.Record) -> Gallery:
    fields, arrays = record.words, record.arrays
    same_encoder = before is not None and before.encoder == fields["encoder"]
    _check_names(record.number, fields["class_names"], fields["prediction_rule"], len(read_prototypes(record).radii))
    return Gallery(
        reference=Embeddings(*(torch.from_numpy(arrays[key]) for key in ("vectors", "labels", "index"))),
        class_names=list(fields["class_names"]),
        prediction_rule=cast(PredictionRule, fields["prediction_rule"]),
        prototypes=read_prototypes(record),
        thresholds=read_thresholds(record),
        prior=RadiusPrior(**fields["prior"]),
        encoder=fields["encoder"],
        enrolled=before.enrolled if before is not None and same_encoder else (),
        calibration=read_calibration(record),
        base=record.number,
    )


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


def _with_change(gallery: Gallery, record: records.Record) -> Gallery:
    fields = record.words
    if fields["encoder"] != gallery.encoder:
        return gallery  # a change of the gallery of another encoder
    if record.kind == "enroll":
        return _with_crops(gallery, fields["label"], record.arrays["vectors"])
    if record.kind == "remove":
        return replace(gallery, enrolled=_others(gallery, fields["label"]))
    if record.kind == "calibrate":
        thresholds = _uncalibrated(gallery.thresholds) | read_thresholds(record)
        return replace(gallery, thresholds=thresholds, calibration=read_calibration(record))
    raise ValueError(f"record {record.number} of the gallery is of an unknown kind {record.kind!r}.")


def _uncalibrated(thresholds: dict[str, Threshold]) -> dict[str, Threshold]:
    """The thresholds that a calibration does not replace."""
    return {rule: each for rule, each in thresholds.items() if not rule.startswith("C")}


def _with_crops(gallery: Gallery, label: str, crops: NDArray[np.float32]) -> Gallery:
    """The gallery with more crops of a species, or with a new species."""
    before = [species.vectors for species in gallery.enrolled if species.label == label]
    vectors = np.concatenate([*before, crops])
    species = EnrolledSpecies(label, vectors, gallery.prior.radius(vectors))
    return replace(gallery, enrolled=(*_others(gallery, label), species))


def _others(gallery: Gallery, label: str) -> tuple[EnrolledSpecies, ...]:
    return tuple(species for species in gallery.enrolled if species.label != label)
