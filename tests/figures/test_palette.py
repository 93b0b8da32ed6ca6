"""Colours that stay apart for the colour-blind, and styles that do not repeat."""

from dataclasses import replace
from itertools import combinations, pairwise

import numpy as np
import pytest
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from dml_lightning.evaluation.distances import DistanceSample
from dml_lightning.evaluation.evidence import Evidence
from dml_lightning.figures.embeddings import MARKERS, OTHER_CLASS, SAME_CLASS
from dml_lightning.figures.palette import (
    COLOURS,
    DARK,
    DISTANCE_LINES,
    INK,
    MARKER_SHAPES,
    ON_FRAMES,
    arm_lines,
    class_styles,
    rgb,
)
from dml_lightning.types import Embeddings

# What of linear sRGB is seen without one kind of cones: Machado, Oliveira and Fernandes 2009, severity 1.0
SEEN = {
    "all cones": np.eye(3),
    "red-blind": np.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
    ),
    "green-blind": np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
    ),
    "blue-blind": np.array(
        [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]]
    ),
}
XYZ = np.array(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
)
WHITE = np.array([0.95047, 1.0, 1.08883])


def linear(colour: str) -> NDArray[np.float64]:
    """Linear sRGB of a colour."""
    value = np.array(rgb(colour)) / 255
    return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)


def lab(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """CIE L*a*b* of linear sRGB."""
    x = XYZ @ values.clip(0, 1) / WHITE
    f = np.where(x > 0.008856, np.cbrt(x), 7.787 * x + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def difference(one: str, other: str, eyes: str) -> float:
    """Distance in CIE L*a*b*; 2 is just seen side by side, and marks of a figure lie apart."""
    return float(np.linalg.norm(lab(SEEN[eyes] @ linear(one)) - lab(SEEN[eyes] @ linear(other))))


def test_the_measure_knows_what_is_confused() -> None:
    assert difference("#2ca02c", "#d62728", "all cones") > 90
    assert difference("#2ca02c", "#d62728", "green-blind") < 35
    assert difference("#d55e00", "#8f7f00", "red-blind") < 6  # the darkened yellow that was in the palette
    assert difference("#000000", "#ffffff", "blue-blind") == pytest.approx(100, abs=0.1)


@pytest.mark.parametrize("eyes", SEEN)
def test_colours_of_one_figure_stay_apart(eyes: str) -> None:
    for one, other in combinations(COLOURS, 2):
        assert difference(one, other, eyes) > 16, (one, other)  # the least of Okabe and Ito's own
    for one, other in combinations((*ON_FRAMES, "#ffffff"), 2):  # white is for refused boxes
        assert difference(one, other, eyes) > 16, (one, other)
    for one, other in combinations(DARK, 2):
        assert difference(one, other, eyes) > 16, (one, other)
    assert difference(SAME_CLASS[0], OTHER_CLASS[0], eyes) > 60
    lines = [style.colour for _, style in DISTANCE_LINES.values()]
    for one, other in combinations(lines, 2):
        assert difference(one, other, eyes) > 16, (one, other)


@pytest.mark.parametrize("colour", [*COLOURS, *DARK, INK])
def test_colours_are_seen_on_white_paper(colour: str) -> None:
    luminance = float(XYZ[1] @ linear(colour))
    assert 1.05 / (luminance + 0.05) > 2.2  # contrast after WCAG; that of Okabe and Ito's yellow is 1.3


def test_what_differs_in_colour_differs_in_something_else_too() -> None:
    assert SAME_CLASS[1] != OTHER_CLASS[1]
    solid = [style for _, style in DISTANCE_LINES.values() if style.dash == "solid"]
    assert len(solid) == 2  # between crops; the three to a prototype are broken, each in its way
    assert len({style.dash for _, style in DISTANCE_LINES.values()}) == 4


def test_every_distance_that_is_sampled_has_its_line() -> None:
    assert set(DISTANCE_LINES) == set(DistanceSample.__dataclass_fields__)


def of_classes(evidence: Evidence, known: int, novel: int, ood: int) -> Evidence:
    """One test crop of each of so many classes."""
    names = [f"class {number}" for number in range(known + novel + ood)]
    bounds = {"known": (0, known), "novel": (known, known + novel), "ood": (known + novel, len(names))}
    sets = dict(evidence.sets)
    for role, (start, end) in bounds.items():
        part = evidence.sets["known"]
        rows = end - start
        labels = part.labels.new_tensor(range(start, end))
        sets[role] = Embeddings(part.vectors[:1].expand(rows, -1), labels, labels)  # type: ignore[index]
    return replace(evidence, sets=sets, class_names=names, num_classes=known)


def test_many_classes_have_each_a_style_of_their_own(evidence: Evidence) -> None:
    styles = class_styles([of_classes(evidence, 28, 28, 12)])
    assert len({(style.colour, style.shape) for style in styles.values()}) == len(styles) == 68
    for (_, one), (_, other) in pairwise(styles.items()):
        assert one.shape != other.shape


def test_a_class_of_a_role_has_that_role_s_shape(evidence: Evidence) -> None:
    styles = class_styles([evidence])
    assert [(style.name, style.role) for style in styles.values()] == [
        *(("mallard", "known"), ("gadwall", "known"), ("coot", "known")),
        *(("swan", "novel"), ("person", "ood"), ("glint", "ood")),
    ]
    assert all(style.shape in MARKER_SHAPES[style.role] for style in styles.values())
    assert len(set().union(*MARKER_SHAPES.values())) == sum(map(len, MARKER_SHAPES.values()))  # no shape in two roles


def test_arms_with_other_classes_share_one_key(evidence: Evidence) -> None:
    more = of_classes(evidence, 2, 1, 1)
    styles = class_styles([evidence, more])
    assert len(styles) == 10
    roles = [style.role for style in styles.values()]
    assert roles == ["known"] * 5 + ["novel"] * 2 + ["ood"] * 3
    assert len({(style.colour, style.shape) for style in styles.values()}) == 10
    assert class_styles([evidence, evidence]) == class_styles([evidence])


def test_matplotlib_has_a_marker_for_every_shape() -> None:
    assert set(MARKERS) == {shape for shapes in MARKER_SHAPES.values() for shape in shapes}
    drawn = [Line2D([], [], marker=marker).get_marker() for marker in MARKERS.values()]
    assert len(set(drawn)) == len(MARKERS)


def test_arms_have_lines_of_their_own_and_floors_are_grey() -> None:
    trained = {f"arm {number}": True for number in range(28)}
    lines = arm_lines(trained | {"raw pixels": False, "untrained": False})
    assert len({(line.colour, line.dash) for line in lines.values()}) == 30
    assert [lines[f"arm {number}"].dash for number in range(7)] == ["solid"] * 7
    floors = [lines["raw pixels"], lines["untrained"]]
    assert {floor.colour for floor in floors}.isdisjoint(COLOURS)
    assert "solid" not in {floor.dash for floor in floors}
