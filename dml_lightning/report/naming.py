"""The section on naming with refusal: OSCR and risk-coverage curves."""

from collections.abc import Mapping

import numpy as np

from dml_lightning.evaluation.open_set import OpenSetSample
from dml_lightning.metrics.open_set import aurc, oscr, oscr_curve, risk_coverage_curve
from dml_lightning.report.numbers import thinned_indices
from dml_lightning.report.parts import Figure, Section, floats
from dml_lightning.report.style import Json, axis, label, layout
from dml_lightning.stats.tables import Table
from dml_lightning.types import Floats

SHARES = (0.01, 0.05, 0.1, 0.2)  # of OOD crops that are named
COVERAGES = (0.5, 0.8, 0.9, 1.0)  # of known crops


def naming_section(samples: Mapping[str, OpenSetSample], lines: Mapping[str, Json]) -> Section:
    """Right names against OOD crops named, where there are any, and errors against the share that is named.

    Args:
        samples: Scores and right names by arm, by the arm's own rule.
        lines: Plotly line of each arm.
    """
    with_ood = {arm: sample for arm, sample in samples.items() if len(sample.ood)}
    figures = [oscr_figure(with_ood, lines)] if with_ood else []
    text = (
        "A crop is named by the arm's own rule if its distance to the nearest prototype is at most a threshold, and "
        "refused otherwise; curves run over all thresholds of the run shown, without intervals. The risk is the share "
        "of wrong names among the known crops that are named."
    )
    return Section("naming", "Naming or refusing", [text], figures=[*figures, risk_figure(samples, lines)])


def oscr_figure(samples: Mapping[str, OpenSetSample], lines: Mapping[str, Json]) -> Figure:
    """Share of known crops named right against that of OOD crops named, a curve per arm.

    The table holds the largest share named right while at most so many OOD crops are, from the whole curve.
    """
    data, rows = [], []
    for arm, sample in samples.items():
        curve = oscr_curve(sample.known, sample.right, sample.ood)
        area = oscr(sample.known, sample.right, sample.ood)
        data.append(_line(arm, curve.false, curve.correct, lines))
        right = [float(curve.correct[curve.false <= share].max()) for share in SHARES]
        rows.append([arm, area, *right, float(curve.correct[-1])])
    heads = ["arm", "OSCR", *(f"at {100 * share:g} %" for share in SHARES), "all named"]
    return Figure(
        "Right names against unknown crops named",
        "OSCR curves; area under the curve: " + "; ".join(f"{row[0]} {row[1]:.3f}" for row in rows) + ".",
        data,
        layout(
            440,
            xaxis=axis("OOD crops named", range=[-0.01, 1.01]),
            yaxis=axis("known crops named right", range=[-0.01, 1.01]),
            showlegend=True,
        ),
        Table("Known crops named right while so many OOD crops are named", heads, rows),
    )


def risk_figure(samples: Mapping[str, OpenSetSample], lines: Mapping[str, Json]) -> Figure:
    """Share of wrong names among the known crops that are named, against their share, a curve per arm.

    The table holds the risk at the smallest share that is at least the one asked for, from the whole curve.
    """
    data, rows = [], []
    for arm, sample in samples.items():
        curve = risk_coverage_curve(sample.known, ~sample.right)
        data.append(_line(arm, curve.coverage, curve.risk, lines))
        risks = [float(curve.risk[np.searchsorted(curve.coverage, share)]) for share in COVERAGES]
        rows.append([arm, aurc(sample.known, ~sample.right), *risks])
    heads = ["arm", "AURC", *(f"{100 * share:g} % named" for share in COVERAGES)]
    return Figure(
        "Risk against coverage",
        "Risk-coverage curves; area under the curve: " + "; ".join(f"{row[0]} {row[1]:.3f}" for row in rows) + ".",
        data,
        layout(
            380,
            xaxis=axis("known crops named", range=[-0.01, 1.01]),
            yaxis=axis("of them named wrong", rangemode="tozero"),
            showlegend=True,
        ),
        Table("Wrong names among the known crops that are named", heads, rows, "Smaller is better."),
    )


def _line(arm: str, x: Floats, y: Floats, lines: Mapping[str, Json]) -> Json:
    """Plotly's trace of a curve, thinned for drawing."""
    kept = thinned_indices(len(x))
    points = {"x": floats(x[kept]), "y": floats(y[kept])}
    return {"type": "scatter", "mode": "lines", "line": lines[arm], "name": label(arm), **points}
