"""Numbers of refusing what training has seen, by hand on a line."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from dml_lightning.evaluation.classes import class_results
from dml_lightning.evaluation.clutter import clutter_values
from dml_lightning.evaluation.evidence import Evidence, read_evidence
from dml_lightning.evaluation.numbers import measure
from dml_lightning.gallery.gallery import Gallery
from dml_lightning.metrics.ood import fpr_at_tpr
from dml_lightning.types import LinearHead
from tests.evaluation.lines import laid_out
from tests.evaluation.test_ood import KNOWN, NOVEL, OOD, REFERENCE

CLUTTER = [([2.5], 5), ([0.0], 5), ([12.0], 6)]  # distances 2.5, 0 and 8; known ones have 0.5, 2, 3 and 0


def evidence(clutter: bool = True) -> Evidence:
    sets = {"reference": REFERENCE, "known": KNOWN, "novel": NOVEL, "ood": OOD, "clutter": CLUTTER if clutter else []}
    given = laid_out(sets)  # type: ignore[arg-type]
    return replace(given, class_names=[*given.class_names, "background", "near"])


def with_head(given: Evidence) -> Evidence:
    """Logits 0 and x / 10 of the classes, 1 - x / 5 of the reject class."""
    head = LinearHead(torch.tensor([[0.0], [0.1]]), torch.zeros(2))
    return replace(given, head=head, reject=LinearHead(torch.tensor([[-0.2]]), torch.ones(1)))


def test_by_hand() -> None:
    values = clutter_values(evidence())
    assert values["clutter_auroc"] == pytest.approx((3 + 0.5 + 4) / 12)  # 2.5 below 3; 0 ties with one; 8 above all
    assert values["clutter_auroc_background"] == pytest.approx((3 + 0.5) / 8)
    assert values["clutter_auroc_class_near"] == 1
    known, clutter = np.array([0.5, 2.0, 3.0, 0.0]), np.array([2.5, 0.0, 8.0])
    assert values["clutter_fpr95_clutter_positive"] == fpr_at_tpr(known, clutter, positive="ood")
    assert values["clutter_fpr95_known_positive"] == fpr_at_tpr(known, clutter, positive="known")
    # beyond the radii 1 and 4: known -0.5, 1, -1, -4; clutter 1.5, -1, 4 (8 from the second ball)
    assert values["clutter_auroc_radius"] == pytest.approx((4 + 1.5 + 4) / 12)


def test_by_the_reject_class_one_crop_at_a_time() -> None:
    given = with_head(evidence())
    values = clutter_values(given)
    for name in ("ood", "novel", "clutter"):
        scores = []
        for part in (given.sets["known"], given.sets[name]):  # type: ignore[index]
            x = part.vectors[:, 0].double().numpy()
            odds = np.exp(1 - x / 5) / (1 + np.exp(x / 10))
            scores.append(odds / (1 + odds))
        pairs = [(high > low) + 0.5 * (high == low) for low in scores[0] for high in scores[1]]
        assert values[f"reject_{name}_auroc"] == pytest.approx(np.mean(pairs))


def test_what_training_saw_is_in_no_other_number() -> None:
    given, plain = with_head(evidence()), evidence(clutter=False)
    apart = ("clutter_", "reject_")
    numbers, without = measure(given), measure(plain)
    assert {name: value for name, value in numbers.items() if not name.startswith(apart)} == pytest.approx(
        without, nan_ok=True
    )
    assert not [name for name in without if name.startswith(apart)]
    assert Gallery.build(given, "0" * 64).thresholds["B"] == Gallery.build(plain, "0" * 64).thresholds["B"]


def test_classes_of_clutter_are_told_by_their_role() -> None:
    rows = class_results(evidence()).set_index("class")
    assert rows.loc[["background", "near"], "role"].tolist() == ["clutter", "clutter"]
    assert rows.loc["near", "ood_auroc"] == 1
    assert (
        rows.loc["coot", "ood_auroc"]
        == class_results(evidence(clutter=False)).set_index("class").loc["coot", "ood_auroc"]
    )


def test_it_is_saved_and_read_again(tmp_path: Path) -> None:
    given = with_head(evidence())
    given.save(tmp_path / "test.npz")
    again = read_evidence(tmp_path / "test.npz")
    assert again.sets["clutter"].labels.tolist() == [5, 5, 6]
    assert again.class_names == given.class_names
    assert measure(again) == pytest.approx(measure(given), nan_ok=True)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"reject_weight": np.zeros((2, 1))}, r"reject_weight \(2, 1\) .* must be \(1, 1\) and \(1,\)"),
        ({"head_weight": None, "head_bias": None}, "an array reject_weight and no head_weight"),
        ({"roles": "ood"}, "'background' is ood in some rows and clutter in others"),
    ],
)
def test_a_file_that_contradicts_itself_is_refused(tmp_path: Path, change: dict[str, object], message: str) -> None:
    with_head(evidence()).save(tmp_path / "test.npz")
    with np.load(tmp_path / "test.npz") as file:
        content = dict(file)
    if change.get("roles") == "ood":
        first = np.flatnonzero(content["roles"] == "clutter")[0]
        content["roles"] = content["roles"].astype("U9")
        content["roles"][first] = "ood"
        content["index"][first] = 99
        change = {}
    content |= {name: value for name, value in change.items() if value is not None}  # type: ignore[dict-item]
    for name in [name for name, value in change.items() if value is None]:
        del content[name]
    np.savez(tmp_path / "test.npz", **content)
    with pytest.raises(ValueError, match=message):
        read_evidence(tmp_path / "test.npz")
