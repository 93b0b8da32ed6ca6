"""Naming with refusal on a line, by hand, and by both rules of a classifier."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from dml_lightning.evaluation.evidence import Evidence
from dml_lightning.evaluation.open_set import open_set_sample, open_set_values
from tests.evaluation.lines import laid_out

# prototypes at 0 and 10
REFERENCE = [([-1.0], 0), ([1.0], 0), ([9.0], 1), ([11.0], 1)]
KNOWN = [([0.0], 0), ([2.0], 0), ([7.0], 0), ([9.5], 1)]  # scores 0, 2, 3, 0.5; the third is nearest to the other


def evidence() -> Evidence:
    return laid_out({"reference": REFERENCE, "known": KNOWN, "ood": [([1.0], 3), ([-5.0], 4)], "novel": [([12.5], 2)]})


def test_by_hand() -> None:
    sample = open_set_sample(evidence())
    assert sample.known.tolist() == [0, 2, 3, 0.5]
    assert sample.right.tolist() == [True, True, False, True]
    assert (sample.ood.tolist(), sample.novel.tolist()) == ([1, 5], [2.5])
    values = open_set_values(evidence())
    # of 4 x 2 pairs, crops named right lie below 1 twice and below 5 three times
    assert values["oscr"] == values["oscr_prototype"] == pytest.approx(5 / 8)
    assert values["novel_oscr"] == pytest.approx(3 / 4)
    assert values["aurc"] == pytest.approx((0 + 0 + 0 + 1 / 4) / 4)
    assert len(values) == 6


def test_a_classifier_has_names_of_its_own_beside_those_of_the_prototypes() -> None:
    given = evidence()
    sets = {name: replace(part, logits=torch.eye(2)[[1] * len(part)]) for name, part in given.sets.items()}
    values = open_set_values(replace(given, sets=sets, prediction_rule="softmax"))  # all are named the second class
    assert values["oscr"] == pytest.approx(2 / 8)  # the crop at 9.5 alone is right
    assert values["oscr_prototype"] == pytest.approx(5 / 8)
    # by ascending score the errors are: the first, not the second, both others
    assert values["aurc"] == pytest.approx(np.mean([1 / 1, 1 / 2, 2 / 3, 3 / 4]))
    assert values["aurc_prototype"] == pytest.approx(1 / 16)


def test_without_unknown_crops_there_is_the_risk_alone() -> None:
    assert set(open_set_values(laid_out({"reference": REFERENCE, "known": KNOWN}))) == {"aurc", "aurc_prototype"}
