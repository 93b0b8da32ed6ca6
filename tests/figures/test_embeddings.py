"""Figures of embeddings: what they show, of which crops, and that they are written whole."""

from dataclasses import replace
from functools import partial
from io import BytesIO
from itertools import pairwise
from pathlib import Path
from typing import Any

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from PIL import Image

from dml_lightning.evaluation.distances import distance_sample
from dml_lightning.evaluation.evidence import Evidence
from dml_lightning.figures import embeddings
from dml_lightning.figures.embeddings import (
    NEIGHBOURS,
    OTHER_CLASS,
    SAME_CLASS,
    draw_comparison,
    draw_curve,
    draw_neighbours,
    draw_projection,
)
from dml_lightning.figures.palette import BLUE, DISTANCE_LINES, ORANGE
from dml_lightning.figures.projection import chosen_crops, project, shown_crops
from dml_lightning.types import Embeddings
from tests.made_up import arrays


def points_of(axes: Any) -> list[Any]:
    """Coordinates (N, 2) of each class that is drawn."""
    return [np.stack(line.get_data(), axis=1) for line in axes.lines]


def of_rows(evidence: Evidence, most: int) -> Evidence:
    """At most so many crops of each set."""
    sets = {
        name: Embeddings(part.vectors[:most], part.labels[:most], part.index[:most])
        for name, part in evidence.sets.items()
    }
    return replace(
        evidence, sets=sets, groups={name: own[:most] for name, own in evidence.groups.items()}, thumbnails={}
    )


def test_a_comparison_shows_every_chosen_crop_where_the_projection_puts_it(evidence: Evidence) -> None:
    figure = draw_comparison({"triplet": evidence})
    crops = chosen_crops(evidence)
    expected = project(crops.vectors)
    drawn = points_of(figure.axes[0])
    for label, points in enumerate(drawn):
        np.testing.assert_array_equal(points, expected[crops.labels == label])
    assert sum(map(len, drawn)) == len(expected) == 67


def test_the_legend_names_every_class_with_its_mark(evidence: Evidence) -> None:
    figure = draw_comparison({"softmax": evidence, "triplet": evidence})
    legend = figure.axes[1].get_legend()
    assert legend is not None
    names = [text.get_text() for text in legend.get_texts()]
    assert names == ["mallard", "gadwall", "coot", "swan (novel)", "person (OOD)", "glint (OOD)"]
    for line, entry in zip(figure.axes[0].lines, legend.get_lines(), strict=True):
        assert (line.get_marker(), line.get_color()) == (entry.get_marker(), entry.get_color())
    assert [axes.get_title() for axes in figure.axes[:2]] == [
        f"{arm}: test crops, t-SNE of the embedding" for arm in ("softmax", "triplet")
    ]


def test_a_legend_of_too_many_classes_names_the_roles(evidence: Evidence, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embeddings, "MOST_NAMED", 5)
    legend = draw_comparison({"triplet": evidence}).axes[0].get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == ["3 known classes", "1 novel classes", "2 OOD classes"]


def test_few_crops_are_said_to_be_projected_by_pca(evidence: Evidence) -> None:
    few = of_rows(evidence, 3)
    axes = Figure().subplots()
    draw_projection(axes, few)
    assert axes.get_title() == "test crops, PCA of the embedding"


def test_the_histograms_are_of_the_sampled_distances(evidence: Evidence) -> None:
    axes = draw_comparison({"triplet": evidence}).axes[1]
    sample = distance_sample(evidence)
    assert [line.get_label() for line in axes.lines] == [name for name, _ in DISTANCE_LINES.values()]
    longest = max(getattr(sample, field).max() for field in DISTANCE_LINES)
    for line, field in zip(axes.lines, DISTANCE_LINES, strict=True):
        edges, heights = (np.asarray(each) for each in line.get_data())
        values = getattr(sample, field)
        own = [((values >= a) & (values < b)).sum() for a, b in pairwise(edges[:-1])]
        own.append((values >= edges[-2]).sum())  # the last bin holds its end
        width = longest / 50
        np.testing.assert_allclose(heights[:-1], np.array(own) / len(values) / width)
        assert edges[-1] == pytest.approx(longest)


def test_without_ood_and_novel_crops_their_lines_are_absent(tmp_path: Path) -> None:
    whole = arrays()
    kept = ~np.isin(whole["roles"], ("novel", "ood"))
    rows = {key: value[kept] for key, value in whole.items() if len(value) == len(kept)}
    np.savez(tmp_path / "known.npz", **rows)
    figure = draw_comparison({"triplet": tmp_path / "known.npz"})
    assert len(figure.axes[0].lines) == 3
    names = [line.get_label() for line in figure.axes[1].lines]
    assert names == ["within a class", "between classes", "known to prototype"]


