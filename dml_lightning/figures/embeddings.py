"""Figures of runs: embeddings, distances and neighbours, arms side by side."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib
import numpy as np
import pandas as pd
from numpy.typing import NDArray

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from sklearn.manifold import TSNE

from dml_lightning.openset import PrototypeDetector

PLAIN: dict[Any, Any] = {"text.parse_math": False}  # names of arms and classes may hold $
MOST_POINTS = 1500  # of a projection
NEIGHBOURS = 6
SHOWN = ("known", "novel", "ood")  # roles of test crops


class TestSet(NamedTuple):
    """The arrays that a tested run leaves in embeddings/test.npz."""

    vectors: NDArray[np.float32]  # (N, D)
    labels: NDArray[np.int64]  # (N,)
    roles: NDArray[np.str_]  # (N,) the role of each, as in an Evidence
    class_names: NDArray[np.str_]
    thumbnails: NDArray[np.uint8]  # (N, S, S)

    def rows(self, rows: NDArray[np.bool_]) -> "TestSet":
        """Some of the crops, by a mask (N,)."""
        return self._replace(
            vectors=self.vectors[rows],
            labels=self.labels[rows],
            roles=self.roles[rows],
            thumbnails=self.thumbnails[rows],
        )


def read_test_set(run: Path) -> TestSet:
    """What `dml test` left in the run's folder."""
    with np.load(run / "embeddings" / "test.npz") as file:
        return TestSet(**{name: file[name] for name in TestSet._fields})


def save(figure: Figure, path: Path) -> None:
    """Writes a figure that is whole or absent, and closes it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")
    figure.savefig(temporary, dpi=110, bbox_inches="tight", format=path.suffix[1:])
    temporary.replace(path)
    plt.close(figure)


@matplotlib.rc_context(PLAIN)
def draw_comparison(runs: Mapping[str, Path], path: Path) -> None:
    """2-D projections above, distance histograms below, one column per arm."""
    figure, axes = plt.subplots(2, len(runs), figsize=(6.2 * len(runs), 9), squeeze=False, height_ratios=[1.5, 1])
    for (arm, run), column in zip(runs.items(), axes.T, strict=True):
        tested = read_test_set(run)
        draw_projection(column[0], tested)
        column[0].set_title(f"{arm}: test crops, t-SNE of the embedding")
        draw_distances(column[1], tested)
    axes[0, -1].legend(loc="center left", bbox_to_anchor=(1, 0.5), fontsize=8, markerscale=1.5)
    save(figure, path)


def draw_projection(axes: Axes, tested: TestSet) -> None:
    """Known species as dots, novel ones as triangles, OOD crops as black crosses."""
    rng = np.random.default_rng(0)
    chosen = np.flatnonzero(np.isin(tested.roles, SHOWN))
    chosen = np.sort(rng.permutation(chosen)[:MOST_POINTS])
    axes.set_xticks([])
    axes.set_yticks([])
    if len(chosen) < 8:
        axes.text(0.5, 0.5, f"only {len(chosen)} test crops", ha="center", transform=axes.transAxes)
        return
    perplexity = min(30.0, (len(chosen) - 1) / 3)
    points = TSNE(perplexity=perplexity, init="pca", random_state=0).fit_transform(tested.vectors[chosen])
    labels, roles = tested.labels[chosen], tested.roles[chosen]
    colours = plt.get_cmap("tab20")
    for label in np.unique(labels[roles != "ood"]):
        rows = (labels == label) & (roles != "ood")
        novel = roles[rows][0] == "novel"
        axes.scatter(
            points[rows, 0],
            points[rows, 1],
            s=14 if novel else 9,
            marker="^" if novel else "o",
            color=colours(int(label) % 20),
            label=f"{tested.class_names[label]}{' (novel)' if novel else ''}",
        )
    ood = points[roles == "ood"]
    axes.scatter(ood[:, 0], ood[:, 1], s=14, marker="x", c="black", lw=0.8, label="OOD")


def draw_distances(axes: Axes, tested: TestSet) -> None:
    """Densities of distances: within a species, between species, OOD crop to nearest prototype."""
    known, reference, ood = (tested.rows(tested.roles == name) for name in ("known", "reference", "ood"))
    detector = PrototypeDetector().fit(reference.vectors, reference.labels)
    rng = np.random.default_rng(0)
    a, b = rng.integers(len(known.labels), size=(2, 100_000))
    kept = a != b
    a, b = a[kept], b[kept]
    pairs = np.linalg.norm(known.vectors[a] - known.vectors[b], axis=1)
    same = known.labels[a] == known.labels[b]
    shown = {
        "within a species": pairs[same],
        "between species": pairs[~same],
        "known to nearest prototype": detector.score(known.vectors),
        "OOD to nearest prototype": detector.score(ood.vectors) if len(ood.labels) else np.empty(0),
    }
    longest = max(values.max(initial=0.01) for values in shown.values())
    bins = np.linspace(0, longest, 50).tolist()
    for (name, values), style in zip(shown.items(), ("-", "-", "--", "--"), strict=True):
        if len(values):
            axes.hist(values, bins=bins, density=True, histtype="step", linestyle=style, label=name)
    axes.set_xlabel("Euclidean distance")
    axes.set_yticks([])
    axes.legend(fontsize=8)


@matplotlib.rc_context(PLAIN)
def draw_neighbours(runs: Mapping[str, Path], path: Path, queries: int = 8) -> None:
    """Test crops and their nearest other crops under each arm; green frames share the query's class."""
    roles = {arm: read_test_set(run) for arm, run in runs.items()}
    columns = len(roles) * (NEIGHBOURS + 1) + len(roles) - 1
    figure, axes = plt.subplots(queries, columns, figsize=(0.85 * columns, 0.95 * queries), squeeze=False)
    for axis in axes.flat:
        axis.set_axis_off()
    for number, (arm, tested) in enumerate(roles.items()):
        start = number * (NEIGHBOURS + 2)
        pool = tested.rows(np.isin(tested.roles, SHOWN))
        axes[0, start].set_title(f"{arm}: query, then nearest", fontsize=9, loc="left")
        for row, query in enumerate(_queries(pool, queries)):
            _draw_row(axes[row, start : start + NEIGHBOURS + 1], pool, query)
    save(figure, path)


