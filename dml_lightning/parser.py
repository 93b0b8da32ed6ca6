"""The parser of the commands that are plain functions."""

from typing import NoReturn

from jsonargparse import ArgumentParser
from typing_extensions import override


class OneSentenceParser(ArgumentParser):
    """A parser that raises its errors, for `dml_lightning.cli.main` to say in one sentence."""

    @override
    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Raises what the command line is told, on one line and without the usage."""
        raise ValueError(" ".join(message.split())) from ex
