"""The arm that embeds."""

import pytest

from dml_lightning.losses import TripletLoss
from dml_lightning.models import TripletModule
from tests.models.small import make

pytestmark = pytest.mark.filterwarnings("ignore:.*does not have many workers")


def test_an_infeasible_margin_is_refused_before_training() -> None:
    with pytest.raises(ValueError, match=r"3 classes.*1\.73"):
        make(TripletModule, loss=TripletLoss(margin=1.9))
    make(TripletModule, loss=TripletLoss(margin=1.9), allow_infeasible_margin=True)
    make(TripletModule, loss=TripletLoss(margin=1.9), normalize=False)
