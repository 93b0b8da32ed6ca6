"""Arguments that objects were made with, as plain values that build them again."""

from functools import partial

import numpy as np
import pytest
import torch

from dml_lightning.arguments import NotPlainError, arguments_of, described
from dml_lightning.losses import TripletLoss
from dml_lightning.models import TripletModule
from dml_lightning.models.encoder import RawPixels


class OwnLoss(TripletLoss):
    """Does not call `remember`, so what it was made with is not known."""

    def __init__(self, factor: float) -> None:
        super().__init__(margin=2 * factor)


def test_a_module_is_described_down_to_its_parts() -> None:
    optimizer = partial(torch.optim.SGD, lr=0.5)
    module = TripletModule(RawPixels(side=4), optimizer, np.int64(3), TripletLoss(0.3, soft=True), warmup=0.1)
    section = described(module)
    assert section["class_path"] == "dml_lightning.models.triplet.TripletModule"
    given = section["init_args"]
    assert given["encoder"]["init_args"] == {"side": 4, "normalize": True}
    assert given["optimizer"] == {"class_path": "torch.optim.sgd.SGD", "init_args": {"lr": 0.5}}
    assert type(given["num_classes"]) is int
    assert given["warmup"] == 0.1
    loss = given["loss"]["init_args"]
    assert TripletLoss(**loss).margin == 0.3
    assert loss["soft"] is True


@pytest.mark.parametrize("value", [OwnLoss(0.1), print, {"a": torch.zeros(1)}, partial(dict, [1]), [object()]])
def test_what_has_no_plain_form_is_refused(value: object) -> None:
    with pytest.raises(NotPlainError):
        described(value)


def test_a_class_that_nobody_can_import_is_refused() -> None:
    class Local:
        pass

    with pytest.raises(NotPlainError, match="cannot be imported"):
        described(Local)
    assert arguments_of(3) is None
