"""All numbers of a test at once."""

from dml_lightning.evaluation.evidence import Evidence
from dml_lightning.evaluation.numbers import MEASUREMENTS, measure


def test_every_number_is_that_of_its_measurement(split: Evidence) -> None:
    parts = [measurement(split) for measurement in MEASUREMENTS]
    result = measure(split)
    assert list(result) == sorted(result)
    assert len(result) == sum(map(len, parts))  # no measurement overwrites another
    for part in parts:
        for name, value in part.items():
            assert result[name] == value or (result[name] != result[name] and value != value), name
    assert {"accuracy", "inter_intra_ratio", "map_at_r", "ood_auroc", "active_triplet_fraction"} <= set(result)
    assert {"assumption_known_inside", "worst_class_gap"} <= set(result)
    assert all(isinstance(value, float | int) for value in result.values())