def _queries(pool: TestSet, number: int) -> NDArray[np.int64]:
    """Crops of as many classes as there are rows: the same ones for every arm."""
    rng = np.random.default_rng(1)
    order = rng.permutation(len(pool.labels))
    _, first = np.unique(pool.labels[order], return_index=True)
    spread = np.linspace(0, len(first) - 1, min(number, len(first))).astype(int)
    return np.asarray(order[first][spread])


def _draw_row(axes: NDArray[Any], pool: TestSet, query: int) -> None:
    distance = np.linalg.norm(pool.vectors - pool.vectors[query], axis=1)
    distance[query] = -1
    for axis, index in zip(axes, np.argsort(distance, kind="stable"), strict=False):
        axis.set_axis_on()
        axis.imshow(pool.thumbnails[index], cmap="inferno", interpolation="nearest")
        axis.set_xticks([])
        axis.set_yticks([])
        same = pool.labels[index] == pool.labels[query]
        for spine in axis.spines.values():
            spine.set_linewidth(2.5)
            spine.set_color("black" if index == query else "tab:green" if same else "tab:red")
        if index == query:
            axis.set_ylabel(pool.class_names[pool.labels[query]].replace("_", "\n"), fontsize=6)


@matplotlib.rc_context(PLAIN)
def draw_curve(curve: pd.DataFrame, metric: str, path: Path) -> None:
    """The metric of each arm by the number of training crops per class, with 95 % intervals.

    An arm without a row at a size has no point there.

    Args:
        curve: Of `statistics.curve_table` over `train_per_class`.
        metric: For the axis.
        path: The picture to write.
    """
    sizes = curve["train_per_class"].unique().tolist()
    arms = curve["arm"].unique().tolist()
    figure, axis = plt.subplots(figsize=(7, 4.5))
    for number, arm in enumerate(arms):
        own = curve[curve["arm"] == arm].set_index("train_per_class").reindex(sizes)
        places = np.arange(len(sizes)) + 0.06 * (number - (len(arms) - 1) / 2)
        reach = [own["mean"] - own["low"], own["high"] - own["mean"]]
        marker = "osD^vP"[number % 6]
        axis.errorbar(places, own["mean"], reach, label=arm, marker=marker, capsize=3)
    axis.set_xticks(np.arange(len(sizes)), sizes)
    axis.set_xlabel("training crops per class")
    axis.set_ylabel(metric)
    axis.legend(frameon=False)
    axis.spines[["top", "right"]].set_visible(False)
    save(figure, path)
