"""Fits of both arms, and fits that are ended early."""

import pytest

from dml_lightning.cli import main
from dml_lightning.models import EmbeddingModule
from tests import ROOT

ARMS = ("softmax", "triplet")


def arm_words(words: list[str], arm: str) -> list[str]:
    return [*words, f"--config={ROOT}/configs/model/{arm}.yaml", f"--name={arm}"]


class StopError(Exception):
    """Stands for whatever ends a fit early."""


def interrupted(words: list[str]) -> None:
    """Starts a fit that ends in its second epoch."""

    def stop(self: EmbeddingModule) -> None:
        if self.current_epoch == 1:
            raise StopError

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(EmbeddingModule, "on_train_epoch_start", stop)
        with pytest.raises(StopError):
            main(["fit", *words])


def interrupt(self: EmbeddingModule) -> None:
    raise StopError
