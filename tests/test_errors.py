"""Which sentence of a chain of errors is for the user."""

from collections.abc import Callable
from pathlib import Path

import pytest

from dml_lightning.errors import own_sentence
from dml_lightning.files import read_json
from dml_lightning.theory import max_feasible_margin


def caught(work: Callable[[], object]) -> BaseException:
    try:
        work()
    except Exception as error:
        return error
    raise AssertionError("nothing was raised")


def test_no_error_has_no_sentence() -> None:
    assert own_sentence(None) is None


def test_of_others_errors_none_is_ours() -> None:
    assert own_sentence(caught(lambda: int("x"))) is None
    assert own_sentence(ValueError("never raised")) is None


def test_only_value_errors_are_for_the_user() -> None:
    with pytest.raises(AttributeError) as raised:
        read_json("no path")  # type: ignore[arg-type]
    assert own_sentence(raised.value) is None


def test_the_innermost_sentence_is_told_through_what_others_wrap_around_it(tmp_path: Path) -> None:
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


def test_of_two_own_sentences_the_inner_one_is_told() -> None:
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
    assert said == str(caught(lambda: max_feasible_margin(0, 3)))
