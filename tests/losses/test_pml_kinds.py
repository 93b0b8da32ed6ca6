"""Which losses of pytorch-metric-learning are taken, and for which sizes."""

import inspect
from functools import partial
from typing import Any

import pytest
from pytorch_metric_learning import losses
from torch import nn

from dml_lightning.losses.pml_kinds import check_kind, check_sizes, sized, sizes_of

SIZED = [
    losses.ArcFaceLoss,
    losses.CosFaceLoss,
    losses.LargeMarginSoftmaxLoss,
    losses.NormalizedSoftmaxLoss,
    losses.P2SGradLoss,
    losses.ProxyAnchorLoss,
    losses.ProxyNCALoss,
    losses.SoftTripleLoss,
    losses.SphereFaceLoss,
    losses.SubCenterArcFaceLoss,
]


@pytest.mark.filterwarnings("ignore:__array_wrap__ must accept context")  # LargeMarginSoftmaxLoss on NumPy 2
@pytest.mark.parametrize("kind", SIZED)
def test_every_loss_with_proxies_is_made_in_the_sizes_asked_for(kind: Any) -> None:
    loss = sized(kind, 4, 6)
    assert type(loss) is kind
    assert sizes_of(loss) == (4, 6)
    check_sizes(loss, 4, 6)
    with pytest.raises(ValueError, match=f"{kind.__name__}: num_classes is 4, but there are 3 known classes"):
        check_sizes(loss, 3, 6)
    with pytest.raises(ValueError, match="embedding_size is 6, but there are 8 dimensions"):
        check_sizes(loss, 4, 8)


def test_no_loss_of_the_library_that_takes_sizes_is_forgotten() -> None:
    kinds = [kind for kind in vars(losses).values() if inspect.isclass(kind)]
    with_sizes = {kind for kind in kinds if "num_classes" in inspect.signature(kind).parameters}
    assert with_sizes <= {*SIZED, losses.MarginLoss}


def test_margins_of_classes_have_a_number_too() -> None:
    assert sizes_of(losses.MarginLoss(num_classes=5)) == (5, None)
    assert sizes_of(losses.MarginLoss()) == (None, None)
    with pytest.raises(ValueError, match=r"num_classes is 5, but there are 4 .*, or give the class MarginLoss"):
        check_sizes(losses.MarginLoss(num_classes=5), 4, 6)


def test_a_partial_call_keeps_its_settings_and_may_not_disagree() -> None:
    assert sized(partial(losses.ProxyAnchorLoss, alpha=16), 4, 6).alpha == 16
    assert sizes_of(sized(partial(losses.ProxyAnchorLoss, num_classes=4, embedding_size=None), 4, 6)) == (4, 6)
    with pytest.raises(ValueError, match="num_classes is 9, but there are 4 known classes: leave it out"):
        sized(partial(losses.ProxyAnchorLoss, num_classes=9), 4, 6)
    with pytest.raises(ValueError, match="cannot be made with num_classes and embedding_size"):
        sized(losses.ContrastiveLoss, 4, 6)


def test_a_sum_is_taken_if_each_of_its_losses_is() -> None:
    check_kind(losses.MultipleLosses({"a": losses.ContrastiveLoss(), "b": losses.ArcFaceLoss(4, 6)}))
    with pytest.raises(ValueError, match="num_classes is 4"):
        check_sizes(losses.MultipleLosses([losses.ContrastiveLoss(), losses.ArcFaceLoss(4, 6)]), 5, 6)
    with pytest.raises(ValueError, match="got Linear"):
        check_kind(losses.MultipleLosses([nn.Linear(2, 2)]))


@pytest.mark.parametrize(
    ("wrapper", "message"),
    [
        (losses.CrossBatchMemory(losses.ContrastiveLoss(), 6), r"CrossBatchMemory .* TripletLoss\(memory_size"),
        (losses.SelfSupervisedLoss(losses.ContrastiveLoss()), "SelfSupervisedLoss .* give the loss inside"),
    ],
)
def test_wrappers_that_cannot_be_exact_are_refused_by_name(wrapper: nn.Module, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_kind(wrapper)
