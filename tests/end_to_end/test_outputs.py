"""No command writes over what it reads, or over a file that a run lives on; what stood before stays."""

import subprocess
import sys
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from dml_lightning.cli import main
from tests.made_up import Made, RunOf

Words = Callable[[Path], list[str]]  # folder of a run, with p.csv and frames beside it -> a command
EXPERIMENT: Words = lambda run: ["compare", f"--config={run}/../experiment.yaml"]  # noqa: E731
COUNT: Words = lambda run: ["count", f"--run={run}", f"--predictions={run}/../p.csv"]  # noqa: E731
TAKEN: dict[str, Words] = {
    "report": lambda run: ["report", str(run), "-o", f"{run}/run.json"],
    "report of a file": lambda run: ["report", f"{run}/../e.npz", "-o", f"{run}/../e.npz"],
    "audit": lambda run: ["audit", f"{run}/../e.npz", "--out", f"{run}/metrics"],
    "predict": lambda run: ["predict", f"--run={run}", f"--data={run}/../p.csv", f"--out={run}/../p.csv"],
    "predict a run's file": lambda run: ["predict", f"--run={run}", "--data=x", f"--out={run}/gallery/p.csv"],
    "pictures": lambda run: ["predict", f"--run={run}", f"--data={run}/../frames", f"--pictures={run}/../frames"],
    "frames beside": lambda run: ["predict", f"--run={run}", f"--data={run}/../p.frames.csv", f"--out={run}/../p.csv"],
    "predict in the data": lambda run: [
        *("predict", f"--run={run}", f"--data={run}/../frames/"),
        f"--out={run.parent}/frames/../frames/boxes.csv",
    ],
    "predict a config's table": lambda run: [
        *("predict", f"--run={run}", f"--data={run}/../data.yaml"),
        f"--out={run.parent}/frames/boxes.csv",
    ],
    "map": lambda run: ["predict", f"--run={run}", "--data=x", f"--map={run}/metrics/map.geojson"],
    "count of frames": lambda run: [*COUNT(run), f"--out={run}/../p.frames.csv"],
    "count": lambda run: [*COUNT(run), f"--out={run}/../p.csv"],
    "drift": lambda run: ["drift", f"--run={run}", f"--predictions={run}/../p.csv", f"--out={run}/run.json"],
    "export": lambda run: ["export", f"--run={run}", f"--out={run}/gallery/exported"],
    "simulate": lambda run: ["simulate", f"--out={run}/embeddings/new"],
    "check": lambda run: ["check", f"{run}/../frames", f"--picture={run}/../frames/a.png"],
    "compare": lambda run: [
        "compare",
        f"--config={run}/../experiment.yaml",
        f"--out={run.parent}",
        f"--name={run.name}",
    ],
    "compare in a run": lambda run: ["compare", f"--config={run}/../experiment.yaml", f"--out={run}/checkpoints"],
}


@pytest.fixture
def run(run_of: RunOf, made: Made, tmp_path: Path) -> Path:
    """A run's folder, and beside it what commands read."""
    run = run_of("softmax")
    (run / "run.json").write_text("{}")
    (run.parent / "frames").mkdir()
    pixels = np.random.default_rng(0).integers(90, 110, (60, 80), dtype=np.uint8)
    Image.fromarray(pixels).save(run.parent / "frames" / "a.png")
    (run.parent / "frames" / "boxes.csv").write_text("frame,x,y,width,height,label\na.png,20,20,9,9,duck\n")
    (run.parent / "p.csv").write_text("frame,x,y,width,height\n")
    init_args = {"root": str(run.parent / "frames"), "file": "boxes.csv"}
    source = {"class_path": "dml_lightning.data.sources.CsvTable", "init_args": init_args}
    (run.parent / "data.yaml").write_text(yaml.safe_dump({"data": {"source": source}}))
    np.savez(run.parent / "e.npz", **made())  # type: ignore[arg-type]
    arms = {name: {"configs": []} for name in ("one", "other")}
    (run.parent / "experiment.yaml").write_text(yaml.safe_dump({"name": "n", "shared": [], "arms": arms}))
    return run


def contents(folder: Path) -> dict[str, str]:
    return {str(path): sha256(path.read_bytes()).hexdigest() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.mark.parametrize("case", TAKEN)
def test_what_would_be_lost_is_refused(run: Path, case: str, capsys: pytest.CaptureFixture[str]) -> None:
    before = contents(run.parent)
    with pytest.raises(SystemExit, match="2"):
        main(TAKEN[case](run))
    said = capsys.readouterr().err
    assert "is what the command reads" in said or "is a file of the run" in said or "is the folder of a run" in said
    assert contents(run.parent) == before


def test_beside_its_own_files_a_run_may_hold_results(run: Path) -> None:
    main(["report", str(run), "-o", f"{run}/report.html"])
    assert (run / "report.html").is_file()


def test_a_limit_of_the_system_is_one_sentence_and_the_same_command_goes_on(run: Path) -> None:
    program = """
import resource, sys
from dml_lightning.cli import main
if sys.argv[1] != "0":
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]),) * 2)
main(sys.argv[2:])
"""
    target = run / "report.html"
    target.write_text("old")
    for limit, status in (("100000", 2), ("0", 0)):
        words = [sys.executable, "-c", program, limit, "report", str(run), "-o", str(target)]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        assert done.returncode == status
        if status:
            assert done.stderr.splitlines()[-1] == (
                f"dml report: {target}: File too large; raise the limit of file sizes (ulimit -f), and the same "
                "command goes on."
            )
            assert target.read_text() == "old"
            assert not list(run.glob(".*.tmp"))
    assert target.read_text().rstrip().endswith("</html>")
