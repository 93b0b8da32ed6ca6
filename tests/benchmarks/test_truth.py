"""What the benchmarks are told by the simulator is what it has drawn."""

from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd
import pytest

from dml_lightning.files import read_json
from dml_lightning.simulate import simulate
from dml_lightning.simulate.flight import draw_flight
from dml_lightning.simulate.scene import Animal
from dml_lightning.simulate.shapes import Part
from dml_lightning.simulate.species import KNOWN
from tests.benchmarks.conftest import benchmark

FLIGHT = draw_flight(0, 0, 60.0, 13.5, 640, 512)


@pytest.fixture(scope="module")
def truth() -> ModuleType:
    return benchmark("truth")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("simulated") / "flights"
    return simulate(out, flights=2, frames=3, width=320, height=256, seed=3, workers=1, progress=False)


def test_every_annotation_but_dead_pixels_has_its_animal(truth: ModuleType, folder: Path) -> None:
    animals = truth.truth(folder)
    written = read_json(folder / "annotations.json")
    names = {each["id"]: each["name"] for each in written["categories"]}
    frames = {each["id"]: str(folder / each["file_name"]) for each in written["images"]}
    notes = [(frames[each["image_id"]], names[each["category_id"]], *each["bbox"]) for each in written["annotations"]]
    rows = animals[["frame", "label", "x", "y", "width", "height"]].itertuples(index=False, name=None)
    assert sorted(rows) == sorted(note for note in notes if note[1] != "dead_pixel")
    assert len(set(animals["label"])) > 6
    sitting = animals[animals[["swimming", "standing"]].any(axis=1)]
    # of an ellipse the diagonal of its box is that of its axes, whatever its heading: the right box lies beside it
    metres = np.hypot(sitting["width"], sitting["height"]) * FLIGHT.gsd
    assert np.corrcoef(metres, np.hypot(sitting["metres long"], sitting["metres wide"]))[0, 1] > 0.9


def test_parameters_of_an_ellipse(truth: ModuleType) -> None:
    parts = (Part(0.0, 3.0, 0.5, 0.5, 9.0, solid=False), Part(0.1, 0.0, 0.6, 0.2, 2.0))
    found = truth.parameters(Animal("goose", "flying", 71.3, 20.8, 2.0, parts), FLIGHT)
    assert found["metres long"] == pytest.approx(2 * 0.6, rel=0.03)  # four standard deviations of an ellipse: its axis
    assert found["metres wide"] == pytest.approx(2 * 0.2, rel=0.06)
    assert found["area"] == pytest.approx(np.pi * 0.6 * 0.2, rel=0.03)
    for name in ("mean", "hottest", "coldest"):
        assert found[name] == pytest.approx(2.0 / FLIGHT.gain, rel=1e-3)
    assert [found[posture] for posture in truth.POSTURE] == [0, 0, 1]
    covered, kelvin = (np.array([found[f"{kind} {n}"] for n in range(16)]) for kind in ("covered", "kelvin"))
    assert covered.sum() == pytest.approx(found["area"], rel=1e-3)
    np.testing.assert_allclose(kelvin, covered * 2.0 / FLIGHT.gain, rtol=1e-3, atol=1e-6)
    middles = (truth.EDGES[1:] + truth.EDGES[:-1]) / 2
    assert np.average(middles, weights=covered) == pytest.approx(0.1, abs=0.01)


def test_a_reference_finds_what_its_columns_tell_and_nothing_else(truth: ModuleType) -> None:
    rng = np.random.default_rng(0)
    names = [bird.name for bird in KNOWN]

    def table(number: int) -> pd.DataFrame:
        labels = np.repeat([*names, "person"], number)
        place = {name: float(n) for n, name in enumerate([*names, "person"])}
        told = np.array([place[label] for label in labels]) + rng.normal(0, 0.05, len(labels))
        return pd.DataFrame({"label": labels, "told": told, "noise": rng.normal(size=len(labels))})

    train, test = table(100), table(100)
    assert truth.reachable_accuracy(train, test, ["told"]) > 0.99
    assert truth.reachable_accuracy(train, test, ["noise"]) == pytest.approx(1 / len(names), abs=0.05)
    for seen in (False, True):
        assert truth.reachable_auroc(train, test, ["told"], ["person"], seen)[0] > 0.99
        assert truth.reachable_auroc(train, test, ["noise"], ["person"], seen)[0] == pytest.approx(0.5, abs=0.1)
    (row,) = truth.giveaways(test, ["person"], ["told", "noise"])
    assert row[0] > 0.99
    assert row[1] == pytest.approx(0.5, abs=0.1)


def test_draws_are_of_the_asked_kinds_and_of_flights_that_no_set_has(truth: ModuleType, folder: Path) -> None:
    settings = read_json(folder / "simulation.json")
    animals = truth.drawn(settings, ["mallard", "sandhill_crane", "mammal"], 20)
    assert animals["label"].value_counts().to_dict() == {"mallard": 20, "sandhill_crane": 20, "mammal": 20}
    assert animals.loc[animals["label"] == "sandhill_crane", "swimming"].sum() == 0
    assert not animals.loc[animals["label"] == "mammal", truth.POSTURE].to_numpy().any()
    plumage = {flight["plumage"] for flight in settings["conditions"]}
    assert not plumage & set(animals["plumage"])
