"""Changes of a gallery without training: enrol a species, remove one, or recalibrate rule C. Each adds a record."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dml_lightning.gallery import records
from dml_lightning.gallery.contents import written_contents
from dml_lightning.gallery.decisions import repeated
from dml_lightning.gallery.gallery import ALPHA, Gallery
from dml_lightning.gallery.summary import EnrolledSpecies
from dml_lightning.openset.conformal import samples_needed
from dml_lightning.types import Embeddings


def add_species(
    folder: Path, label: str, vectors: NDArray[np.float32], encoder: str, source: str = ""
) -> EnrolledSpecies:
    """Enrol a species from k crops.

    A species that is enrolled already gets the crops in addition to those it has.

    Args:
        folder: Folder of the gallery.
        label: Name of the species.
        vectors: Embeddings (k, D) of its crops.
        encoder: Digest of the encoder that made the embeddings.
        source: Origin of the crops, for the record.

    Returns:
        The species with all its crops.

    Raises:
        ValueError: If the label is empty, reserved or a known class; if the embeddings are of another encoder or
            size or not finite; or if a crop comes twice or is enrolled already.
    """
    gallery = Gallery.load(folder)
    _check_encoder(gallery, encoder)
    label = label.strip()
    if not label:
        raise ValueError("the label of a new species must not be empty.")
    if label in ("unknown", "other", "false boxes"):
        raise ValueError(f"{label!r} stands for what is refused or counted apart; give the species another name.")
    if label in gallery.class_names:
        raise ValueError(f"{label!r} is a class that the run was trained on; enrol a species under another name.")
    crops = np.asarray(vectors, dtype=np.float32)
    dim = gallery.reference.vectors.shape[1]
    if crops.ndim != 2 or crops.shape[1] != dim or len(crops) == 0:
        raise ValueError(f"crops of a species must be (k, {dim}) with k >= 1, got {crops.shape}.")
    if not np.isfinite(crops).all():
        raise ValueError("an embedding of the new species holds NaN or infinity.")
    _check_new(gallery, label, crops)
    fields = {"encoder": encoder, "label": label, "crops": len(crops), "source": source}
    records.append(folder, "enroll", fields, {"vectors": crops})
    enrolled = Gallery.load(folder).enrolled  # includes what another process may have added meanwhile
    return next(species for species in enrolled if species.label == label)


def _check_new(gallery: Gallery, label: str, crops: NDArray[np.float32]) -> None:
    """Refuse crops that would count twice: the radius would shrink without new information."""
    stored = [species.vectors for species in gallery.enrolled if species.label == label]
    every = np.concatenate([*stored, crops])
    first = len(every) - len(crops)
    twice = sum(bool(repeated(every[row : row + 1], every[:row])[0]) for row in range(first, len(every)))
    if twice:
        raise ValueError(
            f"{twice} of the {len(crops)} crops are there twice or enrolled as {label!r} already: leave them out."
        )


def remove_species(folder: Path, label: str) -> None:
    """Remove an enrolled species with all its crops; the records stay as history.

    Raises:
        ValueError: If no species of that name is enrolled.
    """
    gallery = Gallery.load(folder)
    enrolled = [species.label for species in gallery.enrolled]
    if label not in enrolled:
        raise ValueError(f"no species {label!r} is enrolled; there are: {', '.join(enrolled) or 'none'}.")
    records.append(folder, "remove", {"encoder": gallery.encoder, "label": label}, {})


def recalibrate_rule_c(
    folder: Path,
    crops: Embeddings,
    groups: NDArray[np.str_],
    encoder: str,
    alpha: float = ALPHA,
    source: str = "",
    per_flight: bool | None = None,
) -> Gallery:
    """Replace the thresholds of rule C by new ones, from checked crops of known classes such as those of a new flight.

    Args:
        folder: Folder of the gallery.
        crops: Embeddings of n crops of known classes.
        groups: Flights (n,) of the crops.
        encoder: Digest of the encoder that made the embeddings.
        alpha: Largest share of known crops to refuse, on average.
        source: Origin of the crops, for the record.
        per_flight: Whether to take one random crop of each flight; None keeps what the gallery does.

    Raises:
        ValueError: If the embeddings are of another encoder.
    """
    gallery = Gallery.load(folder)
    _check_encoder(gallery, encoder)
    kept = gallery.per_flight if per_flight is None else per_flight
    changed = gallery.calibrated(crops, groups, alpha, kept, per_class="C_class" in gallery.thresholds)
    thresholds = {name: each for name, each in changed.thresholds.items() if name.startswith("C")}
    arrays, fields = written_contents(thresholds, calibration=changed.calibration)
    fields |= {"encoder": encoder, "source": source}
    records.append(folder, "calibrate", fields, arrays)
    return changed


def _check_encoder(gallery: Gallery, encoder: str) -> None:
    if encoder != gallery.encoder:
        raise ValueError(
            f"the embeddings come from the encoder {encoder}, and the gallery is of {gallery.encoder}: "
            "embeddings of two encoders do not share a space."
        )


def check_enough(count: int, alpha: float) -> None:
    """Refuse too few crops for alpha; where flights are too few for one crop of each, all crops count.

    Args:
        count: Number of checked crops.
        alpha: Largest share of known crops to refuse, on average.

    Raises:
        ValueError: If there are too few; says how many it takes, or which alpha serves.
    """
    needed = samples_needed(alpha)
    if count < needed:
        raise ValueError(
            f"{count} checked crops are too few for alpha = {alpha:g}: "
            f"check {needed}, or take --alpha {np.ceil(1000 / (count + 1)) / 1000:g}."
        )


def check_unseen(gallery: Gallery, vectors: NDArray[np.float32], source: str) -> None:
    """Refuse crops that were trained on: they lie nearer to the prototypes than new ones, and lower the threshold.

    Args:
        gallery: Gallery with the crops that were trained on.
        vectors: Embeddings (n, D) of the crops.
        source: Origin of the crops, for the message.

    Raises:
        ValueError: If one was trained on.
    """
    seen = repeated(vectors, gallery.reference.vectors.numpy())
    if seen.any():
        raise ValueError(
            f"{int(seen.sum())} of the {len(vectors)} crops of {source} were trained on, and lie nearer to the "
            "prototypes than new ones: leave them out."
        )
