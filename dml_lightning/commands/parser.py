"""The parser of `dml fit`, `dml validate` and `dml test`: config files in order, then options."""

import inspect
import pydoc
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NoReturn

import yaml
from jsonargparse import ActionConfigFile, Namespace  # type: ignore[attr-defined]  # left out of its __all__ list
from lightning.pytorch.cli import LightningArgumentParser
from typing_extensions import override

from dml_lightning.commands.keys import unrecognized
from dml_lightning.errors import ParserError, parser_sentence
from dml_lightning.losses import classification, contrastive, pml  # noqa: F401 - their classes go by name alone


class MergedConfigFile(ActionConfigFile):
    """`--config FILE`, where dictionaries of a later file change those of the files before.

    jsonargparse merges the arguments of classes, but replaces a dictionary such as `backbone_args` whole.
    """

    @staticmethod
    @override
    def apply_config(parser: LightningArgumentParser, cfg: Namespace, dest: str, value: str) -> None:
        """Reads one file into what earlier ones have set."""
        before = cfg.clone()
        ActionConfigFile.apply_config(parser, cfg, dest, value)
        for key, given in cfg.clone().items():
            earlier, owner = before.get(key), f"{key.rpartition('.init_args.')[0]}.class_path"
            changed = isinstance(given, dict) and isinstance(earlier, dict) and given != earlier
            if changed and before.get(owner) == cfg.get(owner):  # else they are arguments of another class
                cfg[key] = merged(earlier, given)


def merged(earlier: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """A dictionary changed by another as in RFC 7396: keys are added or replaced, `null` removes one.

    Other than there, an empty dictionary clears the earlier one.

    Args:
        earlier: Dictionary of the files before.
        given: Dictionary of this file.

    Example:
        >>> merged({"channels": [8, 8], "stem_width": 16}, {"stem_width": 24, "channels": None, "depth": 2})
        {'stem_width': 24, 'depth': 2}
    """
    if not given:
        return {}
    result = dict(earlier)
    for key, value in given.items():
        if value is None:
            result.pop(key, None)
        elif isinstance(value, dict) and isinstance(result.get(key), dict):
            result[key] = merged(result[key], value)
        else:
            result[key] = value
    return result


def options_of(args: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yields each option of a command line without its dashes, and its value as text.

    Example:
        >>> list(options_of(["fit", "--a.b=1", "--c", "d", "--e=f=g"]))
        [('a.b', '1'), ('c', 'd'), ('e', 'f=g')]
    """
    for arg, after in zip(args, [*args[1:], ""], strict=True):
        if arg.startswith("--"):
            name, equals, text = arg.removeprefix("--").partition("=")
            yield name, text if equals else after


def is_untyped_text(class_path: str, name: str) -> bool:
    """Whether an argument of a class has no type, and a text as its default.

    Example:
        >>> is_untyped_text("pytorch_metric_learning.losses.TripletMarginLoss", "triplets_per_anchor")
        True
        >>> is_untyped_text("pytorch_metric_learning.losses.TripletMarginLoss", "margin")
        False
    """
    made: Any = pydoc.locate(class_path)
    argument = inspect.signature(made).parameters.get(name)
    return argument is not None and argument.annotation is argument.empty and isinstance(argument.default, str)


class Parser(LightningArgumentParser):
    """A parser that raises its errors, accepts `null` at any depth of an option, and merges config files deeply."""

    @override
    def add_argument(self, *names: Any, **settings: Any) -> Any:
        """Adds an option; that of config files becomes one that merges them."""
        if settings.get("action") is ActionConfigFile:
            settings["action"] = MergedConfigFile
        return super().add_argument(*names, **settings)

    @override
    def parse_args(  # type: ignore[override]  # jsonargparse's has more arguments than argparse's
        self, args: Sequence[str] | None = None, *rest: Any, **more: Any
    ) -> Any:
        """Parses arguments, with two corrections of jsonargparse 4.53.

        It hands a `null` on to the parser of an inner class as `None`. And it takes any value for text where an
        argument of a class has no type and a text as its default: 2 for `triplets_per_anchor="all"` of
        pytorch-metric-learning has to stay a number, as in a config file.
        """
        corrected = None if args is None else [re.sub("=None$", "=null", arg) for arg in args]
        parsed = super().parse_args(corrected, *rest, **more)
        for option, text in options_of(corrected or ()):
            for key in (option, f"{parsed.get('subcommand')}.{option}"):
                owner, inner, name = key.rpartition(".init_args.")
                path = parsed.get(f"{owner}.class_path") if inner and parsed.get(key) == text else None
                if isinstance(path, str) and is_untyped_text(path, name):
                    parsed[key] = yaml.safe_load(text)
        return parsed

    @override
    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Raises the message, without the usage of a hundred options and the types of a union."""
        raise ParserError(unrecognized(parser_sentence(message), self._keys())) from ex

    def _keys(self) -> list[str]:
        """Keys of this parser, or of the subcommand's."""
        inner = [] if self._subcommands_action is None else list(self._subcommands_action._name_parser_map.values())
        return [action.dest for parser in inner[:1] or [self] for action in parser._actions]
