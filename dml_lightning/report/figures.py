"""Figures as Plotly's JSON, each with a text alternative and a table of its numbers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dml_lightning.evaluation.distances import DistanceSample
from dml_lightning.figures.palette import BLUE, DISTANCE_LINES, GREY, INK
from dml_lightning.report.numbers import Coverage, roc, thinned_indices
from dml_lightning.report.parts import Figure, floats
from dml_lightning.report.style import Json, axis, label, layout, plotly_line
from dml_lightning.stats.comparison import Comparison
from dml_lightning.stats.tables import Table

BINS = 60  # of a density
CHANCE: Json = {"color": "#9aa5b1", "width": 1, "dash": "dot"}


def differences_figure(comparison: Comparison) -> Figure:
    """Mean difference of each arm to the baseline, with its simultaneous interval or range.

    Args:
        comparison: Comparison with at least one difference.
    """
    question, differences = comparison.question, comparison.differences
    means = [difference.estimate.mean for difference in differences]
    names = [label(difference.arm) for difference in differences]
    spans = [(d.simultaneous_low, d.simultaneous_high) for d in differences]
    data: list[Json] = [
        {
            "type": "scatter",
            "mode": "markers",
            "x": floats(means),
            "y": list(range(len(differences))),
            "marker": {"size": 12, "color": BLUE, "symbol": "diamond"},
            "error_x": {
                "type": "data",
                "symmetric": False,
                "array": floats([high - m for m, (_, high) in zip(means, spans, strict=True)]),
                "arrayminus": floats([m - low for m, (low, _) in zip(means, spans, strict=True)]),
                "thickness": 2.5,
                "width": 7,
                "color": BLUE,
            },
            "name": "mean with interval or range",
            "hovertext": [
                f"{n}: {d.estimate.text('+', ends)}" for n, d, ends in zip(names, differences, spans, strict=True)
            ],
            "hoverinfo": "text",
        }
    ]
    table = Table(
        f"Difference to {question.baseline} in {question.metric}",
        ["arm", "difference", "low", "high", f"{question.unit}s", "p", "Holm p", "verdict"],
        [
            [
                d.arm,
                d.estimate.mean,
                d.simultaneous_low,
                d.simultaneous_high,
                d.estimate.units,
                float("nan") if d.p is None else d.p,
                float("nan") if d.p_holm is None else d.p_holm,
                d.verdict,
            ]
            for d in differences
        ],
        _differences_note(comparison),
    )
    side = "right" if question.higher_is_better else "left"
    return Figure(
        f"Paired difference to {question.baseline}",
        f"Difference of each arm to {question.baseline} in {question.metric}; better is to the {side}. "
        + comparison.sentence,
        data,
        layout(
            150 + 46 * max(1, len(differences)),  # a title of two lines
            xaxis=axis(f"{escape(question.metric, quote=False)}<br>arm minus {label(question.baseline)}"),
            yaxis=axis(
                ticks="", tickvals=list(range(len(differences))), ticktext=names, range=[len(differences) - 0.5, -0.5]
            ),
            showlegend=False,
            shapes=[_line(0.0, INK, "solid")],
        ),
        table,
        wide=True,
    )


def _differences_note(comparison: Comparison) -> str:
    """What the ends and the p-values in the table of differences are."""
    differences, unit = comparison.differences, comparison.question.unit
    ranges = any(each.estimate.is_range for each in differences)
    notes = ["Low and high are the range, no interval."] if ranges else []
    if len(differences) > 1 and not ranges:
        notes = ["Intervals hold for all comparisons at once."]
    least = [each.smallest_p for each in differences if each.smallest_p is not None]
    if least:
        are = "P-values are" if len(differences) > 1 else "The p-value is"
        notes.append(f"{are} from exact sign flips, at least {min(least):.2g} with so many {unit}s.")
    return " ".join(notes)


def _drawn(x: Sequence[Any], y: Sequence[Any], line: Json, **more: Any) -> Json:
    """Plotly's trace of a line."""
    return {"type": "scatter", "mode": "lines", "x": list(x), "y": list(y), "line": line} | more


def _line(x: float, colour: str, dash: str) -> Json:
    """Plotly's shape of a vertical line over the whole height."""
    return {
        "type": "line",
        "x0": x,
        "x1": x,
        "yref": "paper",
        "y0": 0,
        "y1": 1,
        "line": {"color": colour, "width": 1.4, "dash": dash},
    }


