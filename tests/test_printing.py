"""Names that are markup, hold control characters, or letters that the terminal lacks."""

import os
import subprocess
import sys

import pytest
import rich
from rich.errors import MarkupError
from rich.table import Table

from dml_lightning.printing import printable, without_markup


def test_what_cannot_be_shown_is_escaped_and_all_else_stays() -> None:
    assert printable("Gänsesäger [/red] 雁") == "Gänsesäger [/red] 雁"
    assert printable("a\tb\nc\r\a\x1b[2J\x00") == r"a\tb\nc\r\x07\x1b[2J\x00"


def test_names_in_tables_are_no_markup(capsys: pytest.CaptureFixture[str]) -> None:
    table = Table("name")
    for name in ("[/red]", "[bold]loud[/bold]", "[link=x]y[/link]", ":duck:"):
        table.add_row(name)
    with without_markup():
        rich.get_console().print(table)
    said = capsys.readouterr().out
    assert all(name in said for name in ("[/red]", "[bold]loud[/bold]", "[link=x]y[/link]", ":duck:"))
    with pytest.raises(MarkupError):  # as before
        rich.get_console().print(table)


def test_a_terminal_without_a_character_shows_its_escape() -> None:
    program = r"from dml_lightning.cli import main; main(['--version']); print('Gans \u0142')"
    environment = {**os.environ, "PYTHONIOENCODING": "latin-1"}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, check=True)
    assert done.stdout.splitlines()[-1] == rb"Gans \u0142"
