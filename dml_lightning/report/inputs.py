"""Input of a report: runs by arm, read from run folders, files of embeddings or a comparison's folder."""

import io
import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from dml_lightning.evaluation.evidence import Evidence, read_evidence
from dml_lightning.evaluation.npz import test_file
from dml_lightning.evaluation.numbers import measure
from dml_lightning.files import read_json
from dml_lightning.gallery.gallery import Gallery
from dml_lightning.openset.thresholds import Threshold
from dml_lightning.report.numbers import thresholds
from dml_lightning.report.sources import check_source, check_sources
from dml_lightning.runs import digests
from dml_lightning.runs.fairness import Searched, arm_differences, differences
from dml_lightning.runs.folder import read_metrics, read_run
from dml_lightning.runs.recipes import fold_of, read_recipe_file, recipe_file
from dml_lightning.stats.arms import beside_flights, compare_arms
from dml_lightning.stats.comparison import Comparison
from dml_lightning.stats.flights import RunEvidence
from dml_lightning.stats.results import Question, higher_is_better, plain_name

PRIMARY = "balanced_accuracy"
CHOSEN = "Exploratory: these runs were chosen after their tests, and no comparison declared them."


@dataclass(frozen=True)
class RunResult:
    """One tested run of an arm, or a file of embeddings from any framework."""

    arm: str
    seed: int
    fold: int  # number of the split of the data
    source: Path  # run folder or npz file
    metrics: dict[str, float]  # by name without the stage
    trained: bool = True  # False for a floor, which is tested as it is initialised
    recipe: dict[str, Any] = field(default_factory=dict)  # parsed; empty for a file of embeddings

    @property
    def folder(self) -> Path | None:
        """The run's folder, None for a file of embeddings."""
        return self.source if self.source.is_dir() else None

    @cached_property
    def evidence(self) -> Evidence:
        """The test embeddings."""
        return read_evidence(test_file(self.source))

    @cached_property
    def validation(self) -> Evidence | None:
        """The validation embeddings, on which thresholds are chosen; None if there are none."""
        path = self.source / "embeddings" / "val.npz"
        return read_evidence(path) if path.is_file() else None

    @cached_property
    def gallery(self) -> Gallery | None:
        """The run's gallery; None for a file of embeddings, and for a floor that was never validated.

        Raises:
            ValueError: If its encoder is not the one of the test embeddings.
        """
        if self.folder is None or not (self.source / "gallery").is_dir():
            return None
        gallery = Gallery.load(self.source / "gallery")
        if self.evidence.encoder not in ("", gallery.encoder):
            raise ValueError(
                f"the test embeddings of {self.source} are of another checkpoint than its gallery: "
                f"dml test --run {self.source} makes them again."
            )
        return gallery

    @cached_property
    def thresholds(self) -> dict[str, Threshold]:
        """Thresholds by rule, on the score of the gallery or on the distance to the nearest prototype."""
        return thresholds(self.evidence, self.validation, self.gallery)

    @cached_property
    def stage(self) -> dict[str, Any]:
        """Entry of run.json for the fit, or for the test of a run that was not fitted; empty without a run.json."""
        stages = read_run(self.source)["stages"] if self.folder else {}
        entry: dict[str, Any] = stages.get("fit") or stages.get("test") or {}
        return entry

    @cached_property
    def recipe_text(self) -> str:
        """The saved recipe as YAML; empty for a file of embeddings."""
        path = recipe_file(self.source) if self.folder else None
        return path.read_text(encoding="utf-8") if path else ""

    @cached_property
    def history(self) -> pd.DataFrame:
        """All values logged while fitting, ordered by step; empty if there are none."""
        parts = [_history(path) for path in sorted(self.source.glob("csv/fit*/metrics.csv"))]
        return pd.concat(parts).sort_values("step", kind="stable") if parts else pd.DataFrame()


