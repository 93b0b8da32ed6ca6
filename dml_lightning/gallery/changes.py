"""Changes of a gallery, each a new record: a species enrolled or taken out, rule C from checked crops. No training."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dml_lightning.gallery import records
from dml_lightning.gallery.contents import written_contents
from dml_lightning.gallery.gallery import ALPHA, EnrolledSpecies, Gallery
from dml_lightning.pairs.neighbours import nearest_neighbours

SAME = 1e-5  # of the largest component: two embeddings of one crop, in batches of different size, differ by less


def add_species(
    folder: Path, label: str, vectors: NDArray[np.float32], encoder: str, source: str = ""
) -> EnrolledSpecies:
    """Adds a species from k crops, without training.

    A label that was enrolled before gets the crops in addition to those it has.

    Args:
        folder: Of the gallery.
        label: Name of the species.
        vectors: (k, D) embeddings of its crops.
        encoder: Digest of the encoder that made them.
        source: Where the crops came from, for the record.

    Raises:
        ValueError: If the label is a known class, or the embeddings are of another encoder or size.
    """
    gallery = Gallery.load(folder)
    _check_encoder(gallery, encoder)
    label = label.strip()
    if not label:
        raise ValueError("the label of a new species must not be empty.")
    if label in ("unknown", "other"):
        raise ValueError(f"{label!r} stands for what is refused; give the species another name.")
    if label in gallery.class_names:
        raise ValueError(f"{label!r} is a class that the run was trained on; enrol a species under another name.")
    crops = np.asarray(vectors, dtype=np.float32)
    dim = gallery.reference.vectors.shape[1]
    if crops.ndim != 2 or crops.shape[1] != dim or len(crops) == 0:
        raise ValueError(f"crops of a species must be (k, {dim}) with k >= 1, got {crops.shape}.")
    if not np.isfinite(crops).all():
        raise ValueError("an embedding of the new species holds NaN or infinity.")
    _check_new(gallery, label, crops)
    words = {"encoder": encoder, "label": label, "crops": len(crops), "source": source}
    records.append(folder, "enroll", words, {"vectors": crops})
    enrolled = Gallery.load(folder).enrolled  # with what another process may have added meanwhile
    return next(species for species in enrolled if species.label == label)


def repeated(vectors: NDArray[np.float32], others: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Whether each embedding (k, D) is of a crop that is among the others (n, D), embedded in another batch perhaps."""
    if not len(others):
        return np.zeros(len(vectors), bool)
    nearest = others[nearest_neighbours(vectors, others).rows[:, 0].numpy()]  # (k, D)
    same: NDArray[np.bool_] = np.abs(vectors - nearest).max(axis=1) <= SAME * np.abs(others).max()
    return same


def _check_new(gallery: Gallery, label: str, crops: NDArray[np.float32]) -> None:
    """Refuses crops that count twice: the radius would shrink for nothing."""
    stored = [species.vectors for species in gallery.enrolled if species.label == label]
    every = np.concatenate([*stored, crops])
    first = len(every) - len(crops)
    twice = sum(bool(repeated(every[row : row + 1], every[:row])[0]) for row in range(first, len(every)))
    if twice:
        raise ValueError(
            f"{twice} of the {len(crops)} crops are there twice or enrolled as {label!r} already: leave them out."
        )


def remove_species(folder: Path, label: str) -> None:
    """Takes an enrolled species out with all its crops; its records stay, for the history.

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
    vectors: NDArray[np.float32],
    labels: NDArray[np.int64],
    groups: NDArray[np.str_],
    encoder: str,
    alpha: float = ALPHA,
    source: str = "",
) -> Gallery:
    """Replaces rule C by one from checked crops of known classes, such as those of a new flight.

    Args:
        folder: Of the gallery.
        vectors: (n, D).
        labels: (n,) known classes.
        groups: (n,) flights.
        encoder: Digest of the encoder that embedded them.
        alpha: Share of known crops that may be refused.
        source: Where the crops came from, for the record.

    Raises:
        ValueError: If the embeddings are of another encoder.
    """
    gallery = Gallery.load(folder)
    _check_encoder(gallery, encoder)
    changed = gallery.calibrated(vectors, labels, groups, alpha)
    arrays, words = written_contents({name: each for name, each in changed.thresholds.items() if name.startswith("C")})
    words |= {"encoder": encoder, "source": source}
    records.append(folder, "calibrate", words, arrays)
    return changed


def _check_encoder(gallery: Gallery, encoder: str) -> None:
    if encoder != gallery.encoder:
        raise ValueError(
            f"the embeddings come from the encoder {encoder}, and the gallery is of {gallery.encoder}: "
            "embeddings of two encoders do not share a space."
        )
