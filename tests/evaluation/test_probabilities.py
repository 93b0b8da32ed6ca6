"""Probabilities of an arm that names by softmax, before and after the temperature of validation."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from dml_lightning.evaluation.evidence import Evidence, read_evidence
from dml_lightning.evaluation.numbers import measure
from dml_lightning.evaluation.probabilities import probability_values, temperature_on
from dml_lightning.metrics.calibration import (
    calibration_error,
    classwise_calibration_error,
    negative_log_likelihood,
    probabilities,
)
from tests.made_up import Made


@pytest.fixture
def evidence(tmp_path: Path, made: Made) -> Evidence:
    arrays = made()
    logits = np.random.default_rng(1).normal(0, 6, (len(arrays["labels"]), 3)).astype(np.float32)
    np.savez(tmp_path / "e.npz", **arrays, logits=logits, prediction_rule=np.array("softmax"))
    return read_evidence(tmp_path / "e.npz")


def test_values_are_those_of_the_functions(evidence: Evidence) -> None:
    known = evidence.sets["known"]
    assert known.logits is not None
    temperature = temperature_on(evidence)
    assert temperature is not None
    values = probability_values(replace(evidence, temperature=temperature), bins=7)
    for suffix, each in (("", 1.0), ("_scaled", temperature)):
        shares = probabilities(known.logits, each)
        assert values[f"nll{suffix}"] == negative_log_likelihood(known.logits, known.labels, each)
        assert values[f"calibration_error{suffix}"] == calibration_error(shares, known.labels, 7)
        assert values[f"classwise_calibration_error{suffix}"] == classwise_calibration_error(shares, known.labels, 7)
    assert values["temperature"] == temperature > 1  # the logits are noise, and too sure
    assert values["nll_scaled"] < values["nll"]


def test_without_a_temperature_there_is_nothing_scaled(evidence: Evidence) -> None:
    assert set(probability_values(evidence)) == {"nll", "calibration_error", "classwise_calibration_error"}
    assert set(probability_values(evidence)) <= set(measure(evidence))


def test_arms_that_do_not_name_by_softmax_have_none(evidence: Evidence) -> None:
    other = replace(evidence, prediction_rule="prototype")
    assert probability_values(replace(other, temperature=2.0)) == {}
    assert temperature_on(other) is None


def test_the_file_keeps_the_temperature(evidence: Evidence, tmp_path: Path) -> None:
    replace(evidence, temperature=1.5).save(tmp_path / "kept.npz")
    assert read_evidence(tmp_path / "kept.npz").temperature == 1.5
    evidence.save(tmp_path / "none.npz")
    assert read_evidence(tmp_path / "none.npz").temperature is None


@pytest.mark.parametrize("wrong", [0.0, -1.0, np.nan, np.inf, [1.0, 2.0], "warm"])
def test_a_wrong_temperature_is_refused(evidence: Evidence, tmp_path: Path, wrong: object) -> None:
    evidence.save(tmp_path / "e.npz")
    with np.load(tmp_path / "e.npz") as file:
        arrays = dict(file) | {"temperature": np.array(wrong)}
    np.savez(tmp_path / "e.npz", **arrays)
    with pytest.raises(ValueError, match=r"e\.npz: temperature must be one number above 0, got"):
        read_evidence(tmp_path / "e.npz")


def test_no_gradient_is_kept(evidence: Evidence) -> None:
    """Logits on a device with a gradient, as a module may give them."""
    known = evidence.sets["known"]
    assert known.logits is not None
    watched = replace(known, logits=known.logits.clone().requires_grad_())
    sets = {**evidence.sets, "known": watched}
    assert temperature_on(replace(evidence, sets=sets)) == temperature_on(evidence)
    assert isinstance(watched.logits, torch.Tensor)
