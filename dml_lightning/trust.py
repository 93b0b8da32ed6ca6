"""Classes that the recipe of a run's folder may name: it may come from anyone, and a class that is made runs code.

A recipe is checked before anything that it names is imported. Each class must be of the role of its argument, by the
table below, or of a module that the user trusts; functions are never called by name. What the user's own command line
and config files name is trusted. Parsers then import nothing else.
"""

import importlib
import inspect
import os
import re
from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

from jsonargparse import _common, set_parsing_settings

from dml_lightning.renamed import MODULES, PACKAGE
from dml_lightning.yaml_files import read_yaml

LONGEST_PATH = 4096
NEVER_ALLOWED = {"jsonargparse"}  # by the library itself
PML = "pytorch_metric_learning"
LIGHTNING = "lightning.pytorch"
LOSSES = (f"{PACKAGE}.losses", f"{PML}.losses")
# callbacks of Lightning that write no files and take no functions
CALLBACKS = (
    *("BackboneFinetuning", "BatchSizeFinder", "DeviceStatsMonitor", "EarlyStopping", "GradientAccumulationScheduler"),
    *("LearningRateFinder", "LearningRateMonitor", "ModelSummary", "RichModelSummary", "RichProgressBar"),
    *("TQDMProgressBar", "ThroughputMonitor", "Timer"),
)
# role, by the name of the argument -> modules whose classes it takes, or single classes
CLASSES: dict[str, tuple[str, ...]] = {
    "model": (f"{PACKAGE}.models",),
    "encoder": (f"{PACKAGE}.models",),
    "loss": LOSSES,
    "losses": LOSSES,
    "miner": (f"{PML}.miners",),
    "miners": (f"{PML}.miners",),
    "distance": (f"{PML}.distances",),
    "reducer": (f"{PML}.reducers",),
    "embedding_regularizer": (f"{PML}.regularizers",),
    "weight_regularizer": (f"{PML}.regularizers",),
    "optimizer": ("torch.optim",),
    "scheduler": ("torch.optim.lr_scheduler", f"{LIGHTNING}.cli.ReduceLROnPlateau"),
    "callbacks": (
        f"{PACKAGE}.callbacks",
        f"{PACKAGE}.runs.checkpoints",
        *(f"{LIGHTNING}.callbacks.{name}" for name in CALLBACKS),
    ),
    "plugins": (f"{PACKAGE}.models", f"{LIGHTNING}.plugins.precision"),
    "strategy": (f"{LIGHTNING}.strategies",),
    "source": (f"{PACKAGE}.data.sources",),
}
SECTIONS = {"seed_everything", "trainer", "model", "data", "name", "runs_root", "tracking"}
CONFIGS = (".yaml", ".yml", ".json")
RECIPE = re.compile(r"recipe\.(fit|validate|test)\.yaml")
BETWEEN_NAMES = re.compile(r"""[\s"'=,:()\[\]{}]+""")  # a name with a slash is that of a file
DOTTED = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+")


def is_recipe(path: Path) -> bool:
    """Whether a file is taken for the recipe of a run's folder: by its name, or because run.json lies beside it.

    A symbolic link is what it leads to as well.

    Example:
        >>> is_recipe(Path("runs/triplet/recipe.fit.yaml")), is_recipe(Path("configs/base.yaml"))
        (True, False)
    """
    both = (path, Path(os.path.realpath(path)))
    beside_a_run = any(each.suffix in CONFIGS and (each.parent / "run.json").is_file() for each in both)
    return beside_a_run or any(RECIPE.fullmatch(each.name) for each in both)


def modules_of(trust: str | None) -> tuple[str, ...]:
    """The modules in the words of `--trust`, which are joined by commas.

    Example:
        >>> modules_of("ours.losses, theirs"), modules_of(None)
        (('ours.losses', 'theirs'), ())

    Raises:
        ValueError: If one of them is no name of a module.
    """
    modules = tuple(name.strip() for name in (trust or "").split(",") if name.strip())
    for name in modules:
        if not all(part.isidentifier() for part in name.split(".")):
            raise ValueError(f"--trust {name!r} is no name of a module, such as ours.losses.")
    return modules


