"""Benchmarks are loaded as they run: with their folder first on the path."""

import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest

FOLDER = Path(__file__).resolve().parents[2] / "benchmarks"


def benchmark(name: str) -> ModuleType:
    """A script or helper of the folder, loaded once."""
    if str(FOLDER) not in sys.path:
        sys.path.insert(0, str(FOLDER))
    return import_module(name)


@pytest.fixture(scope="session")
def measure() -> ModuleType:
    """The helpers of all benchmarks."""
    return benchmark("measure")
