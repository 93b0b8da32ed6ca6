"""What a finished run knows: embeddings of the known classes, its rules for refusing, and species enrolled since.

A gallery is a folder of records (`openset.records`): the base that a fit leaves, and behind it whatever was enrolled,
removed or recalibrated (`openset.changes`). Nothing is overwritten.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from dml_lightning.distributed import whole
from dml_lightning.evaluation.evidence import Evidence
from dml_lightning.gallery import records
from dml_lightning.gallery.radius import RadiusPrior
from dml_lightning.openset.arrays import State, nested, unnested
from dml_lightning.openset.conformal import one_per_group, samples_needed
from dml_lightning.openset.prototypes import PrototypeDetector
from dml_lightning.pairs.blocks import Vectors, to_numpy
from dml_lightning.types import Embeddings, PredictionRule

ALPHA = 0.05  # share of known crops that rule C may refuse


@dataclass(frozen=True, eq=False)
class Species:
    """A class that was enrolled from a few crops."""

    label: str
    vectors: NDArray[np.float32]  # (k, D)
    radius: float  # shrunk; a crop within it of the prototype is of a known species

    @property
    def prototype(self) -> NDArray[np.float64]:
        """Mean of the crops, (D,)."""
        mean: NDArray[np.float64] = self.vectors.astype(np.float64).mean(axis=0)
        return mean


class Stored(NamedTuple):
    """Every crop that a gallery holds, of classes trained on and then of enrolled species."""

    vectors: Tensor  # (M, D)
    labels: Tensor  # (M,) positions in the gallery's names
    words: list[str]  # (M,) as "crop index:label", those of enrolled species "label/number:label"


@dataclass(frozen=True, eq=False)
class Gallery:
    """Reference embeddings, class names, detectors by rule, and enrolled species.

    Rules: `A`, outside every ball of the reference crops; `B`, distance to the nearest prototype beyond a threshold
    validated on known and OOD crops; `C`, the same with a split-conformal threshold; `C_class`, refused by the
    conformal threshold of every class. All of one encoder, that with the digest `encoder`.
    """

    reference: Embeddings
    class_names: list[str]  # of the known classes, by label
    prediction_rule: PredictionRule  # the arm's own way of naming
    rules: dict[str, PrototypeDetector]
    prior: RadiusPrior
    encoder: str
    enrolled: tuple[Species, ...] = ()
    record: int = 0  # the last one of the folder that it was read from

    @property
    def version(self) -> str:
        """Encoder and last record: two equal ones answer alike."""
        return f"{self.encoder}-{self.record}"

    @staticmethod
    def build(evidence: Evidence, encoder: str, alpha: float = ALPHA, per_flight: bool = False) -> "Gallery":
        """The gallery of a validated run: rule B where there are OOD crops, rule C where there is a calibration set.

        Args:
            evidence: Of the validation split.
            encoder: Digest of the encoder that embedded it.
            alpha: Of rule C.
            per_flight: Whether rule C takes one random crop of each flight, see `calibrated`.
        """
        sets, rules = evidence.sets, dict[str, PrototypeDetector]()
        reference, known = sets["reference"].to("cpu"), sets["known"]
        rules["A"] = _prototypes(reference)
        if len(sets["ood"]):
            rules["B"] = _prototypes(reference).calibrate(
                known.vectors, rule="B", kind="nearest", ood=sets["ood"].vectors
            )
        gallery = Gallery(
            reference=reference,
            class_names=evidence.class_names[: evidence.num_classes],
            prediction_rule=evidence.prediction_rule,
            rules=rules,
            prior=RadiusPrior.fit(rules["A"], known.vectors, known.labels),
            encoder=encoder,
        )
        held_out = sets["calibration"]
        if not len(held_out):
            return gallery
        groups = evidence.groups["calibration"]
        return gallery.calibrated(held_out.vectors, held_out.labels, groups, alpha, per_flight)

    def calibrated(
        self, embeddings: Vectors, labels: Vectors, groups: NDArray[Any], alpha: float = ALPHA, per_flight: bool = False
    ) -> "Gallery":
        """The same with rule C from other held-out crops, and `C_class` where each class has enough of them.

        Args:
            embeddings: (n, D) crops of known classes, used for nothing else.
            labels: (n,) their classes.
            groups: (n,) flight of each.
            alpha: Share of known crops that may be refused, on average.
            per_flight: Whether to take one random crop of each flight. These are exchangeable with a crop of a new
                flight; all crops of a few flights are not, and refuse more of it than alpha.
        """
        if per_flight:
            rows = one_per_group(groups)
            embeddings, labels, groups = embeddings[rows], labels[rows], groups[rows]
        rules = {name: rule for name, rule in self.rules.items() if not name.startswith("C")}
        rules["C"] = _prototypes(self.reference).calibrate(
            embeddings, rule="C", kind="nearest", alpha=alpha, groups=groups
        )
        sizes = np.bincount(to_numpy(labels), minlength=len(self.class_names))
        if sizes.min() >= samples_needed(alpha):
            rules["C_class"] = _prototypes(self.reference).calibrate(
                embeddings, labels, rule="C", alpha=alpha, groups=groups, per_class=True
            )
        return replace(self, rules=rules)

    @property
    def default_rule(self) -> str:
        """C where its threshold is finite, else B, else A: the strongest that the data allow."""
        if "C" in self.rules and np.isfinite(self.detector("C").threshold.value):
            return "C"
        return "B" if "B" in self.rules else "A"

    def detector(self, rule: str) -> PrototypeDetector:
        """The detector that decides by a rule.

        Raises:
            ValueError: If the gallery has no such rule.
        """
        if rule not in self.rules:
            raise ValueError(
                f"there is no rule {rule!r} in this gallery, which has {', '.join(self.rules)}."
                + (" Rule C needs a calibration split." if rule.startswith("C") else "")
            )
        return self.rules[rule]

    @property
    def names(self) -> list[str]:
        """Known classes, then enrolled species."""
        return self.class_names + [species.label for species in self.enrolled]

    @cached_property
    def stored(self) -> Stored:
        """All crops, for the search of neighbours."""
        known, names = self.reference, self.class_names
        pairs = zip(known.index.tolist(), known.labels.tolist(), strict=True)
        vectors, labels = [known.vectors], [known.labels]
        words = [f"{index}:{names[label]}" for index, label in pairs]
        for number, species in enumerate(self.enrolled, len(names)):
            size = len(species.vectors)
            vectors.append(torch.from_numpy(species.vectors))
            labels.append(torch.full((size,), number))
            words += [f"{species.label}/{i}:{species.label}" for i in range(size)]
        return Stored(torch.cat(vectors), torch.cat(labels), words)

    # Files ---------------------------------------------------------------------------------------

    def save(self, folder: Path) -> None:
        """Makes this the base of the gallery in `folder`, unless it is already; enrolled species stay.

        A base of another encoder ends what was enrolled before: those embeddings mean nothing to it.
        """
        state, words = written_rules(self.rules)
        arrays = {
            "vectors": self.reference.vectors.numpy(),
            "labels": self.reference.labels.numpy(),
            "index": self.reference.index.numpy(),
            **state,
        }
        content: dict[str, Any] = {
            "encoder": self.encoder,
            "class_names": self.class_names,
            "prediction_rule": self.prediction_rule,
            "prior": asdict(self.prior),
            "rules": list(self.rules),
            "words": words,
        }
        bases = [record for record in records.read(folder) if record.kind == "base"]
        if not (bases and _same(bases[-1], content, arrays)):
            records.append(folder, "base", content, arrays)

    @staticmethod
    def load(folder: Path) -> "Gallery":
        """Reads a gallery with all that was enrolled, removed or recalibrated.

        Raises:
            ValueError: If there is none, or a file is damaged.
        """
        gallery, last = cast("Gallery | None", None), 0
        for record in records.read(folder):
            if record.kind == "base":
                gallery = _with_base(gallery, record)
            elif gallery is not None:
                gallery = _with_change(gallery, record)
            last = record.number
        if gallery is None:
            raise ValueError(f"{folder.parent} has no gallery: `dml fit` writes it when training ends.")
        return replace(gallery, record=last)


def encoder_digest(encoder: nn.Module, options: Any) -> str:
    """Sixteen hex digits of an encoder's weights and of the options that cut and normalise its crops."""
    digest = hashlib.sha256(repr(options).encode())
    for name, shards in sorted(encoder.state_dict().items()):
        tensor = whole(shards)
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]


