"""What a page is made of."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from dml_lightning.report.numbers import Mistake
from dml_lightning.report.style import Json
from dml_lightning.stats.tables import Table


@dataclass(frozen=True)
class Figure:
    """What Plotly draws, and what is there for those who do not see it."""

    title: str
    alt: str  # one or two sentences
    data: list[Json]
    layout: Json
    table: Table  # the same in numbers
    wide: bool = False  # takes the width of the page


def floats(values: NDArray[np.floating] | Sequence[float], digits: int = 4) -> list[float | None]:
    """Numbers for JSON, rounded; None for what JSON lacks."""
    found = np.asarray(values, dtype=np.float64).round(digits)
    return [float(v) if np.isfinite(v) else None for v in found]


@dataclass(frozen=True)
class RecipeText:
    """How one arm came about."""

    arm: str
    text: str  # YAML
    facts: Table


@dataclass(frozen=True)
class Section:
    """A heading and what stands below it, in the order of the fields."""

    key: str  # of its anchor
    title: str
    paragraphs: Sequence[str] = ()
    tables: Sequence[Table] = ()
    figures: Sequence[Figure] = ()
    crops: Mapping[str, Mapping[str, Sequence[Mistake]]] = field(default_factory=dict)  # by arm, by kind
    recipes: Sequence[RecipeText] = ()
    projection: bool = False  # the page draws it here
