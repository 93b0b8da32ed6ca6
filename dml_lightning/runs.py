"""A run is a folder: `runs/<name>/<hash>-s<seed>`, with everything that later commands need.

```
recipe.fit.yaml       what `dml fit -c` takes to do it again
run.json              status, versions and command of each stage
checkpoints/          best.ckpt, last.ckpt
gallery/              what is known, and by which rules: of the best checkpoint, and what was enrolled since
facts.json            initial weights (digest), samples seen, processes
metrics/<stage>.json  the last value of each logged number;  csv/<stage>/ the whole history
embeddings/<stage>.npz, figures/, wandb/
```
"""

import fcntl
import hashlib
import importlib.metadata
import json
import os
import socket
import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Literal

import numpy as np
import yaml
from numpy.typing import NDArray

Status = Literal["running", "finished", "failed", "interrupted"]
PACKAGES = ("dml-lightning", "torch", "lightning", "timm", "pytorch-metric-learning", "torchmetrics", "numpy")
# Settings that leave the result as it is, and those that the data digest stands for.
_NOT_HASHED = {"seed_everything", "name", "runs_root", "tracking"}
_PATH_KEYS = {"root", "cache_dir", "default_root_dir", "dirpath", "enable_progress_bar", "logger", "verbose"}


def run_hash(config: dict[str, Any], data_digest: str) -> str:
    """Ten hex digits of recipe, data and code version; seed, paths and logger are left out."""
    recipe = _without_paths({key: value for key, value in config.items() if key not in _NOT_HASHED})
    text = json.dumps([recipe, data_digest, code_digest()], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:10]


def _without_paths(node: Any) -> Any:
    if isinstance(node, dict):
        return {key: _without_paths(value) for key, value in node.items() if key not in _PATH_KEYS}
    if isinstance(node, list):
        return [_without_paths(value) for value in node]
    return node


def code_digest() -> str:
    """Digest of the package's own source files: two versions never share a run."""
    package = Path(__file__).parent
    digest = hashlib.sha256()
    for path in sorted(package.rglob("*.py")):
        digest.update(str(path.relative_to(package)).encode() + path.read_bytes())
    return digest.hexdigest()[:16]


@contextmanager
def claimed(run: Path, *, resume: bool) -> Iterator[None]:
    """Holds a run's folder for this process alone, and sweeps what a killed one left half-written.

    Raises:
        ValueError: If the folder is not free, or `check_folder` refuses.
    """
    if not run.is_dir():
        check_folder(run, resume=resume)  # before there is one
    with locked(run):
        check_folder(run, resume=resume)
        for stale in run.rglob(".*.tmp"):
            stale.unlink(missing_ok=True)
        yield


def check_folder(run: Path, *, resume: bool) -> None:
    """Refuses to write into a run that should be kept, or cannot be resumed.

    A run that ended before its first checkpoint has nothing to keep and starts over, resumed or not.

    Raises:
        ValueError: With what came and what would work.
    """
    status = read_status(run)
    begun = (run / "checkpoints" / "last.ckpt").is_file()
    if status == "finished":
        raise ValueError(
            f"{run} has finished; --reuse true takes it as it is, --rerun N (1, 2, ...) does it again "
            "in a folder beside it."
        )
    if begun and not resume:
        raise ValueError(
            f"{run} was {status or 'left'} after a checkpoint; --ckpt_path last goes on with it, "
            "--rerun N (1, 2, ...) starts afresh in a folder beside it."
        )
    if resume and status is None and not begun:
        beside = [*run.parent.glob("*/checkpoints/last.ckpt")]
        newest = max(beside, key=lambda path: path.stat().st_mtime, default=None)
        other = f", or name {newest}, of another recipe, seed or code" if newest else ""
        raise ValueError(f"{run} has no checkpoints/last.ckpt to go on from; leave out --ckpt_path last{other}.")


