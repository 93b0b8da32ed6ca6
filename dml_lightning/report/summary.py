"""The answer of a report and its tables: arms, paired differences, recipes, versions."""

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dml_lightning.evaluation.detectors import detector_table
from dml_lightning.report.figures import add_units, differences_figure
from dml_lightning.report.inputs import ReportInput, RunResult
from dml_lightning.report.parts import RecipeText, Section
from dml_lightning.stats.comparison import Comparison
from dml_lightning.stats.estimates import bracketed, cell_text, cells_note
from dml_lightning.stats.results import COLUMNS, Question, limits, plain_name
from dml_lightning.stats.tables import Table
from dml_lightning.stats.units import unit_means, units_are_independent

MOST_COLUMNS = 5  # of arms with intervals, in the width of the page
NEAREST = "nearest prototype"  # the detector that every arm has, and whose AUROC is logged


def answer_text(given: ReportInput) -> str:
    """The answer of the report in a few sentences."""
    text = " ".join([_answer(given), *given.changes])
    unequal = given.differences
    if not unequal:
        return text
    more = f" and {len(unequal) - 1} more" if len(unequal) > 1 else ""
    return f"{text} Read it with care, for the runs differ in more than arm, seed and fold: {unequal[0]}{more}."


def _answer(given: ReportInput) -> str:
    """The verdict of the comparison, or why there is none, with the mean of each arm."""
    comparison, metric = given.comparison, given.question.metric
    if len(given.arms) == 1:
        return _single(given)
    if isinstance(comparison, Comparison) and comparison.differences:
        return comparison.sentence
    values = given.table().groupby("arm", sort=False)[metric].mean()
    listed = ", ".join(f"{arm} {values[arm]:.3f}" for arm in given.arms)
    if isinstance(comparison, str):
        why = comparison
    elif comparison.left_out:
        why = f"Fewer than two complete {comparison.question.unit}s: {', '.join(comparison.left_out)}."
    else:
        why = "Only floors stand beside it."
    return f"Nothing is shown of the difference between arms. {why} In {plain_name(metric)}: {listed}."


def _single(given: ReportInput) -> str:
    """The answer for one arm: its interval over units, or the metric and OOD AUROC of its run."""
    comparison, metric = given.comparison, given.question.metric
    if isinstance(comparison, Comparison):
        return comparison.arms[0].sentence
    run = given.runs[0]
    evidence = run.evidence
    text = (
        f"{run.arm}: {plain_name(metric)} {run.metrics[metric]:.3f} on {len(evidence.sets['known'])} crops of "
        f"{evidence.num_classes} known classes"
    )
    if len(evidence.sets["ood"]):
        detectors = detector_table(evidence)
        text += f", and an AUROC of {interval_text(detectors, NEAREST)} against {len(evidence.sets['ood'])} OOD crops"
        if np.isfinite(detectors["auroc_low"].loc[NEAREST]):
            text += f" ({detectors['auroc_spread'].loc[NEAREST]!s} over {' '.join(resampled(detectors))})"
    return f"{text}. One run says nothing of other seeds."


def interval_text(detectors: pd.DataFrame, detector: str, name: str = "auroc") -> str:
    """A value of the table of detectors as text, with its interval or range if it has one.

    Args:
        detectors: Table of detectors, with columns NAME, NAME_low, NAME_high and NAME_spread.
        detector: Row of the table.
        name: Column of the table.

    >>> row = {"auroc": 0.75, "auroc_low": 0.7, "auroc_high": 0.8, "auroc_spread": "interval"}
    >>> interval_text(pd.DataFrame([row], index=["kNN"]), "kNN")
    '0.750 [0.700, 0.800]'
    """
    value, low, high = (float(detectors[name + end].loc[detector]) for end in ("", "_low", "_high"))
    return (
        bracketed(value, low, high, detectors[f"{name}_spread"].loc[detector]) if np.isfinite(low) else f"{value:.3f}"
    )


def resampled(detectors: pd.DataFrame) -> tuple[str, str]:
    """Number and kind of the units that the intervals of the table of detectors resample: flights, or else crops."""
    first = detectors.iloc[0]
    crops = int(first[["known", "ood"]].sum())
    return str(int(first["groups"])), "crops" if first["groups"] == crops else "flights"


def arms_table(given: ReportInput) -> Table:
    """Mean of each metric over the units of an arm, with interval or range; floors are marked.

    Of up to `MOST_COLUMNS` arms each has a column, so that the page shows all without scrolling; of more, a row.
    """
    table, question = given.table(), given.question
    keys = [k for k in COLUMNS if k in table and table[k].notna().any()]
    keys = [question.metric, *(k for k in keys if k != question.metric)]
    means = {key: unit_means(table, key, question.unit) for key in keys}
    rows: list[list[object]] = [["arm", "runs", *(plain_name(k) for k in keys)]]
    for arm, runs in given.arms.items():
        name = arm if runs[0].trained else f"{arm} (floor)"
        rows.append([name, len(runs), *(_cell(means[k][arm].dropna().to_numpy(float), question, k) for k in keys)])
    note = cells_note((str(cell) for _, _, *cells in rows[1:] for cell in cells), question.unit)
    if len(given.arms) <= MOST_COLUMNS:
        rows = [list(row) for row in zip(*rows, strict=True)]
        rows[0][0] = "number"
    return Table(
        "Arms on the test split",
        [str(head) for head in rows[0]],
        rows[1:],
        f"{note or 'One run per arm.'} Larger is better, but for active triplets and AURC. A floor was not trained.",
    )