def add_units(figure: Figure, values: Mapping[str, NDArray[np.float64]]) -> Figure:
    """Adds a small circle per unit to `differences_figure`, in place.

    Args:
        figure: Figure to add to.
        values: Differences (n,) by arm, in the order of the figure's rows.
    """
    for row, differences in enumerate(values.values()):
        figure.data.insert(
            0,
            {
                "type": "scatter",
                "mode": "markers",
                "x": floats(differences),
                "y": [row] * len(differences),
                "marker": {"size": 8, "color": "rgba(31,41,51,0.38)"},
                "hoverinfo": "x",
            },
        )
    return figure


def distances_figure(arm: str, values: DistanceSample, cuts: Mapping[str, float], normalized: bool) -> Figure:
    """Densities of distances within and between classes and to the nearest prototype, with thresholds.

    Args:
        arm: Name of the arm.
        values: Its distances.
        cuts: Thresholds on the distance to the nearest prototype, by the text to write beside them.
        normalized: Whether the embeddings are unit vectors.
    """
    shown = {name: (getattr(values, field), style) for field, (name, style) in DISTANCE_LINES.items()}
    shown = {name: parts for name, parts in shown.items() if len(parts[0])}
    longest = max(float(np.quantile(parts[0], 0.999)) for parts in shown.values())
    longest = max(longest, *cuts.values(), 1e-6) * 1.03
    edges = np.linspace(0, longest, BINS + 1)
    data: list[Json] = []
    for name, (distances, style) in shown.items():
        counts, _ = np.histogram(distances, bins=edges)
        density = counts / len(distances) / (edges[1] - edges[0])
        drawn = plotly_line(style) | {"shape": "hvh"}
        centres = floats((edges[:-1] + edges[1:]) / 2)
        data.append(_drawn(centres, floats(density), drawn, name=name, hoverinfo="name+x"))
    top = [
        {
            "x": cut,
            "y": 1,
            "yref": "paper",
            "yanchor": "top",
            "xanchor": "right" if cut > longest / 2 else "left",
            "yshift": -16 * number,
            "text": label(name),
            "showarrow": False,
            "font": {"size": 11, "color": INK},
            "bgcolor": "rgba(255,255,255,0.8)",
        }
        for number, (name, cut) in enumerate(cuts.items())
    ]
    rows = [
        [name, len(distances), *(float(np.quantile(distances, q)) for q in (0.05, 0.5, 0.95))]
        for name, (distances, _) in shown.items()
    ]
    rows += [[f"threshold {name}", "", "", cut, ""] for name, cut in cuts.items()]
    unit = "Euclidean distance of unit vectors" if normalized else "Euclidean distance"
    return Figure(
        arm,
        f"Distances under {arm}: "
        + "; ".join(f"{name}, median {float(np.median(d)):.2f}" for name, (d, _) in shown.items())
        + ".",
        data,
        layout(
            380,
            xaxis=axis(unit, range=[0, longest]),
            yaxis=axis("density", showticklabels=False, ticks="", rangemode="tozero"),
            shapes=[_line(cut, GREY, "dash") for cut in cuts.values()],
            annotations=top,
        ),
        Table(f"Distances, {arm}", ["", "number", "5 %", "median", "95 %"], rows),
    )


def roc_figure(arms: Mapping[str, DistanceSample], lines: Mapping[str, Json], aurocs: Mapping[str, str]) -> Figure:
    """Share of OOD crops refused against that of known crops, a curve per arm; score: distance to nearest prototype.

    Args:
        arms: Distances by arm.
        lines: Plotly line of each arm.
        aurocs: Area under the curve of each arm, as text.
    """
    data = [_drawn([0, 1], [0, 1], CHANCE, hoverinfo="skip", showlegend=False)]
    rows: list[list[object]] = []
    for arm, values in arms.items():
        false, true = roc(values.known, values.ood)
        kept = thinned_indices(len(false))
        data.append(_drawn(floats(false[kept]), floats(true[kept]), lines[arm], name=label(arm)))
        refused = [float(true[false <= share].max()) for share in (0.05, 0.1, 0.2)]
        rows.append([arm, aurocs[arm], *refused])
    return Figure(
        "ROC of refusing what is not a known species",
        "ROC curves; area under the curve: " + "; ".join(f"{arm} {text}" for arm, text in aurocs.items()) + ".",
        data,
        layout(
            440,
            xaxis=axis("known crops refused", range=[-0.01, 1.01]),
            yaxis=axis("OOD crops refused", range=[-0.01, 1.01]),
            showlegend=True,
        ),
        Table("OOD crops refused", ["arm", "AUROC", "at 5 % of known", "at 10 %", "at 20 %"], rows),
    )


