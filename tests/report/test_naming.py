"""Curves of naming with refusal: drawn thinned, and read whole in their tables."""

import numpy as np
import pytest

from dml_lightning.evaluation.open_set import OpenSetSample
from dml_lightning.metrics.open_set import aurc, oscr
from dml_lightning.report.naming import COVERAGES, SHARES, naming_section
from dml_lightning.report.numbers import POINTS

LINES = {"triplet": {"color": "#0072b2"}, "softmax": {"color": "#d55e00"}}


def sample(seed: int, known: int = 4001, ood: int = 3000) -> OpenSetSample:
    rng = np.random.default_rng(seed)
    return OpenSetSample(rng.normal(0, 1, known), rng.random(known) < 0.8, rng.normal(1, 1, ood), np.empty(0))


def test_tables_are_read_from_the_whole_curves() -> None:
    samples = {"triplet": sample(0), "softmax": sample(1)}
    section = naming_section(samples, LINES)
    right, risk = section.figures
    for row, other, (arm, given) in zip(right.table.rows, risk.table.rows, samples.items(), strict=True):
        cuts = [-np.inf, *given.known, *given.ood]
        named = np.array([[(given.known <= cut).mean(), (given.ood <= cut).mean()] for cut in cuts])
        correct = np.array([((given.known <= cut) & given.right).mean() for cut in cuts])
        expected = [correct[named[:, 1] <= share].max() for share in SHARES]
        area = oscr(given.known, given.right, given.ood)
        assert row == [arm, area, *expected, given.right.mean()]
        order = np.argsort(given.known)
        wrong = np.cumsum(~given.right[order])
        counts = [int(np.ceil(share * len(order))) for share in COVERAGES]  # no share is hit exactly but the last
        assert other[:2] == [arm, aurc(given.known, ~given.right)]
        assert other[2:] == pytest.approx([wrong[count - 1] / count for count in counts])
    for figure in section.figures:
        assert [trace["line"] for trace in figure.data] == list(LINES.values())
        assert all(len(trace["x"]) == len(trace["y"]) == POINTS for trace in figure.data)
    assert right.alt.startswith("OSCR curves; area under the curve: triplet 0.")


def test_without_ood_crops_there_is_the_risk_alone() -> None:
    section = naming_section({"triplet": sample(0, ood=0)}, LINES)
    assert [figure.title for figure in section.figures] == ["Risk against coverage"]