@contextmanager
def locked(run: Path) -> Iterator[None]:
    """Holds `.lock` in a run's or a comparison's folder: the system frees it when this process ends, however it ends.

    A record lock belongs to one process, so it does not live on in forked workers, and network file systems know
    it across hosts. Where a file system has no locks, a warning says that nothing is held.
    """
    run.mkdir(parents=True, exist_ok=True)
    with (run / ".lock").open("a+b") as file:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            raise ValueError(_occupied(run)) from None
        except OSError as error:
            warnings.warn(
                f"{run} has no file locks ({error.strerror}): see to it that one process writes there.", stacklevel=2
            )
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}".encode())
        file.flush()
        yield


def _occupied(run: Path) -> str:
    return f"{run} is being written by {(run / '.lock').read_text() or 'another process'}."


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A file to write that takes `path`'s place when it is complete and on the disk, or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)  # the new name too
    finally:
        os.close(folder)


def write_text(path: Path, text: str) -> None:
    """Writes a file that is whole or absent."""
    with replacing(path) as file:
        file.write(text.encode())


def write_json(path: Path, content: Any) -> None:
    """Writes JSON that is whole or absent; numbers that JSON lacks (NaN) become null."""
    cleaned = json.loads(json.dumps(content), parse_constant=lambda _: None)
    write_text(path, json.dumps(cleaned, indent=2) + "\n")


def write_npz(path: Path, **arrays: NDArray[Any]) -> None:
    """Writes arrays into a compressed file that is whole or absent."""
    with replacing(path) as file:
        np.savez_compressed(file, allow_pickle=False, **arrays)


def read_json(path: Path) -> dict[str, Any]:
    """The content of a JSON object; empty where there is no file.

    Raises:
        ValueError: If the file is damaged.
    """
    if not path.is_file():
        return {}
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is damaged ({error}).") from None
    return content


def read_recipe_file(path: Path) -> dict[str, Any]:
    """The recipe in a file.

    Raises:
        ValueError: If the file is damaged.
    """
    try:
        content: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError):
        content = {}
    if not content or not isinstance(content, dict):
        raise ValueError(f"{path} is damaged: it holds no recipe.")
    return content


def read_run(run: Path) -> dict[str, Any]:
    """The content of run.json; empty stages where there is none."""
    return {"stages": {}} | read_json(run / "run.json")


def read_fit(run: Path) -> dict[str, Any]:
    """What run.json says of the run's fit; empty where there has been none."""
    fit: dict[str, Any] = read_run(run)["stages"].get("fit", {})
    return fit


def read_status(run: Path, stage: str = "fit") -> Status | None:
    """The status of a stage of the run, None where there has been none."""
    status: Status | None = read_run(run)["stages"].get(stage, {}).get("status")
    return status


@contextmanager
def record_stage(run: Path, stage: str, data_digest: str, active: bool = True) -> Iterator[None]:
    """Keeps run.json: `running`, then how the stage ended. Only one rank is `active`."""
    if not active:
        yield
        return
    started = time.time()

    def record(status: Status) -> None:
        content = read_run(run)
        before = content["stages"].get(stage, {}).get("times", 0)
        content["stages"][stage] = {
            "status": status,
            "times": before + (status == "finished"),
            "command": sys.argv[1:],
            "started": time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(started)),
            "seconds": round(time.time() - started, 1),
            "versions": {name: importlib.metadata.version(name) for name in PACKAGES},
            "code": code_digest(),
            "data": data_digest,
            "host": socket.gethostname(),
            "pid": os.getpid(),
        }
        write_json(run / "run.json", content)

    record("running")
    try:
        yield
    except BaseException as error:
        record("interrupted" if isinstance(error, KeyboardInterrupt | SystemExit) else "failed")
        raise
    record("finished")


def recipe_path(run: Path, stage: str = "fit") -> Path:
    """Where a run keeps its recipe.

    Raises:
        ValueError: If the folder is not a run.
    """
    path = run / f"recipe.{stage}.yaml"
    if not path.is_file():
        raise ValueError(f"{run} is not a run's folder: it has no {path.name}.")
    return path


def recipe_file(run: Path) -> Path | None:
    """The recipe of the fit, or of the test for a floor; None where the folder is no run's."""
    paths = [run / f"recipe.{stage}.yaml" for stage in ("fit", "test")]
    return next((path for path in paths if path.is_file()), None)
