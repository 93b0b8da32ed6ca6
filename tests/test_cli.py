"""The `dml` command itself."""

import errno
import importlib
import inspect
import os
import signal

import pytest
from lightning.fabric.utilities.exceptions import MisconfigurationException

import dml_lightning
from dml_lightning.cli import COMMANDS, HINT, SEVERAL, _named, main, overview, run_command
from dml_lightning.commands.report import audit


def test_an_unknown_command_is_told_the_known_ones(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["train"])
    assert "there are simulate, check, fit, validate, test, predict, " in capsys.readouterr().err


def test_the_version_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    main(["--version"])
    assert capsys.readouterr().out == f"dml_lightning {dml_lightning.__version__}\n"
    main(["--help"])
    assert "dml --version" in capsys.readouterr().out


def test_the_overview_has_a_line_for_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) is None
    text = capsys.readouterr().out
    assert main([]) is None
    assert capsys.readouterr().out == text == overview()
    *lines, empty, last = text.splitlines()[2:]
    assert (empty, last.split()[0]) == ("", "DML_TRACEBACK=1")
    assert [line.split()[0] for line in lines] == list(COMMANDS)
    for line, command in zip(lines, COMMANDS.values(), strict=True):
        assert line.endswith(command.help)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_target_is_a_function_or_functions_by_word(name: str) -> None:
    command = COMMANDS[name]
    module, _, attribute = command.target.partition(":")
    target = getattr(importlib.import_module(module), attribute)
    functions = list(target.values()) if isinstance(target, dict) else [target]
    assert functions
    for function in functions:
        assert callable(function)
        if command.positional is not None:
            assert command.positional in inspect.signature(function).parameters
    assert set(SEVERAL) <= {each.positional for each in COMMANDS.values()}


def test_words_before_the_first_option_are_positional() -> None:
    assert _named(["a b", "c", "-o", "r.html"], "runs") == ['--runs=["a b", "c"]', "--out", "r.html"]
    assert _named(["x.npz", "--out=d"], "file") == ["--file=x.npz", "--out=d"]
    assert _named(["-o", "r.html"], "runs") == ["--out", "r.html"]
    assert _named(["margin", "-o", "x"], None) == ["margin", "-o", "x"]


def test_python_gets_the_error_and_the_shell_one_sentence(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ValueError, match="there is no command 'train'; there are simulate, check, fit, "):
        run_command(["train"])
    with pytest.raises(ValueError, match="there is no such file") as raised:
        run_command(["audit", "nowhere.npz"])
    with pytest.raises(SystemExit, match="2"):
        main(["audit", "nowhere.npz"])
    assert capsys.readouterr().err == f"dml audit: {raised.value}\n"
    monkeypatch.setenv("DML_TRACEBACK", "1")
    with pytest.raises(ValueError, match=r"nowhere.npz: there is no such file\."):
        main(["audit", "nowhere.npz"])


@pytest.mark.parametrize(
    ("args", "part"),
    [
        (["audit", "nowhere.npz", "--wrong=1"], "wrong"),
        (["report", "--format=doc"], "format"),
        (["theory", "margin", "--classes=x", "--dim=8"], "classes"),
        (["fit", "--wrong=1"], "wrong"),
    ],
)
def test_a_message_of_the_parser_is_complete_by_itself(
    args: list[str], part: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(args)
    message = capsys.readouterr().err
    assert part in message
    assert "DML_TRACEBACK" not in message


def test_only_an_error_that_nobody_wrote_for_the_user_hints_at_its_traceback(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def unexpected(words: list[str]) -> int:
        return int(words[0])  # Python's ValueError, not this package's

    monkeypatch.setattr("dml_lightning.cli.run_command", unexpected)
    with pytest.raises(SystemExit, match="2"):
        main(["drift"])
    message = "dml drift: invalid literal for int() with base 10: 'drift'  [DML_TRACEBACK=1 shows where]\n"
    assert capsys.readouterr().err == message
    monkeypatch.setenv("DML_TRACEBACK", "1")
    with pytest.raises(ValueError, match="invalid literal"):
        main(["drift"])


def test_words_come_from_the_process_where_none_are_given(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", ["dml", "--version"])
    main()
    assert capsys.readouterr().out == f"dml_lightning {dml_lightning.__version__}\n"


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (
            OSError(errno.ENOSPC, "No space left on device", "out/report.html"),
            "out/report.html: No space left on device; make room, and the same command goes on.",
        ),
        (MisconfigurationException("No supported gpu backend\nfound!"), "No supported gpu backend found!"),
        (OSError("a library's\nown words"), f"a library's own words  {HINT}"),
        (
            ModuleNotFoundError("No module named 'plotly.offline'", name="plotly.offline"),
            'this needs plotly, which an extra installs: pip install "dml-lightning[report]".',
        ),
    ],
)
def test_what_the_system_and_the_trainer_refuse_is_one_sentence(
    error: Exception, message: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(words: list[str]) -> None:
        raise error

    monkeypatch.setattr("dml_lightning.cli.run_command", refuse)
    with pytest.raises(SystemExit, match="2"):
        main(["predict"])
    assert capsys.readouterr().err == f"dml predict: {message}\n"
    monkeypatch.setenv("DML_TRACEBACK", "1")
    with pytest.raises(type(error)):
        main(["predict"])


def test_a_mistake_of_the_package_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def mistaken(words: list[str]) -> None:
        raise KeyError("x")

    monkeypatch.setattr("dml_lightning.cli.run_command", mistaken)
    with pytest.raises(KeyError):
        main(["predict"])


def test_an_interrupt_is_one_sentence(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> None:
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr("dml_lightning.cli.auto_cli", interrupted)
    with pytest.raises(SystemExit, match="130"):
        main(["predict"])
    said = "\ndml predict: interrupted; what was complete stays, and nothing is half-written.\n"
    assert capsys.readouterr().err == said


def test_the_help_of_a_command_ends_with_its_details(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["audit", "--help"])
    told = capsys.readouterr().out
    details = inspect.getdoc(audit).partition("\nArgs:")[0].partition("\n\n")[2].strip()  # type: ignore[union-attr]
    assert details
    assert told.endswith(f"\n\n{details}\n")
