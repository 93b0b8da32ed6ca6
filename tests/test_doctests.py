"""The examples in docstrings say what they show.

Modules are found by their text, so that one without an example is not imported for it.
"""

import doctest
import io
from importlib import import_module
from types import ModuleType

import pytest

from tests import ROOT

FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def modules_with_examples() -> list[str]:
    """Dotted names of the package's modules whose docstrings hold an example."""
    paths = [path for path in sorted((ROOT / "dml_lightning").rglob("*.py")) if ">>> " in path.read_text("utf-8")]
    names = [".".join(path.relative_to(ROOT).with_suffix("").parts) for path in paths]
    return [name.removesuffix(".__init__") for name in names]


def run_examples(module: ModuleType) -> tuple[int, str]:
    """How many examples of a module were tried, and what those said that failed."""
    runner, said = doctest.DocTestRunner(optionflags=FLAGS), io.StringIO()
    for examples in doctest.DocTestFinder().find(module):
        runner.run(examples, out=said.write)
    return runner.tries, said.getvalue()


@pytest.mark.parametrize("name", modules_with_examples())
def test_every_example_says_what_it_shows(name: str) -> None:
    tried, said = run_examples(import_module(name))
    assert tried > 0
    assert not said, said


@pytest.mark.parametrize(("shown", "failing"), [("2", False), ("3", True), ("Traceback", True)])
def test_an_example_that_shows_something_else_fails(shown: str, failing: bool) -> None:
    module = ModuleType("example", f"One and one:\n\n>>> 1 + 1\n{shown}\n")
    tried, said = run_examples(module)
    assert tried == 1
    assert ("Expected:" in said) == failing
