"""Small embeddings and run folders, made up."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from dml_lightning.evaluation.evidence import read_evidence
from dml_lightning.evaluation.numbers import measure

Made = Callable[..., dict[str, NDArray[Any]]]
RunOf = Callable[..., Path]
NAMES = ("mallard", "gadwall", "coot", "swan", "person", "glint")


def arrays(
    seed: int = 0, names: tuple[str, ...] = NAMES, spread: float = 0.35, calibration: int = 0, thumbnails: bool = True
) -> dict[str, NDArray[Any]]:
    """Three known classes, one novel, two OOD, around random unit vectors; a bright row marks each crop's label."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(len(names), 6))
    sizes = {"reference": (12, 3), "known": (15, 3), "novel": (8, 1), "ood": (7, 2)}
    sizes["calibration"] = (calibration, 3)
    start = {"novel": 3, "ood": 4}
    labels = [np.repeat(np.arange(classes) + start.get(role, 0), each) for role, (each, classes) in sizes.items()]
    roles = np.repeat(list(sizes), [len(own) for own in labels])
    label = np.concatenate(labels)
    vectors = centres[label] + spread * rng.normal(size=(len(label), 6)) * 2
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    images = rng.integers(0, 60, size=(len(label), 8, 8), dtype=np.uint8)
    images[np.arange(len(label)), label % 8] = 255
    found: dict[str, NDArray[Any]] = {
        "vectors": vectors.astype(np.float32),
        "labels": np.array(names)[label],
        "roles": roles,
        "groups": np.array([f"flight_{row % 4}" for row in range(len(label))]),
        "class_names": np.array(names),
        "far_ood": np.array(names[-1:]),
    }
    return found | ({"thumbnails": images} if thumbnails else {})


def write_run(folder: Path, arm: str, seed: int = 0, *, fold: int = 0, data: str = "d" * 64, **more: Any) -> Path:
    """Writes a run's folder: what `dml test` leaves, without a training."""
    trained = more.pop("trained", True)
    run = folder / "runs" / arm / f"{fold}-s{seed}"
    (run / "embeddings").mkdir(parents=True)
    (run / "metrics").mkdir()
    np.savez(run / "embeddings" / "test.npz", **arrays(seed, **more))
    numbers = measure(read_evidence(run / "embeddings" / "test.npz"))
    text = json.dumps({f"test/{key}": value for key, value in numbers.items()})
    (run / "metrics" / "test.json").write_text(text)
    recipe = {
        "seed_everything": seed,
        "name": f"group/{arm}",
        "data": {"split_seed": fold},
        "model": {
            "class_path": "dml_lightning.models.TripletModule",
            "init_args": {
                "encoder": {"init_args": {"normalize": True}},
                "loss": {"init_args": {"margin": 0.2, "distance": "euclidean"}},
            },
        },
    }
    stage = "fit" if trained else "test"
    (run / f"recipe.{stage}.yaml").write_text(yaml.safe_dump(recipe))
    stages = {"test": {"data": data, "status": "finished", "versions": {"torch": "2"}}}
    stages |= {"fit": stages["test"]} if trained else {}
    (run / "run.json").write_text(json.dumps({"stages": stages}))
    if trained:
        (run / "csv" / "fit").mkdir(parents=True)
        (run / "csv" / "fit" / "metrics.csv").write_text(
            "step,train/active_triplet_fraction,val/inter_intra_ratio\n9,0.9,\n19,0.7,\n19,,1.2\n29,0.5,\n29,,1.4\n"
        )
    return run
