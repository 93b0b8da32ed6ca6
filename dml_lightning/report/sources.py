"""What a report can be made of, checked before anything is read: tested runs, files of embeddings, a comparison."""

from collections.abc import Sequence
from pathlib import Path

from dml_lightning.evaluation.npz import check_file, test_file
from dml_lightning.runs.recipes import recipe_file


def check_sources(paths: Sequence[Path]) -> None:
    """Refuses paths of which no report can be made.

    Args:
        paths: As for `read_inputs`.

    Raises:
        ValueError: If no path is given, or one of them is no tested run.
    """
    if not paths:
        raise ValueError("a report needs at least one run's folder or embeddings.npz.")
    if len(paths) > 1 or not (paths[0] / "comparison.json").is_file():
        for path in paths:
            check_source(path)


def check_source(path: Path) -> None:
    """Refuses what is neither the folder of a tested run nor a file of embeddings.

    Raises:
        ValueError: If there is no such run or file, or the run has not been tested.
    """
    if path.suffix == ".npz":
        check_file(path)
    elif recipe_file(path) is None:
        raise ValueError(f"{path} is neither a run's folder nor an .npz file of embeddings.")
    elif not (path / "metrics" / "test.json").is_file() or not test_file(path).is_file():
        raise ValueError(f"{path} has not been tested: run dml test --run {path} first.")


def check_counts(path: Path) -> None:
    """Refuses a path without a table of `dml count`.

    Raises:
        ValueError: If there is no file.
    """
    if not path.is_file():
        raise ValueError(f"--counts {path}: there is no such file; give the .csv file that dml count wrote.")