def _prototypes(reference: Embeddings) -> PrototypeDetector:
    return PrototypeDetector().fit(reference.vectors, reference.labels)


def written_rules(rules: Mapping[str, PrototypeDetector]) -> tuple[State, dict[str, str]]:
    """Rules as a record holds them: numbers for safetensors, words for JSON."""
    state: State = {}
    for name, detector in rules.items():
        state |= nested(f"rules.{name}", detector.state())
    arrays = {key: np.asarray(value) for key, value in state.items()}
    words = {key: str(value) for key, value in arrays.items() if value.dtype.kind == "U"}
    return {key: value for key, value in arrays.items() if key not in words}, words


def _read_rules(record: records.Record) -> dict[str, PrototypeDetector]:
    words = {key: np.array(value) for key, value in record.words["words"].items()}
    state = {**record.arrays, **words}
    return {name: PrototypeDetector.from_state(unnested(f"rules.{name}", state)) for name in record.words["rules"]}


def _same(record: records.Record, words: dict[str, Any], arrays: State) -> bool:
    before, prior = dict(record.words), words["prior"]
    return (
        all(before[key] == value for key, value in words.items() if key != "prior")
        and all(_equal(np.array(before["prior"][key]), np.array(prior[key])) for key in prior)
        and record.arrays.keys() == arrays.keys()
        and all(_equal(record.arrays[key], value) for key, value in arrays.items())
    )


