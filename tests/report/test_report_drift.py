"""Drift of test flights, in the report."""

from dataclasses import replace

import numpy as np
import torch

from dml_lightning.evaluation.evidence import Evidence
from dml_lightning.flights.drift import FlightDrift
from dml_lightning.report.numbers import drift, thresholds
from dml_lightning.types import Embeddings


def evidence(shift: float, flights: int = 6) -> Evidence:
    """Two classes on a line; known crops of the flight `new` lie `shift` further out."""
    rng = np.random.default_rng(0)

    def part(n: int, moved: float = 0.0) -> Embeddings:
        labels = np.arange(n) % 2
        vectors = np.stack([20.0 * labels, rng.normal(0, 1, n) + moved], axis=1)
        columns = (vectors.astype(np.float32), labels, np.arange(n))
        return Embeddings(*(torch.from_numpy(column) for column in columns))

    sets = {"reference": part(80), "known": part(60, shift), "novel": part(0), "ood": part(0)}
    sets["calibration"] = part(60 * flights)
    groups = {name: np.full(len(own), "new") for name, own in sets.items()}
    groups["calibration"] = np.repeat([f"c{i}" for i in range(flights)], 60)
    return Evidence(sets, ["a", "b"], 2, groups)


def found(of: Evidence) -> list[FlightDrift]:
    return drift(of, thresholds(of).get("C"))


def test_a_flight_that_scores_otherwise_is_found() -> None:
    (same,), (moved,) = found(evidence(0.0)), found(evidence(6.0))
    assert (same.flight, same.used, same.drifted) == ("new", 60, False)
    assert moved.drifted
    assert moved.shift > 3


def test_two_calibration_flights_say_nothing() -> None:
    assert found(evidence(0.0, flights=2)) == []
    bare = evidence(0.0)
    sets = {**bare.sets, "calibration": bare.sets["novel"]}
    groups = {**bare.groups, "calibration": np.empty(0, str)}
    assert found(replace(bare, sets=sets, groups=groups)) == []
