"""The package as it is imported: light, with its public names found when they are asked for."""

import importlib
import re
import subprocess
import sys

import pytest

import dml_lightning

HEAVY = ("torch", "lightning", "numpy", "pandas", "timm", "matplotlib", "wandb", "jsonargparse")


def test_an_import_brings_nothing_heavy() -> None:
    code = f"import sys, dml_lightning; print(*[name for name in {HEAVY} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_the_overview_brings_no_torch() -> None:
    code = "import sys; from dml_lightning.cli import main; main(['--help']); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "False"


@pytest.mark.parametrize("name", [name for name in dml_lightning.__all__ if not name.startswith("_")])
def test_every_public_name_is_found(name: str) -> None:
    found = getattr(dml_lightning, name)
    assert found.__name__ == name
    assert found is getattr(importlib.import_module(found.__module__), name)


def test_public_names_are_listed() -> None:
    assert list(dml_lightning.__all__) == sorted(dml_lightning.__all__)
    assert set(dml_lightning.__all__) <= set(dir(dml_lightning))
    assert re.fullmatch(r"\d+\.\d+\.\d+(\.dev\d+)?", dml_lightning.__version__)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'dml_lightning' has no attribute 'QuadrupletLoss'"):
        _ = dml_lightning.QuadrupletLoss
