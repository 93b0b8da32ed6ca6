"""One pass through every command at fixed seeds, kept as plain numbers: what a change of structure must leave as it is.

    python benchmarks/reference_run.py --checkout OLD --out reference/old      # of another checkout
    python benchmarks/reference_run.py --out reference/new                     # of this one
    python benchmarks/reference_run.py --compare reference/old reference/new   # what differs, and by how much

Without `--out` it runs the checkout twice and compares: numbers must repeat to the last bit (`--checkout .`, about 15
minutes). Without any argument it does so in the quick form, `--quick`: one arm and no comparison, a few minutes. The
commands run on one thread each. Folders of runs, digests of code, times and paths are left out of what is kept.
"""

import argparse
import csv
import hashlib
import json
import math
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from numpy.typing import NDArray
from safetensors.numpy import load_file

ROOT = Path(__file__).resolve().parents[1]
ARMS = {  # name of a run -> file of configs/model, and what else is given
    "softmax": ("softmax", []),
    "triplet": ("triplet", []),
    "multi_similarity": ("multi_similarity", []),
    "softmax_2_ranks": ("softmax", ["--trainer.devices=2", "--trainer.strategy=ddp"]),
    "triplet_2_ranks": ("triplet", ["--trainer.devices=2", "--trainer.strategy=ddp"]),
}
CLASSES = "--data.known=[canada_goose,gadwall,mallard,snow_goose,american_coot]"
SHORT = [
    "--config=configs/base.yaml",
    "--config=configs/data/simulated.yaml",
    "--data.batches_per_epoch=8",
    "--data.samples_per_class=8",
    "--data.classes_per_batch=5",
    "--data.unseen_groups=all",
    CLASSES,
    "--model.init_args.encoder.backbone_args={channels: [8, 8, 16, 16], stem_width: 8}",
    "--model.init_args.encoder.embedding_dim=16",
    "--trainer.max_epochs=2",
    "--trainer.accelerator=cpu",
    "--trainer.log_every_n_steps=1",
    "--trainer.enable_progress_bar=false",
    "--tracking.wandb=disabled",
]
EXPERIMENT = """
name: reference
shared: [configs/base.yaml, configs/data/simulated.yaml, ENCODER]
arms:
  raw pixels: {configs: [configs/model/raw_pixels.yaml], train: false}
  softmax: {configs: [configs/model/softmax.yaml]}
  triplet: {configs: [configs/model/triplet.yaml]}
primary: balanced_accuracy_prototype
seeds: [0, 1]
"""
ENCODER = """
model:
  init_args:
    encoder: {embedding_dim: 16, backbone_args: {channels: [8, 8, 16, 16], stem_width: 8}}
"""
Facts = dict[str, Any]  # by place: a number, a text, or the name of an array
Arrays = dict[str, NDArray[Any]]

# What moves from machine to machine or with the code, and says nothing of the numbers.
NOT_KEPT = re.compile(
    r"(^|[/.])(run|source|code|host|pid|started|created|seconds|command|file|sha256|words_sha256|files)$|[/.]files\."
)
PATHS = re.compile(r"[^\s\"'(),;]*/(?:[^\s\"'(),;]*)")
RUN_HASH = re.compile(r"\b[0-9a-f]{10}-s(\d+)")


