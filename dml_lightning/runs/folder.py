"""The folder of a run, `runs/<name>/<hash>-s<seed>`, with everything that later commands need.

```
recipe.fit.yaml       config with which `dml fit -c` repeats the run
run.json              status, versions and command of each stage
backbone.json         what timm made of a backbone of the hub or of a local folder, see `models.weights`
checkpoints/          best.ckpt, last.ckpt
digests/<stage>.json  sha256 of what the stage read and wrote, see `runs.digests`
gallery/              known classes and thresholds by the best checkpoint, and species enrolled since
facts.json            digest of the initial weights, number of samples seen, number of processes
metrics/<stage>.json  last value of each logged number;  csv/<stage>/ all values
embeddings/<stage>.npz, figures/, wandb/
```
"""

import hashlib
import importlib.metadata
import json
import os
import socket
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

from dml_lightning.files import locked, read_json, write_json
from dml_lightning.runs.sources import source_digests

SELECTION = "val/selection_map_at_r"  # log key by which the best checkpoint is chosen; logged by callbacks.Retrieval

Status = Literal["running", "finished", "failed", "interrupted"]
RUN_PACKAGES = ("dml-lightning", "torch", "lightning", "timm", "pytorch-metric-learning", "torchmetrics", "numpy")
TIME = "%Y-%m-%dT%H:%M:%S"  # of the start of a stage
# Settings that do not change the result, and paths of data, which the data digest replaces.
_NOT_HASHED = {"seed_everything", "name", "runs_root", "tracking"}
_PATH_KEYS = {
    "root",
    "corrected",
    "cache_dir",
    "default_root_dir",
    "dirpath",
    "enable_progress_bar",
    "logger",
    "verbose",
}


def run_hash(config: dict[str, Any], data_digest: str) -> str:
    """Hash, in ten hex digits, of recipe, data, code version and the sources of classes outside of this package.

    Seed, paths and logger are left out.

    Args:
        config: Config of the fit.
        data_digest: Digest of the crop table.
    """
    recipe = _without_paths({key: value for key, value in config.items() if key not in _NOT_HASHED})
    text = json.dumps([recipe, data_digest, code_digest(), source_digests(recipe)], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:10]


def _without_paths(node: Any) -> Any:
    if isinstance(node, dict):
        return {key: _without_paths(value) for key, value in node.items() if key not in _PATH_KEYS}
    if isinstance(node, list):
        return [_without_paths(value) for value in node]
    return node


def code_digest() -> str:
    """Digest of the package's source files, so that two versions never share a run."""
    package = Path(__file__).parents[1]
    digest = hashlib.sha256()
    for path in sorted(package.rglob("*.py")):
        digest.update(str(path.relative_to(package)).encode() + path.read_bytes())
    return digest.hexdigest()[:16]


def package_versions() -> dict[str, str]:
    """Versions of the packages that numbers depend on, by name."""
    return {name: importlib.metadata.version(name) for name in RUN_PACKAGES}


@contextmanager
def claimed(run: Path, *, resume: bool) -> Iterator[None]:
    """Hold a run's folder for this process alone, and remove temporary files that a killed process left.

    Raises:
        ValueError: If the folder is not free, or `check_folder` refuses.
    """
    if not run.is_dir():
        check_folder(run, resume=resume)  # before the lock creates the folder
    with locked(run):
        check_folder(run, resume=resume)
        for stale in run.rglob(".*.tmp"):
            stale.unlink(missing_ok=True)
        yield


def check_folder(run: Path, *, resume: bool) -> None:
    """Refuse to write into a run that should be kept, or that cannot be resumed.

    A run that ended before its first checkpoint has nothing to keep: it starts over, whether resumed or not.

    Args:
        run: Folder of the run, which may not exist.
        resume: Whether the fit is to go on from the run's last checkpoint.

    Raises:
        ValueError: If the run has finished; if it has a checkpoint and is not to be resumed; or if it is to be
            resumed and there is no run.
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


def read_run(run: Path) -> dict[str, Any]:
    """Content of run.json; without a file, a run without stages."""
    return {"stages": {}} | read_json(run / "run.json")


def read_metrics(run: Path, stage: str) -> dict[str, float]:
    """Last value of each number that a stage logged, by its name without the stage; empty without a file.

    Raises:
        ValueError: If the file is damaged.
    """
    content = read_json(run / "metrics" / f"{stage}.json")
    return {
        key.removeprefix(f"{stage}/"): float("nan") if value is None else float(value) for key, value in content.items()
    }


def read_fit(run: Path) -> dict[str, Any]:
    """Entry of the fit in run.json; empty where there has been none."""
    fit: dict[str, Any] = read_run(run)["stages"].get("fit", {})
    return fit


def read_status(run: Path, stage: str = "fit") -> Status | None:
    """Status of a stage of the run; None where there has been none."""
    status: Status | None = read_run(run)["stages"].get(stage, {}).get("status")
    return status


@contextmanager
def record_stage(
    run: Path, stage: str, data_digest: str, active: bool = True, sources: Mapping[str, str] = MappingProxyType({})
) -> Iterator[None]:
    """Record a stage in run.json: as running, and afterwards how it ended.

    Args:
        run: Folder of the run.
        stage: "fit", "validate" or "test".
        data_digest: Digest of the crop table.
        active: Whether to write; true on one rank only.
        sources: Digests of `source_digests` for the stage's recipe.
    """
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
            "started": time.strftime(TIME, time.localtime(started)),
            "seconds": round(time.time() - started, 1),
            "versions": package_versions(),
            "code": code_digest(),
            "sources": dict(sources),
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
