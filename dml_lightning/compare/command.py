"""`dml compare`: every arm on every seed and fold, under one recipe but for the arm's own, and what that shows."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import pandas as pd
import yaml
from rich.console import Console

from dml_lightning.compare.experiment import Arm, Experiment
from dml_lightning.compare.fairness import differences
from dml_lightning.compare.intervals import ood_interval
from dml_lightning.compare.jobs import Job, Outcome
from dml_lightning.compare.planning import plan as plan_units
from dml_lightning.compare.progress import Progress
from dml_lightning.compare.results import Question, higher_is_better
from dml_lightning.compare.scheduling import Schedule, run_all
from dml_lightning.compare.search import Search
from dml_lightning.compare.statistics import compare_arms, curve_table
from dml_lightning.compare.table import render, run_table
from dml_lightning.compare.tracking import track_summary
from dml_lightning.compare.units import Unit, complete, unit_means
from dml_lightning.figures import draw_comparison, draw_curve, draw_neighbours
from dml_lightning.report.command import report
from dml_lightning.runs import locked, read_json, write_json, write_text


def compare(
    name: str,
    shared: list[str],
    arms: dict[str, Arm],
    primary: str = "balanced_accuracy_prototype",
    baseline: str | None = None,
    unit: Unit = "seed",
    seeds: list[int] = [0, 1, 2, 3, 4, 5, 6, 7],  # noqa: B006 - read by the command's parser, never changed
    folds: list[int] = [0],  # noqa: B006
    fold_by: Literal["groups", "classes"] = "groups",
    train_per_class: list[int | None] = [None],  # noqa: B006
    search: Search | None = None,
    overrides: list[str] = [],  # noqa: B006
    allow_differences: bool = False,
    schedule: Schedule = Schedule(),  # noqa: B008 - frozen
    plan: float | None = None,
    out: str = "runs",
) -> Path:
    """Fits and tests every arm, and says which differences the runs show.

    Give the command again after an interruption or a failure: finished runs are taken as they are, begun ones go on
    from their last checkpoint, failed ones start again. The test split is touched once per run.

    Args:
        name: Of the comparison; results go to OUT/NAME.
        shared: Config files that all arms read first.
        arms: The arms by name.
        primary: The number that the answer is about, as in metrics/test.json without `test/`; chosen beforehand.
        baseline: The arm that the others are compared with; the first trained one if not given.
        unit: `seed` for a claim about these classes and flights (folds are averaged), `fold` for one about new
            ones (seeds are averaged). Cells of seed and fold are never taken as independent.
        seeds: Of training: initialisation, batches, augmentation.
        folds: Different splits of the data.
        fold_by: `groups`: each fold is another seed of the grouped split. `classes`: class-disjoint folds, each
            species being novel in the test of one of them.
        train_per_class: Largest number of training crops per class; several give a curve, null stands for all.
        search: The same number of trials for every trained arm, judged on validation.
        overrides: Further words for every `dml fit` and `dml test`, such as --trainer.max_epochs=5.
        allow_differences: Whether arms that differ in more than their own files are reported all the same.
        schedule: On how many processes or GPUs, or under SLURM.
        plan: A difference in the primary number: says from the finished runs how many seeds (or folds) would show
            it, and runs nothing.
        out: Where run folders go.

    Returns:
        The folder with report.html, comparison.md, comparison.csv, comparison.json and the figures.

    Raises:
        ValueError: If the comparison is not fair, or runs failed; what has finished is kept. Or if another process
            runs this comparison.
        SystemExit: With status 130 after Ctrl-C or SIGTERM.
    """
    trained = [arm for arm, each in arms.items() if each.train]
    if not trained:
        raise ValueError("no arm is trained, so there is nothing to compare.")
    experiment = Experiment(
        name, shared, arms, primary.removeprefix("test/"), baseline or trained[0], unit, seeds, folds,
        fold_by, train_per_class, search, overrides, out,
    )  # fmt: skip
    folder = Path(out, name)
    if plan is not None:
        print(_plan(experiment, folder, plan))
        return folder
    with locked(folder):
        try:
            outcomes = _run(experiment, schedule, folder)
        except KeyboardInterrupt as stop:
            print(
                "\nInterrupted.",
                *stop.args,
                f"They are in {folder}; the same command goes on from there.",
            )
            raise SystemExit(130) from None
        finished = [outcome for outcome in outcomes if outcome.run is not None]
        if finished:
            unequal = _check_fairness(experiment, finished, allow_differences)
            _write(experiment, finished, folder, unequal)
        failed = [outcome for outcome in outcomes if outcome.run is None]
        if failed:
            raise ValueError(
                f"{len(failed)} of {len(outcomes)} runs failed, first {failed[0].job.title}: {failed[0].error} "
                f"Their logs are in {folder / 'logs'}; the same command runs them again, and only them."
            )
    return folder


def _run(experiment: Experiment, schedule: Schedule, folder: Path) -> list[Outcome]:
    """The search, if there is one, and then the runs to report."""
    found: dict[str, tuple[str, ...]] = {}
    if experiment.search is not None:
        trials = _run_jobs(experiment, list(experiment.trials()), schedule, folder)
        for arm, (job, value) in experiment.search.best(trials).items():
            first = next(trial.job for trial in trials if trial.job.arm == arm)
            found[arm] = job.words[len(first.words) :]  # the first trial has none of its own
            chosen = " ".join(found[arm]) or "its own recipe"
            print(f"{arm}: {experiment.search.metric} {value:.3f} with {chosen}")
        _write_search(experiment, trials, found, folder)
    return _run_jobs(experiment, list(experiment.jobs(found)), schedule, folder)


def _write_search(
    experiment: Experiment,
    trials: Sequence[Outcome],
    found: dict[str, tuple[str, ...]],
    folder: Path,
) -> None:
    assert experiment.search is not None
    rows = [
        {
            "arm": trial.job.arm,
            "trial": trial.job.trial,
            "value": experiment.search.value(trial),
            "run": str(trial.run) if trial.run else None,
            "error": trial.error,
        }
        for trial in trials
    ]
    write_json(folder / "search.json", {"chosen": found, "trials": rows})


def _run_jobs(
    experiment: Experiment, jobs: list[Job], schedule: Schedule, folder: Path
) -> list[Outcome]:
    watched = "val/map_at_r" if experiment.search is None else experiment.search.metric
    progress = Progress(
        Path(experiment.out),
        experiment.name,
        len(jobs),
        watched,
        _epochs(experiment),
        schedule.workers,
    )
    with progress:
        outcomes = run_all(jobs, schedule, folder / "logs", progress.look)
        progress.look(outcomes, [])
    return outcomes


def _epochs(experiment: Experiment) -> int | None:
    """Epochs of a fit, as the last file or override states them."""
    epochs = None
    for path in experiment.shared:
        content = yaml.safe_load(Path(path).read_text(encoding="utf-8")) or {}
        epochs = (content.get("trainer") or {}).get("max_epochs", epochs)
    for word in experiment.overrides:
        if word.startswith("--trainer.max_epochs="):
            epochs = int(word.partition("=")[2])
    return epochs


def _check_fairness(
    experiment: Experiment, finished: Sequence[Outcome], allow_differences: bool
) -> list[str]:
    """What the saved recipes of a seed and fold do not share, if that is allowed."""
    cells: dict[tuple[Any, ...], dict[str, Path]] = {}
    for outcome in finished:
        assert outcome.run is not None
        key = (outcome.job.train_per_class, outcome.job.fold, outcome.job.seed)
        cells.setdefault(key, {})[outcome.job.arm] = outcome.run
    found = list(
        dict.fromkeys(
            sentence
            for runs in cells.values()
            for sentence in differences(runs, experiment.trained)
        )
    )
    if found and not allow_differences:
        raise ValueError(
            f"the arms differ in more than what makes them arms ({len(found)} in all), first {found[0]}. "
            "--allow_differences true reports them all the same, and names every difference."
        )
    return found


# What the runs show ----------------------------------------------------------------------------


def _write(
    experiment: Experiment, finished: Sequence[Outcome], folder: Path, unequal: Sequence[str]
) -> None:
    """Tables, answer, figures and the report of the runs that have finished."""
    table = run_table(finished)
    question = _question(experiment)
    whole = _main_size(table)
    write_text(folder / "comparison.csv", table.to_csv(index=False))
    write_json(folder / "comparison.json", _content(experiment, question, whole, unequal))
    rendered = render(whole, question)
    absent = [arm for arm in experiment.arms if arm not in set(whole["arm"])]
    lost = [f"Left out, as no run has finished: {arm}.\n" for arm in absent]
    lost += [f"Not equal between the arms: {sentence}.\n" for sentence in unequal]
    answer = [*lost, *_answer(whole, question)]
    lines = [
        rendered.markdown,
        "\n",
        *answer,
        *_interval_lines(whole),
        *_curve(table, question, folder),
    ]
    write_text(folder / "comparison.md", "".join(lines))
    Console().print(rendered.rich)
    print("".join(lines[1:]))
    _draw(experiment, whole, folder)
    report([str(folder)], out=str(folder / "report.html"))
    track_summary(experiment.name, folder, table, answer)
    print(f"Results: {', '.join(sorted(str(path) for path in folder.glob('[!.]*.*')))}")
    print(f"Open {folder / 'report.html'}")


def _main_size(table: pd.DataFrame) -> pd.DataFrame:
    """The runs on all training crops, or on the most that the curve has."""
    sizes = table["train_per_class"]
    return table[sizes.isna()] if sizes.isna().any() else table[sizes == sizes.max()]


def _question(experiment: Experiment) -> Question:
    return Question(
        metric=experiment.primary,
        baseline=experiment.baseline,
        unit=experiment.unit,
        higher_is_better=higher_is_better(experiment.primary),
        floors=tuple(experiment.floors),
        planned=len(experiment.trained) - 1,
    )


def _content(
    experiment: Experiment, question: Question, table: pd.DataFrame, unequal: Sequence[str]
) -> dict[str, Any]:
    """comparison.json: what was asked of which runs."""
    asked = asdict(question)
    runs = [
        {**row, "run": str(Path(row["run"]).resolve())}
        for row in table[["arm", "seed", "fold", "run"]].to_dict("records")
    ]
    return {"name": experiment.name, "question": asked, "runs": runs, "differences": list(unequal)}


def _answer(table: pd.DataFrame, question: Question) -> Iterator[str]:
    """The verdicts in plain words, or why there are none."""
    try:
        found = compare_arms(table, question)
    except ValueError as error:
        yield f"No comparison: {error}\n"
        return
    if found.differences:
        yield f"{found.sentence}\n"
    else:
        yield from (f"{arm.sentence}\n" for arm in found.arms)


def _interval_lines(table: pd.DataFrame) -> Iterator[str]:
    """The OOD AUROC of each arm with its interval over flights, if there are OOD crops."""
    runs = {arm: [Path(run) for run in own["run"]] for arm, own in table.groupby("arm", sort=False)}
    intervals = {str(arm): ood_interval(chosen) for arm, chosen in runs.items()}
    if any(intervals.values()):
        yield "\nOOD AUROC with its 95 % bootstrap interval over groups:\n\n"
    for arm, interval in intervals.items():
        if interval is not None:
            yield f"- {arm}: {interval}\n"


def _curve(table: pd.DataFrame, question: Question, folder: Path) -> Iterator[str]:
    """The arms at every number of training crops per class, if there are several."""
    sizes = table["train_per_class"]
    if sizes.nunique(dropna=False) < 2:
        return
    named = table.assign(train_per_class=sizes.map(lambda n: "all" if pd.isna(n) else f"{n:g}"))
    try:
        curve = curve_table(named, "train_per_class", question)
    except ValueError as error:
        yield f"\nNo curve: {error}\n"
        return
    write_text(folder / "curve.csv", curve.to_csv(index=False))
    draw_curve(curve, question.metric, folder / "curve.png")
    yield f"\n{question.metric} by training crops per class, mean and 95 % interval:\n\n"
    arms = curve["arm"].unique().tolist()
    yield "| crops | " + " | ".join(arms) + " |\n| --- |" + " ---: |" * len(arms) + "\n"
    for size, rows in curve.groupby("train_per_class", sort=False):
        by_arm = rows.set_index("arm")
        shown = [by_arm.loc[arm] for arm in arms]
        yield (
            f"| {size} | "
            + " | ".join(
                f"{row['mean']:.3f} [{row['low']:.3f}, {row['high']:.3f}]" for row in shown
            )
            + " |\n"
        )


def _draw(experiment: Experiment, table: pd.DataFrame, folder: Path) -> None:
    """The trained arms side by side, of the first seed and fold that has them."""
    first = table[
        (table["seed"] == table["seed"].iloc[0]) & (table["fold"] == table["fold"].iloc[0])
    ]
    runs = {row["arm"]: Path(row["run"]) for row in first.to_dict("records")}
    trained = {arm: runs[arm] for arm in experiment.trained if arm in runs}
    if trained:
        draw_comparison(trained, folder / "comparison.png")
        draw_neighbours(trained, folder / "neighbours.png")


def _plan(experiment: Experiment, folder: Path, difference: float) -> str:
    """How many seeds or folds would show a difference, for every arm beside the baseline."""
    content = read_json(folder / "comparison.json")
    if not content:
        raise ValueError(
            f"{folder} has no comparison.json: a plan needs two or more finished seeds; run the comparison with few."
        )
    rows = [
        Outcome(Job(run["arm"], run["seed"], run["fold"], ()), Path(run["run"]))
        for run in content["runs"]
    ]
    means = unit_means(run_table(rows), experiment.primary, experiment.unit)
    others = [arm for arm in experiment.trained if arm != experiment.baseline]
    lines = []
    for arm in others:
        if arm not in means or experiment.baseline not in means:
            lines.append(f"{arm} beside {experiment.baseline}: no run has finished.")
            continue
        pair, _ = complete(means, experiment.baseline, arm)
        found = plan_units(
            pair[:, 1] - pair[:, 0], difference, comparisons=len(others), unit=experiment.unit
        )
        lines.append(f"{arm} beside {experiment.baseline}: {found.sentence}")
    return "\n".join(lines) or "There is one trained arm, and nothing to compare it with."
