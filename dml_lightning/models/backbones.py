"""Backbones by their names in timm, on the Hugging Face hub or in a local folder, with published or given weights."""

import difflib
import pickle
from pathlib import Path
from typing import Any

import timm
from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError
from timm.models import load_state_dict, load_state_dict_from_hf, parse_model_name, resolve_model_input_args
from timm.models._hub import load_state_dict_from_path
from torch import Tensor, nn

from dml_lightning.models import narrow  # noqa: F401 - registers its backbone
from dml_lightning.models.weights import DESCRIBED, FOLLOW

LOADING_ERRORS = (OSError, RuntimeError, KeyError, AttributeError, pickle.UnpicklingError)


def create_backbone(
    name: str, pretrained: bool, checkpoint: str | None, img_size: int | None, arguments: dict[str, Any]
) -> tuple[nn.Module, dict[str, Any] | None]:
    """Make a backbone with one input channel and no classifier.

    Args:
        name: Name of a model of timm, or `hf-hub:OWNER/NAME` or `local-dir:FOLDER`, where a config of timm lies.
        pretrained: Whether timm loads the weights of that name.
        checkpoint: File with weights in the backbone's own layout, used in their place.
        img_size: Side of the crops in px, for backbones that need to know it; the others ignore it.
        arguments: Further arguments of `timm.create_model`.

    Returns:
        The backbone, and the content of `DESCRIPTION` for one of the hub or of a local folder.

    Raises:
        ValueError: If the name is unknown or cannot be reached, or the arguments or the weights do not fit it.
    """
    source, place = _source_of(name)
    if FOLLOW.get():
        pretrained, checkpoint = False, None
    elif source and not (pretrained or checkpoint):
        raise ValueError(
            f"the backbone {name!r} names weights, and pretrained: false leaves them out: set encoder.pretrained to "
            "true, or name a model of timm."
        )
    elif pretrained and not (source or checkpoint or timm.is_model_pretrained(name)):
        raise ValueError(
            f"no weights of {name!r} are published; leave out encoder.pretrained, or name a file as encoder.checkpoint."
        )
    if checkpoint is not None:
        if not Path(checkpoint).is_file():
            raise ValueError(f"The backbone's checkpoint {checkpoint} is not a file.")
        arguments = {**arguments, "pretrained_cfg_overlay": {"file": checkpoint, "source": ""}}
    settings = _settings(name, source, img_size, arguments)
    if checkpoint is None and not (source and pretrained):
        backbone = _make(name, pretrained, settings, arguments)
    else:
        backbone = _with_weights(name, source, place, checkpoint, settings, arguments)
    return backbone, settings if source else None


def _source_of(name: str) -> tuple[str | None, str]:
    """Source of a name (`hf-hub`, `local-dir`, or None for timm's own models), and what it names there."""
    try:
        source, place = parse_model_name(name)
    except ValueError as error:
        raise ValueError(f"backbone: {error}") from error
    if source is None and not timm.is_model(name):
        close = difflib.get_close_matches(name, timm.list_models(), n=5)
        hint = f"close names: {', '.join(close)}" if close else "timm.list_models() names them all"
        raise ValueError(f"timm has no backbone named {name!r}; {hint}.")
    return source, place


def _settings(name: str, source: str | None, img_size: int | None, arguments: dict[str, Any]) -> dict[str, Any]:
    """All arguments of `timm.create_model` but `pretrained`, with the config of a source in place of its name."""
    if source and (description := DESCRIBED.get({})):
        return description
    try:
        settings: dict[str, Any] = resolve_model_input_args(
            name, {"img_size": img_size}, in_chans=1, num_classes=0, **arguments
        )
    except LocalEntryNotFoundError as error:
        raise ValueError(f"timm cannot reach the backbone {name!r}: {error}") from error
    except (EntryNotFoundError, FileNotFoundError, KeyError) as error:
        raise ValueError(
            f"{name!r} has no config of timm, that is a config.json with an architecture ({error}). Take timm's model "
            "of that architecture with the weights as encoder.checkpoint, if they are in timm's or CLIP's layout."
        ) from error
    except (OSError, RuntimeError, ValueError) as error:
        raise ValueError(f"timm cannot make the backbone {name!r}: {error}") from error
    return settings


def _make(name: str, pretrained: bool, settings: dict[str, Any], arguments: dict[str, Any]) -> nn.Module:
    try:
        model: nn.Module = timm.create_model(**{"pretrained": pretrained, **settings})
    except TypeError as error:
        raise ValueError(
            f"the backbone {name!r} does not take the backbone_args {arguments}: {error}; "
            "backbone_args={} clears those of a config."
        ) from error
    return model


def _with_weights(
    name: str,
    source: str | None,
    place: str,
    checkpoint: str | None,
    settings: dict[str, Any],
    arguments: dict[str, Any],
) -> nn.Module:
    """Make a backbone with the weights of a file or a source, and check that timm took them."""
    try:
        backbone = _make(name, True, settings, arguments)
        if checkpoint is not None:
            stored = load_state_dict(checkpoint)
        elif source == "local-dir":
            stored = load_state_dict_from_path(place)
        else:
            stored = load_state_dict_from_hf(place, cache_dir=arguments.get("cache_dir"))
    except LOADING_ERRORS as error:
        raise ValueError(
            f"{checkpoint or name} does not hold weights of {name!r} ({type(error).__name__}: {error})."
        ) from error
    _check_loaded(backbone, checkpoint or name, settings["model_name"], stored)
    return backbone


def _check_loaded(backbone: nn.Module, place: str, architecture: str, stored: dict[str, Tensor]) -> None:
    """Refuse weights that timm did not load: without a classifier to load it accepts any mismatch.

    Matrices are compared by size and sum, since timm renames them on the way for some backbones.
    """
    prints = {_fingerprint(tensor) for tensor in stored.values() if tensor.ndim > 1}
    matrices = [p for p in backbone.parameters() if p.ndim > 1]
    loaded = sum(_fingerprint(p) in prints for p in matrices)
    if loaded < len(matrices) / 2:  # the stem may be summed over colours, a few may be resampled
        raise ValueError(
            f"{place} does not hold weights of {architecture!r} with these backbone_args: "
            f"{loaded} of its {len(matrices)} matrices are there."
        )


def _fingerprint(tensor: Tensor) -> tuple[int, float]:
    return tensor.numel(), float(tensor.detach().double().sum())
