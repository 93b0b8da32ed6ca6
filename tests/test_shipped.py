"""Configs by name: what a wheel carries, and which of two files is read."""

import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
import yaml

from dml_lightning import shipped
from tests import ROOT

BUILD = "from setuptools import build_meta; build_meta.build_{kind}('out')"
SOURCES = ("pyproject.toml", "setup.py", "MANIFEST.in", "README.md", "LICENSE", "configs", "dml_lightning")


def call(code: list[str], folder: Path, **variables: str) -> str:
    done = subprocess.run(
        [sys.executable, *code], cwd=folder, env={"PATH": "", **variables}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel that is built of a source archive, which is built of a copy of the repository."""
    folder = tmp_path_factory.mktemp("sources")
    (folder / "out").mkdir()
    for path in (path for name in SOURCES for path in ((ROOT / name), *(ROOT / name).rglob("*"))):
        if path.is_file() and "__pycache__" not in path.parts:
            copy = folder / path.relative_to(ROOT)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(path.read_bytes())
    call(["-c", BUILD.format(kind="sdist")], folder)
    with tarfile.open(next((folder / "out").glob("*.tar.gz"))) as archive:
        archive.extractall(folder / "unpacked", filter="data")
    (unpacked,) = (folder / "unpacked").iterdir()
    call(["-c", BUILD.format(kind="wheel")], unpacked)
    return next((unpacked / "out").glob("*.whl"))


def test_the_wheel_carries_the_configs_as_they_are(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        inside = {
            name.removeprefix("dml_lightning/configs/"): archive.read(name)
            for name in names
            if name.startswith("dml_lightning/configs/")
        }
    here = {path.relative_to(ROOT / "configs").as_posix(): path for path in (ROOT / "configs").rglob("*.yaml")}
    assert inside == {name: path.read_bytes() for name, path in here.items()}
    assert {"dml_lightning/py.typed", "dml_lightning/report/page.html"} <= names
    assert {path.relative_to(ROOT).as_posix() for path in (ROOT / "dml_lightning").rglob("*.py")} <= names
    assert not any(name.startswith(("tests", "benchmarks", "configs")) for name in names)


@pytest.mark.slow
def test_the_wheel_is_used_from_another_folder(wheel: Path, tmp_path: Path) -> None:
    zipfile.ZipFile(wheel).extractall(tmp_path / "installed")
    (tmp_path / "elsewhere").mkdir()
    program = "import sys; from dml_lightning import cli; print(cli.__file__); cli.main(sys.argv[1:])"
    args = ["fit", "-c", "base", "-c", "data/simulated", "--config=model/triplet.yaml", "--print_config"]
    printed = call(["-c", program, *args], tmp_path / "elsewhere", PYTHONPATH=str(tmp_path / "installed"))
    where, _, recipe = printed.partition("\n")
    assert Path(where).is_relative_to(tmp_path / "installed")
    assert yaml.safe_load(recipe)["model"]["class_path"] == "dml_lightning.models.TripletModule"


def test_every_config_has_a_name() -> None:
    names = shipped.shipped_configs()
    assert len(names) == sum(path.is_file() for path in (ROOT / "configs").rglob("*"))
    assert {"base", "data/csv", "experiment/demo"} <= set(names)
    assert all(shipped.config_file(name).samefile(ROOT / "configs" / f"{name}.yaml") for name in names)


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", ["base", "base.yaml", "configs/base.yaml", "configs/base"])
def test_a_local_file_goes_before_and_is_named(elsewhere: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    assert shipped.config_file(name).samefile(ROOT / "configs" / "base.yaml")
    local = elsewhere / (name if name.endswith(".yaml") else f"{name}.yaml")
    local.parent.mkdir(exist_ok=True)
    local.write_bytes((ROOT / "configs" / "base.yaml").read_bytes())
    assert shipped.config_file(name).samefile(local)
    assert capsys.readouterr().err == ""  # it makes no difference
    local.write_text("seed_everything: 3\n")
    assert [shipped.config_file(name).samefile(local) for _ in range(2)] == [True, True]
    assert capsys.readouterr().err == f"{local} is read, and not the config base of the package, which differs.\n"


def test_a_folder_is_no_config_and_other_names_stay(elsewhere: Path) -> None:
    (elsewhere / "base").mkdir()
    assert shipped.config_file("base").samefile(ROOT / "configs" / "base.yaml")
    for other in ("nosuch", "../base", "{trainer: {max_epochs: 1}}", "x" * 5000, "a\0b", ""):
        assert shipped.config_file(other) == Path(other)
