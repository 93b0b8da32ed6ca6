"""Figures of runs: embeddings, distances and neighbours, with the arms side by side.

Each function returns a `matplotlib.figure.Figure`, which a notebook shows and `savefig` writes. It is made without
pyplot, so it need not be closed, and matplotlib's settings stay as they are.
"""

from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from dml_lightning.evaluation.distances import distance_sample
from dml_lightning.evaluation.evidence import Evidence, read_evidence
from dml_lightning.evaluation.npz import test_file
from dml_lightning.figures.palette import BLUE, DISTANCE_LINES, ORANGE, ClassStyle, LineStyle, arm_lines, class_styles
from dml_lightning.figures.projection import ShownCrops, chosen_crops, project, shown_crops, used_method
from dml_lightning.files import replacing
from dml_lightning.types import Role

Runs = Mapping[str, Path | Evidence]  # by arm: a run's folder, an npz file of embeddings, or the evidence read from it
PLAIN: dict[Any, Any] = {"text.parse_math": False}  # names of arms and classes may hold $
DPI = 110
NEIGHBOURS = 6  # per query
MOST_NAMED = 30  # largest number of classes that a legend names
HISTOGRAM_BINS = 50
METHOD_NAMES = {"tsne": "t-SNE", "pca": "PCA"}
ROLE_MARKS: dict[Role, str] = {"known": "", "novel": " (novel)", "ood": " (OOD)"}
CropFrame = tuple[str, Any]  # colour and dash
SAME_CLASS: CropFrame = (BLUE, "-")
OTHER_CLASS: CropFrame = (ORANGE, (0, (2, 1)))
LINES = {"solid": "-", "dash": "--", "dot": ":", "dashdot": "-."}
MARKERS: dict[str, Any] = {  # matplotlib's marker for each shape of Plotly
    **{"circle": "o", "square": "s", "diamond": "D", "star": "*"},
    **{"triangle-up": "^", "triangle-down": "v", "triangle-left": "<", "triangle-right": ">"},
    **{"x-thin-open": "x", "cross-thin-open": "+", "asterisk-open": (6, 2, 0), "hash-open": "1"},
}


def read_arms(runs: Runs) -> dict[str, Evidence]:
    """Reads the test embeddings of each arm that is given by a path.

    Args:
        runs: Run folder, npz file or evidence by arm.

    Raises:
        ValueError: If there is no arm, or a file cannot be read as embeddings.
    """
    if not runs:
        raise ValueError("there is no run to draw; give one or more by the name of their arm.")
    return {arm: run if isinstance(run, Evidence) else read_evidence(test_file(run)) for arm, run in runs.items()}


class Picture(Figure):
    """A figure that shows itself in a notebook, also where pyplot, which would see to it, is not imported."""

    def _repr_png_(self) -> bytes:
        file = BytesIO()
        self.savefig(file, dpi=DPI, bbox_inches="tight", format="png")
        return file.getvalue()


@matplotlib.rc_context(PLAIN)
def draw_comparison(runs: Runs, path: Path | None = None) -> Picture:
    """Draws a column per arm: the 2-D projection above, histograms of distances below.

    Args:
        runs: Run folder, npz file or evidence by arm.
        path: Picture to write; none if not given. Its ending names the format.

    Raises:
        ValueError: If a run's test embeddings cannot be read.
    """
    arms = read_arms(runs)
    styles = class_styles(arms.values())
    figure = Picture(figsize=(5.6 * len(arms) + 1.6, 8.6), layout="constrained")
    axes = figure.subplots(2, len(arms), squeeze=False, height_ratios=[1.6, 1])
    for (arm, evidence), (above, below) in zip(arms.items(), axes.T, strict=True):
        draw_projection(above, evidence, styles)
        above.set_title(f"{arm}: {above.get_title()}")
        draw_distances(below, evidence)
    beside: dict[str, Any] = {"loc": "center left", "bbox_to_anchor": (1.01, 0.5), "fontsize": 9, "frameon": False}
    axes[0, -1].legend(handles=_key(styles), **beside)
    axes[1, -1].legend(handlelength=3.2, **beside)
    return save(figure, path)


def save(figure: Picture, path: Path | None) -> Picture:
    """Writes a figure if there is a path, and returns the figure; the file appears only when it is complete."""
    if path is not None:
        with replacing(path) as file:
            figure.savefig(file, dpi=DPI, bbox_inches="tight", format=path.suffix[1:])
    return figure


