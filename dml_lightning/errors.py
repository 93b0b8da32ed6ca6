"""The message of an error that is meant for the user."""

import re
import traceback
from pathlib import Path

PACKAGE_FOLDER = Path(__file__).parent


def own_sentence(error: BaseException | None) -> str | None:
    """The message of the innermost ValueError that this package raised on the way to `error`; None if there is none.

    Example:
        >>> from dml_lightning.theory import max_feasible_margin
        >>> try:
        ...     max_feasible_margin(num_classes=1, embedding_dim=8)
        ... except ValueError as error:
        ...     own_sentence(error)
        'triplets need at least 2 classes, got 1'
    """
    message = None
    while error is not None:
        frames = traceback.extract_tb(error.__traceback__)
        raised_here = bool(frames) and Path(frames[-1].filename).is_relative_to(PACKAGE_FOLDER)
        if isinstance(error, ValueError) and raised_here:
            message = str(error)
        error = error.__cause__ or error.__context__
    return message


TYPES = {
    "<class 'NoneType'>": "null",
    "<class 'bool'>": "true or false",
    "<class 'int'>": "a whole number",
    "<class 'float'>": "a number",
    "<class 'str'>": "a text",
    "<class 'list'>": "a list",
    "<class 'dict'>": "a dictionary",
}


def parser_sentence(message: str) -> str:
    """What jsonargparse says of a wrong value in one sentence, without its attempts at every type that is allowed.

    Args:
        message: Text of the parser; one that is about something else comes back on one line.

    Example:
        >>> parser_sentence('''Parser key "trainer.max_epochs":
        ...   Does not validate against any of the Union subtypes
        ...   Subtypes: [<class 'int'>, <class 'NoneType'>]
        ...   Errors:
        ...     - Expected a <class 'int'>
        ...     - Expected a <class 'NoneType'>
        ...   Given value type: <class 'str'>
        ...   Given value: foo''')
        'trainer.max_epochs: foo is not a whole number or null.'
    """
    key = re.match(r'Parser key "([^"]+)":\s', message)
    value = re.search(r"Given value: (.*)", message) or re.search(r"(?:Got value|path string): (.*)", message)
    rest = message[key.end() if key else 0 :]
    lines = [line.strip(" -") for line in UNION.sub("", rest).splitlines()]
    tried = [line for line in lines if line and not line.startswith(("Expected a path but", "Type collections.abc"))]
    wanted = list(dict.fromkeys(filter(None, map(_wanted, tried))))
    if key is None or value is None or not tried or not all(map(_wanted, tried)):
        return " ".join(f"{key[0] if key else ''} {' '.join(tried)}".split())
    if "a number" in wanted and "a whole number" in wanted:
        wanted.remove("a whole number")
    return f"{key[1]}: {value[1]} is not {' or '.join(wanted)}."


# What jsonargparse says around its attempts at the types of a union.
UNION = re.compile(
    r"Subtypes: .*|Given value.*|Errors:$|Does not validate against any of the Union subtypes", flags=re.MULTILINE
)


def _wanted(line: str) -> str | None:
    """What one attempt asks for in plain words; None if it says something else."""
    if line.startswith("Expected a dot import path string"):
        return "the name of a class"
    if found := re.fullmatch(r"Import path does not correspond to a subclass of (\w+)", line):
        return f"a {found[1]}"
    found = re.fullmatch(r"Expected an? (<class .*>|typing\.Literal.*?)(?:\. Got value: .*)?", line)
    if found is None:
        return None
    return TYPES.get(found[1], re.sub(r"typing\.Literal\[(.*)\]", r"one of \1", found[1]))