class Reference:
    """The commands of one checkout, run in a folder of their own.

    Args:
        checkout: Whose package and configs are used.
        folder: Receives the flights, runs and what is kept of them.
        quick: Runs one arm and no comparison.
    """

    def __init__(self, checkout: Path, folder: Path, quick: bool = False) -> None:
        self.checkout, self.folder, self.quick = checkout.resolve(), folder.resolve(), quick
        self.folder.mkdir(parents=True, exist_ok=True)
        self.facts: Facts = {}
        self.arrays: Arrays = {}

    def dml(self, *words: str, allowed: Sequence[int] = (0,)) -> str:
        """Runs one command and returns what it printed."""
        return self.python("-m", "dml_lightning", *words, allowed=allowed)

    def python(self, *words: str, allowed: Sequence[int] = (0,)) -> str:
        """Runs Python with the checkout's package first on its path."""
        environment = os.environ | {"PYTHONPATH": str(self.checkout), "OMP_NUM_THREADS": "1"}
        said = subprocess.run(
            [sys.executable, *words], cwd=self.checkout, env=environment, capture_output=True, text=True, check=False
        )
        if said.returncode not in allowed:
            raise SystemExit(f"{' '.join(words)} ended with status {said.returncode}:\n{said.stdout}{said.stderr}")
        return said.stdout

    # The commands --------------------------------------------------------------------------------

    def run(self) -> None:
        """Everything, in the order in which a user would."""
        flights, runs = self.folder / "flights", self.folder / "runs"
        self.dml(
            "simulate", "--out", str(flights), "--flights", "16", "--frames", "4", "--width", "480", "--height", "384"
        )
        data = [f"--data.source.init_args.root={flights}", f"--data.cache_dir={self.folder / 'cache'}"]
        arms = {"triplet": ARMS["triplet"]} if self.quick else ARMS
        for name, (arm, more) in arms.items():
            words = [
                *SHORT,
                f"--config=configs/model/{arm}.yaml",
                *data,
                *more,
                f"--name={name}",
                f"--runs_root={runs}",
            ]
            self.dml("fit", *words)
            self.keep_run(name, self.folder_of(name))
        for name in (arm for arm in ("softmax", "triplet") if arm in arms):
            self.dml("validate", "--run", str(self.folder_of(name)))
            self.dml("test", "--run", str(self.folder_of(name)))
            self.keep_run(f"tested {name}", self.folder_of(name))
            self.after_training(name, flights)
        if not self.quick:
            self.comparison(data)
        (self.folder / "facts.json").write_text(json.dumps(self.facts, indent=1) + "\n", encoding="utf-8")
        np.savez_compressed(self.folder / "arrays.npz", **self.arrays)  # type: ignore[arg-type]
        print(f"{self.folder}: {len(self.facts)} values and {len(self.arrays)} arrays, digest {self.digest()}")

    def after_training(self, name: str, flights: Path) -> None:
        """Predictions, enrolment, flights, export and tables of one run."""
        run, out = str(self.folder_of(name)), self.folder / "outputs" / name
        annotations = str(flights / "annotations.json")
        predict = ["predict", "--run", run, "--data", annotations, "--out"]
        self.dml(*predict, str(out / "predictions.csv"))
        self.dml(*predict, str(out / "rule_a.parquet"), "--rule", "A")
        predictions = ["--run", run, "--predictions", str(out / "predictions.csv")]
        self.dml("drift", *predictions, "--out", str(out / "drift.json"), allowed=(0, 3))
        self.dml("count", *predictions, "--out", str(out / "counts.csv"))
        self.keep_text(f"{name}/enroll", self.dml(
            "enroll", "--run", run, "--crops", annotations, "--label", "tundra_swan", "--only", "tundra_swan"
        ))  # fmt: skip
        self.dml(*predict, str(out / "predictions_after.csv"))
        self.dml("count", "--run", run, "--predictions", str(out / "predictions_after.csv"),
                 "--out", str(out / "counts_after.csv"))  # fmt: skip
        self.keep_text(f"{name}/gallery", self.dml("gallery", "list", "--run", run))
        exported = out / "exported"
        self.dml("export", "--run", run, "--out", str(exported))
        frame, boxes = self.one_frame(flights, out)
        self.keep_text(f"{name}/reader", self.python(str(exported / "score.py"), str(frame), "--boxes", str(boxes)))
        self.keep_arrays(f"{name}/exported", load_file(exported / "arrays.safetensors"))
        self.keep_json(f"{name}/exported model", json.loads((exported / "model.json").read_text(encoding="utf-8")))
        self.dml("audit", f"{run}/embeddings/test.npz", "--out", str(out / "audit"))
        for path in sorted(out.rglob("*")):
            self.keep_file(f"{name}/{path.relative_to(out)}", path)

    def comparison(self, data: Sequence[str]) -> None:
        """Two seeds of two arms and a floor, and the tables of the report."""
        config = self.folder / "experiment.yaml"
        encoder = self.folder / "encoder.yaml"  # a file: an option would meet the floor of raw pixels, too
        encoder.write_text(ENCODER, encoding="utf-8")
        config.write_text(EXPERIMENT.replace("ENCODER", str(encoder)), encoding="utf-8")
        own = [word for word in SHORT if not word.startswith(("--config=", "--model."))]
        overrides = json.dumps([*own, *data])
        out = self.folder / "compared"
        self.dml("compare", "--config", str(config), "--out", str(out), "--overrides", overrides)
        folder = out / "reference"
        for format, ending in (("md", "md"), ("csv", "csv"), ("latex", "tex")):
            self.dml("report", str(folder), "-o", str(folder / f"report.{ending}"), "--format", format)
        for path in sorted(folder.glob("*.*")):
            self.keep_file(f"compared/{path.name}", path)

    def folder_of(self, name: str) -> Path:
        """The folder of the run of that name."""
        return next((self.folder / "runs" / name).iterdir())

    def one_frame(self, flights: Path, out: Path) -> tuple[Path, Path]:
        """A frame with its boxes as a table for the exported reader."""
        content = json.loads((flights / "annotations.json").read_text(encoding="utf-8"))
        image = content["images"][0]
        boxes = [row["bbox"] for row in content["annotations"] if row["image_id"] == image["id"]]
        table = out / "boxes.csv"
        table.write_text("\n".join(["x,y,width,height", *(",".join(map(str, box)) for box in boxes)]), encoding="utf-8")
        return flights / image["file_name"], table

    # What is kept --------------------------------------------------------------------------------

    def keep_run(self, name: str, run: Path) -> None:
        """Every tensor of the best checkpoint, the embeddings, numbers and gallery of a run."""
        if not name.startswith("tested "):
            state = torch.load(run / "checkpoints" / "best.ckpt", map_location="cpu", weights_only=True)["state_dict"]
            self.keep_arrays(f"{name}/best.ckpt", {key: value.numpy() for key, value in state.items()})
        for path in sorted([*run.glob("embeddings/*.npz"), *run.glob("metrics/*.json"), *run.glob("tables/*.csv")]):
            self.keep_file(f"{name}/{path.relative_to(run)}", path)
        recipe = yaml.safe_load((run / "recipe.fit.yaml").read_text(encoding="utf-8"))
        self.facts[f"{name}/optimizer"] = json.dumps(recipe["model"]["init_args"]["optimizer"], sort_keys=True)

    def keep_file(self, place: str, path: Path) -> None:
        """The content of a file of a kind that holds numbers; pages, pictures and graphs are left out."""
        if path.suffix == ".npz":
            with np.load(path) as file:
                self.keep_arrays(place, {key: file[key] for key in file.files})
        elif path.suffix == ".json" and path.name not in ("model.json", "declared.json"):
            self.keep_json(place, json.loads(path.read_text(encoding="utf-8")))
        elif path.suffix == ".csv":
            with path.open(newline="", encoding="utf-8") as file:
                self.keep_table(place, list(csv.DictReader(file)))
        elif path.suffix == ".parquet":
            import pandas as pd

            self.keep_table(place, pd.read_parquet(path).astype(str).to_dict("records"))
        elif path.suffix in (".md", ".tex") and path.name != "README.md":
            self.keep_text(place, path.read_text(encoding="utf-8"))

    def keep_arrays(self, place: str, arrays: Arrays) -> None:
        """Arrays by their names."""
        for key, value in arrays.items():
            self.arrays[f"{place}/{key}"] = np.asarray(value)

    def keep_json(self, place: str, content: Any) -> None:
        """Every leaf of a JSON file, by its path in it."""
        for key, value in leaves(content):
            if not NOT_KEPT.search(key):
                self.facts[f"{place}/{key}"] = plain(value) if isinstance(value, str) else value

    def keep_table(self, place: str, rows: Sequence[dict[str, str]]) -> None:
        """Every column of a table, cell by cell."""
        for key in rows[0] if rows else ():
            if not NOT_KEPT.search(key):
                self.facts[f"{place}/{key}"] = [plain(str(row[key])) for row in rows]

    def keep_text(self, place: str, text: str) -> None:
        """A text without paths."""
        self.facts[place] = [plain(line) for line in text.splitlines() if line.strip()]

    def digest(self) -> str:
        """Sixteen hex digits of everything that is kept."""
        found = hashlib.sha256(json.dumps(self.facts, sort_keys=True).encode())
        for key in sorted(self.arrays):
            found.update(f"{key} {self.arrays[key].dtype} {self.arrays[key].shape}".encode())
            found.update(np.ascontiguousarray(self.arrays[key]).tobytes())
        return found.hexdigest()[:16]


