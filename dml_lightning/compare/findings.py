"""Findings of a comparison: tables, verdicts, curves and figures of its finished runs, and the units to plan for."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
from rich.console import Console

from dml_lightning.compare.experiment import Experiment
from dml_lightning.compare.jobs import Job, Outcome
from dml_lightning.compare.table import render_table, run_table
from dml_lightning.evaluation.evidence import read_evidence
from dml_lightning.evaluation.npz import test_file
from dml_lightning.figures.embeddings import draw_comparison, draw_curve, draw_neighbours
from dml_lightning.files import read_json, write_json, write_text
from dml_lightning.stats.arms import beside_flights, compare_arms, curve_table
from dml_lightning.stats.estimates import bracketed, cells_note
from dml_lightning.stats.flights import RunEvidence
from dml_lightning.stats.intervals import ood_interval
from dml_lightning.stats.planning import plan
from dml_lightning.stats.results import Question, higher_is_better
from dml_lightning.stats.tables import markdown_text
from dml_lightning.stats.units import NOT_INDEPENDENT, complete, unit_means, units_are_independent


class Findings(NamedTuple):
    """Results of a comparison that are also in its files."""

    table: pd.DataFrame  # a row per run
    answer: list[str]  # verdicts as sentences, after notes on what limits them


def write_findings(
    experiment: Experiment, finished: Sequence[Outcome], folder: Path, changes: Sequence[str], unequal: Sequence[str]
) -> Findings | None:
    """Writes tables, answer and figures of the runs that have finished, and prints them.

    Args:
        experiment: Experiment whose runs have finished.
        finished: Outcomes with a run.
        folder: Folder of the comparison.
        changes: Departures of the question from the declared one, a sentence each.
        unequal: Differences between the arms' recipes beyond what makes them arms, a sentence each.

    Returns:
        The findings, or None if no run that the answer is about has finished.
    """
    table = run_table(finished)
    question = _question(experiment)
    size, whole = _main_size(table, experiment)
    if whole.empty:
        print(f"Nothing is shown: the answer is about {size}, and no such run has finished.")
        return None
    write_text(folder / "comparison.csv", table.to_csv(index=False))
    content = _content(experiment, question, whole, folder)
    content |= {"changes": changes, "differences": unequal}
    write_json(folder / "comparison.json", content)
    rendered = render_table(whole, question)
    absent = [arm for arm in experiment.arms if arm not in set(whole["arm"])]
    notes = [
        *changes,
        *(f"Left out, as no run has finished: {arm}." for arm in absent),
        *(f"Not equal between the arms: {sentence}." for sentence in unequal),
    ]
    answer = [*(f"{note}\n" for note in notes), _answer(whole, question)]
    lines = [rendered.markdown, "\n", *answer, *_interval_lines(whole), *_curve(experiment, table, question, folder)]
    write_text(folder / "comparison.md", "".join(lines))
    Console().print(rendered.rich)
    print("".join(lines[1:]))
    _draw(experiment, whole, folder)
    return Findings(table, answer)


def _main_size(table: pd.DataFrame, experiment: Experiment) -> tuple[str, pd.DataFrame]:
    """The training set size that the answer is about (all crops, or the largest size of the curve), and its runs."""
    sizes, planned = table["train_per_class"], experiment.train_per_class
    if None in planned:
        return "all training crops", table[sizes.isna()]
    most = max(size for size in planned if size is not None)
    return f"{most} training crops per class", table[sizes == most]


def _question(experiment: Experiment) -> Question:
    return Question(
        metric=experiment.primary,
        baseline=experiment.baseline,
        unit=experiment.unit,
        higher_is_better=higher_is_better(experiment.primary),
        floors=tuple(experiment.floors),
        planned=len(experiment.tested),
        fold_by=experiment.fold_by,
        margin=experiment.margin,
    )


def _content(experiment: Experiment, question: Question, table: pd.DataFrame, folder: Path) -> dict[str, Any]:
    """Content of comparison.json: question and runs, with paths relative to its folder so that both can be moved."""
    runs = [
        {**row, "run": os.path.relpath(row["run"], folder)}
        for row in table[["arm", "seed", "fold", "run"]].to_dict("records")
    ]
    searched = experiment.searched
    return {"name": experiment.name, "question": asdict(question), "searched": searched, "runs": runs}


def _answer(table: pd.DataFrame, question: Question) -> str:
    """The verdicts as a sentence, or why there are none."""
    try:
        comparison = compare_arms(table, question)
        runs = (
            RunEvidence.read(row["arm"], row["seed"], row["fold"], test_file(Path(row["run"])))
            for row in table[["arm", "seed", "fold", "run"]].to_dict("records")
        )
        return f"{beside_flights(comparison, runs, question.metric).sentence}\n"
    except ValueError as error:
        return f"No comparison: {error}\n"


def _interval_lines(table: pd.DataFrame) -> Iterator[str]:
    """Lines of comparison.md with the OOD AUROC of each arm and its interval or range; none without OOD crops."""
    runs = {arm: [Path(run) for run in own["run"]] for arm, own in table.groupby("arm", sort=False)}
    intervals = {str(arm): ood_interval(chosen) for arm, chosen in runs.items()}
    if any(intervals.values()):
        yield "\nOOD AUROC with its 95 % bootstrap interval over groups, or the range over fewer than five:\n\n"
    for arm, interval in intervals.items():
        if interval is not None:
            yield f"- {arm}: {interval}\n"


def _curve(experiment: Experiment, table: pd.DataFrame, question: Question, folder: Path) -> Iterator[str]:
    """Writes the curve over training set sizes, if there are several, and yields its lines of comparison.md."""
    if len(experiment.train_per_class) < 2:
        return
    named = table.assign(train_per_class=table["train_per_class"].map(_size_name))
    try:
        tests = question.planned * len(experiment.train_per_class)
        curve = curve_table(named, "train_per_class", replace(question, planned=tests))
    except ValueError as error:
        yield f"\nNo curve: {error}\n"
        return
    write_text(folder / "curve.csv", curve.to_csv(index=False))
    draw_curve(curve, question.metric, folder / "curve.png")
    yield f"\n{question.metric} by training crops per class, mean over {question.unit}s:\n\n"
    cells = {
        (row["train_per_class"], row["arm"]): bracketed(row["mean"], row["low"], row["high"], row["spread"])
        for row in curve.to_dict("records")
    }
    arms = [arm for arm in experiment.arms if arm in set(curve["arm"])]
    yield " | ".join(["| crops", *map(markdown_text, arms)]) + " |\n"
    yield "| --- |" + " ---: |" * len(arms) + "\n"
    for size in map(_size_name, experiment.train_per_class):
        yield " | ".join([f"| {size}", *(cells.get((size, arm), "-") for arm in arms)]) + " |\n"
    yield f"\n{cells_note(cells.values(), question.unit)}\n"


def _size_name(size: float | None) -> str:
    return "all" if size is None or pd.isna(size) else f"{size:g}"


def _draw(experiment: Experiment, table: pd.DataFrame, folder: Path) -> None:
    """Draws the trained arms side by side, from their runs with the seed and fold of the first run."""
    first = table[(table["seed"] == table["seed"].iloc[0]) & (table["fold"] == table["fold"].iloc[0])]
    runs = {row["arm"]: Path(row["run"]) for row in first.to_dict("records")}
    trained = {arm: read_evidence(test_file(runs[arm])) for arm in experiment.trained if arm in runs}
    if trained:
        draw_comparison(trained, folder / "comparison.png")
        draw_neighbours(trained, folder / "neighbours.png")


def units_to_show(experiment: Experiment, folder: Path, difference: float) -> str:
    """Says how many seeds or folds would show a difference of each arm to the baseline.

    Args:
        experiment: Experiment to plan.
        folder: Folder of the comparison, with a comparison.json.
        difference: Difference in the primary metric.

    Returns:
        A line per arm.

    Raises:
        ValueError: If there is no comparison yet, fewer than two units are complete, or they are not independent.
    """
    if not units_are_independent(experiment.unit, experiment.fold_by, experiment.primary):
        raise ValueError(f"no number of folds shows a difference here. {NOT_INDEPENDENT} Plan seeds with --unit seed.")
    content = read_json(folder / "comparison.json")
    if not content:
        raise ValueError(
            f"{folder} has no comparison.json: a plan needs two or more finished seeds; run the comparison with few."
        )
    rows = [Outcome(Job(run["arm"], run["seed"], run["fold"], ()), folder / run["run"]) for run in content["runs"]]
    means = unit_means(run_table(rows), experiment.primary, experiment.unit)
    lines = []
    for arm in experiment.tested:
        if arm not in means or experiment.baseline not in means:
            lines.append(f"{arm} beside {experiment.baseline}: no run has finished.")
            continue
        pair, _ = complete(means, experiment.baseline, arm)
        gaps, tests = pair[:, 1] - pair[:, 0], len(experiment.tested)
        planned = plan(gaps, difference, comparisons=tests, unit=experiment.unit)
        lines.append(f"{arm} beside {experiment.baseline}: {planned.sentence}")
    return "\n".join(lines) or "There is one trained arm, and nothing to compare it with."
