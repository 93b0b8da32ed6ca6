"""Overlap of an enrolled species with the other classes of its gallery."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dml_lightning.gallery.gallery import Gallery
from dml_lightning.gallery.summary import EnrolledSpecies

HEAVY = 0.1  # share of the crops of one class that are nearer to the other, above which there is a warning


class Overlap(NamedTuple):
    """Distance and overlap between an enrolled species and another class of the gallery."""

    label: str  # name of the other class
    distance: float  # between the prototypes
    inside: float  # share of the other class's stored crops within the species' radius
    nearer: float  # share of these crops that are nearer to the species' prototype than to their own
    lost: float  # share of the species' crops nearer to the other prototype than to the mean of the rest


def overlaps(gallery: Gallery, species: EnrolledSpecies) -> list[Overlap]:
    """Compare an enrolled species with every other class of the gallery, the nearest prototype first.

    Each crop of the species is compared with the mean of its other crops; for a single crop `lost` is NaN.

    Args:
        gallery: Gallery that the species is enrolled in.
        species: The enrolled species.
    """
    others = [
        *zip(gallery.class_names, _reference_by_class(gallery), strict=True),
        *((other.label, other.vectors) for other in gallery.enrolled if other.label != species.label),
    ]
    entries = [_overlap(label, vectors.astype(np.float64), species) for label, vectors in others]
    return sorted(entries, key=lambda entry: entry.distance)


def overlap_text(nearest: list[Overlap], label: str) -> str:
    """The nearest classes as a table, and a warning for each with which the species will be confused.

    Args:
        nearest: Result of `overlaps`.
        label: Name of the species.
    """
    lines = [f"{'nearest classes':24} {'distance':>9} {'inside':>8} {'nearer':>8} {'lost':>8}"]
    for each in nearest[:3]:
        lost = f"{each.lost:8.0%}" if each.lost == each.lost else f"{'-':>8}"
        lines.append(f"{each.label:24} {each.distance:9.4g} {each.inside:8.0%} {each.nearer:8.0%} {lost}")
    lines.append(
        f"inside: crops of the class within the radius of {label}; nearer: nearer to it than to their own "
        f"prototype;\nlost: crops of {label} nearer to the class than to the mean of its other crops."
    )
    for each in nearest:
        if each.nearer > HEAVY:
            lines.append(
                f"Warning: {each.nearer:.0%} of the stored crops of {each.label} lie nearer to {label}; those within "
                "its radius will be named so."
            )
        if each.lost > HEAVY:
            lines.append(f"Warning: {each.lost:.0%} of the crops of {label} lie nearer to {each.label}.")
    return "\n".join(lines)


def _overlap(label: str, vectors: NDArray[np.float64], species: EnrolledSpecies) -> Overlap:
    own = vectors.mean(axis=0)
    to_new = np.linalg.norm(vectors - species.prototype, axis=1)
    crops = species.vectors.astype(np.float64)
    lost = float("nan")
    if len(crops) > 1:
        rest = (crops.sum(axis=0) - crops) / (len(crops) - 1)  # (k, D), each crop left out of its mean
        to_rest = np.linalg.norm(crops - rest, axis=1)
        lost = float((np.linalg.norm(crops - own, axis=1) < to_rest).mean())
    return Overlap(
        label,
        distance=float(np.linalg.norm(own - species.prototype)),
        inside=float((to_new <= species.radius).mean()),
        nearer=float((to_new < np.linalg.norm(vectors - own, axis=1)).mean()),
        lost=lost,
    )


def _reference_by_class(gallery: Gallery) -> list[NDArray[np.float32]]:
    labels = gallery.reference.labels.numpy()
    vectors = gallery.reference.vectors.numpy()
    return [vectors[labels == label] for label in range(len(gallery.class_names))]
