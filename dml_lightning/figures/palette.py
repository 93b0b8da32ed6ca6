"""Colours, marks and dashes that mean the same in every figure, chosen for the colour-blind and for print too."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from dml_lightning.types import Role

if TYPE_CHECKING:
    from dml_lightning.evaluation.evidence import Evidence

DRAWN: tuple[Role, ...] = ("known", "novel", "ood")  # training has put the place of clutter
Dash = Literal["solid", "dash", "dot", "dashdot"]  # Plotly's names

# Okabe and Ito's palette (jfly.uni-koeln.de/color). Its yellow is too pale for white paper, and a darker yellow looks
# like vermillion to the red-blind; Tol's wine (sronpersonalpages.nl/~pault) differs from all others for everybody.
BLUE, ORANGE, GREEN, PURPLE, SKY, VERMILLION, WINE = COLOURS = (
    *("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#882255"),
)
YELLOW = "#f0e442"  # of the same palette, bright enough on a dark picture
ON_FRAMES = (SKY, ORANGE, GREEN, PURPLE, YELLOW, VERMILLION)  # species on grey frames, where white is left for others
INK = "#1f2933"
GREY = "#767676"  # floors and thresholds
DARK = ("#1b1b1b", "#7a4a1e", "#5f6b7a")  # OOD classes
# Plotly's names. The number of shapes of a role has no factor in common with its number of colours, so neighbours in a
# legend differ in both, and no pair of colour and shape repeats before all have been used
MARKER_SHAPES: dict[Role, tuple[str, ...]] = {
    "known": ("circle", "square", "diamond", "star"),
    "novel": ("triangle-up", "triangle-down", "triangle-left", "triangle-right"),
    "ood": ("x-thin-open", "cross-thin-open", "asterisk-open", "hash-open"),
}
DASHES: tuple[Dash, ...] = ("solid", "dash", "dot", "dashdot")


@dataclass(frozen=True)
class ClassStyle:
    """How a class is drawn in every projection."""

    name: str
    role: Role
    colour: str
    shape: str  # Plotly's name; filled dots, squares and stars for known, triangles for novel, strokes for OOD


@dataclass(frozen=True)
class LineStyle:
    """How a line is drawn."""

    colour: str
    dash: Dash
    width: float = 2.0  # px in Plotly


# Name and style by field of `DistanceSample`: solid lines between crops, broken ones to the nearest prototype
DISTANCE_LINES: dict[str, tuple[str, LineStyle]] = {
    "intra": ("within a class", LineStyle(BLUE, "solid")),
    "inter": ("between classes", LineStyle(VERMILLION, "solid")),
    "known": ("known to prototype", LineStyle(GREEN, "dash")),
    "novel": ("novel to prototype", LineStyle(ORANGE, "dashdot")),
    "ood": ("OOD to prototype", LineStyle(INK, "dot")),
}


def class_styles(evidences: Iterable[Evidence]) -> dict[str, ClassStyle]:
    """Styles of the classes that have test crops, by name: known, then novel, then OOD, each in order of labels.

    Args:
        evidences: Test embeddings of the arms of a figure; a class looks the same under all of them.
    """
    roles: dict[str, Role] = {}
    for evidence in evidences:
        for role in DRAWN:
            for label in sorted(set(evidence.sets[role].labels.tolist())):
                roles.setdefault(evidence.class_names[label], role)
    styles: dict[str, ClassStyle] = {}
    for role in DRAWN:
        colours, shapes = DARK if role == "ood" else COLOURS, MARKER_SHAPES[role]
        for number, name in enumerate([name for name, own in roles.items() if own == role], start=len(styles)):
            styles[name] = ClassStyle(name, role, colours[number % len(colours)], shapes[number % len(shapes)])
    return styles


def arm_lines(arms: Mapping[str, bool]) -> dict[str, LineStyle]:
    """Line styles by arm: coloured for trained arms, broken grey for floors.

    Args:
        arms: Whether each arm was trained, by its name.

    >>> arm_lines({"triplet": True, "untrained": False})["triplet"]
    LineStyle(colour='#0072b2', dash='solid', width=2.2)
    """
    lines: dict[str, LineStyle] = {}
    counts = {True: 0, False: 0}
    for arm, trained in arms.items():
        number = counts[trained]
        counts[trained] += 1
        lines[arm] = (
            LineStyle(COLOURS[number % len(COLOURS)], DASHES[number // len(COLOURS) % len(DASHES)], 2.2)
            if trained
            else LineStyle(GREY, DASHES[1:][number % 3], 1.6)
        )
    return lines


def rgb(colour: str) -> tuple[int, int, int]:
    """Converts a colour #rrggbb to red, green and blue from 0 to 255.

    >>> rgb("#e69f00")
    (230, 159, 0)
    """
    red, green, blue = bytes.fromhex(colour.removeprefix("#"))
    return red, green, blue
