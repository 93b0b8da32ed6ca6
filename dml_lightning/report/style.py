"""Style of a report's figures in Plotly: lines, labels, axes and layouts."""

import html
from collections.abc import Mapping
from typing import Any

from dml_lightning.figures.palette import INK, LineStyle, arm_lines

LONGEST_LABEL = 28  # largest number of characters of a label
GRID = "#e4e7eb"

Json = dict[str, Any]


def plotly_line(style: LineStyle) -> Json:
    """Converts a line style to Plotly's.

    >>> plotly_line(LineStyle("#0072b2", "dash"))
    {'color': '#0072b2', 'dash': 'dash', 'width': 2.0}
    """
    return {"color": style.colour, "dash": style.dash, "width": style.width}


def arm_styles(arms: Mapping[str, bool]) -> dict[str, Json]:
    """Plotly lines by arm.

    Args:
        arms: Whether each arm was trained, by its name.
    """
    return {arm: plotly_line(style) for arm, style in arm_lines(arms).items()}


def label(text: str) -> str:
    """Prepares a name for Plotly: shortens it in the middle, and escapes what could be markup.

    >>> label("arm <b>"), label("a" * 20 + "b" * 20)
    ('arm &lt;b&gt;', 'aaaaaaaaaaaaaa…bbbbbbbbbbbbb')
    """
    half = LONGEST_LABEL // 2
    short = text if len(text) <= LONGEST_LABEL else f"{text[:half]}…{text[1 - half :]}"
    return html.escape(short, quote=False)  # Plotly decodes &lt; and &gt; but not &quot;


def axis(title: str = "", **more: Any) -> Json:
    """A Plotly axis in the style of the report.

    Args:
        title: Title of the axis.
        more: Further settings, which take precedence.
    """
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
    """A Plotly layout in the style of the report; the width is that of the page.

    Args:
        height: Height of the figure, in px.
        more: Further settings, which take precedence.
    """
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
