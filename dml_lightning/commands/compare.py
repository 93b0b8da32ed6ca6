"""`dml compare`: fits and tests every arm on every seed and fold, and says which differences they show."""

from collections.abc import Callable, Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from dml_lightning.commands.jobs import planned_recipe, run_job
from dml_lightning.commands.report import report
from dml_lightning.compare.declaration import declare, note_data
from dml_lightning.compare.experiment import Arm, Experiment
from dml_lightning.compare.jobs import Job, Outcome
from dml_lightning.compare.progress import Progress
from dml_lightning.compare.scheduling import Schedule, at_once, run_all
from dml_lightning.compare.search import Search
from dml_lightning.errors import missing_extra
from dml_lightning.files import check_output, locked, write_json
from dml_lightning.runs.fairness import Recipe, differences, recipe_differences
from dml_lightning.runs.folder import SELECTION, read_metrics
from dml_lightning.stats.units import NOT_INDEPENDENT, InferenceUnit, units_are_independent

if TYPE_CHECKING:
    from dml_lightning.compare.findings import Findings


def compare(
    name: str,
    shared: list[str],
    arms: dict[str, Arm],
    primary: str = "balanced_accuracy_prototype",
    baseline: str | None = None,
    unit: InferenceUnit = "seed",
    seeds: list[int] = [0, 1, 2, 3, 4, 5, 6, 7],  # noqa: B006 - read by the command's parser, never changed
    folds: list[int] = [0],  # noqa: B006
    fold_by: Literal["groups", "classes"] = "groups",
    train_per_class: list[int | None] = [None],  # noqa: B006
    search: Search | None = None,
    overrides: list[str] = [],  # noqa: B006
    allow_differences: bool = False,
    margin: float | None = None,
    schedule: Schedule = Schedule(),  # noqa: B008 - frozen
    plan: float | None = None,
    table: str | None = None,
    out: str = "runs",
) -> Path:
    """Fits and tests every arm, and says which differences the runs show.

    Give the command again after an interruption or a failure: finished runs are taken as they are, begun ones go on
    from their last checkpoint, failed ones start again. Each run is tested once. The question is written to
    declared.json before the first run; the answer names every change of it after a test.

    Args:
        name: Name of the comparison; results go to OUT/NAME.
        shared: Config files that all arms read first.
        arms: Arms by name.
        primary: Metric that the answer is about, as in metrics/test.json without `test/`; chosen beforehand.
        baseline: Arm that the others are compared with; the first trained one if not given.
        unit: `seed` for a claim about these classes and test flights (folds are averaged), `fold` (seeds are averaged)
            for a claim about new classes, with folds by classes and a `novel_` metric but `novel_oscr`; other folds
            share data and give a range without a p-value. Runs of different seeds and folds are never all taken as
            independent.
        seeds: Seeds of training: initialisation, batches, augmentation.
        folds: Numbers of the splits of the data.
        fold_by: `groups`: each fold is another seed of the grouped split. `classes`: class-disjoint folds, each
            species being novel in the test of one of them.
        train_per_class: Largest number of training crops per class; several give a curve, null stands for all.
        search: Random search with the same number of trials for every trained arm, judged on validation.
        overrides: Further options for every `dml fit` and `dml test`, such as --trainer.max_epochs=5.
        allow_differences: Whether arms that differ in more than their own files are reported nevertheless.
        margin: Difference in the primary metric that counts as none, chosen beforehand: two one-sided tests then say
            whether an arm and the baseline are equal within it.
        schedule: Number of processes or GPUs, or SLURM.
        plan: Difference in the primary metric. If it is given, nothing is run: the finished runs tell how many seeds
            (or folds) would show this difference.
        table: File, .csv or .parquet. If it is given, nothing is run: the results become one tidy table with a row per
            run and number (arm, seed, fold, train_per_class, run, metric, value, higher_is_better).
        out: Folder of all runs.

    Returns:
        The folder with report.html (if the extra `report` is installed), comparison.md, comparison.csv,
        comparison.json, declared.json and the figures.

    Raises:
        ValueError: If the comparison is not fair, runs failed (finished ones are kept), or another process runs this
            comparison.
        SystemExit: With status 130 after Ctrl-C or SIGTERM.
    """
    trained = [arm for arm, each in arms.items() if each.train]
    if not trained:
        raise ValueError("no arm is trained, so there is nothing to compare.")
    experiment = Experiment(
        name, shared, arms, primary.removeprefix("test/"), baseline or trained[0], unit, seeds, folds,
        fold_by, train_per_class, search, overrides, out, margin,
    )  # fmt: skip
    folder = Path(out, name)
    check_output("--out", folder)
    if (folder / "run.json").is_file():
        raise ValueError(f"{folder} is the folder of a run; give the comparison another name.")
    if plan is not None:
        from dml_lightning.compare.findings import units_to_show

        print(units_to_show(experiment, folder, plan))
        return folder
    if table is not None:
        from dml_lightning.compare.tidy import write_tidy

        rows = write_tidy(folder, Path(table))
        print(f"{len(rows)} numbers of {rows['run'].nunique()} runs in {table}.")
        return folder
    with locked(folder):
        epochs = _check_plan(experiment, allow_differences)
        changes = declare(experiment, folder)
        _warn_of_few_units(experiment)
        try:
            outcomes = _run(experiment, schedule, folder, epochs, allow_differences)
        except KeyboardInterrupt as stop:
            print("\nInterrupted.", *stop.args, f"They are in {folder}; the same command goes on from there.")
            raise SystemExit(130) from None
        finished = [outcome for outcome in outcomes if outcome.run is not None]
        if finished:
            changes += note_data(folder, _fitted(finished))
            unequal = _check_fairness(experiment, finished, allow_differences)
            from dml_lightning.compare.findings import write_findings

            findings = write_findings(experiment, finished, folder, changes, unequal)
            if findings is not None:
                _publish(findings, experiment.name, folder)
        failed = [outcome for outcome in outcomes if outcome.run is None]
        if failed:
            alike = sum(outcome.error == failed[0].error for outcome in failed)
            others = "" if alike == len(failed) else f"{alike} failed by this, others otherwise. "
            raise ValueError(
                f"{len(failed)} of {len(outcomes)} runs failed, first {failed[0].job.title}: {failed[0].error} "
                f"{others}Their logs are in {folder / 'logs'}; the same command runs them again, and only them."
            )
    return folder


