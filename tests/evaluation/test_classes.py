"""Results by class: against scikit-learn, against all distances one by one, and against the numbers of the split."""

from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import precision_recall_fscore_support, roc_auc_score

from dml_lightning.evaluation.classes import class_results
from dml_lightning.evaluation.evidence import Evidence
from dml_lightning.evaluation.naming import accuracy_values, names_of_known
from dml_lightning.evaluation.ood import class_part, ood_values
from dml_lightning.evaluation.open_set import open_set_sample
from dml_lightning.evaluation.retrieval import retrieval_values
from tests.evaluation.lines import laid_out


def test_precision_recall_and_support_are_those_of_scikit_learn(split: Evidence) -> None:
    table = class_results(split).query("role == 'known'")
    truth, named = split.sets["known"].labels, names_of_known(split)
    labels = sorted(set(truth.tolist()))
    assert list(table["class"]) == [split.class_names[label] for label in labels]
    precision, recall, _, support = precision_recall_fscore_support(truth, named, labels=labels, zero_division=np.nan)
    np.testing.assert_allclose(table["precision"], precision)
    np.testing.assert_allclose(table["recall"], recall)
    np.testing.assert_array_equal(table["support"], support)
    assert table["recall"].mean() == pytest.approx(accuracy_values(split)["balanced_accuracy"])


def test_recall_at_1_is_of_the_nearest_other_crop(split: Evidence) -> None:
    table = class_results(split).set_index("class")
    for role in ("known", "novel"):
        part, flights = split.sets[role], split.groups[role]
        x, y = part.vectors.double().numpy(), part.labels.numpy()
        far = np.linalg.norm(x[:, None] - x, axis=2) + np.diag(np.full(len(x), np.inf))
        for column, apart in (("", far), ("_other_groups", np.where(flights[:, None] == flights, np.inf, far))):
            found = np.isfinite(np.where(y[:, None] == y, apart, np.inf)).any(1)
            hit = y[apart.argmin(1)] == y
            for label in set(y.tolist()):
                chosen = found & (y == label)
                expected = hit[chosen].mean() if chosen.any() else np.nan
                row = table.loc[split.class_names[label]]
                assert row[f"recall_at_1{column}"] == pytest.approx(expected, nan_ok=True)
    known = class_results(split).query("role == 'known'")
    if known["recall_at_1"].notna().all() and (known["support"] > 1).all():
        mean = np.average(known["recall_at_1"], weights=known["support"])
        assert mean == pytest.approx(retrieval_values(split)["recall_at_1"])


def test_ood_auroc_is_of_the_class_against_the_other_side(split: Evidence) -> None:
    table, values, sample = class_results(split), ood_values(split), open_set_sample(split)
    for _, row in table.query("role == 'ood'").iterrows():
        assert row["ood_auroc"] == values[f"ood_auroc_{class_part(row['class'])}"]
    for _, row in table.query("role == 'known'").iterrows():
        own = sample.known[split.sets["known"].labels.numpy() == split.class_names.index(row["class"])]
        truth = np.repeat([0, 1], [len(own), len(sample.ood)])
        assert row["ood_auroc"] == pytest.approx(roc_auc_score(truth, np.concatenate([own, sample.ood])))
    novel = table.query("role == 'novel'")
    weighted = np.average(novel["ood_auroc"], weights=novel["support"])
    assert weighted == pytest.approx(values["novel_auroc"])
    assert novel[["precision", "recall"]].isna().all(axis=None)
    assert table["support"].sum() == sum(len(split.sets[name]) for name in ("known", "novel", "ood"))


def test_what_cannot_be_told_is_missing() -> None:
    """No OOD crop, one crop of a class, and a name that is never given."""
    reference = [([0.0, 1.0], 0), ([9.0, 0.0], 1)]
    table = class_results(
        laid_out({"reference": reference, "known": [([0.0, 0.5], 0), ([0.1, 1.0], 0), ([1.0, 0.0], 1)]})
    )
    coot, mallard = (table.set_index("class").loc[name] for name in ("coot", "mallard"))
    assert (coot["precision"], coot["recall"], coot["recall_at_1"]) == (pytest.approx(2 / 3), 1.0, 1.0)
    assert coot["recall_at_1_other_groups"] == 1.0  # the two are of two flights
    assert mallard["recall"] == 0
    assert np.isnan(mallard[["precision", "recall_at_1", "ood_auroc"]].astype(float)).all()


def test_other_groups_are_left_out_where_the_split_says_so(split: Evidence) -> None:
    wide, narrow = class_results(split), class_results(replace(split, other_groups=False))
    assert list(wide) == [*narrow.columns[:-1], "recall_at_1_other_groups", "ood_auroc"]
    assert narrow.equals(wide[list(narrow)])