@dataclass(frozen=True)
class TrainingCurve:
    """A logged value over the steps of one run."""

    arm: str
    steps: NDArray[np.int64]
    values: NDArray[np.float64]


def curves(arm: str, history: pd.DataFrame, key: str) -> list[TrainingCurve]:
    """The curve of a log key in a list, empty if the key was never logged.

    Args:
        arm: Name of the run's arm.
        history: Logged values by column, with a column step.
        key: Log key, such as train/loss.

    >>> history = pd.DataFrame({"step": [0, 1, 2], "val/map_at_r": [0.25, float("nan"), 0.5]})
    >>> curves("triplet", history, "val/map_at_r")[0].steps.tolist(), curves("triplet", history, "val/loss")
    ([0, 2], [])
    """
    if key not in history:
        return []
    kept = history[["step", key]].dropna()
    return [TrainingCurve(arm, kept["step"].to_numpy(), kept[key].to_numpy(float))] if len(kept) else []


def training_figure(
    title: str, y: str, drawn: Sequence[TrainingCurve], lines: Mapping[str, Json], **yaxis: Any
) -> Figure:
    """A logged value over training, a line per run; runs of one arm share its colour.

    Args:
        title: Title of the figure.
        y: Title of the vertical axis.
        drawn: Curves of the runs.
        lines: Plotly line of each arm.
        yaxis: Further settings of the vertical axis.
    """
    arms = list(dict.fromkeys(curve.arm for curve in drawn))
    first = {arm: next(i for i, curve in enumerate(drawn) if curve.arm == arm) for arm in arms}
    data = [
        _drawn(
            curve.steps[kept].tolist(),
            floats(curve.values[kept]),
            lines[curve.arm],
            name=label(curve.arm),
            legendgroup=label(curve.arm),
            showlegend=first[curve.arm] == i,
            opacity=1 if len(drawn) == len(arms) else 0.55,
        )
        for i, curve in enumerate(drawn)
        for kept in [thinned_indices(len(curve.steps))]
    ]
    rows = [[curve.arm, float(curve.values[0]), float(curve.values[-1])] for curve in drawn]
    return Figure(
        title,
        f"{title}. " + "; ".join(f"{arm}: from {start:.3f} to {end:.3f}" for arm, start, end in rows) + ".",
        data,
        layout(330, xaxis=axis("training step", rangemode="tozero"), yaxis=axis(y, **yaxis), showlegend=True),
        Table(title, ["run of", "first", "last"], rows),
    )


def coverage_figure(arms: Mapping[str, Coverage], lines: Mapping[str, Json]) -> Figure:
    """Share of known test crops that rule C refuses, against the share asked for.

    Args:
        arms: Coverage by arm.
        lines: Plotly line of each arm.
    """
    highest = max(max(each.refused) for each in arms.values())
    data = [_drawn([0, highest], [0, highest], CHANCE, name="as asked")]
    for arm, each in arms.items():
        refused = floats(list(each.refused.values()))
        more = {"name": label(arm), "mode": "lines+markers"}
        data.append(_drawn(list(each.refused), refused, lines[arm], **more))
    rows = [[arm, f"{100 * alpha:g} %", share] for arm, each in arms.items() for alpha, share in each.refused.items()]
    return Figure(
        "False rejection under rule C",
        "Known test crops refused against the share asked for. "
        + "; ".join(f"{a}: {f.refused[f.alpha]:.3f} at {100 * f.alpha:g} %" for a, f in arms.items())
        + ".",
        data,
        layout(
            380,
            xaxis=axis("asked for", tickformat=".0%"),
            yaxis=axis("had on known test crops", tickformat=".0%", rangemode="tozero"),
            showlegend=True,
        ),
        Table("Known test crops refused", ["arm", "asked for", "had"], rows),
    )
