"""Colours and shapes that say the same in every figure, also to the colour-blind and in print."""

import html
from dataclasses import dataclass
from typing import Any

from dml_lightning.evaluation.evidence import Evidence
from dml_lightning.types import Role

# Okabe and Ito's palette (jfly.uni-koeln.de/color), the yellow darkened to be seen on white
COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#8f7f00")
DARK = ("#1b1b1b", "#7a4a1e", "#5f6b7a", "#8a1c4a")  # OOD classes
KNOWN_SHAPES = ("circle", "square", "diamond", "hexagon2")
NOVEL_SHAPES = ("triangle-up", "triangle-down", "triangle-left", "triangle-right")
OOD_SHAPES = ("x-thin-open", "cross-thin-open", "asterisk-open", "hash-open")
DASHES = ("solid", "dash", "dot", "dashdot")
FLOOR = "#767676"
LONGEST = 28  # characters of a label
INK, GRID = "#1f2933", "#e4e7eb"

Json = dict[str, Any]


@dataclass(frozen=True)
class ClassStyle:
    """How a class is drawn in every projection."""

    name: str
    role: Role
    colour: str
    shape: str  # of Plotly; filled and round or square for known, triangles for novel, strokes for OOD


def class_styles(evidence: Evidence) -> list[ClassStyle]:
    """A style for each class that has test crops, in the order of labels."""
    styles = []
    shapes: dict[Role, tuple[str, ...]] = {"known": KNOWN_SHAPES, "novel": NOVEL_SHAPES, "ood": OOD_SHAPES}
    for role, options in shapes.items():
        colours = DARK if role == "ood" else COLOURS
        labels = sorted(set(evidence.sets[role].labels.tolist()))
        for number, label in enumerate(labels):
            turn = number // len(colours) if role == "known" else number
            name = evidence.class_names[label]
            colour, shape = colours[number % len(colours)], options[turn % len(options)]
            styles.append(ClassStyle(name, role, colour, shape))
    return styles


def arm_styles(arms: dict[str, bool]) -> dict[str, Json]:
    """A Plotly line per arm, from whether it was trained: colours for those, grey dashes for floors."""
    styles: dict[str, Json] = {}
    counts = {True: 0, False: 0}
    for arm, trained in arms.items():
        number = counts[trained]
        counts[trained] += 1
        colour = COLOURS[number % len(COLOURS)] if trained else FLOOR
        dash = DASHES[number // len(COLOURS) % 4] if trained else DASHES[1:][number % 3]
        styles[arm] = {"color": colour, "dash": dash, "width": 2.2 if trained else 1.6}
    return styles


def label(text: str) -> str:
    """A name as Plotly may show it: shortened in the middle, and with nothing left that could be markup."""
    half = LONGEST // 2
    short = text if len(text) <= LONGEST else f"{text[:half]}…{text[1 - half :]}"
    return html.escape(short, quote=False)  # Plotly decodes &lt; and such, not &quot;


def axis(title: str = "", **more: Any) -> Json:
    """An axis in the house's style."""
    return {
        "title": {"text": title, "standoff": 8, "font": {"size": 13}},
        "automargin": True,
        "gridcolor": GRID,
        "zeroline": False,
        "linecolor": "#9aa5b1",
        "ticks": "outside",
        "tickcolor": "#9aa5b1",
    } | more


def layout(height: int, **more: Any) -> Json:
    """A Plotly layout in the house's style; the width is that of the page."""
    return {
        "height": height,
        "margin": {"l": 12, "r": 12, "t": 34, "b": 12},
        "paper_bgcolor": "#ffffff",
        "plot_bgcolor": "#ffffff",
        "font": {"family": "system-ui, -apple-system, Segoe UI, Roboto, sans-serif", "size": 13, "color": INK},
        "legend": {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom", "xanchor": "left"},
        "hoverlabel": {"bgcolor": "#ffffff", "bordercolor": "#9aa5b1", "font": {"color": INK}},
        "hovermode": "closest",
        "dragmode": False,
    } | more
