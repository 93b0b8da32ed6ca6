"""Parts of a page: figures, recipes and sections."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from dml_lightning.report.numbers import Mistake
from dml_lightning.report.style import Json
from dml_lightning.stats.tables import Table


@dataclass(frozen=True)
class Figure:
    """A figure of Plotly, with a text and a table for readers who cannot see it."""

    title: str
    alt: str  # description in one or two sentences
    data: list[Json]  # Plotly's traces
    layout: Json
    table: Table  # numbers that the figure shows
    wide: bool = False  # whether it takes the full width of the page


def floats(values: NDArray[np.floating] | Sequence[float], digits: int = 4) -> list[float | None]:
    """Rounds numbers for JSON, with None for NaN and infinities, which JSON lacks.

    >>> floats([0.123456, float("nan")])
    [0.1235, None]
    """
    rounded = np.asarray(values, dtype=np.float64).round(digits)
    return [float(v) if np.isfinite(v) else None for v in rounded]


@dataclass(frozen=True)
class RecipeText:
    """Recipe of an arm, and where its runs lie."""

    arm: str
    text: str  # YAML
    facts: Table  # a row per run


@dataclass(frozen=True)
class Section:
    """A heading and its content, in the order of the fields."""

    key: str  # name of its anchor
    title: str
    paragraphs: Sequence[str] = ()
    tables: Sequence[Table] = ()
    figures: Sequence[Figure] = ()
    crops: Mapping[str, Mapping[str, Sequence[Mistake]]] = field(default_factory=dict)  # by arm, by kind
    recipes: Sequence[RecipeText] = ()
    projection: bool = False  # whether the page draws the projections here