@contextmanager
def reading(
    file: Path, trust: Collection[str] = (), own: Collection[str] = (), part: Sequence[str] = ()
) -> Iterator[None]:
    """Check a recipe, and let parsers import what it may name, and nothing else.

    Args:
        file: The recipe.
        trust: Modules whose classes it may name in any role.
        own: Modules that the user's own words name.
        part: Keys down to the only section that is read, if it is not the whole recipe; the last is the role of its
            class. Other classes are then checked by their names, and not imported.

    Raises:
        ValueError: If `check_recipe` refuses the recipe.
    """
    with imports_limited([*check_recipe(file, trust, part), *trust, *own], part[-1:] or CLASSES):
        yield


@contextmanager
def reading_recipes(words: Sequence[str]) -> Iterator[None]:
    """`reading` for every recipe that a command line names; without one, parsers import what they like.

    Args:
        words: The command line. What it and its config files name is the user's own, and trusted for these; modules
            after `--trust` are trusted for recipes, too.

    Raises:
        ValueError: If `check_recipe` refuses a recipe.
    """
    trust, own = trusted_in(words), own_packages(words)
    with ExitStack() as stack:
        for path in _configs(words):
            if is_recipe(path):
                stack.enter_context(reading(path, trust, own))
        yield


def trusted_in(words: Sequence[str]) -> tuple[str, ...]:
    """The modules after `--trust` in a command line, each time that it is given.

    Example:
        >>> trusted_in(["test", "--trust=ours", "--trust", "theirs.losses"])
        ('ours', 'theirs.losses')
    """
    after = [value for option, value in pairwise(words) if option == "--trust"]
    joined = [word.removeprefix("--trust=") for word in words if word.startswith("--trust=")]
    return modules_of(",".join([*joined, *after]))


def own_packages(words: Sequence[str]) -> set[str]:
    """Packages that a command line and its config files, without recipes, may name classes of.

    Example:
        >>> sorted(own_packages(["fit", "--model.loss=ours.Loss", "-c", "evil.run/recipe.fit.yaml", "recipe.fit.yaml"]))
        ['ours']
    """
    files = [path for path in _configs(words) if not is_recipe(path)]
    given = [word for word in words if not any(map(is_recipe, _paths([word])))]
    texts = [*given, *(path.read_text(encoding="utf-8", errors="ignore") for path in files)]
    names = [name for text in texts for name in BETWEEN_NAMES.split(text) if DOTTED.fullmatch(name)]
    return {name.partition(".")[0] for name in names} - NEVER_ALLOWED


def _configs(words: Sequence[str]) -> list[Path]:
    """The config files that a command line names."""
    return [path for path in _paths(words) if path.suffix in CONFIGS and path.is_file()]


def _paths(words: Sequence[str]) -> list[Path]:
    """What may be a path among the words: `FILE`, `--config=FILE` and `-cFILE`."""
    parts = [part for word in words for part in (word, word.partition("=")[2], word.removeprefix("-c")) if part]
    return [Path(part) for part in dict.fromkeys(parts) if len(part) < LONGEST_PATH and "\0" not in part]


def check_recipe(file: Path, trust: Collection[str] = (), part: Sequence[str] = ()) -> list[str]:
    """Refuse a recipe of a run's folder that names what it may not name; nothing else is imported.

    Args:
        file: The recipe.
        trust: Modules whose classes it may name in any role.
        part: See `reading`.

    Returns:
        Where the classes that it, or the part, names are defined.

    Raises:
        ValueError: If the file holds no recipe, has another setting than those of recipes, or names a class that is
            not of the role of its argument.
    """
    return check_settings(file, read_yaml(file), trust, part)


def check_settings(file: Path, content: Any, trust: Collection[str] = (), part: Sequence[str] = ()) -> list[str]:
    """`check_recipe` for content that was read from a file already, such as a part of a checkpoint."""
    if not isinstance(content, dict) or not content:
        raise ValueError(f"{file} is damaged: it holds no recipe.")
    others = [str(key) for key in content if key not in SECTIONS]
    if others:
        raise ValueError(f"{file} sets {', '.join(others)}, which no recipe of a run does: take it out.")
    _check_keys(file, content)
    for role, name in _named(content):
        _check_name(file, role, name, trust)
    for key in part:
        content = content.get(key) if isinstance(content, dict) else None
    return [_home(file, role, name, trust) for role, name in _named(content, part[-1] if part else "")]


def _check_keys(file: Path, node: Any) -> None:
    """Refuse keys that are no names: a parser takes `loss.class_path: ...` for a class.

    Raises:
        ValueError: If there is one, but for those in the arguments of a source, which may be names of classes.
    """
    for key, value in node.items() if isinstance(node, dict) else []:
        if not str(key).isidentifier():
            raise ValueError(f"{file} has the setting {key!r}, which is no name of one: write it nested.")
        if key == "source" and isinstance(value, dict):
            value = {**value, "init_args": dict.fromkeys(value.get("init_args") or ())}
        _check_keys(file, value)
    for value in node if isinstance(node, list) else []:
        _check_keys(file, value)