def test_neighbours_are_the_nearest_and_frames_say_whether_they_are_of_the_class(evidence: Evidence) -> None:
    pool = shown_crops(evidence)
    figure = draw_neighbours({"softmax": evidence, "triplet": evidence}, queries=4)
    grid = np.array(figure.axes).reshape(4, 2 * (NEIGHBOURS + 2) - 1)
    seen = set()
    assert pool.thumbnails is not None
    for row in grid:
        images = [np.asarray(axes.images[0].get_array()) for axes in row[: NEIGHBOURS + 1]]
        (query,) = [i for i, own in enumerate(pool.thumbnails) if np.array_equal(own, images[0])]
        distances = [float(np.sqrt(((own - pool.vectors[query]) ** 2).sum())) for own in pool.vectors]
        nearest = sorted((d, i) for i, d in enumerate(distances) if i != query)[:NEIGHBOURS]
        for axes, image, (_, index) in zip(row[1 : NEIGHBOURS + 1], images[1:], nearest, strict=True):
            np.testing.assert_array_equal(image, pool.thumbnails[index])
            same = pool.labels[index] == pool.labels[query]
            colour, dash = SAME_CLASS if same else OTHER_CLASS
            spine = axes.spines["left"]
            assert to_hex(spine.get_edgecolor()) == colour
            assert (spine.get_linestyle() == "-") == (dash == "-")
            seen.add(bool(same))
        assert not row[0].spines["left"].get_visible()  # the query has no frame
        assert row[0].get_ylabel() == evidence.class_names[pool.labels[query]]
        again = [np.asarray(axes.images[0].get_array()) for axes in row[NEIGHBOURS + 2 :]]
        np.testing.assert_array_equal(again, images)
    assert seen == {True, False}
    assert {SAME_CLASS[0], OTHER_CLASS[0]} == {BLUE, ORANGE}
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["of the query's class", "of another class"]


def test_a_notebook_shows_the_picture_that_is_written(evidence: Evidence, tmp_path: Path) -> None:
    draw_neighbours({"a": evidence}, tmp_path / "picture.png")
    shown = Image.open(BytesIO(draw_neighbours({"a": evidence})._repr_png_()))
    assert np.array_equal(np.asarray(shown), np.asarray(Image.open(tmp_path / "picture.png")))


def test_fewer_classes_than_rows_leave_no_empty_row(evidence: Evidence) -> None:
    figure = draw_neighbours({"triplet": evidence}, queries=20)
    assert len(figure.axes) == 6 * (NEIGHBOURS + 1)
    assert all(axes.images for axes in figure.axes)


def test_pictures_are_written_and_figures_returned_alike(npz: Path, evidence: Evidence, tmp_path: Path) -> None:
    for draw in (draw_comparison, partial(draw_neighbours, queries=2)):
        name = f"{getattr(draw, '__name__', 'draw_neighbours')}.png"
        written, given = draw({"a": npz}, tmp_path / "new" / name), draw({"a": evidence})
        given.savefig(tmp_path / "given.png", dpi=110, bbox_inches="tight")
        paths = (tmp_path / "new" / name, tmp_path / "given.png")
        one, other = (np.asarray(Image.open(path)) for path in paths)
        np.testing.assert_array_equal(one, other)
        assert isinstance(written, Figure)
    assert {path.name for path in (tmp_path / "new").iterdir()} == {"draw_comparison.png", "draw_neighbours.png"}


def test_a_run_s_folder_stands_for_its_test_embeddings(npz: Path, tmp_path: Path) -> None:
    (tmp_path / "run" / "embeddings").mkdir(parents=True)
    npz.rename(tmp_path / "run" / "embeddings" / "test.npz")
    assert len(draw_comparison({"a": tmp_path / "run"}).axes[0].lines) == 6


def test_matplotlib_is_left_as_it_is(evidence: Evidence) -> None:
    before, backend, numbers = dict(matplotlib.rcParams), matplotlib.get_backend(), plt.get_fignums()
    draw_comparison({"a": evidence})
    draw_neighbours({"a": evidence}, queries=1)
    assert dict(matplotlib.rcParams) == before
    assert matplotlib.get_backend() == backend
    assert plt.get_fignums() == numbers  # none of pyplot's, so nothing to close


def test_names_that_are_no_formula_are_drawn(evidence: Evidence, tmp_path: Path) -> None:
    odd = replace(evidence, class_names=[f"$x_{{{name}" for name in evidence.class_names])
    figure = draw_comparison({"a $y_{$": odd})
    figure.savefig(tmp_path / "later.png")  # outside of the function, too
    draw_neighbours({"a $y_{$": odd}, tmp_path / "neighbours.png", queries=1)
    curve = pd.DataFrame([{"train_per_class": "5", "arm": "a $x_{$", "mean": 0.5, "low": 0.4, "high": 0.6}])
    draw_curve(curve, "map_at_r").savefig(tmp_path / "curve.png")


def test_what_cannot_be_drawn_is_told(evidence: Evidence, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"embeddings of triplet have no thumbnails"):
        draw_neighbours({"triplet": replace(evidence, thumbnails={})})
    with pytest.raises(ValueError, match=r"there is no run to draw"):
        draw_comparison({})
    with pytest.raises(ValueError, match=r"nowhere/embeddings/test.npz: there is no such file"):
        draw_comparison({"a": tmp_path / "nowhere"})
    with pytest.raises(ValueError, match=r"nowhere"):
        draw_neighbours({"a": tmp_path / "nowhere"}, tmp_path / "n.png")
    assert not (tmp_path / "n.png").exists()
