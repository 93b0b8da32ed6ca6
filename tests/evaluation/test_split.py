"""A split as arrays has the rows of `read_evidence`."""

from pathlib import Path

import numpy as np
import pytest

from dml_lightning.evaluation.evidence import read_evidence
from dml_lightning.evaluation.split import read_split
from dml_lightning.types import SETS
from tests.made_up import Made


def test_arrays_are_those_of_the_evidence(made: Made, tmp_path: Path) -> None:
    given = made()
    given["features"] = given["vectors"]
    np.savez(tmp_path / "e.npz", **given)
    split, evidence = read_split(tmp_path / "e.npz"), read_evidence(tmp_path / "e.npz")
    assert (split.class_names, split.num_classes) == (evidence.class_names, evidence.num_classes)
    assert split.encoder == evidence.encoder
    assert sum(len(places) for places in split.places.values()) == len(given["vectors"])
    for name in SETS:
        own, other = split.sets[name], evidence.sets[name]
        assert np.array_equal(split.groups[name], evidence.groups[name])
        assert np.array_equal(own.vectors, given["vectors"][split.places[name]])
        for column in own._fields:
            one, two = getattr(own, column), getattr(other, column)
            assert (one is None) == (two is None)
            assert one is None or np.array_equal(one, two.numpy())


def test_an_array_that_does_not_fit_is_named_with_its_file(made: Made, tmp_path: Path) -> None:
    given = made()
    np.savez(tmp_path / "e.npz", **(given | {"roles": np.repeat("duck", len(given["vectors"]))}))
    with pytest.raises(ValueError, match=r"e\.npz: the role 'duck' is none of reference, "):
        read_split(tmp_path / "e.npz")
