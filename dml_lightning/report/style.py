"""Plotly's half of the palette: lines, axes and layouts of a report's figures."""

import html
from collections.abc import Mapping
from typing import Any

from dml_lightning.figures.palette import INK, LineStyle, arm_lines

LONGEST = 28  # characters of a label
GRID = "#e4e7eb"

Json = dict[str, Any]


def plotly_line(style: LineStyle) -> Json:
    """A line of Plotly."""
    return {"color": style.colour, "dash": style.dash, "width": style.width}


def arm_styles(arms: Mapping[str, bool]) -> dict[str, Json]:
    """A Plotly line per arm, from whether it was trained."""
    return {arm: plotly_line(style) for arm, style in arm_lines(arms).items()}


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
