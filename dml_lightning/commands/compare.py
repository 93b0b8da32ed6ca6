"""`dml compare`: every arm on every seed and fold, under one recipe but for the arm's own, and what that shows."""

from collections.abc import Callable, Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any, Literal

from dml_lightning.commands.jobs import planned_recipe, run_job
from dml_lightning.commands.report import report
from dml_lightning.compare.declaration import declare
from dml_lightning.compare.experiment import Arm, Experiment
from dml_lightning.compare.findings import Findings, units_to_show, write_findings
from dml_lightning.compare.jobs import Job, Outcome
from dml_lightning.compare.progress import Progress
from dml_lightning.compare.scheduling import Schedule, run_all
from dml_lightning.compare.search import Search
from dml_lightning.compare.tracking import track_summary
from dml_lightning.files import locked, write_json
from dml_lightning.runs.fairness import Recipe, differences, recipe_differences
from dml_lightning.runs.folder import read_metrics
from dml_lightning.stats.paired import units_needed
from dml_lightning.stats.units import InferenceUnit


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
    schedule: Schedule = Schedule(),  # noqa: B008 - frozen
    plan: float | None = None,
    out: str = "runs",
) -> Path:
    """Fits and tests every arm, and says which differences the runs show.

    Give the command again after an interruption or a failure: finished runs are taken as they are, begun ones go on
    from their last checkpoint, failed ones start again. The test split is touched once per run. The question is
    written to declared.json before the first run; what of it is changed after a test is named in the answer.

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
        The folder with report.html, comparison.md, comparison.csv, comparison.json, declared.json and the figures.

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
        print(units_to_show(experiment, folder, plan))
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
            unequal = _check_fairness(experiment, finished, allow_differences)
            found = write_findings(experiment, finished, folder, changes, unequal)
            if found is not None:
                _publish(found, experiment.name, folder)
        failed = [outcome for outcome in outcomes if outcome.run is None]
        if failed:
            alike = sum(outcome.error == failed[0].error for outcome in failed)
            others = "" if alike == len(failed) else f"{alike} failed by this, others otherwise. "
            raise ValueError(
                f"{len(failed)} of {len(outcomes)} runs failed, first {failed[0].job.title}: {failed[0].error} "
                f"{others}Their logs are in {folder / 'logs'}; the same command runs them again, and only them."
            )
    return folder


def _publish(found: Findings, name: str, folder: Path) -> None:
    """The report, the summary in Weights & Biases, and where all of it lies."""
    report([str(folder)], out=str(folder / "report.html"))
    track_summary(name, folder, found.table, found.answer)
    print(f"Results: {', '.join(sorted(str(path) for path in folder.glob('[!.]*.*')))}")
    print(f"Open {folder / 'report.html'}")


def _check_plan(experiment: Experiment, allow_differences: bool) -> int | None:
    """Refuses an unfair comparison, or search, before its first run; returns the epochs of a fit."""
    jobs = list(experiment.jobs({}))
    arms = {job.arm: planned_recipe(job) for job in jobs if _cell(job) == _cell(jobs[0])}
    trials = {job: planned_recipe(job) for job in experiment.trials()}
    _check_trials(trials)
    titled = {job.title: recipe for job, recipe in trials.items()}
    found = [*recipe_differences(arms, experiment.trained), *recipe_differences(titled, [*titled])]
    _refuse(found, allow_differences)
    epochs: int | None = arms[experiment.baseline]["trainer"]["max_epochs"]
    return epochs


def _check_trials(trials: Mapping[Job, Recipe]) -> None:
    """Refuses two trials of an arm with one recipe: it would have fewer than the others."""
    for one, other in combinations(trials, 2):
        if one.arm == other.arm and trials[one] == trials[other]:
            raise ValueError(
                f"{one.title} and {other.title} have the same recipe, so {one.arm} would have fewer trials than other "
                "arms: leave values that its own files give out of search.space."
            )


def _warn_of_few_units(experiment: Experiment) -> None:
    have = len(experiment.seeds if experiment.unit == "seed" else experiment.folds)
    arms, tests = len(experiment.trained), len(experiment.tested)
    if tests and have < (needed := units_needed(comparisons=tests)):
        print(f"{have} {experiment.unit}(s) can show no difference between {arms} arms: it takes {needed}.")


def _run(
    experiment: Experiment, schedule: Schedule, folder: Path, epochs: int | None, allow_differences: bool
) -> list[Outcome]:
    """The search, if there is one, and then the runs to report."""

    def check(ended: Sequence[Outcome]) -> None:
        newest = ended[-1]
        _check_primary(experiment.primary, newest)
        cell = [each for each in ended if _cell(each.job) == _cell(newest.job)]
        _check_fairness(experiment, cell, allow_differences)

    found: dict[str, tuple[str, ...]] = {}
    if experiment.search is not None:
        trials = _run_jobs(experiment, list(experiment.trials()), schedule, folder, epochs)
        for arm, (job, value) in experiment.search.best(trials).items():
            first = next(trial.job for trial in trials if trial.job.arm == arm)
            found[arm] = job.words[len(first.words) :]  # the first trial has none of its own
            chosen = " ".join(found[arm]) or "its own recipe"
            print(f"{arm}: {experiment.search.metric} {value:.3f} with {chosen}")
        _write_search(experiment, trials, found, folder)
    return _run_jobs(experiment, list(experiment.jobs(found)), schedule, folder, epochs, check)


def _write_search(
    experiment: Experiment, trials: Sequence[Outcome], found: dict[str, tuple[str, ...]], folder: Path
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
    experiment: Experiment,
    jobs: list[Job],
    schedule: Schedule,
    folder: Path,
    epochs: int | None,
    check: Callable[[Sequence[Outcome]], None] | None = None,
) -> list[Outcome]:
    """Runs `jobs`; `check` sees the finished runs whenever there is one more, and stops the others by an error."""
    watched = "val/map_at_r" if experiment.search is None else experiment.search.metric
    progress = Progress(Path(experiment.out), experiment.name, len(jobs), watched, epochs, schedule.workers)
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
    """Stops at the first tested run that lacks the primary number, instead of after all of them."""
    assert outcome.run is not None
    names = list(read_metrics(outcome.run, "test"))
    if outcome.job.train and primary not in names:
        raise ValueError(
            f"{outcome.job.title} has no number {primary}, which the answer is to be about; it has "
            f"{', '.join(names)}. Name one of them as primary."
        )


def _cell(job: Job) -> tuple[Any, ...]:
    """What the arms of one comparison have in common."""
    return job.train_per_class, job.fold, job.seed


def _check_fairness(experiment: Experiment, finished: Sequence[Outcome], allow_differences: bool) -> list[str]:
    """What the saved recipes of a seed and fold do not share, if that is allowed."""
    cells: dict[tuple[Any, ...], dict[str, Path]] = {}
    for outcome in finished:
        assert outcome.run is not None
        cells.setdefault(_cell(outcome.job), {})[outcome.job.arm] = outcome.run
    found = list(
        dict.fromkeys(sentence for runs in cells.values() for sentence in differences(runs, experiment.trained))
    )
    _refuse(found, allow_differences)
    return found


def _refuse(found: Sequence[str], allow_differences: bool) -> None:
    if found and not allow_differences:
        raise ValueError(
            f"the arms differ in more than what makes them arms ({len(found)} in all), first {found[0]}. "
            "--allow_differences true reports them all the same, and names every difference."
        )
