"""The arm that classifies."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from dml_lightning.losses import (
    BinaryCrossEntropyLoss,
    ClassificationLoss,
    CrossEntropyLoss,
    FocalLoss,
    MetricCrossEntropyLoss,
)
from dml_lightning.models import SoftmaxModule
from dml_lightning.types import CLUTTER
from tests.models.small import make

pytestmark = pytest.mark.filterwarnings("ignore:.*does not have many workers")


def test_softmax_gradients_are_those_of_the_textbook() -> None:
    """dL/dz = p - y, dL/df = sum_j p_j W_j - W_y, dL/dW_j = (p_j - y_j) f, for one sample."""
    module = make(SoftmaxModule, normalize=False, scale=1.0).double()
    assert isinstance(module, SoftmaxModule)
    f = torch.randn(1, 4, dtype=torch.float64, requires_grad=True)
    label = torch.tensor([2])
    logits = module.compute_logits(f)
    logits.retain_grad()
    module.loss(logits, label).loss.backward()
    p = logits.detach().softmax(1)
    error = p - nn.functional.one_hot(label, 3)
    weight = module.classifier.weight
    assert torch.allclose(_grad(logits), error)
    assert torch.allclose(_grad(f), p @ weight - weight[label])
    assert torch.allclose(_grad(weight), error.T @ f)


LOSSES: list[Callable[[], ClassificationLoss]] = [
    CrossEntropyLoss,
    lambda: CrossEntropyLoss(0.1, [1.0, 2.0, 0.5, 3.0]),  # the reject class has the last weight
    BinaryCrossEntropyLoss,
    FocalLoss,
    MetricCrossEntropyLoss,
]


@pytest.mark.parametrize(("loss", "turned"), [*((each, 1) for each in LOSSES), (CrossEntropyLoss, 4)])
def test_clutter_is_one_class_more_of_the_loss(loss: Callable[[], ClassificationLoss], turned: int) -> None:
    """As a plain classifier has it, whose last class is the reject class, behind the turned ones."""
    module, last = make(SoftmaxModule, clutter=True, turned_classes=turned, loss=loss()).double(), 3 * turned
    assert isinstance(module, SoftmaxModule)
    f = torch.randn(6, 4, dtype=torch.float64)
    labels = torch.tensor([2, CLUTTER, 0, CLUTTER, 1, 2])
    value = module.compute_loss(f, labels).loss
    value.backward()
    joined = nn.Linear(4, last + 1).double()
    with torch.no_grad():
        assert module.reject is not None
        joined.weight.copy_(torch.cat([module.classifier.weight, module.reject.weight]))
        joined.bias.copy_(torch.cat([module.classifier.bias, module.reject.bias]))
    plain = torch.where(labels == CLUTTER, last, labels)
    expected = loss()(joined(16 * f), plain).loss
    expected.backward()
    torch.testing.assert_close(value, expected)
    gradient = torch.cat([_grad(module.classifier.weight), _grad(module.reject.weight)])
    torch.testing.assert_close(gradient, _grad(joined.weight))
    for name, scalar in module.diagnostics(f, labels).items():
        torch.testing.assert_close(scalar, loss().diagnostics(joined(16 * f), plain)[name])


def test_names_and_heads_are_of_known_classes_alone() -> None:
    """A crop that the reject class would win is still named: refusing is the business of a score."""
    module = make(SoftmaxModule, clutter=True)
    assert isinstance(module, SoftmaxModule)
    assert module.reject is not None
    nn.init.constant_(module.reject.bias, 1e6)
    f = torch.randn(5, 4)
    plain = make(SoftmaxModule)
    torch.testing.assert_close(module.compute_logits(f), plain.compute_logits(f), rtol=0, atol=0)
    head, reject = module.linear_head(), module.reject_head()
    assert reject is not None
    assert head.weight.shape == (3, 4)
    torch.testing.assert_close(f @ reject.weight.T + reject.bias, module.reject(16 * f))
    assert plain.reject_head() is None
    assert "reject" not in "".join(plain.state_dict())


def _grad(tensor: Tensor) -> Tensor:
    assert tensor.grad is not None
    return tensor.grad


def test_turned_classes_are_learnt_and_never_named() -> None:
    module = make(SoftmaxModule, turned_classes=4)
    assert isinstance(module, SoftmaxModule)
    embeddings, labels = torch.randn(24, 4), torch.arange(24) % 12
    logits = module.scale * embeddings @ module.classifier.weight.T + module.classifier.bias  # (24, 12)
    loss, _ = module.compute_loss(embeddings, labels)
    assert torch.allclose(loss, torch.nn.functional.cross_entropy(logits, labels))
    named = module.compute_logits(embeddings)
    assert torch.allclose(named, logits[:, :3], atol=1e-6)
    weight, bias = module.linear_head()
    assert torch.allclose(embeddings @ weight.T + bias, named, atol=1e-6)
