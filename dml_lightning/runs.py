"""A run is a folder: `runs/<name>/<hash>-s<seed>`, with everything that later commands need.

```
recipe.fit.yaml       what `dml fit -c` takes to do it again
run.json              status, versions and command of each stage
checkpoints/          best.ckpt, last.ckpt
gallery.npz           reference embeddings, class names and the decision rule of the best checkpoint
metrics/<stage>.json  the last value of each logged number;  csv/<stage>/ the whole history
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
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Status = Literal["running", "finished", "failed", "interrupted"]
PACKAGES = (
    "dml-lightning",
    "torch",
    "lightning",
    "timm",
    "pytorch-metric-learning",
    "torchmetrics",
    "numpy",
)
# Settings that leave the result as it is, and those that the data digest stands for.
_NOT_HASHED = {"seed_everything", "name", "runs_root", "tracking"}
_PATH_KEYS = {
    "root",
    "cache_dir",
    "default_root_dir",
    "dirpath",
    "enable_progress_bar",
    "logger",
    "verbose",
}


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


def check_folder(run: Path, *, resume: bool) -> None:
    """Refuses to write into a run that should be kept, is in use, or cannot be resumed.

    A run that ended before its first checkpoint has nothing to keep and starts over.

    Raises:
        ValueError: With what came and what would work.
    """
    fit = read_fit(run)
    status = fit.get("status")
    begun = (run / "checkpoints" / "last.ckpt").is_file()
    if status == "running" and _is_alive(fit):
        raise ValueError(f"{run} is being written by process {fit['pid']} on {fit['host']}.")
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
    if resume and not begun:
        raise ValueError(
            f"{run} has no checkpoints/last.ckpt to go on from; leave out --ckpt_path last."
        )


def _is_alive(fit: dict[str, Any]) -> bool:
    """Whether the process that wrote this status may still run; one on another machine may."""
    if fit["host"] != socket.gethostname():
        return True
    if fit["pid"] == os.getpid():
        return False
    try:
        os.kill(fit["pid"], 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def write_text(path: Path, text: str) -> None:
    """Writes a file that is whole or absent."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)


def write_json(path: Path, content: Any) -> None:
    """Writes JSON that is whole or absent; numbers that JSON lacks (NaN) become null."""
    cleaned = json.loads(json.dumps(content), parse_constant=lambda _: None)
    write_text(path, json.dumps(cleaned, indent=2) + "\n")


def write_npz(path: Path, **arrays: NDArray[Any]) -> None:
    """Writes arrays into a compressed file that is whole or absent."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with temporary.open("wb") as file:
        np.savez_compressed(file, allow_pickle=False, **arrays)
    temporary.replace(path)


def read_run(run: Path) -> dict[str, Any]:
    """The content of run.json; empty stages where there is none."""
    path = run / "run.json"
    if not path.is_file():
        return {"stages": {}}
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content


def read_fit(run: Path) -> dict[str, Any]:
    """What run.json says of the run's fit; empty where there has been none."""
    fit: dict[str, Any] = read_run(run)["stages"].get("fit", {})
    return fit


def read_status(run: Path) -> Status | None:
    """The status of the run's fit, None where there has been none."""
    return read_fit(run).get("status")


@contextmanager
def record_stage(run: Path, stage: str, data_digest: str, active: bool = True) -> Iterator[None]:
    """Keeps run.json: `running`, then how the stage ended. Only one rank is `active`."""
    if not active:
        yield
        return
    started = time.time()

    def record(status: Status) -> None:
        content = read_run(run)
        content["stages"][stage] = {
            "status": status,
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
