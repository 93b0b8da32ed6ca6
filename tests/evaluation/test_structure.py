"""Distances between classes, and how the space is filled."""

from itertools import combinations_with_replacement

import pytest

from dml_lightning.evaluation.evidence import Evidence
from dml_lightning.evaluation.structure import class_table, structure_values
from dml_lightning.metrics.structure import embedding_density, spectral_decay, worst_class_gap
from tests.evaluation.lines import laid_out


def test_the_table_holds_the_mean_distance_of_every_pair_by_name(split: Evidence) -> None:
    table = class_table(split)
    names = split.class_names
    assert list(table) == list(table.index) == names
    rows = {names[i]: split.sets[s].vectors[split.sets[s].labels == i] for s in ("known", "novel", "ood") for i in
            set(split.sets[s].labels.tolist())}  # fmt: skip
    for one, two in combinations_with_replacement(names, 2):
        d = (rows[one].double()[:, None] - rows[two].double()).norm(dim=2)
        n = len(rows[one])
        mean = d.sum() / (n * (n - 1)) if one == two else d.mean()
        assert table.loc[one, two] == pytest.approx(float(mean), abs=1e-5)
        assert table.loc[two, one] == pytest.approx(float(mean), abs=1e-5)


def test_values_are_of_each_set_by_itself(split: Evidence) -> None:
    table, result = class_table(split), structure_values(split)
    for prefix, name in (("", "known"), ("novel_", "novel")):
        part = split.sets[name]  # type: ignore[index]
        own = [split.class_names[label] for label in sorted(set(part.labels.tolist()))]
        density = embedding_density(part.vectors, part.labels)
        expected = {
            "roth_embedding_density": density.density,
            "roth_spectral_decay": spectral_decay(part.vectors),
            "roth_singleton_classes": density.singletons,
            "worst_class_gap": worst_class_gap(table.loc[own, own]),
        }
        assert {key: result[prefix + key] for key in expected} == pytest.approx(expected, nan_ok=True)
    assert len(result) == 8


def test_a_table_that_is_given_is_taken(split: Evidence) -> None:
    wide = class_table(split)
    wide.loc["mallard", "gadwall"] = wide.loc["gadwall", "mallard"] = -5
    assert structure_values(split, wide)["worst_class_gap"] < structure_values(split)["worst_class_gap"]


def test_without_novel_species_there_are_no_numbers_of_them() -> None:
    known = [([0.0, 1.0], 0), ([1.0, 0.5], 0), ([4.0, 1.0], 1)]
    result = structure_values(laid_out({"reference": known, "known": known}))
    assert not any(name.startswith("novel_") for name in result)
    assert result["roth_singleton_classes"] == 1
