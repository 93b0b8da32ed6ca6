"""Names of others on a terminal and in pictures: whatever they hold, they are shown and end no command."""

import io
import sys
from collections.abc import Iterator
from contextlib import contextmanager


def printable(text: str) -> str:
    r"""A text on one line, with characters that no terminal or picture shows as escapes.

    Example:
        >>> print(printable("Gänse\tX\n\a"))
        Gänse\tX\n\x07
    """
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)


def print_anything() -> None:
    """Has characters that a terminal lacks printed as escapes, so that a name never ends a command."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


@contextmanager
def without_markup() -> Iterator[None]:
    """Prints what Lightning's tables hold as it is, where rich would read a name such as `[/red]` as its own markup."""
    import rich

    rich.reconfigure(markup=False, emoji=False)
    try:
        yield
    finally:
        rich.reconfigure()
