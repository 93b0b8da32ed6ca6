"""Names of crops by prototype, by neighbours and by a classifier, which disagree where they are laid out to."""

from dataclasses import replace

import pytest
import torch

from dml_lightning.evaluation.evidence import Evidence
from dml_lightning.evaluation.naming import accuracy_values, name_classes
from dml_lightning.types import Embeddings
from tests.evaluation.lines import laid_out

# class 0 at 0 but for an outlier at 9; class 1 at 12: a crop at 8 is nearest to the outlier and to class 1's mean
REFERENCE = [([-1.0], 0), ([1.0], 0), ([9.0], 0), ([12.0], 1), ([12.5], 1), ([13.0], 1)]
KNOWN = [([0.0], 0), ([8.0], 0), ([12.0], 1), ([12.0], 1), ([0.5], 1)]


def evidence() -> Evidence:
    return laid_out({"reference": REFERENCE, "known": KNOWN})


def test_rules_disagree_where_they_are_laid_out_to() -> None:
    sets = evidence().sets
    assert {rule: labels.tolist() for rule, labels in name_classes(sets["known"], sets["reference"], k=1).items()} == {
        "prototype": [0, 1, 1, 1, 0],
        "knn": [0, 0, 1, 1, 0],
    }
    queries = replace(sets["known"], logits=torch.tensor([[0.0, 1.0]] * 5))
    assert name_classes(queries, sets["reference"])["softmax"].tolist() == [1] * 5


def test_where_the_reference_has_fewer_all_vote() -> None:
    sets = evidence().sets
    reference = sets["reference"]
    few = Embeddings(reference.vectors[2:], reference.labels[2:], reference.index[2:])
    assert name_classes(sets["known"], few, k=100)["knn"].tolist() == [1] * 5


def test_accuracies_by_hand() -> None:
    given = evidence()
    result = accuracy_values(given, k=1)
    assert result["accuracy_prototype"] == pytest.approx(3 / 5)
    assert result["accuracy_knn"] == pytest.approx(4 / 5)
    assert result["balanced_accuracy_prototype"] == pytest.approx((1 / 2 + 2 / 3) / 2)
    assert result["balanced_accuracy_knn"] == pytest.approx((1 + 2 / 3) / 2)
    assert result["accuracy"] == result["accuracy_prototype"]  # the arm's own rule
    known = replace(given.sets["known"], logits=torch.tensor([[0.0, 1.0]] * 5))
    classifier = replace(given, sets={**given.sets, "known": known}, prediction_rule="softmax")
    own = accuracy_values(classifier, k=1)
    assert own["accuracy"] == own["accuracy_softmax"] == pytest.approx(3 / 5)
    assert own["balanced_accuracy"] == pytest.approx(1 / 2)
