"""Names that are markup, hold control characters, or letters that the terminal lacks."""

import os
import subprocess
import sys

from dml_lightning.printing import printable


def test_what_cannot_be_shown_is_escaped_and_all_else_stays() -> None:
    assert printable("Gänsesäger [/red] 雁") == "Gänsesäger [/red] 雁"
    assert printable("a\tb\nc\r\a\x1b[2J\x00") == r"a\tb\nc\r\x07\x1b[2J\x00"


def test_a_terminal_without_a_character_shows_its_escape() -> None:
    program = r"from dml_lightning.cli import main; main(['--version']); print('Gans \u0142')"
    environment = {**os.environ, "PYTHONIOENCODING": "latin-1"}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, check=True)
    assert done.stdout.splitlines()[-1] == rb"Gans \u0142"