def _cell(values: NDArray[np.float64], question: Question, metric: str) -> float | str:
    if len(values) < 2:
        return float(values[0]) if len(values) else float("nan")
    return cell_text(values, units_are_independent(question.unit, question.fold_by, metric), limits(metric))


def arms_section(given: ReportInput) -> Section:
    """The section on the test crops and the metrics of every arm."""
    first = given.runs[0]
    sets = first.evidence.sets
    counts = {name: len(part) for name, part in sets.items()}
    tested = (
        f"Test crops: {counts['known']} of {first.evidence.num_classes} known classes, {counts['novel']} of novel "
        f"classes that training never saw, {counts['ood']} that are no waterfowl or of no class at all (OOD). "
        f"{counts['reference']} training crops serve as reference."
    )
    if counts["clutter"]:
        tested += (
            f" Beside them, {counts['clutter']} crops of clutter: of other flights, but of kinds that training saw, "
            "and so in no number of OOD."
        )
    pictured = ""
    if len(given.runs) > len(given.arms):
        pictured = (
            "Pictures show one run of each arm, the first: "
            + ", ".join(f"{arm} seed {run.seed}, fold {run.fold}" for arm, run in given.shown.items())
            + "."
        )
    digest = any(run.stage.get("data") for run in given.runs)
    data = (
        ""
        if digest or len(given.arms) == 1
        else "The files name no data set: whether the arms saw the same crops is for their makers to say."
    )
    return Section(
        "arms", "Arms", [text for text in (tested, pictured, data) if text], [arms_table(given), *_estimates(given)]
    )


def _estimates(given: ReportInput) -> list[Table]:
    """Mean and interval or range of the primary metric of each arm; no table if there are too few units."""
    if isinstance(given.comparison, str):
        return []
    question = given.comparison.question
    rows = [[each.arm, e.mean, e.low, e.high, e.units] for each in given.comparison.arms for e in (each.estimate,)]
    columns = ["arm", "mean", "low", "high", f"{question.unit}s"]
    interval = f"{100 * (1 - question.alpha):g} % interval"
    spreads = {each.estimate.spread: None for each in given.comparison.arms}
    ends = " or ".join(interval if spread == "interval" else "range" for spread in spreads)
    title = f"{question.metric}, mean over {question.unit}s with its {ends}"
    return [Table(title, columns, rows)]


def differences_section(given: ReportInput) -> Section | None:
    """The section on paired differences to the baseline; None if nothing can be compared."""
    comparison = given.comparison
    if isinstance(comparison, str) or not comparison.differences:
        return None
    question = given.question
    means = unit_means(given.table(), question.metric, question.unit)
    values = {d.arm: (means[d.arm] - means[question.baseline]).dropna().to_numpy(float) for d in comparison.differences}
    figure = add_units(differences_figure(comparison), values)
    ranges = any(d.estimate.is_range for d in comparison.differences)
    ends = "their range" if ranges else "an interval that holds for all arms at once"
    text = [
        f"Arms are compared within the same {question.unit}: a circle is one {question.unit}, the diamond their mean "
        f"with {ends}."
    ]
    return Section("differences", "Paired differences", text, [figure.table], [figure])


def recipes_section(given: ReportInput) -> Section | None:
    """The section with the recipe of each arm; None if all runs are files of embeddings."""
    recipes = [
        RecipeText(arm, run.recipe_text, facts_table(given.arms[arm])) for arm, run in given.shown.items() if run.folder
    ]
    return (
        Section("recipes", "Recipes and versions", ["The full recipe of the first run of each arm."], recipes=recipes)
        if recipes
        else None
    )


def facts_table(runs: Sequence[RunResult]) -> Table:
    """Folder, status, data, code and package versions of the runs of an arm, with a row per run."""

    def facts(run: RunResult) -> Iterator[str]:
        stage = run.stage
        yield str(run.seed)
        yield str(run.fold)
        yield "/".join(run.source.parts[-3:])
        yield str(stage.get("status", "–"))
        yield str(stage.get("data", "–"))[:10]
        yield str(stage.get("code", "–"))[:10]
        yield ", ".join(f"{name} {version}" for name, version in stage.get("versions", {}).items())

    columns = ["seed", "fold", "folder", "status", "data", "code", "versions"]
    return Table(f"Runs of {runs[0].arm}", columns, [list(facts(run)) for run in runs])
