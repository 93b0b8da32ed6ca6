"""What each command may import before it has something to compute: nobody waits for PyTorch to read a sentence."""

import json
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from tests import ROOT
from tests.commands.enrolling import NEW, predictions, table_of

HEAVY = {
    *("torch", "torchvision", "lightning", "torchmetrics", "pytorch_metric_learning", "timm", "pandas", "pyarrow"),
    *("scipy", "sklearn", "matplotlib", "wandb", "onnx", "onnxruntime", "submitit", "tifffile"),
}
TABLES = {"pandas", "pyarrow"}
READING = TABLES | {"tifffile"}
# command -> arguments that name a missing file or cannot be used, and the heavy modules that this error may import
ERRORS = {
    "simulate": (["--out=.", "--flights=0"], set[str]()),
    "check": (["nowhere"], TABLES),
    "predict": (["--run=nowhere", "--data=nowhere"], READING),
    "enroll": (["--run=nowhere", "--crops=nowhere", "--label=coot"], set()),
    "gallery list": (["--run=nowhere"], set()),
    "gallery remove": (["--run=nowhere", "--label=coot"], set()),
    "gallery recalibrate": (["--run=nowhere", "--data=nowhere"], set()),
    "drift": (["--run=nowhere", "--predictions=nowhere.csv"], TABLES),
    "count": (["--run=nowhere", "--predictions=nowhere.csv"], TABLES),
    "export": (["--run=nowhere", "--out=nowhere"], set()),
    "compare": (["--name=x", "--shared=[nowhere.yaml]", '--arms={"a": {"configs": []}}'], set()),
    "report": (["nowhere"], set()),
    "clean": (["--days=-1"], set()),
    "audit": (["nowhere.npz"], set()),
    "theory margin": (["--classes=1", "--dim=2"], set()),
}
PROGRAM = """
import json, sys
from contextlib import suppress
from dml_lightning.cli import main
command, arguments, heavy = json.loads(sys.argv[1])
for given in ["--help"], ["--no_such_option=1"], arguments:
    with suppress(SystemExit):
        main([*command.split(), *given])
    print(json.dumps(sorted(set(heavy) & set(sys.modules))))
"""


def imported(folder: Path, command: str, arguments: list[str]) -> list[set[str]]:
    """Heavy modules after the help, after the error of an unknown option, and after that of the arguments."""
    asked = json.dumps([command, arguments, sorted(HEAVY)])
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", PROGRAM, asked],
        capture_output=True,
        text=True,
        check=True,
        cwd=folder,
        env={"PYTHONPATH": str(ROOT), "PATH": ""},
    )
    assert "Traceback" not in done.stderr
    assert len(done.stderr.splitlines()) == 2, done.stderr  # a sentence for each error
    return [set(json.loads(line)) for line in done.stdout.splitlines() if line.startswith("[")]


@pytest.mark.parametrize("command", ERRORS)
def test_help_and_errors_import_nothing_heavy(command: str, tmp_path: Path) -> None:
    arguments, allowed = ERRORS[command]
    after_help, after_option, after_file = imported(tmp_path, command, arguments)
    assert after_help == after_option == set()
    assert after_file <= allowed


def test_every_command_of_our_own_is_listed() -> None:
    from dml_lightning.cli import COMMANDS

    own = {name for name, command in COMMANDS.items() if not command.lightning}
    assert {command.split()[0] for command in ERRORS} == own


@pytest.mark.parametrize("command", ["fit", "validate", "test"])
def test_commands_of_lightning_wait_for_it_alone(command: str, tmp_path: Path) -> None:
    of_lightning = {"torch", "torchvision", "torchmetrics", "lightning", "scipy", "matplotlib"}
    used = imported(tmp_path, command, ["--config=nowhere.yaml"])[-1]
    assert used <= of_lightning | TABLES | {"pytorch_metric_learning"}


def test_flights_are_simulated_without_torch(tmp_path: Path) -> None:
    words = [f"--out={tmp_path / 'flights'}", "--flights=1", "--frames=1", "--width=64", "--height=64", "--workers=1"]
    program = f"import sys; from dml_lightning.cli import main; main(['simulate', *{words}]); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert (tmp_path / "flights" / "annotations.json").is_file()
    assert HEAVY & set(done.stdout.split()) == {"scipy", "tifffile"}


def imported_by(*commands: list[str]) -> set[str]:
    """Heavy modules after some commands in one process."""
    program = (
        f"import sys; from dml_lightning.cli import main; [main(each) for each in {commands}]; "
        "print('modules', *sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return HEAVY & set(done.stdout.partition("\nmodules ")[2].split())


def test_a_gallery_is_listed_and_flights_compared_and_counted_without_torch(
    calibrated: Path, flights: Path, tmp_path: Path
) -> None:
    predictions(calibrated, flights, tmp_path / "boxes.csv")
    words = [f"--run={calibrated}", f"--predictions={tmp_path}/boxes.csv"]
    commands = [["gallery", "list", f"--run={calibrated}"], ["drift", *words, "--level=0.001"], ["count", *words]]
    assert imported_by(*commands) <= READING | {"scipy"}


def test_boxes_are_named_and_species_enrolled_and_runs_exported_without_lightning(
    calibrated: Path, flights: Path, boxes: pd.DataFrame, tmp_path: Path
) -> None:
    crops = table_of(boxes[boxes["label"] == NEW].head(5), tmp_path / "crops.csv")
    run = f"--run={calibrated}"
    used = imported_by(
        ["predict", run, f"--data={flights}/annotations.json", f"--out={tmp_path}/boxes.csv"],
        ["enroll", run, f"--crops={crops}", f"--label={NEW}"],
        ["export", run, f"--out={tmp_path}/exported"],
    )
    of_timm = {"torchvision", "wandb"}
    assert used <= READING | {"torch", "timm", "scipy", "onnx", "onnxruntime"} | of_timm
    assert {"torch", "timm"} <= used
