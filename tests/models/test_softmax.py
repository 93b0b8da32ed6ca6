"""The arm that classifies."""

import pytest
import torch
from torch import Tensor, nn

from dml_lightning.models import SoftmaxModule
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