def _named(node: Any, role: str = "", texts: bool = False) -> Iterator[tuple[str, str]]:
    """Every class that a recipe names, with its role, the name of the argument; `texts` where texts are data."""
    if isinstance(node, dict):
        if "class_path" in node:
            yield role, str(node["class_path"])
        for key, value in node.items():
            if key != "class_path":
                inner = role if key == "init_args" else str(key)
                yield from _named(value, inner, texts or (role == "source" and key == "init_args"))
    elif isinstance(node, list):
        for value in node:
            yield from _named(value, role, texts)
    elif isinstance(node, str) and not texts and DOTTED.fullmatch(node) and (role in CLASSES or _is_listed(node)):
        yield role, node


def _is_listed(text: str) -> bool:
    """Whether a text names something in a package of the table, as no setting but that of a class does."""
    return text.partition(".")[0] in {each.partition(".")[0] for own in CLASSES.values() for each in own}


def _check_name(file: Path, role: str, name: str, trust: Collection[str]) -> None:
    """Refuse a class by its name; nothing is imported.

    Raises:
        ValueError: If it is neither below a module of the table nor below a trusted one.
    """
    allowed = (PACKAGE, *CLASSES.get(role, ()))
    if not _below(name, trust) and not any(_below(place, allowed) for place in _places(name)):
        raise ValueError(_not_listed(file, role, name))


def _home(file: Path, role: str, name: str, trust: Collection[str]) -> str:
    """Where a class is defined; imports it, after `_check_name` has let it pass.

    Raises:
        ValueError: If it is no class, or is neither trusted nor defined where the table says.
    """
    listed, trusted = CLASSES.get(role, ()), _below(name, trust)
    found = next((each for each in map(_object, _places(name)) if each is not None), None)
    if not inspect.isclass(found):
        what = "there is no such class" if found is None else "functions are never called by name"
        raise ValueError(f"{file} names {name} as {role}, but {what}.")
    home = f"{found.__module__}.{found.__qualname__}"
    if not trusted and not _below(home, _homes(listed)):  # of another role, or only imported there
        raise ValueError(_not_listed(file, role, name))
    return home


def _not_listed(file: Path, role: str, name: str) -> str:
    module = name.rpartition(".")[0] or name
    return (
        f"{file} names {name} as {role}, which is none of the classes that a run's folder may name there "
        f"(dml_lightning.trust.CLASSES); if you trust this folder and that module, add --trust {module}."
    )


def _below(name: str, modules: Collection[str]) -> bool:
    return any(name == module or name.startswith(f"{module}.") for module in modules)


def _homes(listed: Collection[str]) -> list[str]:
    """Names of the table, and where its single classes are defined."""
    single = [_object(each) for each in listed if each.rpartition(".")[2][0].isupper()]
    return [*listed, *(f"{each.__module__}.{each.__qualname__}" for each in single)]


def _places(name: str) -> list[str]:
    """A name, or its places now if its module has moved."""
    module, _, last = name.rpartition(".")
    moved = MODULES.get(module.removeprefix(f"{PACKAGE}."), ()) if module.startswith(f"{PACKAGE}.") else ()
    return [f"{PACKAGE}.{place}.{last}" for place in moved] or [name]


def _object(name: str) -> Any:
    """What a name stands for; None if there is no such thing."""
    module, _, last = name.rpartition(".")
    try:
        return getattr(importlib.import_module(module), last, None)
    except (ImportError, ValueError):
        return None


@contextmanager
def imports_limited(also: Collection[str] = (), roles: Collection[str] = CLASSES) -> Iterator[None]:
    """Let parsers import no name that a value gives but those of the table, and of further modules.

    This holds wherever the library looks a name up: in texts, in files that a text names, below untyped arguments.

    Args:
        also: Further modules or classes, with all that lies below them.
        roles: Roles of the classes that are read.
    """
    allowed = [PACKAGE, *(each for role in roles for each in _homes(CLASSES[role])), *also]
    kept = dict(_common.parsing_settings)  # the library only adds to its lists
    set_parsing_settings(import_path_denylist=["*"], import_path_allowlist=allowed)
    try:
        yield
    finally:
        _common.parsing_settings.update(kept)
