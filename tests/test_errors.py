"""Which sentence of a chain of errors is for the user."""

import errno
import sys
import tomllib
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException

from dml_lightning.cli import OneSentenceParser
from dml_lightning.errors import (
    EXTRAS,
    extra_sentence,
    missing_extra,
    own_sentence,
    parser_sentence,
    system_sentence,
    trainer_sentence,
)
from dml_lightning.evaluation.evidence import read_evidence
from dml_lightning.files import read_json
from dml_lightning.theory import max_feasible_margin
from tests import ROOT


def caught(work: Callable[[], object]) -> BaseException:
    try:
        work()
    except Exception as error:
        return error
    raise AssertionError("nothing was raised")


def test_extras_are_those_that_are_declared(monkeypatch: pytest.MonkeyPatch) -> None:
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert {extra: tuple(each.partition(">=")[0] for each in declared[extra]) for extra in EXTRAS} == EXTRAS
    monkeypatch.setitem(sys.modules, "onnx", None)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert (
        missing_extra("export")
        == 'this needs onnx, onnxruntime, which an extra installs: pip install "dml-lightning[export]".'
    )
    assert extra_sentence(ModuleNotFoundError("No module named 'ours'", name="ours")) is None


def test_no_error_has_no_sentence() -> None:
    assert own_sentence(None) is None


def test_of_others_errors_none_is_ours() -> None:
    assert own_sentence(caught(lambda: int("x"))) is None
    assert own_sentence(ValueError("never raised")) is None


def test_only_value_errors_are_for_the_user() -> None:
    with pytest.raises(AttributeError) as raised:
        read_json("no path")  # type: ignore[arg-type]
    assert own_sentence(raised.value) is None


def test_an_own_sentence_is_told_through_what_others_wrap_around_it(tmp_path: Path) -> None:
    (tmp_path / "file.json").write_text("{")

    def explicit() -> None:
        try:
            read_json(tmp_path / "file.json")
        except ValueError as error:
            raise RuntimeError("the parser stopped") from error

    def implicit() -> None:
        try:
            explicit()
        except RuntimeError:
            raise KeyError("model")  # noqa: B904  # as a parser does

    for work in (explicit, implicit):
        said = own_sentence(caught(work))
        assert said is not None
        assert said.startswith(f"{tmp_path / 'file.json'} is damaged")


def test_of_two_own_sentences_the_outer_one_is_told() -> None:
    def wrapped() -> None:
        try:
            max_feasible_margin(0, 3)
        except ValueError as error:
            try:
                read_json(Path(__file__))  # this text is no JSON
            except ValueError as outer:
                outer.__cause__ = error
                raise

    said = own_sentence(caught(wrapped))
    assert said is not None
    assert said.startswith(f"{__file__} is damaged")


def test_the_file_of_a_wrong_array_is_told(tmp_path: Path) -> None:
    np.savez(tmp_path / "given.npz", vectors=np.zeros((2, 2)), labels=np.zeros(2, int), roles=np.array(["x", "known"]))
    said = own_sentence(caught(lambda: read_evidence(tmp_path / "given.npz")))
    assert said is not None
    assert said.startswith(f"{tmp_path / 'given.npz'}: the role 'x' is none of ")


def test_what_a_parser_says_counts_only_where_there_is_no_other_sentence() -> None:
    def words(inner: Callable[[], object]) -> None:
        try:
            inner()
        except ValueError as error:
            OneSentenceParser().error("Problem with given class_path: long text of a library", error)

    assert own_sentence(caught(lambda: words(lambda: int("x")))) == (
        "Problem with given class_path: long text of a library"
    )
    told = own_sentence(caught(lambda: words(lambda: max_feasible_margin(1, 8))))
    assert told == "triplets need at least 2 classes, got 1"