def draw_projection(axes: Axes, evidence: Evidence, styles: Mapping[str, ClassStyle] | None = None) -> None:
    """Draws test crops in the plane: known classes as filled shapes, novel ones as triangles, OOD ones as strokes.

    Args:
        axes: Axes to draw on; their title names the method.
        evidence: Test embeddings of one run.
        styles: Style of each class by name, the same for all arms of a figure; made from the evidence if not given.
    """
    styles = class_styles([evidence]) if styles is None else styles
    crops = chosen_crops(evidence)
    points = project(crops.vectors)
    for style in styles.values():
        if style.name in evidence.class_names:
            x, y = points[crops.labels == evidence.class_names.index(style.name)].T
            axes.plot(x, y, linestyle="", **_mark(style))
    axes.set_title(f"test crops, {METHOD_NAMES[used_method(len(points))]} of the embedding")
    axes.set_xticks([])
    axes.set_yticks([])


def _mark(style: ClassStyle) -> dict[str, Any]:
    """Arguments of matplotlib's `plot` for the marks of a class."""
    edge = (style.colour, 0.9) if style.role == "ood" else ("white", 0.4)
    size = 7.0 if style.shape == "star" else 5.6 if style.role == "novel" else 4.6
    return {
        **{"marker": MARKERS[style.shape], "markersize": size, "color": style.colour},
        **{"markeredgecolor": edge[0], "markeredgewidth": edge[1]},
    }


def _key(styles: Mapping[str, ClassStyle]) -> list[Line2D]:
    """Entries of a legend: one per class, or one per role if there are more than `MOST_NAMED` classes."""
    if len(styles) <= MOST_NAMED:
        return [Line2D([], [], linestyle="", label=s.name + ROLE_MARKS[s.role], **_mark(s)) for s in styles.values()]
    roles = {role: [style for style in styles.values() if style.role == role] for role in ROLE_MARKS}
    return [
        Line2D([], [], linestyle="", label=f"{len(own)} {name} classes", **_mark(own[0]))
        for name, own in zip(("known", "novel", "OOD"), roles.values(), strict=True)
        if own
    ]


def draw_distances(axes: Axes, evidence: Evidence) -> None:
    """Draws densities of distances: within a class, between classes, and of crops to their nearest prototype.

    Args:
        axes: Axes to draw on.
        evidence: Test embeddings of one run.
    """
    sample = distance_sample(evidence)
    shown = [(getattr(sample, field), *how) for field, how in DISTANCE_LINES.items() if len(getattr(sample, field))]
    longest = max(values.max(initial=0.01) for values, _, _ in shown)
    edges = np.linspace(0, longest, HISTOGRAM_BINS + 1)
    for values, name, style in shown:
        density, _ = np.histogram(values, edges, density=True)
        axes.step(edges, np.append(density, 0), where="post", label=name, **_line(style))
    axes.set_ylim(bottom=0)
    axes.set_xlabel("Euclidean distance")
    axes.set_ylabel("density")
    axes.set_yticks([])
    axes.spines[["top", "right"]].set_visible(False)


def _line(style: LineStyle) -> dict[str, Any]:
    """Arguments of matplotlib's `plot` for a line."""
    return {"color": style.colour, "linestyle": LINES[style.dash], "linewidth": 0.8 * style.width}


@matplotlib.rc_context(PLAIN)
def draw_neighbours(runs: Runs, path: Path | None = None, queries: int = 8) -> Picture:
    """Draws test crops and their nearest other crops under each arm; the frame says whether the classes agree.

    Args:
        runs: Run folder, npz file or evidence by arm.
        path: Picture to write; none if not given. Its ending names the format.
        queries: Largest number of rows, each of which is a crop of another class.

    Raises:
        ValueError: If a run's test embeddings cannot be read, or have no thumbnails.
    """
    arms = read_arms(runs)
    pools = {arm: _pictured(arm, evidence) for arm, evidence in arms.items()}
    chosen = {arm: _queries(pool, queries) for arm, pool in pools.items()}
    rows, columns = max(map(len, chosen.values())), len(pools) * (NEIGHBOURS + 2) - 1
    figure = Picture(figsize=(0.85 * columns, 0.85 * rows + 0.5), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False)
    for axis in axes.flat:
        axis.set_axis_off()
    for number, (arm, pool) in enumerate(pools.items()):
        start = number * (NEIGHBOURS + 2)
        axes[0, start].set_title(f"{arm}: query, then nearest", fontsize=9, loc="left")
        for row, query in enumerate(chosen[arm]):
            _draw_row(axes[row, start : start + NEIGHBOURS + 1], pool, query, arms[arm].class_names)
    figure.legend(handles=_frames(), loc="outside lower center", ncols=2, fontsize=9, frameon=False, handlelength=3.5)
    return save(figure, path)


