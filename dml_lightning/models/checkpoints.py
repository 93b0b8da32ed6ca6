"""Checkpoints: read without running anything in them, and modules made again from what they hold."""

import warnings
from argparse import ArgumentError
from collections.abc import Collection, Mapping, Sequence
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from jsonargparse import ArgumentParser

from dml_lightning.arguments import NotPlainError, arguments_of, described, path_of
from dml_lightning.models.encoder import Encoder
from dml_lightning.models.network import SCALE, Classifier, Network
from dml_lightning.models.weights import weights_follow
from dml_lightning.trust import check_settings, imports_limited

if TYPE_CHECKING:
    from dml_lightning.models.base import EmbeddingModule

HANDED_OVER = ".temp.ckpt"  # Lightning's file of the weights that forked processes hand over to their parent
MODEL = "model"  # key of what the module was made of
ENCODER = "encoder"
# names of the arms of this package in a recipe -> what they are without their training
ARMS = {
    f"dml_lightning.{place}.{name}": kind
    for name, kind in (("SoftmaxModule", Classifier), ("TripletModule", Network))
    for place in ("models", f"models.{name.removesuffix('Module').lower()}")
}
FOR_TRAINING = frozenset(
    ("optimizer", "loss", "schedule", "warmup", "layer_decay", "scheduler", "compile", "allow_infeasible_margin")
)
CONFIGURED = ("optimizer", "scheduler", "loss")  # what a config can say where the object cannot