def test_the_system_is_told_with_the_file_and_what_helps(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    said = system_sentence(caught(lambda: (tmp_path / "file" / "below").open()))
    assert (
        said == f"{tmp_path / 'file' / 'below'}: Not a directory; a part of this path is a file; choose another path."
    )
    said = system_sentence(caught(lambda: (tmp_path / ("x" * 300)).touch()))
    assert said is not None
    assert said.endswith("x: File name too long; choose a shorter name.")
    assert system_sentence(ValueError("no error of the system")) is None
    assert system_sentence(None) is None


def test_a_place_that_cannot_be_written_is_told_before_a_folder_that_is_not_there_yet() -> None:
    def make_folder() -> None:  # as Path.mkdir does with parents
        try:
            raise FileNotFoundError(errno.ENOENT, "No such file or directory", "runs/own/a")
        except FileNotFoundError:
            raise OSError(errno.EROFS, "Read-only file system", "runs/own")  # noqa: B904

    said = system_sentence(caught(make_folder))
    assert said is not None
    assert said.startswith("runs/own: Read-only file system; choose a place that you may read and write")


def test_the_system_is_told_through_what_writers_wrap_around_it() -> None:
    class Full(BytesIO):
        def write(self, _: object) -> int:
            raise OSError(errno.ENOSPC, "No space left on device", "run/best.ckpt")

    sentence = "run/best.ckpt: No space left on device; make room, and the same command goes on."
    for work in (lambda: torch.save({"a": torch.ones(9)}, Full()), lambda: np.savez(Full(), a=np.ones(9))):
        assert system_sentence(caught(work)) == sentence


def test_too_little_memory_is_told() -> None:
    assert system_sentence(MemoryError()) == (
        "there is too little memory; use smaller batches or crops, or a machine with more memory."
    )
    assert str(system_sentence(torch.OutOfMemoryError("CUDA out of memory.\nTried 2 GiB."))).startswith(
        "CUDA out of memory. Tried 2 GiB; use smaller batches"
    )


def test_a_check_of_the_trainer_is_told_in_one_line() -> None:
    assert trainer_sentence(MisconfigurationException("devices=0\n  is invalid.")) == "devices=0 is invalid."
    assert trainer_sentence(ValueError("another")) is None


UNION = """Parser key "{key}":
  Does not validate against any of the Union subtypes
  Subtypes: [...]
  Errors:
    - {errors}
  Given value type: <class 'str'>
  Given value: {value}"""
LITERAL = "Expected a typing.Literal['on', 'off']"


@pytest.mark.parametrize(
    ("errors", "said"),
    [
        (["Expected a <class 'int'>", "Expected a <class 'float'>"], "a number"),
        (["Expected a <class 'bool'>", "Expected a <class 'NoneType'>"], "true or false or null"),
        (["Expected a <class 'list'>", "Expected a <class 'list'>", "Expected a <class 'str'>"], "a list or a text"),
        ([LITERAL, "Expected a <class 'NoneType'>"], "one of 'on', 'off' or null"),
        (
            ["Expected a path but foo either not accessible or invalid", "Expected a dot import path string: foo"],
            "the name of a class",
        ),
        (
            ["Import path does not correspond to a subclass of Loss", "Type collections.abc.Callable[..] expects a"],
            "a Loss",
        ),
    ],
)
def test_a_union_is_one_sentence(errors: list[str], said: str) -> None:
    message = UNION.format(key="trainer.x", errors="\n    - ".join(errors), value="foo")
    assert parser_sentence(message) == f"trainer.x: foo is not {said}."


@pytest.mark.parametrize(
    ("message", "said"),
    [
        ("Parser key \"k\":\n  Expected a <class 'int'>. Got value: foo", "k: foo is not a whole number."),
        ("Option 'nope' is\n not accepted", "Option 'nope' is not accepted"),
        ("Parser key \"config\": File does not exist: '/x'", "Parser key \"config\": File does not exist: '/x'"),
        (
            UNION.format(key="k", errors="Problem with given class_path 'A': wrong", value="Namespace(a page)"),
            "Parser key \"k\": Problem with given class_path 'A': wrong",
        ),
    ],
)
def test_what_is_no_wrong_type_comes_back_on_one_line(message: str, said: str) -> None:
    assert parser_sentence(message) == said
