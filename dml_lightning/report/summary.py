"""The answer, the table of arms, and what is behind them: differences, recipes, versions."""

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd

from dml_lightning.evaluation.detectors import detector_table
from dml_lightning.report.figures import add_units, differences_figure
from dml_lightning.report.inputs import ReportInput, RunResult, words
from dml_lightning.report.parts import RecipeText, Section
from dml_lightning.stats.results import COLUMNS, Comparison
from dml_lightning.stats.tables import Table
from dml_lightning.stats.units import unit_means

NEAREST = "nearest prototype"  # the detector that every arm has and that is logged


def answer_text(given: ReportInput) -> str:
    """What the report says, in a few sentences."""
    said = " ".join([_answer(given), *given.changes])
    unequal = given.differences
    if not unequal:
        return said
    more = f" and {len(unequal) - 1} more" if len(unequal) > 1 else ""
    return f"{said} Read it with care, for the runs differ in more than arm, seed and fold: {unequal[0]}{more}."


def _answer(given: ReportInput) -> str:
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
    return f"Nothing is shown of the difference between arms. {why} In {words(metric)}: {listed}."


def _single(given: ReportInput) -> str:
    """One arm: its number, over units if there are several, else what its OOD crops say."""
    comparison, metric = given.comparison, given.question.metric
    if isinstance(comparison, Comparison):
        return comparison.arms[0].sentence
    run = given.runs[0]
    evidence = run.evidence
    text = (
        f"{run.arm}: {words(metric)} {run.metrics[metric]:.3f} on {len(evidence.sets['known'])} crops of "
        f"{evidence.num_classes} known classes"
    )
    if len(evidence.sets["ood"]):
        detectors = detector_table(evidence)
        text += (
            f", and an AUROC of {interval_text(detectors, NEAREST)} against {len(evidence.sets['ood'])} OOD crops "
            f"(interval over {' '.join(resampled(detectors))})"
        )
    return f"{text}. One run says nothing of other seeds."


def interval_text(detectors: pd.DataFrame, detector: str, name: str = "auroc") -> str:
    """A number of the table of detectors with its interval, if it has one."""
    value, low, high = (float(detectors[name + end].loc[detector]) for end in ("", "_low", "_high"))
    return f"{value:.3f}" + (f" [{low:.3f}, {high:.3f}]" if np.isfinite(low) else "")


def resampled(detectors: pd.DataFrame) -> tuple[str, str]:
    """How many of what the intervals of the table of detectors are over: flights, or crops that name none."""
    first = detectors.iloc[0]
    crops = int(first[["known", "ood"]].sum())
    return str(int(first["groups"])), "crops" if first["groups"] == crops else "flights"


def arms_table(given: ReportInput) -> Table:
    """A row per arm: mean of each number over its runs, ± standard deviation; floors are marked."""
    table = given.table()
    keys = [k for k in COLUMNS if k in table and table[k].notna().any()]
    asked = given.question.metric
    keys = [asked, *(k for k in keys if k != asked)]
    several = any(len(runs) > 1 for runs in given.arms.values())
    rows = []
    for arm, runs in given.arms.items():
        own = table[table["arm"] == arm]
        name = arm if runs[0].trained else f"{arm} (floor)"
        rows.append([name, len(runs), *(_mean(own[k], several) for k in keys)])
    how = "Mean ± standard deviation over runs" if several else "One run per arm"
    return Table(
        "Arms on the test split",
        ["arm", "runs", *(COLUMNS.get(k, words(k)) for k in keys)],
        rows,
        f"{how}. Larger is better, but for active triplets. A floor was not trained.",
    )


def _mean(values: "pd.Series[float]", several: bool) -> float | str:
    present = values.dropna().to_numpy(float)
    if len(present) < 2 or not several:
        return float(present.mean()) if len(present) else float("nan")
    return f"{present.mean():.3f} ± {present.std(ddof=1):.3f}"


def arms_section(given: ReportInput) -> Section:
    """What was tested on, and the numbers of every arm."""
    first = given.runs[0]
    sets = first.evidence.sets
    counts = {name: len(sets[name]) for name in ("reference", "known", "novel", "ood")}
    said = (
        f"Test crops: {counts['known']} of {first.evidence.num_classes} known classes, {counts['novel']} of novel "
        f"classes that training never saw, {counts['ood']} that are no waterfowl or of no class at all (OOD). "
        f"{counts['reference']} training crops serve as reference."
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
        "arms", "Arms", [text for text in (said, pictured, data) if text], [arms_table(given), *_estimates(given)]
    )


def _estimates(given: ReportInput) -> list[Table]:
    """The primary number of each arm with its interval, where there are units to have one over."""
    if isinstance(given.comparison, str):
        return []
    asked = given.comparison.question
    rows = [
        [each.arm, e.mean, e.low, e.high, e.sd, e.units] for each in given.comparison.arms for e in (each.estimate,)
    ]
    columns = ["arm", "mean", "low", "high", "standard deviation", f"{asked.unit}s"]
    title = f"{asked.metric}, mean over {asked.unit}s with its {100 * (1 - asked.alpha):g} % interval"
    return [Table(title, columns, rows)]


def differences_section(given: ReportInput) -> Section | None:
    """Each arm minus the baseline; None where nothing can be compared."""
    comparison = given.comparison
    if isinstance(comparison, str) or not comparison.differences:
        return None
    asked = given.question
    means = unit_means(given.table(), asked.metric, asked.unit)
    values = {d.arm: (means[d.arm] - means[asked.baseline]).dropna().to_numpy(float) for d in comparison.differences}
    figure = add_units(differences_figure(comparison), values)
    said = [
        f"Arms are compared within the same {asked.unit}: a circle is one {asked.unit}, the diamond their mean with "
        "an interval that holds for all arms at once."
    ]
    return Section("differences", "Paired differences", said, [figure.table], [figure])


def recipes_section(given: ReportInput) -> Section | None:
    """How to do it again; None for embeddings of other frameworks."""
    recipes = [
        RecipeText(arm, run.recipe_text, facts_table(given.arms[arm])) for arm, run in given.shown.items() if run.folder
    ]
    return (
        Section("recipes", "Recipes and versions", ["The full recipe of the first run of each arm."], recipes=recipes)
        if recipes
        else None
    )


def facts_table(runs: Sequence[RunResult]) -> Table:
    """Where the runs of an arm lie, on which data and with which packages they were made."""

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
