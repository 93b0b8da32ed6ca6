"""Names of others on a terminal and in pictures: whatever they hold, they are shown and end no command."""

import io
import sys
from collections.abc import Sequence


def printable(text: str) -> str:
    r"""A text on one line, with characters that no terminal or picture shows as escapes.

    Example:
        >>> print(printable("Gänse\tX\n\a"))
        Gänse\tX\n\x07
    """
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)


def listed(names: Sequence[str], most: int) -> str:
    """The first names, and how many more there are.

    Example:
        >>> listed(["mallard", "gadwall", "smew"], most=2)
        'mallard, gadwall and 1 more'
    """
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more} more" if more > 0 else "")


def print_anything() -> None:
    """Has characters that a terminal lacks printed as escapes, so that a name never ends a command."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