def plain(text: str) -> str:
    """A text without paths and names of run folders."""
    return PATHS.sub("PATH", RUN_HASH.sub(r"HASH-s\1", text)) if ("/" in text or "-s" in text) else text


def leaves(node: Any, place: str = "") -> Iterator[tuple[str, Any]]:
    """Every leaf of nested dictionaries and lists, by its dotted path."""
    parts = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else None
    if parts is None:
        yield place, node
        return
    for key, value in parts:
        yield from leaves(value, f"{place}.{key}" if place else str(key))


# Comparing two -----------------------------------------------------------------------------------


def compare(first: Path, second: Path, mapping: dict[str, str]) -> int:
    """Prints what differs between two kept runs, place by place; returns the number of places.

    Args:
        first: Folder of one.
        second: Folder of the other.
        mapping: Regular expression of a place in `first` -> its place in `second`; "" for what has gone on purpose.
    """
    one, other = read(first), read(second)
    one = {moved: value for key, value in one.items() if (moved := renamed(key, mapping)) is not None}
    differing = 0
    for key in sorted(one.keys() | other.keys()):
        if key not in one or key not in other:
            print(f"{'only in ' + str(first if key in one else second):40} {key}")
            differing += 1
            continue
        gap = difference(one[key], other[key])
        if gap is not None:
            print(f"{gap:40} {key}")
            differing += 1
    same = len(one.keys() & other.keys()) - sum(
        difference(one[k], other[k]) is not None for k in one.keys() & other.keys()
    )
    print(f"{same} places are equal to the last bit, {differing} are not.")
    return differing


