"""Programs in fresh processes beside an exported folder."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.export.made_up import Fresh, Read

READER = """
import csv, sys
from pathlib import Path
import numpy as np
import tifffile
folder = Path(sys.argv[1])
sys.path.insert(0, str(folder / "model"))
from score import Model, read_boxes
model = Model(folder / "model")
with (folder / "boxes.csv").open() as file:
    frames = np.array([row["frame"] for row in csv.DictReader(file)])
boxes, answers = read_boxes(folder / "boxes.csv"), {}
for path in dict.fromkeys(frames):
    crops = model.cut(tifffile.imread(path), boxes[frames == path], gsd=0.08)
    embedded = model.embed(crops)
    answers.setdefault("vectors", []).append(embedded.embeddings)
    for rule in model.rules:
        answers.setdefault(f"decision_{rule}", []).append(model.judge(embedded, rule)["decision"])
    for name, array in model.predict(crops).items():
        answers.setdefault(name, []).append(array)
np.savez(folder / "answers.npz", **{name: np.concatenate(parts) for name, parts in answers.items()})
print(*sorted({name.partition(".")[0] for name in sys.modules}))
"""


@pytest.fixture(scope="session")
def fresh() -> Fresh:
    """Runs a program with arguments in a process of its own and returns what it prints."""

    def run(program: str, *args: object, cwd: Path) -> str:
        command = [sys.executable, "-W", "error", "-c", program, *map(str, args)]
        done = subprocess.run(command, capture_output=True, text=True, cwd=cwd, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


@pytest.fixture(scope="session")
def read(exported: Callable[[str], Path], fresh: Fresh) -> Read:
    """Answers of the run and of the folder, once per case; without PyTorch, Lightning or this package."""
    known: dict[str, tuple[dict[str, np.ndarray], dict[str, np.ndarray]]] = {}

    def get(case: str) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
        if case not in known:
            folder = exported(case)
            modules = fresh(READER, folder, cwd=folder).split()
            assert not {"torch", "lightning", "dml_lightning", "timm", "pandas"} & set(modules)
            assert {"onnxruntime", "score"} <= set(modules)
            with np.load(folder / "expected.npz") as ours, np.load(folder / "answers.npz") as theirs:
                known[case] = dict(ours), dict(theirs)
        return known[case]

    return get
