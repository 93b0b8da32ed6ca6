"""Fairness of a comparison: its arms may differ only in what defines them. Checked on planned and saved recipes."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from dml_lightning.files import read_json
from dml_lightning.runs.folder import read_run
from dml_lightning.runs.recipes import read_recipe

Recipe = Mapping[str, Any]
Searched = Mapping[str, Collection[str]]  # options that a search of equal trials has chosen, by arm

MAKES_AN_ARM = (
    "model.class_path",
    "model.init_args.loss",
    "model.init_args.scale",
    "model.init_args.allow_infeasible_margin",
    "data.sampler",
    "data.classes_per_batch",  # the product of this and the next is compared
    "data.samples_per_class",
)
CHANGES_NO_NUMBER = (
    "data.source.init_args.root",  # the crop tables are compared instead
    "data.cache_dir",
    "data.num_workers",
    "trainer.default_root_dir",
    "trainer.enable_progress_bar",
    "trainer.logger",
    "name",
    "runs_root",
    "tracking",
)
# Learning rate, weight decay and the like: equal, unless a search with as many trials for every arm has chosen them.
SEARCHABLE = "model.init_args.optimizer.init_args."
# Everything else must be equal in the recipes of one cell, which are the runs of all arms with one seed and fold.
MAY_DIFFER = (*MAKES_AN_ARM, *CHANGES_NO_NUMBER, "seed_everything")
# Everything but these must be equal in the recipes of one arm.
MAKES_A_CELL = ("seed_everything", "data.split_seed", "data.class_fold")
NONE: Searched = MappingProxyType({})
FACTS = ("initial_encoder", "samples_seen", "world_size")  # recorded by the runs themselves


def differences(
    runs: Mapping[str, Path],
    trained: Sequence[str],
    searched: Searched = NONE,
    recipes: Mapping[str, Recipe] | None = None,
) -> list[str]:
    """Unwanted differences between the arms of one seed and fold, one sentence each; empty if it is fair.

    Args:
        runs: Run folder of each arm.
        trained: Names of the arms that are fitted; of the others (floors) only data and trainer are compared.
        searched: Options that a search of equal trials has chosen for each arm; none without a search.
        recipes: Recipe of each arm, if they have been read before.

    Raises:
        ValueError: If a folder holds no run.
    """
    recipes = recipes or {arm: read_recipe(run) for arm, run in runs.items()}
    fitted = [arm for arm in trained if arm in runs]
    return [*recipe_differences(recipes, trained, searched), *_recorded(runs, fitted)]


def recipe_differences(recipes: Mapping[str, Recipe], trained: Sequence[str], searched: Searched = NONE) -> list[str]:
    """Unwanted differences between the recipes of arms, which can be checked before there are runs.

    Args:
        recipes: Recipe of each arm.
        trained: Names of the arms that are fitted; of the others the model sections are not compared.
        searched: Options that a search of equal trials has chosen for each arm; settings of the optimizer among them
            are not compared.

    Example:
        >>> recipes = {"triplet": {"trainer": {"max_epochs": 5}}, "softmax": {"trainer": {"max_epochs": 9}}}
        >>> recipe_differences(recipes, trained=["triplet", "softmax"])
        ['trainer.max_epochs: triplet has 5, softmax has 9']
    """
    flat = {arm: _with_batch(recipe) for arm, recipe in recipes.items()}
    fitted = [arm for arm in trained if arm in flat]
    sentences: list[str] = []
    for key in dict.fromkeys(key for recipe in flat.values() for key in recipe):
        if not key.startswith(MAY_DIFFER):
            arms = fitted if key.startswith("model.") else list(flat)
            if key.startswith(SEARCHABLE):
                arms = [arm for arm in arms if short_name(key) not in map(short_name, searched.get(arm, ()))]
            sentences += _unequal(key, {arm: flat[arm].get(key) for arm in arms})
    return sentences


def short_name(option: str) -> str:
    """Name of an option that its long and its short form share, which the command line takes alike.

    Example:
        >>> short_name("model.init_args.optimizer.init_args.lr"), short_name("model.optimizer.lr")
        ('model.optimizer.lr', 'model.optimizer.lr')
    """
    return option.replace(".init_args", "")


def arm_differences(arm: str, recipes: Mapping[Path, Recipe]) -> list[str]:
    """Unwanted differences between the runs of one arm, which may differ in seed and fold only, one sentence each.

    Args:
        arm: Name of the arm.
        recipes: Recipe of each run by its folder.
    """
    flat = {run: dict(_flat(recipe)) for run, recipe in recipes.items()}
    keys = dict.fromkeys(key for recipe in flat.values() for key in recipe)
    return [
        sentence
        for key in keys
        if key not in MAKES_A_CELL and not key.startswith(CHANGES_NO_NUMBER)
        for sentence in _unequal(f"{key} of {arm}", {str(run): own.get(key) for run, own in flat.items()})
    ]


def _recorded(runs: Mapping[str, Path], fitted: Sequence[str]) -> Iterator[str]:
    """Differences in what the runs recorded: data, code, versions, use of the test split, facts of the fit."""
    stages = {arm: read_run(run)["stages"] for arm, run in runs.items()}
    for stage, arms in (("test", list(runs)), ("fit", fitted)):
        for key, what in (("data", "crop table"), ("code", "code"), ("versions", "versions")):
            values = {arm: stages[arm].get(stage, {}).get(key) for arm in arms}
            yield from _unequal(f"{what} of the {stage}", values)
    for arm in runs:
        times = stages[arm].get("test", {}).get("times", 1)
        if times > 1:
            yield f"the test split was touched {times} times by {arm} ({runs[arm]})"
    facts = {arm: read_json(runs[arm] / "facts.json") for arm in fitted}
    for fact in FACTS:
        what = fact.replace("_", " ")
        yield from (f"{arm} has recorded no {what}" for arm in fitted if fact not in facts[arm])
        yield from _unequal(what, {arm: own.get(fact) for arm, own in facts.items()})


def _unequal(what: str, values: Mapping[str, Any]) -> Iterator[str]:
    """A sentence for each arm that differs from the first."""
    first, *others = list(values) or [""]
    for arm in others:
        if values[arm] != values[first]:
            yield f"{what}: {first} has {values[first]}, {arm} has {values[arm]}"


def _with_batch(recipe: Recipe) -> dict[str, Any]:
    """A recipe as values by dotted name, with the number of crops per step and process."""
    data = recipe.get("data") or {}
    classes, samples = data.get("classes_per_batch", 1), data.get("samples_per_class", 1)
    crops = f"{samples} of each class" if classes is None else classes * samples  # null: as many as the data have
    return {**dict(_flat(recipe)), "crops per step and process": crops}


def _flat(node: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    parts = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    if not parts:
        yield name, node
    for key, value in parts:
        yield from _flat(value, f"{name}.{key}" if name else str(key))
