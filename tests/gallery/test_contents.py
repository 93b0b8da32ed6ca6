"""Prototypes and thresholds in a record: what is written is read back to the last bit, in both formats."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dml_lightning.gallery import records
from dml_lightning.gallery.contents import read_prototypes, read_thresholds, written_contents
from dml_lightning.gallery.records import Record
from dml_lightning.openset.arrays import ArrayState
from dml_lightning.openset.conformal import ClassThresholds
from dml_lightning.openset.prototypes import PrototypeDetector
from dml_lightning.openset.thresholds import Threshold

EDGES = np.array([-np.inf, -0.0, np.nextafter(0.0, 1.0), 0.1, np.inf])


def prototypes() -> PrototypeDetector:
    """Labels with gaps, one class of a single crop, and numbers without a short decimal form."""
    vectors = np.random.default_rng(0).normal(size=(9, 4)) / 3
    return PrototypeDetector(0.9).fit(vectors, np.array([2, 2, 2, 5, 5, 5, 5, 5, 40]))


def thresholds() -> dict[str, Threshold]:
    """One of each rule, and one per class whose classes have calibration sets of different sizes."""
    per_class = ClassThresholds(np.array([0.3, np.inf, 0.1]), 0.05, (EDGES[:2], EDGES[1:], EDGES[:1]))
    return {
        "A": Threshold("A", 1 / 3, kind="radius"),
        "B": Threshold("B", -0.0, samples=7, cost=0.05, refused=1 / 3, seen=True),
        "C": Threshold("C", np.inf, 0.05, 5, 3, EDGES, np.array([0, 2, 2, 1, 0]), left_out=0.1, too_few_flights=True),
        "C_class": Threshold("C", 0.0, 0.05, 7, 2, per_class=per_class),
    }


def identical(first: ArrayState, second: ArrayState) -> bool:
    """Whether two states hold the same bytes, types and shapes."""
    return first.keys() == second.keys() and all(
        (first[key].dtype, first[key].shape, first[key].tobytes())
        == (second[key].dtype, second[key].shape, second[key].tobytes())
        for key in first
    )


def stored(folder: Path, own: dict[str, Threshold], base: PrototypeDetector | None) -> Record:
    """A record that went through the disk."""
    arrays, words = written_contents(own, base)
    records.append(folder, "base", words, arrays)
    return records.read(folder)[-1]


def old_record() -> Record:
    """Format 1: a whole detector for each rule, its texts in JSON."""
    arrays: ArrayState = {}
    texts: dict[str, str] = {}
    for rule, threshold in thresholds().items():
        arrays |= {f"rules.{rule}.{name}": value for name, value in prototypes().state().items()}
        texts |= {f"rules.{rule}.kind": threshold.kind, f"rules.{rule}.threshold.rule": threshold.rule}
        for name, value in threshold.state().items():
            if name.startswith("per_class."):
                arrays[f"rules.{rule}.{name}"] = value
            elif name not in ("kind", "rule"):
                arrays[f"rules.{rule}.threshold.{name}"] = value
    return Record(0, "base", 1, {"rules": list(thresholds()), "words": texts}, arrays)


def check(record: Record) -> None:
    assert identical(read_prototypes(record).state(), prototypes().state())
    read = read_thresholds(record)
    assert list(read) == list(thresholds())
    for rule, threshold in thresholds().items():
        assert identical(read[rule].state(), threshold.state()), rule


def test_what_is_written_is_read_back_to_the_last_bit(tmp_path: Path) -> None:
    record = stored(tmp_path, thresholds(), prototypes())
    assert record.format == records.RECORD_FORMAT == 3
    check(record)


def test_the_first_format_is_still_read() -> None:
    check(old_record())


def test_the_first_format_may_lack_the_flight_of_each_score() -> None:
    record = old_record()
    del record.arrays["rules.C.threshold.owners"]
    assert read_thresholds(record)["C"].owners.tolist() == []


def test_prototypes_are_held_once_and_texts_lie_in_json(tmp_path: Path) -> None:
    record = stored(tmp_path, thresholds(), prototypes())
    of_threshold = {"value", "alpha", "samples", "groups", "scores", "owners"}
    of_threshold |= {"cost", "refused", "left_out", "too_few_flights", "seen"}
    expected = {f"prototypes.{name}" for name in ("radius_quantile", "classes", "prototypes", "radii")}
    expected |= {f"thresholds.{rule}.{name}" for rule in thresholds() for name in of_threshold}
    expected |= {f"thresholds.C_class.per_class.{name}" for name in ("values", "alpha", "sizes", "scores")}
    assert record.arrays.keys() == expected
    texts: dict[str, str] = {f"thresholds.{rule}.rule": each.rule for rule, each in thresholds().items()}
    texts |= {f"thresholds.{rule}.kind": each.kind for rule, each in thresholds().items()}
    assert (record.words["thresholds"], record.words["texts"]) == (list(thresholds()), texts)


def test_a_recalibration_holds_thresholds_alone(tmp_path: Path) -> None:
    own = {"C": thresholds()["C"]}
    record = stored(tmp_path, own, None)
    assert {name.partition(".")[0] for name in record.arrays} == {"thresholds"}
    assert list(read_thresholds(record)) == ["C"]
    assert identical(read_thresholds(record)["C"].state(), own["C"].state())
    with pytest.raises(ValueError, match="record 0 of the gallery is damaged: prototypes lacks 'radius_quantile'"):
        read_prototypes(record)


@pytest.mark.parametrize("name", ["radius_quantile", "classes", "prototypes", "radii"])
def test_a_missing_array_of_the_prototypes_is_named(tmp_path: Path, name: str) -> None:
    for record, prefix in ((stored(tmp_path, thresholds(), prototypes()), "prototypes"), (old_record(), "rules.A")):
        del record.arrays[f"{prefix}.{name}"]
        with pytest.raises(ValueError, match=f"record 0 of the gallery is damaged: {prefix} lacks '{name}'; restore"):
            read_prototypes(record)


@pytest.mark.parametrize("name", ["value", "alpha", "samples", "groups", "scores"])
def test_a_missing_array_of_a_threshold_is_named(tmp_path: Path, name: str) -> None:
    record = stored(tmp_path, thresholds(), prototypes())
    del record.arrays[f"thresholds.C.{name}"]
    with pytest.raises(ValueError, match=f"is damaged: thresholds.C lacks '{name}'; restore the whole folder"):
        read_thresholds(record)
    old = old_record()
    del old.arrays[f"rules.C.threshold.{name}"]
    with pytest.raises(ValueError, match=f"is damaged: rules.C lacks '{name}'; restore the whole folder"):
        read_thresholds(old)


@pytest.mark.parametrize("name", ["values", "alpha", "sizes", "scores"])
def test_a_missing_array_of_the_thresholds_per_class_is_named(tmp_path: Path, name: str) -> None:
    record = stored(tmp_path, thresholds(), None)
    del record.arrays[f"thresholds.C_class.per_class.{name}"]
    with pytest.raises(ValueError, match=f"is damaged: thresholds.C_class lacks '{name}'"):
        read_thresholds(record)


def test_missing_texts_and_rules_without_arrays_are_named(tmp_path: Path) -> None:
    record = stored(tmp_path, thresholds(), None)
    record.words["texts"].pop("thresholds.B.rule")
    with pytest.raises(ValueError, match=r"thresholds\.B lacks 'rule'"):
        read_thresholds(record)
    more = replace(record, words={**record.words, "thresholds": ["D"]})
    with pytest.raises(ValueError, match=r"thresholds\.D lacks 'rule'"):
        read_thresholds(more)
    old = old_record()
    del old.words["words"]["rules.A.kind"]
    with pytest.raises(ValueError, match=r"rules\.A lacks 'kind'"):
        read_thresholds(old)
