"""Every command of the README and of the documents runs, in the order of the site, and so does their Python."""

import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dml_lightning.cli import COMMANDS, main
from dml_lightning.runs.tracker import SYNC
from tests import ROOT
from tests.end_to_end.layouts import LAYOUTS

PAGES = re.findall(r": (\w+\.md)$", (ROOT / "mkdocs.yml").read_text(), flags=re.MULTILINE)
TEXTS = {page: (ROOT / page).read_text(encoding="utf-8") for page in ["README.md", *(f"docs/{page}" for page in PAGES)]}
EVERYTHING = "\n".join(TEXTS.values())


def blocks(text: str, language: str) -> list[str]:
    """What stands in the code blocks of a language."""
    return re.findall(rf"```{language}\n(.*?)```", text, flags=re.DOTALL)


def commands() -> list[str]:
    """The lines of all bash blocks, each once."""
    return list(dict.fromkeys(line for block in blocks(EVERYTHING, "bash") for line in block.splitlines() if line))


def expand(word: str) -> list[str]:
    """What a shell makes of a glob."""
    found = [str(path) for path in sorted(Path().glob(word))] if "*" in word else []
    return found or [word]


def run(given: list[str]) -> None:
    """One command; in a process of its own where it imports what disturbs later tests."""
    if given[0] == "export":
        subprocess.run([sys.executable, "-m", "dml_lightning", *given], check=True)
        return
    try:
        main(given)
    except SystemExit as status:
        if (given[0], status.code) not in {("check", 3), ("drift", 3)}:  # counts; birds of so short a training drift
            raise


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Fewer than .* training crops")
@pytest.mark.filterwarnings("ignore:.* calibration samples are too few")  # of MY_FRAMES, so that rule B decides
def test_commands(words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    for folder, layout in {"MY_FRAMES": "csv", "HIT_UAV": "hit_uav"}.items():
        LAYOUTS[layout](tmp_path / folder)
    shutil.copytree(tmp_path / "MY_FRAMES", tmp_path / "NEW_FRAMES")
    noise = np.random.default_rng(1).integers(0, 9, (128, 128), dtype=np.uint8)
    table = tmp_path / "NEW_FRAMES" / "boxes.csv"
    table.write_text(table.read_text().replace("night", "later night"))  # other flights than those of the test split
    for path in (tmp_path / "NEW_FRAMES").glob("*.png"):
        Image.fromarray(np.asarray(Image.open(path)) + noise).save(path)
    crops = np.random.default_rng(0).integers(90, 120, (3, 40, 40), dtype=np.uint8)
    (tmp_path / "MY_SPECIES").mkdir()
    for number, crop in enumerate(crops):
        Image.fromarray(crop).save(tmp_path / "MY_SPECIES" / f"{number}.png")
    unique = {"--config", "--data.source", "--runs_root", "--data.cache_dir"}
    short = [word for word in words if word.split("=")[0] not in unique | {"--data.source.init_args.root"}]
    simulated = [word for word in short if word.startswith("--data")]
    rest = [word for word in short if not word.startswith("--data")]
    ran = []
    for line in commands():
        program, *given = (part for word in shlex.split(line, comments=True) for part in expand(word))
        if program in ("make", "torchrun", "srun", "for"):
            continue  # the gate runs the first; test_launch.py and test_wandb_online.py the others
        assert program == "dml", line
        if given[0] == "simulate":
            given += ["--flights=8", "--frames=4", "--width=480", "--height=384", "--progress=false"]
        elif given[0] == "fit":
            given += rest + (simulated if "configs/data/simulated.yaml" in given else ["--data.batches_per_epoch=4"])
            if "configs/data/simulated.yaml" in given:  # a drift test needs three flights to calibrate on
                given += ["--data.split_fractions=[0.3, 0.15, 0.15, 0.4]"]
            if "configs/trainer/ddp.yaml" in given:
                given += ["--trainer.strategy=auto", "--trainer.devices=1"]
                given += ["--trainer.plugins=null", "--trainer.fast_dev_run=1"]
        elif given[0] == "compare":
            given += [] if "--overrides" in given else ["--overrides", "[]"]
            position = given.index("--overrides") + 1
            extra = [*rest, "--data.samples_per_class=4", "--data.batches_per_epoch=1"]
            extra = [word for word in extra if "encoder" not in word]  # one floor has none to set
            given[position] = json.dumps(json.loads(given[position]) + extra)
            given += ["--seeds=[0, 1]", "--out=runs"]
        run(given)
        ran.append(given[0])
        for path in (tmp_path / "night.labelme").glob("*.json"):  # a person names the refused boxes
            path.write_text(re.sub('"label": "unknown"', '"label": "Car"', path.read_text()))
    assert set(ran) == set(COMMANDS) - {"validate"}  # which is `test` on the validation split
    for name in ("predictions.csv", "counts.csv", "report.html", "audit/metrics.json"):
        assert (tmp_path / name).is_file(), name
    assert (tmp_path / "exported" / "score.py").is_file()


def test_the_command_that_sends_runs_is_the_tested_one() -> None:
    assert SYNC.format(run="runs/triplet/*") in commands()


@pytest.mark.filterwarnings("default::UserWarning")  # of a plain Trainer: no tensorboard, few workers
@pytest.mark.parametrize("page", [page for page, text in TEXTS.items() if "```python" in text])
def test_python(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    LAYOUTS["csv"](tmp_path / "MY_FRAMES")
    names: dict[str, object] = {}
    for block in blocks(TEXTS[page], "python"):
        exec(block.replace("max_epochs=10", "fast_dev_run=True"), names)


@pytest.mark.parametrize("page", TEXTS)
def test_every_file_that_it_names_is_there(page: str) -> None:
    for name in re.findall(r"(?<![\w/])(?:configs|docs|benchmarks)/[\w/.]*\w", TEXTS[page]):
        assert (ROOT / name).exists(), name


def test_every_page_and_every_result_is_linked() -> None:
    assert {path.name for path in (ROOT / "docs").glob("*.md")} == set(PAGES)
    measured = {path.name for path in (ROOT / "benchmarks" / "results").glob("*.md")}
    assert measured == set(re.findall(r"\(measurements/(\w+\.md)\)", TEXTS["docs/measurements.md"]))


def test_every_source_is_listed() -> None:
    from dml_lightning.data import sources

    readers = {
        name
        for name in sources.__all__
        if isinstance(getattr(sources, name), type) and issubclass(getattr(sources, name), sources.Source)
    } - {"Source"}
    assert readers == set(re.findall(r"^\| `(\w+)` \|", EVERYTHING, flags=re.MULTILINE)) & readers
