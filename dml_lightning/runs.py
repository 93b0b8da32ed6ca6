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
    """Refuses to write into a run that is there, or to resume one that is not.

    Raises:
        ValueError: If the run exists and `resume` is not asked for, or if there is nothing to resume.
    """
    last = run / "checkpoints" / "last.ckpt"
    if resume and read_status(run) == "finished":
        raise ValueError(f"{run} has finished; --rerun 1 does it again in a folder beside it.")
    if resume and not last.is_file():
        raise ValueError(f"--ckpt_path last found no {last}; leave it out to start this run.")
    if run.exists() and not resume:
        raise ValueError(
            f"{run} exists (status: {read_status(run)}), so this recipe and seed were started before; "
            "--ckpt_path last goes on with it, --rerun N (1, 2, ...) does it again in a folder beside it."
        )


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


def read_status(run: Path) -> Status | None:
    """The status of the run's fit, None where there is no run."""
    path = run / "run.json"
    if not path.is_file():
        return None
    status: Status = (
        json.loads(path.read_text(encoding="utf-8"))["stages"].get("fit", {}).get("status")
    )
    return status


@contextmanager
def record_stage(run: Path, stage: str, active: bool = True) -> Iterator[None]:
    """Keeps run.json: `running`, then how the stage ended. Only one rank is `active`."""
    if not active:
        yield
        return
    started = time.time()

    def record(status: Status) -> None:
        path = run / "run.json"
        content = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {"stages": {}}
        content["stages"][stage] = {
            "status": status,
            "command": sys.argv[1:],
            "started": time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(started)),
            "seconds": round(time.time() - started, 1),
            "versions": {name: importlib.metadata.version(name) for name in PACKAGES},
            "code": code_digest(),
        }
        write_json(path, content)

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
