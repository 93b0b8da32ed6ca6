"""Content of a report, section by section; the page decides on its looks."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from dml_lightning.evaluation.detectors import detector_table
from dml_lightning.evaluation.distances import DistanceSample, distance_sample
from dml_lightning.evaluation.ood import assumptions
from dml_lightning.evaluation.open_set import OpenSetSample, open_set_sample
from dml_lightning.evaluation.structure import class_table
from dml_lightning.figures.projection import MOST_POINTS
from dml_lightning.openset.thresholds import Threshold
from dml_lightning.report.counts import counts_section
from dml_lightning.report.figures import coverage_figure, distances_figure, roc_figure
from dml_lightning.report.inputs import ReportInput
from dml_lightning.report.matrices import class_distances_figure, confusion_figure
from dml_lightning.report.naming import naming_section
from dml_lightning.report.numbers import (
    Coverage,
    confusion_counts,
    coverage,
    drift_of_test,
    mistakes,
    rules_on_test,
)
from dml_lightning.report.parts import Section
from dml_lightning.report.style import Json, arm_styles
from dml_lightning.report.summary import (
    NEAREST,
    arms_section,
    differences_section,
    interval_text,
    recipes_section,
    resampled,
)
from dml_lightning.report.training import margins_section, training_section
from dml_lightning.stats.tables import Table


def sections(given: ReportInput) -> list[Section]:
    """Every section for which the runs have data, in the order of the page."""
    runs = ShownRuns(given)
    made = [
        arms_section(given),
        differences_section(given),
        None if given.counts is None else counts_section(given.counts),
        _projection(),
        _distances(runs),
        _refusal(runs),
        naming_section(runs.naming, runs.lines),
        _coverage(runs),
        _confusions(runs),
        _class_distances(runs),
        training_section(given, runs.lines),
        margins_section(given),
        _assumptions(runs),
        _mistakes(runs),
        recipes_section(given),
    ]
    return [section for section in made if section is not None]


@dataclass(frozen=True)
class ShownRuns:
    """Results that several sections need, computed once from the run that is shown of each arm."""

    given: ReportInput

    @cached_property
    def scores(self) -> dict[str, DistanceSample]:
        """Distances by arm."""
        return {arm: distance_sample(run.evidence) for arm, run in self.given.shown.items()}

    @cached_property
    def naming(self) -> dict[str, OpenSetSample]:
        """Scores and right names by arm."""
        return {arm: open_set_sample(run.evidence) for arm, run in self.given.shown.items()}

    @cached_property
    def detectors(self) -> dict[str, pd.DataFrame]:
        """Tables of detectors by arm."""
        return {arm: detector_table(run.evidence) for arm, run in self.given.shown.items()}

    @cached_property
    def coverage(self) -> dict[str, Coverage]:
        """Coverage of rule C by arm, of arms that have the rule."""
        shown = self.given.shown
        results = {arm: coverage(run.evidence, run.thresholds.get("C"), run.gallery) for arm, run in shown.items()}
        return {arm: each for arm, each in results.items() if each is not None}

    @cached_property
    def lines(self) -> dict[str, Json]:
        """Plotly line of each arm."""
        return arm_styles({arm: run.trained for arm, run in self.given.shown.items()})


def _projection() -> Section:
    return Section(
        "projection",
        "Embeddings",
        [
            "Every point is a test crop; hover over it or tap it to see the crop. Dots, squares, diamonds and stars "
            "are known classes, triangles novel ones, strokes OOD. Point at a class, or choose it, to find it under "
            f"every arm. Of more than {MOST_POINTS} test crops so many are drawn, of small classes more than their "
            "share."
        ],
        projection=True,
    )


def _distances(runs: ShownRuns) -> Section:
    figures = [
        distances_figure(arm, runs.scores[arm], cuts(run.thresholds), run.evidence.normalized)
        for arm, run in runs.given.shown.items()
    ]
    text = (
        "Solid: pairs of known test crops. Broken: each crop to its nearest class prototype. Vertical lines are "
        "thresholds on that distance: crops to their right are refused."
    )
    return Section("distances", "Distances", [text], figures=figures)


def cuts(thresholds: Mapping[str, Threshold]) -> dict[str, float]:
    """Thresholds on the distance to the nearest prototype, by the text to draw beside them.

    Args:
        thresholds: Thresholds by rule (B or C).
    """
    named = {"B": "B: validation"}
    return {
        named.get(rule, f"{rule}: conformal {100 * each.alpha:g} %"): each.value
        for rule, each in thresholds.items()
        if each.kind == "nearest"
    }


def _refusal(runs: ShownRuns) -> Section | None:
    """The ROC, and every detector on every arm; None without OOD crops."""
    arms = [arm for arm, values in runs.scores.items() if len(values.ood)]
    if not arms:
        return None
    aurocs = {arm: interval_text(runs.detectors[arm], NEAREST) for arm in arms}
    figure = roc_figure({arm: runs.scores[arm] for arm in arms}, runs.lines, aurocs)
    count, what = resampled(runs.detectors[arms[0]])
    text = (
        "Score: distance to the nearest prototype, the same for every arm. Intervals come from a bootstrap over "
        f"{count} {what} of the run shown: they speak of other {what}, not of other seeds. Round brackets hold the "
        "range of the values within single flights instead, where known or OOD crops come from fewer than five."
    )
    if what == "crops":
        text += " Crops of one flight resemble each other: name their flights (`groups`) for wider, honest intervals."
    tables = [detectors_table(runs.detectors), *_rules_table(runs)]
    if any("clutter_auroc" in table for table in runs.detectors.values()):
        tables.append(detectors_table(runs.detectors, "clutter_auroc", "AUROC against clutter, a kind that was seen,"))
    return Section("refusal", "Refusing what is not known", [text, *_whys(runs)], tables, [figure])


def _whys(runs: ShownRuns) -> list[str]:
    """Which score each run refuses by, and why."""
    galleries = {arm: run.gallery for arm, run in runs.given.shown.items()}
    return [f"{arm}: {gallery.why}" for arm, gallery in galleries.items() if gallery is not None and gallery.why]


def _rules_table(runs: ShownRuns) -> list[Table]:
    """What the rules of each run refuse of the test crops; no table without a gallery."""
    rows = [
        [arm, rule, each.score, each.known_refused, each.ood_refused, each.auroc]
        for arm, run in runs.given.shown.items()
        if run.gallery is not None and len(run.evidence.sets["ood"])
        for rule, each in rules_on_test(run.evidence, run.gallery).items()
    ]
    heads = ["arm", "rule", "score", "known refused", "OOD refused", "OOD AUROC"]
    return [Table("Test crops refused by the rules of each run", heads, rows)] if rows else []


def detectors_table(detectors: dict[str, pd.DataFrame], column: str = "auroc", what: str = "OOD AUROC") -> Table:
    """An AUROC with its interval or range over flights: a row per detector, a column per arm.

    Args:
        detectors: Table of detectors by arm.
        column: Column of these tables; an arm may lack it.
        what: Name of the number.
    """
    names = list(dict.fromkeys(name for table in detectors.values() for name in table.index))
    rows = [
        [
            name,
            *(
                interval_text(table, name, column) if name in table.index and column in table else "–"
                for table in detectors.values()
            ),
        ]
        for name in names
    ]
    return Table(
        f"{what} by detector",
        ["detector", *detectors],
        rows,
        "Detectors on logits exist only where there is a classifier.",
    )


def _coverage(runs: ShownRuns) -> Section | None:
    arms = runs.coverage
    if not arms:
        return None
    flights = list(next(iter(arms.values())).by_flight)
    one = next(iter(arms.values()))
    table = Table(
        f"Known test crops refused at {100 * one.alpha:g} %, flight by flight",
        ["flight", "crops", *arms],
        [
            [name, one.by_flight[name][1], *(c.by_flight.get(name, (float("nan"), 0))[0] for c in arms.values())]
            for name in flights
        ],
    )
    text = calibrated_on(one, bool(flights))
    figure = coverage_figure(arms, runs.lines)
    tables = [*([table] if flights else []), *_drift_table(runs)]
    return Section("coverage", "False rejection as promised?", [text], tables, [figure])


def calibrated_on(rule: Coverage, flights: bool) -> str:
    """What rule C was calibrated on and what it promises; `flights` says whether flights are named."""
    above = ", so some flights lie above" if flights else ""
    if flights and rule.samples == rule.flights:
        return (
            f"Rule C was calibrated on one random crop of each of {rule.flights} flights, used for nothing else. On "
            "average over such calibrations and over new flights it refuses at most the share asked for; a single "
            "flight may lie above."
        )
    source = f" of {rule.flights} flights" if flights else ""
    return (
        f"Rule C was calibrated on {rule.samples} crops{source}, used for nothing else. On average over such "
        "calibrations it refuses at most the share asked for, if test crops are exchangeable with those; crops of new "
        f"flights are not quite{above}."
    )


def _drift_table(runs: ShownRuns) -> list[Table]:
    """Drift of each test flight's known crops from the calibration flights; no table if none can be tested."""
    rows = [
        [arm, each.flight, each.used, each.shift, each.low, each.high, each.p_holm]
        for arm, run in runs.given.shown.items()
        for each in drift_of_test(run.evidence, run.thresholds.get("C"), run.gallery)
    ]
    heads = ["arm", "flight", "crops", "shift", "low", "high", "Holm p"]
    caption = "Drift: mean distance to the nearest prototype, against the calibration flights"
    return [Table(caption, heads, rows)] if rows else []


