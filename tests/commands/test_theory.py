"""`dml theory margin`."""

import math

import pytest

from dml_lightning.cli import main


def test_the_bound_and_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["theory", "margin", "--classes=8", "--dim=128"]) == pytest.approx(math.sqrt(16 / 7))
    text = capsys.readouterr().out
    assert "8 classes of unit vectors in 128 dimensions" in text
    assert "at most\n  1.5119  in Euclidean distance\n  2.2857  in squared" in text
    rows = [line.split() for line in text.splitlines() if "=" in line or "<  " in line]
    assert ["8", "<=", "1.5119", "<=", "2.2857", "<-"] in rows
    assert ["512", "<", "1.4142", "<", "2.0000"] in rows


def test_a_bound_that_is_not_reached(capsys: pytest.CaptureFixture[str]) -> None:
    main(["theory", "margin", "--classes=9", "--dim=4"])
    assert "less than\n  1.4142  in Euclidean" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["margin", "--classes=1", "--dim=4"], "at least 2 classes, got 1"),
        (["margin", "--classes=3", "--dim=0"], "embedding_dim must be at least 1, got 0"),
        (["margin", "--classes=3"], "dim"),
        (["margins"], "invalid choice: 'margins'"),
    ],
)
def test_errors_are_one_sentence(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as error:
        main(["theory", *words])
    assert error.value.code == 2
    text = capsys.readouterr().err
    assert message in text
    assert "Traceback" not in text


def test_help_names_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    main(["--help"])
    assert "dml theory margin --classes 8 --dim 128" in capsys.readouterr().out
