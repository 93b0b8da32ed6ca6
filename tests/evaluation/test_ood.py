"""Numbers of refusal, by hand on a line."""

from dataclasses import replace

import numpy as np
import pytest

from dml_lightning.evaluation.evidence import Evidence
from dml_lightning.evaluation.ood import POSITIVES, assumption_values, assumptions, ood_values, reference_prototypes
from dml_lightning.metrics.ood import fpr_at_tpr
from tests.evaluation.lines import laid_out

# prototypes 0 and 20, radii 1 and 4
REFERENCE = [([-1.0], 0), ([1.0], 0), ([16.0], 1), ([24.0], 1)]
KNOWN = [([0.5], 0), ([2.0], 0), ([17.0], 1), ([20.0], 1)]  # distances 0.5, 2, 3, 0
OOD = [([2.5], 3), ([12.0], 3), ([30.0], 4)]  # distances 2.5, 8, 10
NOVEL = [([10.0], 2), ([21.0], 2)]  # distances 10, 1


def evidence(novel: bool = True, ood: bool = True) -> Evidence:
    sets = {"reference": REFERENCE, "known": KNOWN, "novel": NOVEL if novel else [], "ood": OOD if ood else []}
    return laid_out(sets)  # type: ignore[arg-type]


def test_prototypes_and_radii_are_those_of_the_reference() -> None:
    detector = reference_prototypes(evidence())
    assert detector.prototypes.ravel().tolist() == [0, 20]
    assert detector.radii.tolist() == [1, 4]


def test_by_hand() -> None:
    result = ood_values(evidence())
    assert result["ood_auroc"] == pytest.approx(11 / 12)  # 2.5 lies below 3
    assert result["ood_auroc_mammal"] == result["ood_auroc_near"] == pytest.approx(7 / 8)
    assert result["ood_auroc_glint"] == result["ood_auroc_far"] == 1
    assert result["ood_auroc_macro"] == pytest.approx((7 / 8 + 1) / 2)
    assert result["novel_auroc"] == pytest.approx((4 + 2) / 8)  # 10 above all, 1 above 0.5 and 0
    known, ood = np.array([0.5, 2.0, 3.0, 0.0]), np.array([2.5, 8.0, 10.0])
    for positive in POSITIVES:
        assert result[f"ood_fpr95_{positive}_positive"] == fpr_at_tpr(known, ood, positive=positive)
    # beyond the radii: known -0.5, 1, -1, -4; OOD 1.5, 4 (8 from the second ball is 4), 6
    assert result["ood_auroc_radius"] == 1
    assert result["ood_auroc_radius_macro"] == result["ood_auroc_radius_glint"] == 1


def test_what_is_not_there_has_no_number() -> None:
    assert not any(name.startswith("novel") for name in ood_values(evidence(novel=False)))
    result = ood_values(evidence(ood=False))
    assert set(result) == {"novel_auroc", "novel_auroc_radius"}
    near_only = laid_out({"reference": REFERENCE, "known": KNOWN, "ood": OOD[:2]})
    assert not any(name.endswith(("_far", "_glint")) for name in ood_values(near_only))


@pytest.mark.parametrize("taken", ["near", "far", "macro", "radius", "radius_near", "class_near"])
def test_a_class_takes_the_number_of_no_part(taken: str) -> None:
    plain, named = evidence(), evidence()
    named.class_names[3:] = [taken, "a/b"]
    named = replace(named, far_ood=frozenset({"a/b"}))
    expected = {
        name.replace("mammal", f"class_{taken}").replace("glint", "a/b"): value
        for name, value in ood_values(plain).items()
    }
    assert ood_values(named) == expected


def test_conditions_of_the_theorem() -> None:
    report = assumptions(evidence())
    assert report.known_inside == 3 / 4  # all but the crop at 2
    assert report.pairs_disjoint == 1
    assert report.ood_outside == 1
    values = assumption_values(evidence())
    assert values == {f"assumption_{name}": value for name, value in report.values().items()}
    assert values["assumption_known_inside"] == 3 / 4


def test_a_smaller_quantile_shrinks_the_radii(split: Evidence) -> None:
    whole, part = (reference_prototypes(split, quantile).radii for quantile in (1.0, 0.5))
    assert (part < whole).all()
    assert ood_values(split, 0.5)["ood_auroc"] == ood_values(split)["ood_auroc"]
    assert (
        assumption_values(split, 0.5)["assumption_known_inside"] < assumption_values(split)["assumption_known_inside"]
    )
