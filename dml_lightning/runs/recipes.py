"""Recipes: the config files with which `dml fit -c` repeats a run."""

from pathlib import Path
from typing import Any

from dml_lightning.yaml_files import read_yaml

NOT_IN_RECIPE = {"config", "ckpt_path", "weights_only", "verbose", "rerun", "reuse", "trust", "threads", "find"}


def read_recipe_file(path: Path) -> dict[str, Any]:
    """Read a recipe from its file.

    Raises:
        ValueError: If the file or one of its sections is damaged, or it is too large once parsed.
    """
    content = read_yaml(path)
    if not content or not isinstance(content, dict):
        raise ValueError(f"{path} is damaged: it holds no recipe.")
    for name in ("trainer", "model", "data"):
        if not isinstance(content.get(name) or {}, dict):
            raise ValueError(f"{path} is damaged: its section {name} is {content[name]!r}.")
    return content


def recipe_path(run: Path, stage: str = "fit") -> Path:
    """Path of the recipe of a run's stage.

    Raises:
        ValueError: If the folder is not a run.
    """
    path = run / f"recipe.{stage}.yaml"
    if not path.is_file():
        raise ValueError(f"{run} is not a run's folder: it has no {path.name}.")
    return path


def recipe_file(run: Path) -> Path | None:
    """Path of the recipe of the fit, or of the test for a floor; None if the folder is not a run's."""
    paths = [run / f"recipe.{stage}.yaml" for stage in ("fit", "test")]
    return next((path for path in paths if path.is_file()), None)


def read_recipe(run: Path) -> dict[str, Any]:
    """Read the recipe of the fit, or of the test for a floor.

    Raises:
        ValueError: If the folder is not a run's, or the file is damaged.
    """
    path = recipe_file(run)
    if path is None:
        raise ValueError(f"{run} is not a run's folder: it has no recipe.")
    return read_recipe_file(path)


def fold_of(recipe: dict[str, Any]) -> int:
    """Number of the class fold of a recipe, or of the split by groups.

    Example:
        >>> fold_of({"data": {"split_seed": 3}}), fold_of({"data": {"class_folds": 6, "class_fold": 1}}), fold_of({})
        (3, 1, 0)
    """
    data = recipe.get("data") or {}
    return int((data.get("class_fold") if data.get("class_folds") else data.get("split_seed")) or 0)
