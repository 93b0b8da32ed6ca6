"""Runs by name: `triplet` for the only finished run below `runs/triplet`, `triplet@latest` for the newest."""

from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from dml_lightning.runs.folder import read_run
from dml_lightning.runs.recipes import recipe_file

ROOT = "runs"  # folder of all runs, unless --runs_root names another
LATEST = "@latest"
MOST_LISTED = 10


def find_run(name: str) -> Path:
    """Folder of a run.

    Args:
        name: Folder of a run, as it is; or the name that runs were given, or their common folder, whose finished run is
            meant; with `@latest` behind it the one that was started last.

    Returns:
        The folder; the name as a path where nothing is found.

    Raises:
        ValueError: If the name has several finished runs, or only others.
    """
    if recipe_file(Path(name)) is not None:
        return Path(name)
    plain = name.removesuffix(LATEST)
    found = next((runs for place in (Path(plain), Path(ROOT, plain)) if (runs := _runs(place))), [])
    finished = [run for run in found if _status(run) == "finished"]
    if found and not finished:
        raise ValueError(f"{name} has no finished run: {_listed(found)}.")
    if len(finished) > 1 and plain == name:
        raise ValueError(
            f"{name} has {len(finished)} finished runs; name one of them, or {name}{LATEST}: {_listed(finished)}."
        )
    return max(finished, key=_started) if finished else Path(name)


def find_tested(name: str) -> Path:
    """What a report is made of: a comparison or a run by its folder or its name below `runs`, or a file of embeddings.

    Args:
        name: Folder of a comparison or its name; else as for `find_run`, which a file passes as it is.

    Raises:
        ValueError: If the name is of runs, and has several finished ones or only others.
    """
    compared = next((each for each in (Path(name), Path(ROOT, name)) if (each / "comparison.json").is_file()), None)
    return compared or find_run(name)


def name_of(run: Path) -> str:
    """What stands for a run after `--run`: its name, its name with `@latest`, or its folder where neither finds it."""
    for name in (run.parent.name, f"{run.parent.name}{LATEST}"):
        with suppress(ValueError):
            if find_run(name).resolve() == run.resolve():
                return name
    return str(run)


def with_runs(args: Iterable[str]) -> list[str]:
    """The arguments of a command, with the folder of the run that follows `--run` in the place of its name.

    Raises:
        ValueError: If `find_run` refuses the name.
    """
    found, before = list[str](), ""
    for arg in args:
        if before == "--run":
            found.append(str(find_run(arg)))
        elif arg.startswith("--run="):
            found.append(f"--run={find_run(arg.removeprefix('--run='))}")
        else:
            found.append(arg)
        before = arg
    return found


def _runs(place: Path) -> list[Path]:
    return sorted(path.parent for path in place.glob("*/run.json"))


def _stage(run: Path) -> dict[str, str]:
    """Entry of the fit in run.json, or of the test for a floor."""
    stages = read_run(run)["stages"]
    stage: dict[str, str] = stages.get("fit") or stages.get("test") or {}
    return stage


def _status(run: Path) -> str:
    return _stage(run).get("status", "left")


def _started(run: Path) -> str:
    return _stage(run).get("started", "")


def _listed(runs: list[Path]) -> str:
    """Runs with status and start, newest first."""
    ordered = sorted(runs, key=_started, reverse=True)
    shown = [f"{run} ({_status(run)}, {_started(run)})" for run in ordered[:MOST_LISTED]]
    return ", ".join([*shown, *([f"and {len(runs) - MOST_LISTED} more"] if len(runs) > MOST_LISTED else [])])