def _pictured(arm: str, evidence: Evidence) -> ShownCrops:
    """Every test crop of an arm with its thumbnail.

    Raises:
        ValueError: If the embeddings have no thumbnails.
    """
    if not evidence.thumbnails:
        raise ValueError(f"the embeddings of {arm} have no thumbnails, so its neighbours cannot be pictured.")
    return shown_crops(evidence)


def _frames() -> list[Line2D]:
    """Entries of a legend for the two kinds of frames."""
    kinds = {"of the query's class": SAME_CLASS, "of another class": OTHER_CLASS}
    return [Line2D([], [], color=c, linestyle=dash, linewidth=2.5, label=name) for name, (c, dash) in kinds.items()]


def _queries(pool: ShownCrops, number: int) -> NDArray[np.int64]:
    """Rows of one crop each of `number` classes, or of all if there are fewer; a fixed seed draws them."""
    rng = np.random.default_rng(1)
    order = rng.permutation(len(pool.labels))
    _, first = np.unique(pool.labels[order], return_index=True)
    spread = np.linspace(0, len(first) - 1, min(number, len(first))).astype(int)
    return np.asarray(order[first][spread])


def _nearest(pool: ShownCrops, query: int) -> NDArray[np.int64]:
    """Rows of a query and of the `NEIGHBOURS` crops nearest to it, in order of distance."""
    distance = np.linalg.norm(pool.vectors - pool.vectors[query], axis=1)
    distance[query] = -1
    return np.argsort(distance, kind="stable")[: NEIGHBOURS + 1]


def _draw_row(axes: NDArray[Any], pool: ShownCrops, query: int, class_names: list[str]) -> None:
    """Draws a query, without a frame, and its neighbours, each in a frame."""
    assert pool.thumbnails is not None
    for axis, index in zip(axes, _nearest(pool, query), strict=False):
        axis.set_axis_on()
        axis.imshow(pool.thumbnails[index], cmap="gray", vmin=0, vmax=255, interpolation="nearest")
        axis.set_xticks([])
        axis.set_yticks([])
        colour, dash = SAME_CLASS if pool.labels[index] == pool.labels[query] else OTHER_CLASS
        for spine in axis.spines.values():
            spine.set(linewidth=2.5, color=colour, linestyle=dash, capstyle="butt", visible=index != query)
        if index == query:
            name = class_names[pool.labels[query]].replace("_", "\n")
            axis.set_ylabel(name, fontsize=7, rotation=0, ha="right", va="center")


@matplotlib.rc_context(PLAIN)
def draw_curve(curve: pd.DataFrame, metric: str, path: Path | None = None) -> Picture:
    """Draws the metric of each arm against the number of training crops per class, with intervals or ranges.

    An arm without a row at a size has no point there.

    Args:
        curve: Table of `stats.arms.curve_table` over `train_per_class`.
        metric: Name of the metric, for the axis.
        path: Picture to write; none if not given. Its ending names the format.
    """
    sizes = curve["train_per_class"].unique().tolist()
    lines = arm_lines(dict.fromkeys(curve["arm"], True))
    figure = Picture(figsize=(7, 4.5))
    axis = figure.subplots()
    for number, (arm, style) in enumerate(lines.items()):
        own = curve[curve["arm"] == arm].set_index("train_per_class").reindex(sizes)
        places = np.arange(len(sizes)) + 0.06 * (number - (len(lines) - 1) / 2)
        reach = [own["mean"] - own["low"], own["high"] - own["mean"]]
        axis.errorbar(places, own["mean"], reach, label=arm, marker="osD^vP"[number % 6], capsize=3, **_line(style))
    axis.set_xticks(np.arange(len(sizes)), sizes)
    axis.set_xlabel("training crops per class")
    axis.set_ylabel(metric.replace("_", " "))
    axis.legend(frameon=False)
    axis.spines[["top", "right"]].set_visible(False)
    return save(figure, path)
