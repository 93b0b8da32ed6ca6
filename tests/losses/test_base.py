"""What all losses have by themselves."""

import pytest
import torch
from torch import Tensor, nn

from dml_lightning.losses import base
from dml_lightning.types import LossOutput


class Proxies(base.EmbeddingLoss):
    def __init__(self, trainable: bool = True) -> None:
        super().__init__()
        self.proxies = nn.Parameter(torch.ones(2, 3), requires_grad=trainable)
        self.fixed = nn.Parameter(torch.ones(1), requires_grad=False)

    def forward(self, embeddings: Tensor, labels: Tensor) -> LossOutput:
        return LossOutput((embeddings - self.proxies[labels]).square().sum(), {})


class Plain(base.ClassificationLoss):
    def forward(self, logits: Tensor, labels: Tensor) -> LossOutput:
        return LossOutput(logits.sum(), {})


def test_parameters_that_learn_are_one_group() -> None:
    loss = Proxies()
    (group,) = loss.parameter_groups()
    assert [id(parameter) for parameter in group["params"]] == [id(loss.proxies)]
    assert "lr" not in group


def test_without_any_there_is_no_group() -> None:
    assert Proxies(trainable=False).parameter_groups() == []


def test_a_loss_that_says_nothing_of_clutter_refuses_it() -> None:
    with pytest.raises(ValueError, match=r"^Proxies has no place for clutter \(data.ood_train\): take a loss that has"):
        Proxies().check_clutter()


def test_a_loss_needs_its_forward() -> None:
    for kind in (base.EmbeddingLoss, base.ClassificationLoss):
        with pytest.raises(TypeError, match="abstract"):
            kind()  # type: ignore[abstract]


def test_a_classification_loss_has_nothing_more_to_log() -> None:
    assert Plain().diagnostics(torch.zeros(2, 3), torch.zeros(2, dtype=torch.long)) == {}


@pytest.mark.parametrize("value", [0.0, -1.0, float("nan"), float("inf")])
def test_settings_that_are_not_positive_and_finite_are_named(value: float) -> None:
    base.positive(margin=1e-9, scale=1e9)
    with pytest.raises(ValueError, match=f"scale must be positive and finite, got {value}"):
        base.positive(margin=1.0, scale=value)
