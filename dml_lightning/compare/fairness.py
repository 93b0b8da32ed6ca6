"""Do the arms of a comparison differ in nothing but what makes them arms? Asked of the saved recipes."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from dml_lightning.runs import read_json, read_run

Recipe = Mapping[str, Any]


def _data(*names: str) -> Callable[[Recipe], Any]:
    return lambda recipe: {name: recipe["data"].get(name) for name in names}


def _trainer(*names: str) -> Callable[[Recipe], Any]:
    return lambda recipe: {name: recipe["trainer"].get(name) for name in names}


def _model(*names: str) -> Callable[[Recipe], Any]:
    return lambda recipe: {name: recipe["model"]["init_args"].get(name) for name in names}


def _crops_per_step(recipe: Recipe) -> Any:
    data = recipe["data"]
    return data["classes_per_batch"] * data["samples_per_class"]


def _selection(recipe: Recipe) -> Any:
    callbacks = recipe["trainer"].get("callbacks") or []
    settings = [each.get("init_args") or {} for each in callbacks]
    return [{key: s.get(key) for key in ("monitor", "mode")} for s in settings if s.get("monitor")]


def _evaluation(recipe: Recipe) -> Any:
    callbacks = recipe["trainer"].get("callbacks") or []
    return [c for c in callbacks if c["class_path"].startswith("dml_lightning.callbacks.")]


def _optimizer(recipe: Recipe) -> Any:
    return recipe["model"]["init_args"]["optimizer"]["class_path"]


# What every arm must share. Of floors only the part that is there without training.
ALWAYS: dict[str, Callable[[Recipe], Any]] = {
    "crops and their normalisation": _data(
        "crop_size", "context", "min_side", "normalisation", "window", "radiometry"
    ),
    "evaluation": _evaluation,
    "precision": _trainer("precision"),
}
TRAINED: dict[str, Callable[[Recipe], Any]] = {
    "encoder": _model("encoder"),  # backbone, embedding size, normalisation, batch norm
    "plugins, such as the batch norm of all processes": _trainer("sync_batchnorm", "plugins"),
    "augmentation": _data("augmentation"),
    "crops per step and process": _crops_per_step,
    "batches per epoch": _data("batches_per_epoch", "train_per_class"),
    "length of training": _trainer("max_epochs", "max_steps", "accumulate_grad_batches"),
    "gradient clipping": _trainer("gradient_clip_val", "gradient_clip_algorithm"),
    "processes": _trainer("devices", "num_nodes", "strategy"),
    "optimizer": _optimizer,
    "schedule": _model("schedule", "warmup", "scheduler"),
    "selection of the checkpoint": _selection,
}
FACTS = ("initial_encoder", "samples_seen", "world_size")  # as the runs themselves counted them


def differences(runs: Mapping[str, Path], trained: Sequence[str]) -> list[str]:
    """What the arms of one seed and fold do not share, one sentence each; empty for a fair comparison.

    Args:
        runs: Run folder by arm.
        trained: Arms that are fitted; the others are floors.
    """
    found = list(_stated(runs, ALWAYS))
    found += _stated({arm: runs[arm] for arm in trained if arm in runs}, TRAINED)
    found += _recorded(runs, trained)
    return found


def _stated(
    runs: Mapping[str, Path], parts: Mapping[str, Callable[[Recipe], Any]]
) -> Iterator[str]:
    recipes = {arm: read_recipe(run) for arm, run in runs.items()}
    for what, part in parts.items():
        yield from _unequal(what, {arm: part(recipe) for arm, recipe in recipes.items()})


def _recorded(runs: Mapping[str, Path], trained: Sequence[str]) -> Iterator[str]:
    stages = {arm: read_run(run)["stages"] for arm, run in runs.items()}
    for key, what in (("data", "crop table"), ("code", "code"), ("versions", "versions")):
        tested = {arm: stage.get("test", {}).get(key) for arm, stage in stages.items()}
        yield from _unequal(f"{what} of the test", tested)
        fitted = {arm: stages[arm].get("fit", {}).get(key) for arm in trained if arm in stages}
        yield from _unequal(f"{what} of the fit", fitted)
    for arm, stage in stages.items():
        times = stage.get("test", {}).get("times", 1)
        if times > 1:
            yield f"the test split was touched {times} times by {arm} ({runs[arm]})"
    facts = {arm: read_json(runs[arm] / "facts.json") for arm in trained if arm in runs}
    for fact in FACTS:
        yield from _unequal(
            fact.replace("_", " "), {arm: own.get(fact) for arm, own in facts.items()}
        )


def _unequal(what: str, values: Mapping[str, Any]) -> Iterator[str]:
    """A sentence for the first arm that differs from the one before all others."""
    if not values:
        return
    first, *others = values
    for arm in others:
        if values[arm] != values[first]:
            mine, other = _shorter(values[first], values[arm])
            yield f"{what}: {first} has {mine}, {arm} has {other}"


def _shorter(one: Any, other: Any) -> tuple[Any, Any]:
    """Of two mappings only what differs."""
    if isinstance(one, dict) and isinstance(other, dict):
        keys = [key for key in {**one, **other} if one.get(key) != other.get(key)]
        return {k: one.get(k) for k in keys}, {k: other.get(k) for k in keys}
    return one, other


def read_recipe(run: Path) -> Recipe:
    """The recipe of the fit, or of the test for a floor."""
    path = next(p for s in ("fit", "test") if (p := run / f"recipe.{s}.yaml").is_file())
    recipe: Recipe = yaml.safe_load(path.read_text(encoding="utf-8"))
    return recipe
