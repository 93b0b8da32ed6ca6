"""The `dml` command itself."""

import pytest

import dml_lightning
from dml_lightning.cli import main


def test_an_unknown_command_is_told_the_known_ones(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["train"])
    assert "fit, validate, test, simulate" in capsys.readouterr().err


def test_the_version_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    main(["--version"])
    assert capsys.readouterr().out == f"dml_lightning {dml_lightning.__version__}\n"
    main(["--help"])
    assert "dml --version" in capsys.readouterr().out
