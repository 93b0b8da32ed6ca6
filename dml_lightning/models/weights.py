"""Backbones without weights of their own, where those of a run's checkpoint follow; timm is not imported here."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from dml_lightning.files import read_json

DESCRIPTION = "backbone.json"  # in a run's folder, of a backbone that no registry of timm describes

FOLLOW = ContextVar("follow", default=False)  # whether the weights of a checkpoint follow
DESCRIBED: ContextVar[dict[str, Any]] = ContextVar("described")  # content of `DESCRIPTION`


@contextmanager
def weights_follow(run: Path | None = None, description: dict[str, Any] | None = None) -> Iterator[None]:
    """Make encoders without published or given weights, since those of a run's checkpoint follow.

    Args:
        run: Folder of the run, which describes a backbone of the hub or of a local folder so that neither is asked.
        description: The description itself.
    """
    if description is None:
        description = {} if run is None else read_json(run / DESCRIPTION)
    tokens = FOLLOW.set(True), DESCRIBED.set(description)
    try:
        yield
    finally:
        FOLLOW.reset(tokens[0])
        DESCRIBED.reset(tokens[1])
