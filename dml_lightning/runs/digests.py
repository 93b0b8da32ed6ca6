"""Digests of what belongs together in a run's folder, so that an edited or mixed folder is named.

```
digests/fit.json   {"recipe.fit.yaml": sha256, "checkpoints/best.ckpt": sha256}
digests/val.json   the same two, which `dml validate` read, and what it wrote: embeddings, metrics, gallery
digests/test.json  the same two, and what `dml test` wrote: embeddings, metrics
```

They tell accidents, not attacks: who can write the folder can write its digests. Runs of version 0.1 have none, and a
file that no stage recorded is not checked.
"""

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal, get_args

from dml_lightning.files import read_json, write_json
from dml_lightning.runs.recipes import recipe_file

Stage = Literal["fit", "val", "test"]
STAGES: tuple[Stage, ...] = get_args(Stage)
COMMANDS: dict[Stage, str] = {"fit": "dml fit", "val": "dml validate", "test": "dml test"}
BEST = "checkpoints/best.ckpt"


def digest_path(run: Path, stage: Stage) -> Path:
    """Path of the digests of a stage.

    Example:
        >>> digest_path(Path("runs/triplet"), "val").as_posix()
        'runs/triplet/digests/val.json'
    """
    return run / "digests" / f"{stage}.json"


def recorded(run: Path, stage: Stage) -> dict[str, str]:
    """Digests of the files of a stage by their path below the folder; empty where none were recorded.

    Raises:
        ValueError: If the file of digests is damaged.
    """
    return read_json(digest_path(run, stage))


def forget(run: Path, stage: Stage) -> None:
    """Remove the digests of a stage that is about to write its files anew."""
    digest_path(run, stage).unlink(missing_ok=True)


def record(run: Path, stage: Stage, written: Iterable[str] = ()) -> None:
    """Record what a stage read (the recipe and the best checkpoint, where they exist) and wrote.

    Args:
        run: Folder of the run.
        stage: The stage.
        written: Paths below the folder of the files that the stage wrote.
    """
    names = [*(own.name for own in [recipe_file(run)] if own), BEST, *written]
    write_json(digest_path(run, stage), {name: sha256(run / name) for name in names if (run / name).is_file()})


def check(run: Path, stages: Sequence[Stage] = STAGES) -> None:
    """Refuse a folder in which a file is not the one that a stage read or wrote; files that are gone are not missed.

    Args:
        run: Folder of the run.
        stages: Stages whose files are checked.

    Raises:
        ValueError: With the file, the stage, and what to do.
    """
    now: dict[str, str] = {}
    for stage in stages:
        before = recorded(run, stage)
        for name in (name for name in before if (run / name).is_file()):
            now[name] = now.get(name) or sha256(run / name)
            if now[name] != before[name]:
                raise ValueError(_disagreement(run, stage, name, list(before)))


def sha256(path: Path) -> str:
    """Digest of a file's bytes, in hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _disagreement(run: Path, stage: Stage, name: str, names: list[str]) -> str:
    command = COMMANDS[stage]
    if stage == "fit":
        return (
            f"{run / name} is not the file that {command} wrote, by {digest_path(run, stage)}: it was edited, or is "
            f"of another run. Restore it; if it is meant to be so, delete {run / 'digests'}, and dml validate --run "
            f"{run}, then dml test --run {run}, make gallery and results anew."
        )
    again = f"{command} --run {run} makes {'gallery and ' * (stage == 'val')}embeddings again."
    read = [BEST, *(each for each in names if each.startswith("recipe."))]
    if name in read:
        result = next((each for each in names if each not in read), f"digests/{stage}.json")
        return f"{run / result} was made of another {name} than the one in {run}: {again}"
    return (
        f"{run / name} is not the file that {command} wrote, by {digest_path(run, stage)}: it was edited, or is of "
        f"another run. Restore the whole folder; or delete {(run / name).parent}, and {again}"
    )
