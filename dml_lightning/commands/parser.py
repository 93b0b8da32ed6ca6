"""The parser of `dml fit`, `dml validate` and `dml test`: config files in order, then options."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from jsonargparse import ActionConfigFile, Namespace  # type: ignore[attr-defined]  # left out of its __all__ list
from lightning.pytorch.cli import LightningArgumentParser
from typing_extensions import override

from dml_lightning.errors import ParserError, parser_sentence


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
        """Parses arguments; jsonargparse 4.53 hands a `null` on to the parser of an inner class as `None`."""
        corrected = None if args is None else [re.sub("=None$", "=null", arg) for arg in args]
        return super().parse_args(corrected, *rest, **more)

    @override
    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Raises the message, without the usage of a hundred options and the types of a union."""
        raise ParserError(parser_sentence(message)) from ex
