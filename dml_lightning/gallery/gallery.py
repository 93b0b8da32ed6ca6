"""The gallery of a finished run: embeddings of the known classes, thresholds for refusing, and species enrolled since.

On disk a gallery is a folder of records (`gallery.records`): the base that a fit writes, then one record for each
species enrolled or removed and for each recalibration (`gallery.changes`). Nothing is overwritten.
"""

import hashlib
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from typing_extensions import override

from dml_lightning.distributed import whole
from dml_lightning.evaluation.choice import choose_score
from dml_lightning.evaluation.evidence import Evidence
from dml_lightning.gallery import records
from dml_lightning.gallery.calibration import Calibration
from dml_lightning.gallery.contents import read_prototypes, written_contents
from dml_lightning.gallery.decisions import scores_of
from dml_lightning.gallery.radius import RadiusPrior
from dml_lightning.gallery.summary import GallerySummary, counted_labels, uncalibrated
from dml_lightning.openset import judge
from dml_lightning.openset.arrays import ArrayState, nested
from dml_lightning.openset.conformal import samples_needed
from dml_lightning.openset.prototypes import PrototypeDetector
from dml_lightning.openset.scores import Crops
from dml_lightning.openset.sets import SetThresholds, set_thresholds
from dml_lightning.openset.thresholds import COST, ScoreChoice, Threshold, conformal_threshold, validated_threshold
from dml_lightning.pairs.arrays import to_numpy
from dml_lightning.types import Embeddings, EvaluationSet

COLUMNS = ("vectors", "labels", "index", "features")  # of the reference crops; without features in older galleries
ALPHA = 0.05  # largest share of known crops that rule C refuses, on average


class Stored(NamedTuple):
    """Embeddings of all crops of a gallery: of the classes trained on, then of the enrolled species."""

    vectors: Tensor  # (M, D)
    labels: Tensor  # (M,) positions in the gallery's `names`
    crops: list[str]  # (M,) index in the crop table, or "label/number" of an enrolled species' crop