def read_checkpoint(path: Path, map_location: Any = "cpu") -> dict[str, Any]:
    """Load the tensors and plain values of a checkpoint; a file with anything else is refused, and nothing of it runs.

    Raises:
        ValueError: If the file is no checkpoint of a fit.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the pickle protocol of what is no checkpoint
            content: Any = torch.load(path, map_location=map_location, weights_only=True)
    except (OSError, MemoryError, torch.OutOfMemoryError):
        raise
    except Exception:  # of many kinds, from an unpickler that reads anything as its program
        content = None
    handed_over = path.name == HANDED_OVER  # holds weights alone
    if not isinstance(content, dict) or not ("state_dict" in content or handed_over):
        size = path.stat().st_size
        raise ValueError(
            f"{path} ({size} bytes) is no checkpoint of dml fit, or is damaged; nothing of it was loaded: name the "
            "best.ckpt or last.ckpt of a run."
        )
    return content


def model_section(module: "EmbeddingModule", configured: Mapping[str, Any]) -> dict[str, Any] | None:
    """What a module was made of, in plain types; None if its class does not `remember` that, or cannot be imported.

    Args:
        module: The module.
        configured: Arguments in the words of the config that it was made from; empty without one.

    Returns:
        `class_path`, `init_args`, `unsaved` (names of arguments that have no plain form), and `backbone`, the
        description of a backbone of the hub or of a local folder.
    """
    try:
        class_path, given = path_of(type(module)), arguments_of(module)
    except NotPlainError:
        return None
    init_args, unsaved = {}, []
    for name, value in (given or {}).items():
        try:
            init_args[name] = described(value)
        except NotPlainError:
            if name in CONFIGURED and name in configured:
                init_args[name] = configured[name]
            else:
                unsaved.append(name)
    backbone = module.encoder.description
    section = {"class_path": class_path, "init_args": init_args, "unsaved": unsaved, "backbone": backbone}
    return None if given is None else section


def load_module(
    kind: "type[EmbeddingModule]", path: Path, map_location: Any, trust: Collection[str], given: Mapping[str, Any]
) -> "tuple[EmbeddingModule, dict[str, Any]]":
    """Make the module of a checkpoint again, without its weights.

    Args:
        kind: Class that it should be of.
        path: The checkpoint.
        map_location: See `torch.load`.
        trust: Modules whose classes it may name in any role, see `dml_lightning.trust`.
        given: Arguments that take the place of saved ones.

    Returns:
        The module and its weights.

    Raises:
        ValueError: If the checkpoint is of another class, or has neither saved an argument nor is given it.
    """
    content = read_checkpoint(path, map_location)
    section = content.get(MODEL)
    if section is None:
        needed = [each.name for each in signature(kind).parameters.values() if each.default is each.empty]
        _check_given(path, "has not kept what its module was made of", [n for n in needed if n != "common"], given)
        return kind(**given), content["state_dict"]
    try:
        init_args = {name: value for name, value in section["init_args"].items() if name not in given}
        saved, backbone = {"class_path": section["class_path"], "init_args": init_args}, section["backbone"]
        _check_given(path, "holds plain values alone", section["unsaved"], given)
    except (AttributeError, KeyError, TypeError):
        raise ValueError(f"{path} is damaged: its entry {MODEL!r} describes no module.") from None
    trusted = [*trust, kind.__module__]
    with imports_limited([*check_settings(path, {MODEL: saved}, trusted), *trusted]), weights_follow(None, backbone):
        module = instantiate(saved, str(path), given)
    if not isinstance(module, kind):
        name = type(module).__name__
        raise ValueError(f"{path} holds a {name} and no {kind.__name__}: {name}.load_from_checkpoint loads it.")
    return module, content["state_dict"]


def _check_given(path: Path, reason: str, needed: Collection[str], given: Mapping[str, Any]) -> None:
    lost = [name for name in needed if name not in given]
    if lost:
        raise ValueError(
            f"{path} {reason}: give load_from_checkpoint(..., {', '.join(f'{name}=...' for name in lost)}) as it was "
            "in the fit; a finished run loads by TrainedRun.load(folder)."
        )


def instantiate(
    section: dict[str, Any], origin: str, given: Mapping[str, Any], side_inputs: int | None = None
) -> "EmbeddingModule":
    """Make the module of a section `class_path` and `init_args`; what it may import is up to the caller.

    Args:
        section: The section.
        origin: File that it comes from, for messages.
        given: Further arguments, which may be objects.
        side_inputs: Number of side inputs of the encoder, if the section lacks it.

    Raises:
        ValueError: If it describes no module of this version.
    """
    from lightning.pytorch.cli import LightningArgumentParser  # only training takes Lightning

    from dml_lightning.models.base import EmbeddingModule

    def make(kind: type[EmbeddingModule], *args: Any, **kwargs: Any) -> EmbeddingModule:
        return kind(*args, **{**kwargs, **given})

    parser = LightningArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(EmbeddingModule, MODEL, fail_untyped=False, required=True, skip=set(given))
    parser.add_instantiator(make, EmbeddingModule, subclasses=True)
    module: EmbeddingModule = _made(parser, {MODEL: section}, origin, (MODEL, "init_args", ENCODER), side_inputs).model
    return module


def network_of(section: Mapping[str, Any], origin: str, side_inputs: int | None = None) -> Network | None:
    """Make the network of a section `class_path` and `init_args`, without what only training needs.

    Args:
        section: The section.
        origin: File that it comes from, for messages.
        side_inputs: See `instantiate`.

    Returns:
        The network, with weights as initialised; None for an arm of another package, which has to be made whole.

    Raises:
        ValueError: If the section describes no arm of this version.
    """
    kind = ARMS.get(section.get("class_path", ""))
    if kind is None:
        return None
    args = {name: value for name, value in (section.get("init_args") or {}).items() if name not in FOR_TRAINING}
    parser = ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(Encoder, ENCODER, fail_untyped=False, required=True)
    given = {ENCODER: args.pop(ENCODER)} if ENCODER in args else {}
    encoder = _made(parser, given, origin, (ENCODER,), side_inputs).encoder
    scale = float(args.pop("scale", SCALE))
    if other := sorted(args.keys() - signature(kind).parameters.keys()):
        raise ValueError(f"{origin} describes no model of this version: {other[0]!r} is not accepted.")
    network = kind(encoder, **args)
    if isinstance(network, Classifier):
        network.add_classifier(scale)
    return network


def _made(
    parser: ArgumentParser, content: dict[str, Any], origin: str, encoder: Sequence[str], side_inputs: int | None
) -> Any:
    """What a parser makes of a content, with the number of side inputs of its encoder, which lies below those keys."""
    try:
        config = parser.parse_object(content)
        options = config.get(".".join((*encoder, "init_args")), {})
        if side_inputs is not None and "side_inputs" in options:
            options.side_inputs = side_inputs
        return parser.instantiate(config)
    except (ArgumentError, TypeError) as error:
        text = " ".join(str(error).split())
        sentence = (
            text.partition("Errors: - ")[2].partition(" - Expected a")[0] or text
        )  # of an option that may be null
        raise ValueError(f"{origin} describes no model of this version: {sentence}") from None
