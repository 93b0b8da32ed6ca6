"""Predict, correct in the file of an annotation tool, read back: recalibrate the gallery, or train on it, too."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from dml_lightning.cli import main
from dml_lightning.gallery.gallery import Gallery
from dml_lightning.runs.recipes import read_recipe
from dml_lightning.simulate import simulate
from tests import ROOT

BOX = ["x", "y", "width", "height"]


@pytest.fixture(scope="module")
def new_flights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Flights that no run has seen, below another name than those that runs have seen."""
    out = tmp_path_factory.mktemp("new") / "simulated"
    simulate(out, flights=4, frames=4, seed=7, width=480, height=384, workers=1, progress=False)
    content = (out / "annotations.json").read_text()
    for flight in sorted(path for path in out.iterdir() if path.is_dir()):
        flight.rename(out / f"march_{flight.name}")
        content = content.replace(f'"{flight.name}/', f'"march_{flight.name}/')
    (out / "annotations.json").write_text(content)
    return out


def correct(folder: Path, data: Path) -> int:
    """Gives each shape the name of its bird, as a person would; returns how many were called otherwise."""
    content = json.loads((data / "annotations.json").read_text())
    names = {entry["id"]: entry["name"] for entry in content["categories"]}
    files = {entry["id"]: entry["file_name"] for entry in content["images"]}
    truth = {
        (files[box["image_id"]], *np.round(box["bbox"], 3)): names[box["category_id"]] for box in content["annotations"]
    }
    changed = 0
    for path in folder.rglob("*.json"):
        file = json.loads(path.read_text())
        frame = (path.parent / file["imagePath"]).resolve().relative_to(data.resolve()).as_posix()
        for shape in file["shapes"]:
            (left, top), (right, bottom) = shape["points"]
            name = truth[(frame, *np.round([left, top, right - left, bottom - top], 3))]
            changed += name != shape["label"]
            shape["label"] = name
        path.write_text(json.dumps(file))
    return changed


def test_predictions_are_corrected_and_taken_back(
    runs: dict[str, Path], words: list[str], new_flights: Path, tmp_path: Path
) -> None:
    run, out = runs["triplet"], tmp_path / "p.csv"
    main(["predict", f"--run={run}", f"--data={new_flights}/annotations.json", f"--out={out}", "--write=labelme"])
    folder = tmp_path / "p.labelme"
    first = pd.read_csv(out)
    assert correct(folder, new_flights) > 0

    again = tmp_path / "again.csv"  # the corrected file holds the same boxes, with the true names
    main(["predict", f"--run={run}", f"--data={folder}", f"--out={again}"])
    back = pd.read_csv(again)
    assert np.abs(back[BOX].to_numpy() - first[BOX].to_numpy()).max() < 1e-9
    assert back["annotation"].tolist() == first["annotation"].tolist()

    before = Gallery.load(run / "gallery").thresholds.get("C")
    copy = shutil.copytree(run, tmp_path / "run", ignore=shutil.ignore_patterns("wandb", "csv"))
    main(["gallery", "recalibrate", f"--run={copy}", f"--data={folder}"])
    rule = Gallery.load(copy / "gallery").threshold("C")
    assert before is None or rule.value != before.value
    assert len(rule.scores) == back["annotation"].isin(Gallery.load(copy / "gallery").class_names).sum()

    arm = f"--config={ROOT}/configs/model/triplet.yaml"
    source = {"class_path": "dml_lightning.data.sources.LabelMe", "init_args": {"root": str(folder)}}
    more = tmp_path / "more.yaml"
    more.write_text(yaml.safe_dump({"data": {"corrected": [source]}}))
    refit = main(["fit", *words, arm, f"--config={more}", "--name=refit"])
    assert read_recipe(refit)["data"]["corrected"][0]["class_path"] == source["class_path"]
    main(["test", f"--run={refit}"])
    reference = Gallery.load(refit / "gallery").reference
    assert len(reference) > len(Gallery.load(run / "gallery").reference)
    judged = [judged_groups(each / "embeddings" / "val.npz") for each in (run, refit)]
    assert judged[0] == judged[1]  # the same crops of the same flights, before and after
    assert not any("march" in group for group in judged_groups(refit / "embeddings" / "test.npz"))


def judged_groups(path: Path) -> list[str]:
    """Groups of the crops that are judged, one for each."""
    with np.load(path) as arrays:
        groups: list[str] = arrays["groups"][np.isin(arrays["roles"], ["known", "novel", "ood"])].tolist()
    return sorted(groups)
