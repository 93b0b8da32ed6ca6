"""The one sentence of an error that is meant for the user: this package's own, or one about what the system refused."""

import errno
import re
import traceback
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

PACKAGE_FOLDER = Path(__file__).parent
_ROOM = "make room, and the same command goes on"
_PLACE = "choose a place that you may read and write, or change the permissions"
_SHAPE = "choose another path"
_LIMIT = "close other programs or raise the limit (ulimit), and the same command goes on"
# What helps, by number of the system's error. What stood before such an error stays: files appear when complete.
REMEDIES = {
    errno.ENOSPC: _ROOM,
    errno.EDQUOT: _ROOM,
    errno.EFBIG: "raise the limit of file sizes (ulimit -f), and the same command goes on",
    errno.EACCES: _PLACE,
    errno.EPERM: _PLACE,
    errno.EROFS: _PLACE,
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.ENOTDIR: "a part of this path is a file; choose another path",
    errno.EEXIST: "a file or folder is in the way; choose another path",
    errno.ENOTEMPTY: "a file or folder is in the way; choose another path",
    errno.EISDIR: "this is a folder; name a file",
    errno.ENOENT: "see whether the path is right, and its folder one that can be written to",
    errno.EINVAL: _SHAPE,
    errno.ELOOP: _SHAPE,
    errno.EMFILE: _LIMIT,
    errno.ENFILE: _LIMIT,
    errno.EAGAIN: _LIMIT,
    errno.ENOMEM: _LIMIT,
    errno.EIO: "the disk or network drive failed; see to it, and give the command again",
    errno.ESTALE: "the disk or network drive failed; see to it, and give the command again",
}


# Extra of this package -> what it installs, which only some commands need.
EXTRAS = {"report": ("plotly", "jinja2"), "export": ("onnx", "onnxscript", "onnxruntime"), "slurm": ("submitit",)}


class ParserError(ValueError):
    """What a command's parser says of its words; an own sentence that made it refuse them is clearer."""


def chain(error: BaseException | None) -> Iterator[BaseException]:
    """An error, then those that led to it, from the outermost to the innermost."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def own_sentence(error: BaseException | None) -> str | None:
    """The message of the outermost ValueError that this package raised on the way to `error`; None if there is none.

    The outermost knows most: an inner one tells the row, the outer one adds the file. What a parser says of its words
    counts only if there is no other.

    Example:
        >>> from dml_lightning.theory import max_feasible_margin
        >>> try:
        ...     max_feasible_margin(num_classes=1, embedding_dim=8)
        ... except ValueError as error:
        ...     own_sentence(error)
        'triplets need at least 2 classes, got 1'
    """
    own = [each for each in chain(error) if isinstance(each, ValueError) and _raised_here(each)]
    own.sort(key=lambda each: isinstance(each, ParserError))  # stable, so that the order stays else
    return str(own[0]) if own else None


def _raised_here(error: BaseException) -> bool:
    frames = traceback.extract_tb(error.__traceback__)
    return bool(frames) and Path(frames[-1].filename).is_relative_to(PACKAGE_FOLDER)


def system_sentence(error: BaseException | None) -> str | None:
    """What the system refused, at which file, and what helps; None if no error of the system led to `error`.

    Libraries wrap such errors in their own (PyTorch's and NumPy's writers do), so the innermost one tells the cause.

    Example:
        >>> system_sentence(OSError(errno.ENOSPC, "No space left on device", "runs/run.json"))
        'runs/run.json: No space left on device; make room, and the same command goes on.'
    """
    errors = list(chain(error))
    system = [each for each in errors if isinstance(each, OSError) and each.errno is not None]
    if system:  # making a folder with those above it first meets one that there is not
        system = [each for each in system if not isinstance(each, FileNotFoundError)] or system
        cause = system[-1]
        place = next((f"{_text(each.filename)}: " for each in reversed(system) if each.filename is not None), "")
        remedy = REMEDIES.get(cause.errno or 0)
        return f"{place}{cause.strerror}{f'; {remedy}' if remedy else ''}."
    for each in errors:
        if isinstance(each, MemoryError) or type(each).__name__ == "OutOfMemoryError":  # the latter is PyTorch's
            said = one_line(str(each)) or "there is too little memory"
            return f"{said.rstrip('.')}; use smaller batches or crops, or a machine with more memory."
    return None


def trainer_sentence(error: BaseException | None) -> str | None:
    """What Lightning's own checks said of the trainer's options; None if they raised nothing on the way to `error`."""
    said = [str(each) for each in chain(error) if type(each).__name__ == "MisconfigurationException"]
    return one_line(said[0]) if said else None


def missing_extra(extra: str) -> str | None:
    """Which packages of an extra are not installed, in a sentence; None if all are.

    Example:
        >>> missing_extra("report") is None
        True
    """
    missing = [name for name in EXTRAS[extra] if find_spec(name) is None]
    return _install(extra, missing) if missing else None


def extra_sentence(error: BaseException | None) -> str | None:
    """Which extra brings the package that could not be imported; None if that is none of an extra's.

    Example:
        >>> extra_sentence(ModuleNotFoundError("No module named 'onnx'", name="onnx"))
        'this needs onnx, which an extra installs: pip install "dml-lightning[export]".'
    """
    names = [(each.name or "").partition(".")[0] for each in chain(error) if isinstance(each, ModuleNotFoundError)]
    return next((_install(extra, [name]) for extra in EXTRAS for name in names if name in EXTRAS[extra]), None)


def _install(extra: str, missing: list[str]) -> str:
    return f'this needs {", ".join(missing)}, which an extra installs: pip install "dml-lightning[{extra}]".'


def one_line(text: str) -> str:
    r"""A text with its line ends and runs of blanks as single blanks.

    Example:
        >>> one_line("two\n  lines")
        'two lines'
    """
    return " ".join(text.split())


def _text(filename: object) -> str:
    return filename.decode(errors="replace") if isinstance(filename, bytes) else str(filename)


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