def _equal(first: NDArray[Any], second: NDArray[Any]) -> bool:
    """Equal to the rounding of another batch size or device, which must not undo a recalibration."""
    if second.dtype.kind != "f":
        return np.array_equal(first, second)
    # the alpha of a rule without one is NaN in both
    return first.shape == second.shape and np.allclose(first, second, 1e-4, 1e-5, equal_nan=True)


def _with_base(before: Gallery | None, record: records.Record) -> Gallery:
    words, arrays = record.words, record.arrays
    same_encoder = before is not None and before.encoder == words["encoder"]
    return Gallery(
        reference=Embeddings(*(torch.from_numpy(arrays[key]) for key in ("vectors", "labels", "index"))),
        class_names=list(words["class_names"]),
        prediction_rule=cast(PredictionRule, words["prediction_rule"]),
        rules=_read_rules(record),
        prior=RadiusPrior(**words["prior"]),
        encoder=words["encoder"],
        enrolled=before.enrolled if before is not None and same_encoder else (),
    )


def _with_change(gallery: Gallery, record: records.Record) -> Gallery:
    words = record.words
    if words["encoder"] != gallery.encoder:
        return gallery  # it belongs to an encoder that came before or after
    if record.kind == "enroll":
        return _with_crops(gallery, words["label"], record.arrays["vectors"])
    if record.kind == "remove":
        return replace(gallery, enrolled=_others(gallery, words["label"]))
    if record.kind == "calibrate":
        rules = {name: rule for name, rule in gallery.rules.items() if not name.startswith("C")}
        return replace(gallery, rules=rules | _read_rules(record))
    raise ValueError(f"record {record.number} of the gallery is of an unknown kind {record.kind!r}.")


def _with_crops(gallery: Gallery, label: str, crops: NDArray[np.float32]) -> Gallery:
    """A gallery with more crops of a species, which may be there already or not."""
    before = [species.vectors for species in gallery.enrolled if species.label == label]
    vectors = np.concatenate([*before, crops])
    species = Species(label, vectors, gallery.prior.radius(vectors))
    return replace(gallery, enrolled=(*_others(gallery, label), species))


def _others(gallery: Gallery, label: str) -> tuple[Species, ...]:
    return tuple(species for species in gallery.enrolled if species.label != label)