def read(folder: Path) -> dict[str, Any]:
    """What `Reference` kept, facts and arrays by place."""
    facts: dict[str, Any] = json.loads((folder / "facts.json").read_text(encoding="utf-8"))
    with np.load(folder / "arrays.npz") as file:
        return facts | {key: file[key] for key in file.files}


def renamed(key: str, mapping: dict[str, str]) -> str | None:
    """The place of `key` in the other run; None for what has gone."""
    for pattern, replacement in mapping.items():
        if re.search(pattern, key):
            return re.sub(pattern, replacement, key) if replacement else None
    return key


def difference(one: Any, other: Any) -> str | None:
    """How two values differ, None where they are equal to the last bit."""
    a, b = np.asarray(one), np.asarray(other)
    if a.shape != b.shape:
        return f"shapes {a.shape} and {b.shape}"
    if a.dtype == b.dtype and a.tobytes() == b.tobytes():
        return None
    numbers = [numeric(values) for values in (a, b)]
    if any(values is None for values in numbers):
        where = [str(x) for x, y in zip(a.ravel(), b.ravel(), strict=True) if x != y]
        return f"{len(where)} texts, first {where[0]!r}" if where else None
    x, y = (np.asarray(values, float) for values in numbers)
    gap = np.abs(x - y) / np.maximum(1.0, np.maximum(np.abs(x), np.abs(y)))
    worst = float(np.nanmax(gap)) if np.isfinite(gap).any() else math.inf
    odd = int((np.isnan(x) != np.isnan(y)).sum())
    return None if not worst and not odd else f"by up to {worst:.1e}" + (f", {odd} NaN" if odd else "")


def numeric(values: NDArray[Any]) -> NDArray[Any] | None:
    """Values as numbers, None where they are texts."""
    if values.dtype.kind in "fiub":
        return values
    try:
        return np.array([float(each) if each not in ("", None) else math.nan for each in values.ravel().tolist()])
    except (TypeError, ValueError):
        return None


def main() -> None:
    """The command line, see the top of the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkout", type=Path, help="whose package and configs are run; this one if not given")
    parser.add_argument("--out", type=Path, help="folder to write; a temporary one if not given")
    parser.add_argument("--compare", type=Path, nargs=2, help="two folders written before")
    parser.add_argument("--mapping", type=Path, help="JSON: place in the first -> place in the second, or empty")
    parser.add_argument("--quick", action="store_true", help="one arm, no comparison; so it is without any argument")
    given = parser.parse_args()
    mapping = json.loads(given.mapping.read_text(encoding="utf-8")) if given.mapping else {}
    if given.compare:
        raise SystemExit(compare(*given.compare, mapping) > 0)
    checkout, quick = given.checkout or ROOT, given.quick or not (given.checkout or given.out)
    if given.out:
        return Reference(checkout, given.out, quick).run()
    with tempfile.TemporaryDirectory() as folder:
        once, again = Path(folder, "once"), Path(folder, "again")
        Reference(checkout, once, quick).run()
        Reference(checkout, again, quick).run()
        raise SystemExit(compare(once, again, mapping) > 0)


if __name__ == "__main__":
    main()
