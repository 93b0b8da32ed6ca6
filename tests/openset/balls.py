"""Prototypes with radii, made without any data."""

import numpy as np

from dml_lightning.openset import PrototypeDetector


def balls(*, centres: list[list[float]], radii: list[float]) -> PrototypeDetector:
    """A detector whose class c has exactly this prototype and this radius: two samples on a diameter."""
    step = np.eye(len(centres[0]))[0]
    x = np.concatenate([np.array([m + r * step, m - r * step]) for m, r in zip(centres, radii, strict=True)])
    return PrototypeDetector().fit(x, np.repeat(np.arange(len(centres)), 2))