@dataclass(frozen=True)
class ReportInput:
    """Runs by arm, and the question that the report answers."""

    title: str
    arms: dict[str, list[RunResult]]  # in order, floors last
    question: Question  # its metric is named as in `RunResult.metrics`
    changes: tuple[str, ...] = ()  # sentences on how the question departs from the one declared before the runs
    searched: Searched = field(default_factory=dict)  # options that a search of equal trials has chosen, by arm
    counts: pd.DataFrame | None = None  # of new flights, as `dml count` writes them

    @property
    def runs(self) -> list[RunResult]:
        """Every run, arm by arm."""
        return [run for runs in self.arms.values() for run in runs]

    @property
    def shown(self) -> dict[str, RunResult]:
        """The first run of each arm, which figures of a single run show."""
        return {arm: runs[0] for arm, runs in self.arms.items()}

    def table(self) -> pd.DataFrame:
        """A row per run: arm, seed, fold and every metric."""
        return pd.DataFrame([{"arm": run.arm, "seed": run.seed, "fold": run.fold, **run.metrics} for run in self.runs])

    @cached_property
    def differences(self) -> list[str]:
        """Sentences on what differs between runs beyond arm, seed and fold, from their saved recipes."""
        saved = [run for run in self.runs if run.folder is not None]
        cells: dict[tuple[int, int], dict[str, RunResult]] = {}
        for run in saved:
            cells.setdefault((run.seed, run.fold), {})[run.arm] = run
        trained = [arm for arm, runs in self.arms.items() if runs[0].trained]
        sentences: list[str] = []
        for cell in cells.values():
            if len(cell) > 1:
                folders = {arm: run.source for arm, run in cell.items()}
                recipes = {arm: run.recipe for arm, run in cell.items()}
                sentences += differences(folders, trained, self.searched, recipes)
        for arm in self.arms:
            sentences += arm_differences(arm, {run.source: run.recipe for run in saved if run.arm == arm})
        return list(dict.fromkeys(sentences))

    @cached_property
    def comparison(self) -> Comparison | str:
        """The comparison of the arms, or a sentence on why there is none."""
        unit = self.question.unit
        units = {getattr(run, unit) for run in self.runs}
        if len(units) < 2:
            return f"There is one {unit} per arm, and a comparison over {unit}s needs two or more."
        try:
            named = {self.question.metric: plain_name(self.question.metric)}
            question = replace(self.question, metric=plain_name(self.question.metric))
            comparison = compare_arms(self.table().rename(columns=named), question)
        except ValueError as error:
            return f"The arms cannot be compared: {error}"
        runs = (RunEvidence.read(run.arm, run.seed, run.fold, test_file(run.source)) for run in self.runs)
        return beside_flights(comparison, runs, self.question.metric)


def read_inputs(paths: Sequence[Path], primary: str | None = None) -> ReportInput:
    """Reads runs, files of embeddings, or the folder of one comparison.

    Args:
        paths: Run folders, npz files in the layout of `read_evidence`, or a single folder with a comparison.json; all
            runs of a comparison stand for its folder.
        primary: Metric that the answer is about; if not given, the one that the comparison declared, or balanced
            accuracy.

    Raises:
        ValueError: If no path is given, one of them is no tested run, two runs have the same arm, seed and fold, arms
            saw different data, or no run has the metric.
    """
    check_sources(paths)
    folder = _comparison_of(paths)
    if folder is not None:
        given = read_comparison(folder)
    else:
        arms = _by_arm([read_result(path) for path in paths])
        floors = tuple(arm for arm, runs in arms.items() if not runs[0].trained)
        baseline = next(iter(arms))
        question = Question(PRIMARY, baseline, floors=tuple(f for f in floors if f != baseline))
        given = ReportInput(", ".join(arms), arms, question, (CHOSEN,) if len(arms) > 1 else ())
    question, declared = _question(given, primary), given.question.metric
    changes = given.changes
    if folder is not None and question.metric != declared:
        about = f"of {plain_name(declared)}; this report asks of {plain_name(question.metric)}"
        changes += (f"The comparison asks {about}, so its p-values are exploratory.",)
    return replace(given, question=question, changes=changes)


def _comparison_of(paths: Sequence[Path]) -> Path | None:
    """Folder of the comparison that is given, itself or by all of its runs; None if there is none."""
    if len(paths) == 1:
        return paths[0] if (paths[0] / "comparison.json").is_file() else None
    folder = paths[0].parent.parent
    listed = read_json(folder / "comparison.json").get("runs")
    if not isinstance(listed, list):
        return None
    runs = {(folder / str(run.get("run"))).resolve() for run in listed if isinstance(run, dict)}
    return folder if runs == {path.resolve() for path in paths} else None


def _question(given: ReportInput, primary: str | None) -> Question:
    """The question of the input, or the same question about another metric if one is named."""
    question = given.question
    if primary is not None:
        higher = higher_is_better(primary)
        margin = question.margin if primary == question.metric else None  # it was declared for one metric
        question = replace(question, metric=primary, higher_is_better=higher, margin=margin)
    if not any(question.metric in run.metrics for run in given.runs):
        names = ", ".join(sorted(given.runs[0].metrics))
        raise ValueError(f"no run has the number {question.metric!r}; there are {names}.")
    return question


