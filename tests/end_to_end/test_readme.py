"""Every command of the README runs, in the order in which it stands there."""

import re
import shlex
from pathlib import Path

import pytest
from layouts import LAYOUTS

from dml_lightning.cli import COMMANDS, main

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def commands() -> list[str]:
    """The lines of all bash blocks."""
    blocks = re.findall(r"```bash\n(.*?)```", README, flags=re.DOTALL)
    return [line for block in blocks for line in block.splitlines() if line]


def expand(word: str) -> list[str]:
    """What a shell makes of a glob."""
    found = [str(path) for path in sorted(Path().glob(word))] if "*" in word else []
    return found or [word]


@pytest.mark.filterwarnings("ignore:Fewer than .* training crops")
def test_commands(words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    for folder, layout in {"MY_FRAMES": "csv", "HIT_UAV": "hit_uav"}.items():
        LAYOUTS[layout](tmp_path / folder)
    unique = {"--config", "--data.source", "--runs_root", "--data.cache_dir"}
    short = [
        word
        for word in words
        if word.split("=")[0] not in unique | {"--data.source.init_args.root"}
    ]
    simulated = [word for word in short if word.startswith("--data")]
    rest = [word for word in short if not word.startswith("--data")]
    ran = []
    for line in commands():
        program, *given = (
            part for word in shlex.split(line, comments=True) for part in expand(word)
        )
        if program == "make":
            continue  # the gate runs them
        assert program == "dml", line
        if given[0] == "simulate":
            given += [
                "--flights=6",
                "--frames=4",
                "--width=480",
                "--height=384",
                "--progress=false",
            ]
        elif given[0] == "fit":
            given += rest + (simulated if "configs/data/simulated.yaml" in given else [])
            if "configs/trainer/ddp.yaml" in given:
                given += ["--trainer.strategy=auto", "--trainer.devices=1"]
                given += ["--trainer.sync_batchnorm=false", "--trainer.fast_dev_run=1"]
        elif given[0] == "compare":
            position = given.index("--overrides") + 1
            extra = [*rest, "--data.samples_per_class=4", "--data.batches_per_epoch=1"]
            extra = [word for word in extra if "encoder" not in word]  # one floor has none to set
            given[position] = given[position][:-1] + "".join(f', "{word}"' for word in extra) + "]"
            given += ["--splits=[0]", "--out=runs"]
        main(given)
        ran.append(given[0])
    assert set(ran) == {"fit", "test", *COMMANDS}
    assert (tmp_path / "predictions.csv").is_file()


def test_every_file_that_it_names_is_there() -> None:
    named = re.findall(r"(?:configs|docs|benchmarks)/[\w/.]*\w", README)
    assert len(named) > 8
    for name in named:
        assert (ROOT / name).exists(), name


def test_every_source_is_listed() -> None:
    from dml_lightning.data import sources

    readers = {
        name
        for name in sources.__all__
        if isinstance(getattr(sources, name), type)
        and issubclass(getattr(sources, name), sources.Source)
    } - {"Source"}
    assert readers == set(re.findall(r"^\| `(\w+)` \|", README, flags=re.MULTILINE)) & readers