@dataclass(frozen=True, eq=False, kw_only=True)
class Gallery(GallerySummary):
    """Reference embeddings, their prototypes, thresholds by rule, and enrolled species.

    Rules: `A`, outside every ball of the reference crops; `B`, the chosen score beyond a threshold validated on known
    and OOD crops; `C`, the same with a split-conformal threshold; `C_class`, if it was asked for, refused by the
    conformal threshold of every class. All embeddings are of one encoder, whose digest is `encoder`.
    """

    reference: Embeddings
    prototypes: PrototypeDetector  # prototypes and radii of the known classes
    validation: NDArray[np.float64] | None = None  # (n, C) distances of known validation crops; None in older galleries

    @staticmethod
    def build(
        evidence: Evidence,
        encoder: str,
        alpha: float = ALPHA,
        per_flight: bool = False,
        cost: float = COST,
        per_class: bool = False,
        score: str | None = None,
    ) -> "Gallery":
        """Build the gallery of a run.

        Rule B is there if there are OOD crops, or clutter, which it takes for want of them; rule C if there is a
        calibration set.

        Args:
            evidence: Embeddings of the validation split.
            encoder: Digest of the encoder that made the embeddings.
            alpha: Rule C: largest share of known crops to refuse, on average.
            per_flight: Whether rule C takes one random crop of each flight, see `calibrated`.
            cost: Rule B: largest share of known validation crops to refuse.
            per_class: Whether to add rule C_class, see `calibrated`.
            score: Kind of score of rules B and C, of `openset.scores`; chosen on the evidence if not given.
        """
        sets = evidence.sets
        reference, known = sets["reference"].to("cpu"), sets["known"]
        prototypes = PrototypeDetector().fit(reference.vectors, reference.labels)
        gallery = Gallery(
            reference=reference,
            class_names=evidence.class_names[: evidence.num_classes],
            prediction_rule=evidence.prediction_rule,
            prototypes=prototypes,
            radii=prototypes.radii,
            sizes=counted_labels(to_numpy(reference.labels), len(prototypes.radii)),
            thresholds={},
            prior=RadiusPrior.fit(prototypes, known.vectors, known.labels),
            encoder=encoder,
            choice=choose_score(evidence, score, prototypes=prototypes),
            validation=to_numpy(prototypes.distances(known.vectors)),
        )
        thresholds = {"A": gallery.measured(prototypes.threshold)}
        kinds: list[EvaluationSet] = [name for name in ("ood", "clutter") if len(sets.get(name, ()))]
        if kinds:
            rule_b = validated_threshold(gallery.choice.known, gallery.scores(sets[kinds[0]]), cost)
            thresholds["B"] = replace(rule_b, kind=gallery.choice.kind, seen=kinds[0] == "clutter")
        gallery, held_out = replace(gallery, thresholds=thresholds), sets["calibration"]
        if not len(held_out):
            return gallery
        return gallery.calibrated(held_out, evidence.groups["calibration"], alpha, per_flight, per_class)

    def measured(self, threshold: Threshold) -> Threshold:
        """A threshold with the share of known validation crops that it refuses, if the gallery keeps them."""
        if self.validation is None:
            return threshold
        rule = self.prototypes.rule(threshold)
        scores = self.choice.known if rule.given else judge.score(self.validation, rule)
        return replace(threshold, refused=float(threshold.refuses(scores).mean()))

    def scores(self, part: Embeddings) -> NDArray[np.float64]:
        """Scores (N,) of crops by the score of rules B and C.

        Raises:
            ValueError: If the score is of features and the crops have none.
        """
        vectors = to_numpy(part.vectors)
        features = None if part.features is None else to_numpy(part.features)
        crops = Crops(to_numpy(self.prototypes.distances(vectors)), vectors, features)
        return scores_of(self.choice.kind, crops, self.score_arrays)

    @property
    def score_arrays(self) -> ArrayState:
        """What its score was fitted on, by the names of `openset.scores`."""
        columns = {"vectors": self.reference.vectors, "features": self.reference.features}
        stored = {name: column.numpy() for name, column in columns.items() if column is not None}
        return {"radii": self.prototypes.radii, **stored, **self.choice.arrays}

    def calibrated(
        self,
        crops: Embeddings,
        groups: NDArray[Any],
        alpha: float = ALPHA,
        per_flight: bool = False,
        per_class: bool = False,
    ) -> "Gallery":
        """The same gallery with rule C from new calibration crops.

        Args:
            crops: Embeddings of n crops of known classes, used for nothing else.
            groups: Flights (n,) of the crops.
            alpha: Largest share of known crops to refuse, on average.
            per_flight: Whether to take one random crop of each flight. These are exchangeable with a crop of a new
                flight; all crops of a few flights are not, and a threshold from them may refuse more than alpha. Where
                the flights are too few for alpha all crops count, and the threshold's origin says so. All crops are
                kept, for the drift test.
            per_class: Whether to add `C_class`, if each class has enough crops.
        """
        calibration = Calibration(
            to_numpy(self.prototypes.distances(crops.vectors)),
            to_numpy(crops.labels),
            np.unique(groups, return_inverse=True)[1],
            None if crops.logits is None else to_numpy(crops.logits),
            per_flight,
        )
        rows = np.sort(calibration.rows(alpha))
        counted, groups = crops.at(torch.from_numpy(rows)), groups[rows]
        thresholds = uncalibrated(self.thresholds)
        rule_c = conformal_threshold(self.scores(counted), alpha, groups=groups)
        rule_c = replace(rule_c, kind=self.choice.kind, too_few_flights=per_flight and not rule_c.one_per_flight)
        thresholds["C"] = self.measured(rule_c)
        sizes = np.bincount(to_numpy(counted.labels), minlength=len(self.class_names))
        if per_class and sizes.min() >= samples_needed(alpha):
            thresholds["C_class"] = self.measured(
                self.prototypes.choose(
                    counted.vectors, counted.labels, rule="C", alpha=alpha, groups=groups, per_class=True
                )
            )
        return replace(self, thresholds=thresholds, calibration=calibration)

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
        that only replaces what an older version chose on the same crops does not undo a recalibration.
        """
        every = records.read(folder)
        bases = [record for record in every if record.kind == "base"]
        if bases:
            last = Gallery(**Gallery.contents(bases[-1]))
            later = [each for each in every if each.number > last.base and each.kind == "calibrate"]
            recalibrated = any(each.words["encoder"] == self.encoder for each in later)
            older = bases[-1].format < records.RECORD_FORMAT
            if _same(last, self) or (recalibrated and older and _same(_bare(last), _bare(self))):
                return
        arrays, fields = written_contents(self.thresholds, self.prototypes, self.calibration)
        arrays |= _kept_arrays(self)
        content: dict[str, Any] = {
            "encoder": self.encoder,
            "class_names": self.class_names,
            "prediction_rule": self.prediction_rule,
            "prior": asdict(self.prior),
            "score": {"kind": self.choice.kind, "reason": self.choice.reason, "aurocs": self.choice.aurocs},
            **fields,
        }
        records.append(folder, "base", content, arrays)

    @override
    @classmethod
    def contents(cls, record: records.Record, before: GallerySummary | None = None) -> dict[str, Any]:
        columns = {key: torch.from_numpy(record.arrays[key]) for key in COLUMNS if key in record.arrays}
        own = {"reference": Embeddings(**columns), "prototypes": read_prototypes(record)}
        return super().contents(record, before) | own | {"validation": record.arrays.get("validation")}


def encoder_digest(encoder: nn.Module, options: Any) -> str:
    """Digest, in 16 hex digits, of an encoder's weights and of the options that cut and normalise its crops."""
    digest = hashlib.sha256(f"{options!r}{getattr(options, 'later', '')}".encode())
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
    # the arrays of the score, but for its classifier, follow from the crops, and may be any of several equal ones
    own = _kept_arrays(gallery)
    kept = {key: own[key] for key in own if not key.startswith("score.") or key.startswith("score.classifier_")}
    prior = {key: np.array(value) for key, value in asdict(gallery.prior).items()}
    texts = {key: np.array(text) for key, text in fields["texts"].items()}
    return arrays | nested("prior", prior) | texts | kept


def _bare(gallery: Gallery) -> Gallery:
    """The gallery without all that is chosen on held-out crops."""
    reference = replace(gallery.reference, features=None)
    return replace(gallery, reference=reference, thresholds={}, calibration=None, validation=None, choice=ScoreChoice())


def _kept_arrays(gallery: Gallery) -> ArrayState:
    """What is kept of reference and known validation crops and of the score, by the names of a record's arrays."""
    columns = {key: getattr(gallery.reference, key) for key in COLUMNS}
    arrays = {key: column.numpy() for key, column in columns.items() if column is not None}
    if gallery.validation is not None:
        arrays["validation"] = gallery.validation
    return arrays | nested("score", gallery.choice.arrays | {"known": gallery.choice.known})


def _equal(first: NDArray[Any], second: NDArray[Any]) -> bool:
    """Whether two arrays are equal, numbers to a tolerance too small to hide a recalibration."""
    if second.dtype.kind != "f":
        return np.array_equal(first, second)
    # rules A and B have alpha = NaN
    return first.shape == second.shape and np.allclose(first, second, 1e-4, 1e-5, equal_nan=True)