def read_comparison(folder: Path) -> ReportInput:
    """Reads the runs of a comparison.

    Args:
        folder: Folder with a comparison.json. That file holds `name`, `question` (the fields of `Question`), `runs`,
            a list of `arm`, `seed`, `fold` and `run`: the run's folder, absolute or relative to the comparison's; and
            optionally `searched`, the options that a search of equal trials has chosen, by arm. An earlier version left
            out `searched` and the question's `fold_by`, which are then those of its declared.json.

    Raises:
        ValueError: If comparison.json is damaged, or `read_result` refuses a run.
    """
    path = folder / "comparison.json"
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        listed = [(folder / r["run"], r["arm"], r["seed"], r["fold"]) for r in content["runs"]]
        fields = dict(content["question"])
        fields["metric"] = fields["metric"].removeprefix("test/")
        declared = read_json(folder / "declared.json").get("recipe", {})  # for a file of before it named these two
        fields.setdefault("fold_by", declared.get("kind of folds", "groups"))
        spaces = (declared.get("search") or {}).get("space", {})
        question = Question(**fields | {"floors": tuple(fields.get("floors", ()))})
        name, changes = str(content["name"]), tuple(content.get("changes", ()))
        searched = {arm: set(options) for arm, options in content.get("searched", spaces).items()}
    except (json.JSONDecodeError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} is not what `dml compare` writes ({error!r}).") from None
    return ReportInput(name, _by_arm([read_result(*each) for each in listed]), question, changes, searched)


def read_result(path: Path, arm: str | None = None, seed: int | None = None, fold: int | None = None) -> RunResult:
    """Reads one run folder, or one npz file of embeddings.

    Args:
        path: Run folder or npz file.
        arm: Name of the arm; if not given, the last part of the recipe's name, or the file's name.
        seed: Seed of training; the recipe's if not given.
        fold: Number of the split; the recipe's `data.class_fold` or `data.split_seed` if not given.

    Raises:
        ValueError: If there is no such run or file, it is damaged, or the run has not been tested.
    """
    check_source(path)
    if path.suffix == ".npz":
        metrics = measure(read_evidence(path))
        return RunResult(arm or path.stem, seed or 0, fold or 0, path, metrics)
    saved = recipe_file(path)
    assert saved is not None  # or the source was refused
    digests.check(path)
    recipe = read_recipe_file(saved)
    return RunResult(
        arm=arm or str(recipe.get("name", path.name)).rsplit("/", 1)[-1].replace("_", " "),
        seed=int(recipe.get("seed_everything") or 0) if seed is None else seed,
        fold=fold_of(recipe) if fold is None else fold,
        source=path,
        metrics=read_metrics(path, "test"),
        trained="fit" in read_run(path)["stages"],
        recipe=recipe,
    )


def _history(path: Path) -> pd.DataFrame:
    """Reads the values that a fit logged, without a last row that a kill cut short.

    Raises:
        ValueError: If the file is damaged.
    """
    complete = path.read_bytes().rpartition(b"\n")[0]
    try:
        history = pd.read_csv(io.BytesIO(complete))
    except ValueError as error:  # pandas' own errors are such
        raise ValueError(f"{path} is damaged ({error}).") from None
    if "step" not in history:
        raise ValueError(f"{path} is damaged: it has no column step.")
    return history


def _by_arm(runs: Sequence[RunResult]) -> dict[str, list[RunResult]]:
    """Runs by arm, trained arms before floors.

    Raises:
        ValueError: If two runs have the same arm, seed and fold, or runs of one fold saw different data.
    """
    digests: dict[int, tuple[str, RunResult]] = {}
    cells: dict[tuple[str, int, int], RunResult] = {}
    for run in runs:
        cell = (run.arm, run.seed, run.fold)
        if cell in cells:
            raise ValueError(
                f"{cells[cell].source} and {run.source} are both arm {run.arm!r}, seed {run.seed}, fold {run.fold}; "
                "give one of them."
            )
        cells[cell] = run
        digest = run.stage.get("data")
        if digest is not None:
            first, other = digests.setdefault(run.fold, (digest, run))
            if first != digest:
                raise ValueError(
                    f"{other.source} and {run.source} saw different data in fold {run.fold} (digests {first[:10]} and "
                    f"{digest[:10]}): numbers on different crops cannot be compared; report them one by one."
                )
    arms = sorted(dict.fromkeys(run.arm for run in runs), key=lambda arm: _is_floor(arm, runs))
    return {arm: [run for run in runs if run.arm == arm] for arm in arms}


def _is_floor(arm: str, runs: Sequence[RunResult]) -> bool:
    return not any(run.trained for run in runs if run.arm == arm)
