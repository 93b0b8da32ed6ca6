"""All numbers of a test at once."""

from dml_lightning.evaluation.evidence import Evidence
from dml_lightning.evaluation.numbers import MEASUREMENTS, measure


def test_every_number_is_that_of_its_measurement(split: Evidence) -> None:
    parts = [measurement(split) for measurement in MEASUREMENTS]
    found = measure(split)
    assert list(found) == sorted(found)
    assert len(found) == sum(map(len, parts))  # no measurement overwrites another
    for part in parts:
        for name, value in part.items():
            assert found[name] == value or (found[name] != found[name] and value != value), name
    assert {"accuracy", "inter_intra_ratio", "map_at_r", "ood_auroc", "active_triplet_fraction"} <= set(found)
    assert {"assumption_known_inside", "worst_class_gap"} <= set(found)
    assert all(isinstance(value, float | int) for value in found.values())
