"""What the simulator knows of the animals in its frames: size, temperature, posture, and the picture without noise.

This file is no benchmark. A reference that is told them says how well any classifier of crops could do at most, as far
as the reference itself has learnt its draws.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.ensemble import ExtraTreesClassifier
from sklearn.metrics import balanced_accuracy_score
from sklearn.neighbors import NearestNeighbors
from sklearn.preprocessing import StandardScaler

from dml_lightning.data.table import BOX_COLUMNS
from dml_lightning.metrics.ood import auroc
from dml_lightning.simulate.camera import paint
from dml_lightning.simulate.flight import Flight, draw_flight
from dml_lightning.simulate.lookalikes import lookalike_parts
from dml_lightning.simulate.scene import Animal, draw_animals, draw_background
from dml_lightning.simulate.shapes import SHOWN, bird_parts
from dml_lightning.simulate.species import KNOWN, SPECIES

EDGES = np.linspace(-0.8, 0.8, 17)  # m along the body
SIZE = ["metres long", "metres wide", "area"]
TEMPERATURE = ["mean", "hottest", "coldest", "plumage", "leak", "sun"]  # of the animal, then of its flight
POSTURE = list(SHOWN)
PICTURE = [f"{kind} {number}" for kind in ("covered", "kelvin") for number in range(len(EDGES) - 1)]
KNOWLEDGE = {
    "size": SIZE,
    "size, temperature": SIZE + TEMPERATURE,
    "size, temperature, posture": SIZE + TEMPERATURE + POSTURE,
    "these and the picture along the body, without noise": SIZE + TEMPERATURE + POSTURE + PICTURE,
}
# around an animal: animals in its crop, distances (m), and whether it is on water
SURROUNDINGS = ("others in the crop", "distance to the next", "distance to the edge", "water")
CONTEXT, MIN_SIDE = 1.5, 32  # of crops by configs/data/simulated.yaml
OTHER_FLIGHTS = 10**6  # seed of flights that no data set has


def parameters(animal: Animal, flight: Flight) -> dict[str, float]:
    """What the optics leave of an animal, with its heading known and without background, neighbours and noise.

    Lengths in m, areas in m2, temperatures over the surface in K at gain 1. Length and width are four standard
    deviations of the covered area along and across the body.
    """
    own = tuple(part for part in animal.parts if part.solid)
    alone = replace(animal, x=0.0, y=0.0, heading=0.0, parts=own)
    left, top, coverage, kelvin, _ = paint(alone, flight.gsd, flight.blur)
    rows = (np.arange(coverage.shape[0]) + top + 0.5) * flight.gsd
    columns = (np.arange(coverage.shape[1]) + left + 0.5) * flight.gsd
    kelvin = kelvin / flight.gain
    inside = coverage >= 0.5 * coverage.max()
    temperature = kelvin[inside] / coverage[inside]
    along = np.histogram(columns, EDGES, weights=coverage.sum(0))[0] * flight.gsd**2
    warmth = np.histogram(columns, EDGES, weights=kelvin.sum(0))[0] * flight.gsd**2
    values = [
        *(4 * _spread(places, coverage.sum(axis)) for places, axis in ((columns, 0), (rows, 1))),
        float(coverage.sum()) * flight.gsd**2,
        *(float(each) for each in (kelvin.sum() / coverage.sum(), temperature.max(), temperature.min())),
        *(flight.plumage, flight.leak, flight.sun),
        *(float(animal.posture == posture) for posture in POSTURE),
        *along.tolist(),
        *warmth.tolist(),
    ]
    return dict(zip(SIZE + TEMPERATURE + POSTURE + PICTURE, values, strict=True))


def _spread(places: NDArray[np.float64], weights: NDArray[np.float32]) -> float:
    mean = np.average(places, weights=weights)
    return float(np.sqrt(np.average((places - mean) ** 2, weights=weights)))


# What lies in a folder of `dml simulate` ---------------------------------------------------------


def truth(folder: Path) -> pd.DataFrame:
    """A row for each animal that the annotations of a folder hold, with its parameters; dead pixels have none.

    Beside them frame, flight, label, box (px) and the columns of `SURROUNDINGS`.
    """
    settings = json.loads((folder / "simulation.json").read_text(encoding="utf-8"))
    notes = _notes(json.loads((folder / "annotations.json").read_text(encoding="utf-8")))
    rows = []
    for flight in (Flight(**conditions) for conditions in settings["conditions"]):
        for frame in range(settings["frames"]):
            name = f"flight_{flight.number:02d}/frame_{frame:04d}.tiff"
            rng = np.random.default_rng([flight.seed, 4, flight.number, frame])
            _, water = draw_background(flight, rng)
            animals = draw_animals(flight, frame, settings["birds"], settings["lookalikes"], water, rng)
            of_frame = {"frame": str((folder / name).absolute()), "flight": flight.number}
            for animal, box in _matched(animals, notes.get(name, [])):
                own = {"label": animal.name, **dict(zip(BOX_COLUMNS, box, strict=True))}
                place = {"water": float(water[int(animal.y), int(animal.x)])}
                place |= _surroundings(animal, animals, box, flight)
                rows.append({**of_frame, **own, **place, **parameters(animal, flight)})
    return pd.DataFrame(rows)


def _surroundings(animal: Animal, animals: Sequence[Animal], box: Sequence[float], flight: Flight) -> dict[str, float]:
    """What lies around an animal and should tell nothing about its kind, by the names in `SURROUNDINGS`."""
    offsets = np.array([(other.x - animal.x, other.y - animal.y) for other in animals if other is not animal])
    offsets = np.abs(offsets.reshape(-1, 2))
    crop = max(CONTEXT * max(box[2:]), MIN_SIDE)
    edge = min(animal.x, animal.y, flight.width - animal.x, flight.height - animal.y)
    return {
        "others in the crop": float((offsets.max(1) < crop / 2).sum()),
        "distance to the next": float(np.hypot(*offsets.T).min(initial=np.inf)) * flight.gsd,
        "distance to the edge": edge * flight.gsd,
    }


def _notes(annotations: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """Annotations by frame, in their order, without dead pixels."""
    frames = {image["id"]: image["file_name"] for image in annotations["images"]}
    names = {category["id"]: category["name"] for category in annotations["categories"]}
    notes: dict[str, list[dict[str, Any]]] = {}
    for note in annotations["annotations"]:
        if names[note["category_id"]] != "dead_pixel":
            notes.setdefault(frames[note["image_id"]], []).append({**note, "name": names[note["category_id"]]})
    return notes


def _matched(animals: Sequence[Animal], notes: Sequence[dict[str, Any]]) -> Iterator[tuple[Animal, list[float]]]:
    """Animals with their boxes; both come in the order of the simulator, which leaves out what lies off the frame."""
    left = list(notes)
    for animal in animals:
        if left and left[0]["name"] == animal.name and left[0]["attributes"]["posture"] == animal.posture:
            yield animal, left.pop(0)["bbox"]
    assert not left, "the annotations are not of this simulator"


# The reference -----------------------------------------------------------------------------------


def drawn(settings: dict[str, Any], labels: Sequence[str], number: int) -> pd.DataFrame:
    """Animals of flights that no data set has, `number` of each label, with their parameters."""
    rng = np.random.default_rng(OTHER_FLIGHTS)
    camera = (settings["altitude"], settings["lens_mm"], settings["width"], settings["height"])
    flights = [draw_flight(each, OTHER_FLIGHTS, *camera) for each in range(200)]
    return pd.DataFrame(
        {"label": label} | parameters(_animal(label, flight, rng), flight)
        for label in labels
        for flight in (flights[each] for each in rng.integers(len(flights), size=number))
    )


def _animal(label: str, flight: Flight, rng: np.random.Generator) -> Animal:
    if label not in SPECIES:
        return Animal(label, "none", 0, 0, 0, tuple(lookalike_parts(label, flight, rng)))
    bird = SPECIES[label]
    posture = rng.choice(POSTURE, p=[0.45, 0.40, 0.15]) if bird.swims else "standing"
    return Animal(label, posture, 0, 0, 0, tuple(bird_parts(bird, posture, flight, rng)))


def _forest() -> ExtraTreesClassifier:
    return ExtraTreesClassifier(300, min_samples_leaf=2, random_state=0)


def reachable_accuracy(train: pd.DataFrame, test: pd.DataFrame, columns: list[str]) -> float:
    """Balanced accuracy over the known species of a forest that is told some parameters."""
    birds = [bird.name for bird in KNOWN]
    train, test = (table[table["label"].isin(birds)] for table in (train, test))
    named = _forest().fit(train[columns], train["label"]).predict(test[columns])
    return float(balanced_accuracy_score(test["label"], named))


def reachable_auroc(
    train: pd.DataFrame, test: pd.DataFrame, columns: list[str], kinds: Sequence[str], seen: bool
) -> list[float]:
    """OOD AUROC of each kind of lookalike for a reference that is told some parameters.

    Args:
        train: Draws, of lookalikes too.
        test: Animals to tell apart.
        columns: Their parameters that it is told; posture is left out, since lookalikes have none.
        kinds: Kinds of lookalikes.
        seen: Whether it is told the lookalikes among the draws (a forest's odds), or known species alone (the mean
            distance to five neighbours).
    """
    columns = [column for column in columns if column not in POSTURE]
    birds = [bird.name for bird in KNOWN]
    known = train["label"].isin(birds)
    if seen:
        chosen = train[known | train["label"].isin(kinds)]
        forest = _forest().fit(chosen[columns], ~chosen["label"].isin(birds))
        scores = forest.predict_proba(test[columns])[:, 1]
    else:
        scale = StandardScaler().fit(train.loc[known, columns])
        neighbours = NearestNeighbors(n_neighbors=5).fit(scale.transform(train.loc[known, columns]))
        scores = neighbours.kneighbors(scale.transform(test[columns]))[0].mean(1)
    labels = test["label"].to_numpy()
    return [auroc(scores[np.isin(labels, birds)], scores[labels == kind]) for kind in kinds]


def giveaways(animals: pd.DataFrame, kinds: Sequence[str], columns: Sequence[str]) -> list[list[float]]:
    """For each kind of lookalike the AUROC of each column against the known species: 0.5 where it tells nothing."""
    known = animals[animals["label"].isin([bird.name for bird in KNOWN])]
    own = [animals[animals["label"] == kind] for kind in kinds]
    return [[auroc(known[name].to_numpy(), kind[name].to_numpy()) for name in columns] for kind in own]
