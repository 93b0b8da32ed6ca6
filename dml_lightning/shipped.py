"""The config files that come with the package: from any folder `-c base` finds them, and a local file goes before."""

import sys
from collections.abc import Iterable
from functools import cache
from pathlib import Path

_PACKAGE = Path(__file__).parent
# A wheel carries the repository's folder `configs` inside the package; in a checkout it lies beside the package.
FOLDER = next(path for path in (_PACKAGE / "configs", _PACKAGE.with_name("configs")) if path.is_dir())
ENDING = ".yaml"


def shipped_configs() -> list[str]:
    """Names of the shipped configs, such as `base` and `model/triplet`."""
    return sorted(path.relative_to(FOLDER).with_suffix("").as_posix() for path in FOLDER.rglob(f"*{ENDING}"))


def config_file(name: str) -> Path:
    """Path of a config: the local file of that name, else the shipped one, else the name as it is.

    The ending may be left out, and of a shipped name may begin with `configs/`. A local file that takes the place of a
    shipped one with another content is named on stderr, once.

    Args:
        name: Name or path, as after `-c`.

    Example:
        >>> config_file("model/triplet").name, config_file("configs/base.yaml").name, config_file("no_such").name
        ('triplet.yaml', 'base.yaml', 'no_such')
    """
    local = next((path for path in map(Path, (name, name + ENDING)) if _is_file(path)), None)
    own = name.removesuffix(ENDING).removeprefix("configs/")
    file = FOLDER / f"{own}{ENDING}" if own in shipped_configs() else None
    if local is not None and file is not None and local.read_bytes() != file.read_bytes():
        _tell(local.absolute(), own)
    return local or file or Path(name)


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # a text that is a whole config, too long for a name
        return False


@cache
def _tell(local: Path, own: str) -> None:
    print(f"{local} is read, and not the config {own} of the package, which differs.", file=sys.stderr)


def with_config_files(args: Iterable[str], options: tuple[str, ...] = ("-c", "--config")) -> list[str]:
    """The arguments of a command, with the path of each config in the place of its name.

    Args:
        args: Arguments after `dml`.
        options: Options whose value is a config.

    Example:
        >>> [Path(arg).name for arg in with_config_files(["fit", "-c", "base", "--config=model/softmax", "--name=x"])]
        ['fit', '-c', 'base.yaml', 'softmax.yaml', '--name=x']
    """
    found, before = list[str](), ""
    for arg in args:
        option, equals, value = arg.partition("=")
        if before in options:
            found.append(str(config_file(arg)))
        elif equals and option in options:
            found.append(f"{option}={config_file(value)}")
        else:
            found.append(arg)
        before = arg
    return found