def _publish(findings: "Findings", name: str, folder: Path) -> None:
    """Writes the report, logs the summary to Weights & Biases, and prints where the files lie."""
    from dml_lightning.compare.tracking import track_summary

    missing = missing_extra("report")
    if missing is None:
        report([str(folder)], out=str(folder / "report.html"))
    track_summary(name, folder, findings.table, findings.answer)
    print(f"Results: {', '.join(sorted(str(path) for path in folder.glob('[!.]*.*')))}")
    print(f"Open {folder / 'report.html'}" if missing is None else f"No report.html: {missing}")


def _check_plan(experiment: Experiment, allow_differences: bool) -> int | None:
    """Refuses an unfair comparison or search before its first run; returns the number of epochs of a fit."""
    jobs = list(experiment.jobs({}))
    arms = {job.arm: planned_recipe(job) for job in jobs if _cell(job) == _cell(jobs[0])}
    trials = {job: planned_recipe(job) for job in experiment.trials()}
    _check_trials(trials)
    _check_folds(experiment, arms)
    titled = {job.title: recipe for job, recipe in trials.items()}
    searched = {job.title: experiment.searched[job.arm] for job in trials}
    for_all = set.intersection(*map(set, experiment.searched.values())) if trials else set[str]()
    unequal = [  # own settings of an arm count as chosen where every arm has searched for its own
        *recipe_differences(arms, experiment.trained, dict.fromkeys(arms, for_all)),
        *recipe_differences(titled, [*titled], searched),
    ]
    _refuse(unequal, allow_differences)
    epochs: int | None = arms[experiment.baseline]["trainer"]["max_epochs"]
    return epochs


def _check_trials(trials: Mapping[Job, Recipe]) -> None:
    """Refuses two trials of an arm with the same recipe, since the arm would have fewer trials than the others."""
    for one, other in combinations(trials, 2):
        if one.arm == other.arm and trials[one] == trials[other]:
            raise ValueError(
                f"{one.title} and {other.title} have the same recipe, so {one.arm} would have fewer trials than other "
                "arms: leave values that its own files give out of search.space."
            )


def _check_folds(experiment: Experiment, arms: Mapping[str, Recipe]) -> None:
    """Refuses folds that deal groups into splits where a recipe names the groups of each split."""
    named = any(recipe.get("data", {}).get("split_by") for recipe in arms.values())
    if named and experiment.fold_by == "groups" and any(experiment.folds):
        raise ValueError(
            f"folds {[*experiment.folds]} deal groups into splits anew, and data.split_by names the groups of each "
            "split: leave out one of them, or make folds by classes (fold_by: classes)."
        )


def _warn_of_few_units(experiment: Experiment) -> None:
    """Prints a warning if no difference can be significant: units that share data, or too few of them."""
    if not units_are_independent(experiment.unit, experiment.fold_by, experiment.primary):
        print(f"{NOT_INDEPENDENT} The answer will be an estimate and a range, without a winner.")
        return
    from dml_lightning.stats.paired import units_needed

    have = len(experiment.seeds if experiment.unit == "seed" else experiment.folds)
    arms, tests = len(experiment.trained), len(experiment.tested)
    if tests and have < (needed := units_needed(comparisons=tests)):
        print(f"{have} {experiment.unit}(s) can show no difference between {arms} arms: it takes {needed}.")


