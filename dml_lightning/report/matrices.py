"""Figures with a row and a column per class."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dml_lightning.report.parts import Figure, floats
from dml_lightning.report.style import Json, axis, label, layout
from dml_lightning.stats.tables import Table

DISTANCES: Json = {"colorscale": "Cividis", "colorbar": {"thickness": 10, "outlinewidth": 0}}
MOST_CLASSES = 30  # largest number of names on an axis; the size of a page grows with its square


def foremost(values: NDArray[np.float64], number: int = MOST_CLASSES) -> NDArray[np.int64]:
    """Chooses the classes of the pairs with the largest values.

    Args:
        values: Values (C, C) of pairs of classes; the diagonal is ignored, and NaN counts as smallest.
        number: Largest number of classes to choose.

    Returns:
        Ascending indices of `number` classes, or of all if there are fewer.

    >>> foremost(np.array([[0.0, 1.0, 2.0], [1.0, 0.0, 9.0], [2.0, 9.0, 0.0]]), 2).tolist()
    [1, 2]
    """
    pairs = np.where(np.eye(len(values), dtype=bool), np.nan, values)
    order = np.argsort(-pairs, axis=None, kind="stable")
    classes = np.stack(np.unravel_index(order, values.shape), axis=1)
    return np.sort(np.array([*dict.fromkeys(classes.ravel().tolist())][:number], dtype=np.int64))


def confusion_figure(arm: str, counts: NDArray[np.int64], names: Sequence[str]) -> Figure:
    """Known crops by true class (rows) and class given (columns), as shares of the row.

    Args:
        arm: Name of the arm.
        counts: Number of crops (C, C).
        names: Names of the classes; of more than `MOST_CLASSES` those that are confused most are shown.
    """
    totals = counts.sum(1, keepdims=True)
    shares = counts / np.maximum(totals, 1)
    recall = float(np.mean(np.diag(shares)[totals[:, 0] > 0]))
    worst = _worst_confusion(shares, names)
    kept = foremost(shares)
    part = _part(kept, names, "confused most")
    title = f"{arm}{part}"
    names = [names[row] for row in kept]
    counts, shares, totals = counts[np.ix_(kept, kept)], shares[np.ix_(kept, kept)], totals[kept]
    texts = [
        [f"{label(truth)} called {label(given)}: {count} of {total}" for given, count in zip(names, row, strict=True)]
        for truth, row, total in zip(names, counts, totals[:, 0], strict=True)
    ]
    cells = [[f"{100 * share:.0f}" if share >= 0.005 else "" for share in row] for row in shares]
    heatmap = _heatmap(shares, texts) | {
        "zmin": 0,
        "zmax": 1,
        "colorscale": [[0, "#ffffff"], [0.5, "#6aaed6"], [1, "#08306b"]],
        "showscale": False,
        "xgap": 1,
        "ygap": 1,
        "text": cells,
        "texttemplate": "%{text}",
        "textfont": {"size": 10},
    }
    return Figure(
        title,
        f"Confusion of the known classes under {arm}: balanced accuracy {recall:.3f}. {worst}{part}",
        [heatmap],
        _matrix_layout(names, "named as", "truth"),
        Table(
            f"Confusion, {title} (rows: truth, columns: named as)",
            ["truth", *names],
            [[name, *map(int, row)] for name, row in zip(names, counts, strict=True)],
        ),
    )


def _worst_confusion(shares: NDArray[np.float64], names: Sequence[str]) -> str:
    """A sentence on the largest share off the diagonal."""
    wrong = shares - np.diag(np.diag(shares))
    truth, given = divmod(int(wrong.argmax()), len(names))
    if not wrong.any():
        return "No crop is named wrongly."
    return (
        f"Most often confused: {names[truth]} is called {names[given]} in {100 * wrong[truth, given]:.0f} % of its "
        "crops."
    )


def class_distances_figure(arm: str, table: pd.DataFrame, largest: float) -> Figure:
    """Mean distance of every pair of classes.

    Args:
        arm: Name of the arm.
        largest: Distance at the end of the colours, from 0; one for all arms makes their colours comparable.
        table: Mean distances (C, C), classes by name as rows and columns; of more than `MOST_CLASSES` those that lie
            nearest to each other are shown.
    """
    names, values = [str(name) for name in table.columns], table.to_numpy(float)
    own = np.diag(values)[np.isfinite(np.diag(values))]
    within = f", within a class {own.min():.2f} to {own.max():.2f}" if len(own) else ""
    kept = foremost(-values)
    part = _part(kept, names, "nearest to each other")
    title = f"{arm}{part}"
    names, values = [names[row] for row in kept], values[np.ix_(kept, kept)]
    texts = [
        [f"{label(a)} – {label(b)}: {value:.3f}" for b, value in zip(names, row, strict=True)]
        for a, row in zip(names, values, strict=True)
    ]
    return Figure(
        title,
        f"Mean distance of every pair of classes under {arm}{within}.{part}",
        [_heatmap(values, texts) | {"zmin": 0, "zmax": largest} | DISTANCES],
        _matrix_layout(names),
        Table(
            f"Mean class distances, {title}",
            ["", *names],
            [[name, *map(float, row)] for name, row in zip(names, values, strict=True)],
        ),
    )


def _part(kept: NDArray[np.int64], names: Sequence[str], which: str) -> str:
    """A clause on which classes are shown; empty if all are."""
    if len(kept) == len(names):
        return ""
    return f" ({len(kept)} of {len(names)} classes, those {which})"


def _heatmap(values: NDArray[np.float64], texts: list[list[str]]) -> Json:
    """Plotly's trace of a heat map, with a text per cell for hovering."""
    return {"type": "heatmap", "z": [floats(row) for row in values], "hovertext": texts, "hoverinfo": "text"}


def _matrix_layout(names: Sequence[str], x: str = "", y: str = "") -> Json:
    """Class names on both axes, the first on top."""
    ticks: Json = {
        "showgrid": False,
        "ticks": "",
        "tickvals": list(range(len(names))),
        "ticktext": [*map(label, names)],
        "tickfont": {"size": 11},
    }
    return layout(
        max(360, min(640, 140 + 25 * len(names))),
        xaxis=axis(x, **ticks, tickangle=-60),
        yaxis=axis(y, **ticks, autorange="reversed"),
        margin={"l": 8, "r": 8, "t": 8, "b": 8},
    )