def _confusions(runs: ShownRuns) -> Section:
    figures = []
    for arm, run in runs.given.shown.items():
        evidence = run.evidence
        names = evidence.class_names[: evidence.num_classes]
        figures.append(confusion_figure(arm, confusion_counts(evidence), names))
    text = "Known test crops, in per cent of each row, named by the arm's own rule."
    return Section("confusion", "Confusion of classes", [text], figures=figures)


def _class_distances(runs: ShownRuns) -> Section:
    tables = {arm: class_table(run.evidence) for arm, run in runs.given.shown.items()}
    largest = max(float(np.nan_to_num(table.to_numpy(float)).max()) for table in tables.values())
    figures = [class_distances_figure(arm, table, largest) for arm, table in tables.items()]
    text = (
        "Mean distance of every pair of classes, known, novel and OOD, in the same colours for every arm. Dark is "
        "near; the diagonal is the mean within the class."
    )
    return Section("class-distances", "Distances of classes", [text], figures=figures)


def assumptions_table(given: ReportInput) -> Table:
    """Conditions of the separation theorem on the test crops, with a column per arm."""
    conditions = {arm: assumptions(run.evidence) for arm, run in given.shown.items()}
    names = {arm: run.evidence.class_names for arm, run in given.shown.items()}
    pairs = {
        arm: " – ".join(names[arm][label] for label in report.closest_pair) if report.closest_pair else "–"
        for arm, report in conditions.items()
    }
    reports = conditions.values()
    rows: list[list[object]] = [
        ["known crops inside the ball of their class", *(r.known_inside for r in reports)],
        ["OOD crops outside every ball", *(r.ood_outside for r in reports)],
        ["separation is guaranteed", *("yes" if r.separation_holds else "no" for r in reports)],
        ["pairs of classes with disjoint balls", *(r.pairs_disjoint for r in reports)],
        ["smallest gap of two balls", *(r.smallest_gap for r in reports)],
        ["closest pair", *pairs.values()],
        ["median gap", *(r.median_gap for r in reports)],
    ]
    return Table("Conditions on the test crops", ["condition", *conditions], rows)


def _assumptions(runs: ShownRuns) -> Section:
    text = (
        "If known crops lie in the ball around their class's prototype and OOD crops outside every ball, the "
        "radius-adjusted score separates them without an error. If the balls are disjoint too, the class is right."
    )
    table = assumptions_table(runs.given)
    return Section("assumptions", "What the guarantee rests on", [text], [table])


def _mistakes(runs: ShownRuns) -> Section:
    shown = runs.given.shown
    arms = [arm for arm, run in shown.items() if run.trained] or list(shown)  # mistakes of floors say little
    crops = {arm: mistakes(shown[arm].evidence) for arm in arms}
    text = "What each arm is sure of, and wrong about. Above each crop its true class, below what it was called."
    return Section("mistakes", "Most confident mistakes", [text], crops=crops)