def _run(
    experiment: Experiment, schedule: Schedule, folder: Path, epochs: int | None, allow_differences: bool
) -> list[Outcome]:
    """Runs the search, if there is one, and then the runs to report."""

    def check(ended: Sequence[Outcome]) -> None:
        newest = ended[-1]
        _check_primary(experiment.primary, newest)
        note_data(folder, _fitted([newest]))
        cell = [each for each in ended if _cell(each.job) == _cell(newest.job)]
        _check_fairness(experiment, cell, allow_differences)

    chosen: dict[str, tuple[str, ...]] = {}
    if experiment.search is not None:
        trials = _run_jobs(experiment, list(experiment.trials()), schedule, folder, epochs)
        for arm, (job, value) in experiment.search.best(trials).items():
            first = next(trial.job for trial in trials if trial.job.arm == arm)
            chosen[arm] = job.words[len(first.words) :]  # the first trial has no options of its own
            setting = " ".join(chosen[arm]) or "its own recipe"
            print(f"{arm}: {experiment.search.metric} {value:.3f} with {setting}")
        _write_search(experiment, trials, chosen, folder)
    return _run_jobs(experiment, list(experiment.jobs(chosen)), schedule, folder, epochs, check)


def _write_search(
    experiment: Experiment, trials: Sequence[Outcome], chosen: dict[str, tuple[str, ...]], folder: Path
) -> None:
    """Writes search.json: the value of each trial, and the options chosen for each arm."""
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
    write_json(folder / "search.json", {"chosen": chosen, "trials": rows})


def _run_jobs(
    experiment: Experiment,
    jobs: list[Job],
    schedule: Schedule,
    folder: Path,
    epochs: int | None,
    check: Callable[[Sequence[Outcome]], None] | None = None,
) -> list[Outcome]:
    """Runs jobs with a live table.

    Args:
        experiment: Experiment that the jobs belong to.
        jobs: Jobs in the order to start them.
        schedule: Where they run.
        folder: Folder of the comparison.
        epochs: Number of epochs of a fit, for the table.
        check: Function that is called with the finished runs whenever one more has finished; its error stops the
            others.
    """
    watched = SELECTION if experiment.search is None else experiment.search.metric
    progress = Progress(Path(experiment.out), experiment.name, len(jobs), watched, epochs, at_once(schedule, len(jobs)))
    seen = 0

    def look(ended: Sequence[Outcome], waiting: Sequence[Job]) -> None:
        nonlocal seen
        progress.look(ended, waiting)
        for last in range(seen, len(ended)):
            if check is not None and ended[last].run is not None:
                check([each for each in ended[: last + 1] if each.run is not None])
        seen = len(ended)

    with progress:
        outcomes = run_all(jobs, schedule, folder / "logs", look, run_job)
        progress.look(outcomes, [])
    return outcomes


def _check_primary(primary: str, outcome: Outcome) -> None:
    """Stops at the first tested run that lacks the primary metric, instead of after all of them."""
    assert outcome.run is not None
    names = list(read_metrics(outcome.run, "test"))
    if outcome.job.train and primary not in names:
        raise ValueError(
            f"{outcome.job.title} has no number {primary}, which the answer is to be about; it has "
            f"{', '.join(names)}. Name one of them as primary."
        )


def _fitted(finished: Sequence[Outcome]) -> list[Path]:
    """Folders of the fitted runs: a floor's test says nothing of the arms."""
    return [outcome.run for outcome in finished if outcome.run is not None and outcome.job.train]


def _cell(job: Job) -> tuple[Any, ...]:
    """Training set size, fold and seed: arms are compared between runs that share all three."""
    return job.train_per_class, job.fold, job.seed


def _check_fairness(experiment: Experiment, finished: Sequence[Outcome], allow_differences: bool) -> list[str]:
    """Differences between the saved recipes of a seed and fold, a sentence each; an error unless they are allowed."""
    cells: dict[tuple[Any, ...], dict[str, Path]] = {}
    for outcome in finished:
        assert outcome.run is not None
        cells.setdefault(_cell(outcome.job), {})[outcome.job.arm] = outcome.run
    unequal = list(
        dict.fromkeys(
            sentence
            for runs in cells.values()
            for sentence in differences(runs, experiment.trained, experiment.searched)
        )
    )
    _refuse(unequal, allow_differences)
    return unequal


def _refuse(unequal: Sequence[str], allow_differences: bool) -> None:
    if unequal and not allow_differences:
        raise ValueError(
            f"the arms differ in more than what makes them arms ({len(unequal)} in all), first {unequal[0]}. "
            "A search with equal trials may choose settings of the optimizer; "
            "--allow_differences true reports them all the same, and names every difference."
        )
