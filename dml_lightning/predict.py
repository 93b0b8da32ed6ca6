"""`dml predict`: names every box of new frames with a finished run, and refuses what it does not know."""

import os
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import pandas as pd
import torch
import yaml
from lightning.pytorch.cli import LightningArgumentParser
from rich.progress import track

from dml_lightning.data.crops import CropOptions, crop_batches
from dml_lightning.data.frames import Radiometry
from dml_lightning.data.sources import (
    CocoJson,
    CropFolders,
    CsvTable,
    OnBadFrame,
    Reading,
    Source,
    Yolo,
)
from dml_lightning.models import EmbeddingModule
from dml_lightning.openset.gallery import Gallery
from dml_lightning.runs import recipe_path
from dml_lightning.types import Batch, Embeddings

BOX = ["frame", "x", "y", "width", "height"]


def predict(
    run: str,
    data: str,
    out: str = "predictions.csv",
    batch_size: int = 256,
    on_bad_frame: OnBadFrame = "skip",
    device: str = "cpu",
) -> Path:
    """Writes a CSV with one row per box: label, distance, OOD score and decision.

    Columns: frame, x, y, width, height (px), annotation (what the data set says), label (by the arm's own
    rule), label_prototype, label_knn, distance (to the nearest prototype), ood_score (larger is more OOD),
    threshold, decision (known or unknown), rule (how the threshold was chosen). The rule's threshold, not the
    label, says whether a crop is a known species at all.

    Args:
        run: Folder of a finished run.
        data: A YAML config with the source of a data config, a COCO .json, a .csv table, a YOLO data.yaml
            or a folder of crops with one folder per class.
        out: The CSV to write; it appears when it is whole.
        batch_size: Crops embedded at once.
        on_bad_frame: Whether a frame that cannot be read stops the command or is skipped and named.
        device: Where the encoder runs, such as cpu or cuda.

    Returns:
        The path of the CSV.

    Raises:
        ValueError: If the run is not finished or the data cannot be read.
    """
    path = Path(out)
    if path.is_dir() or not path.name:
        raise ValueError(f"--out {out} is a folder; name the CSV file to write.")
    _check_device(device)
    folder = Path(run)
    recipe = read_recipe(folder)
    gallery = Gallery.load(folder / "gallery.npz")
    module = load_module(folder).to(device)
    reading = read_source(Path(data), on_bad_frame)
    print(reading.report)
    bad: dict[str, str] = {}
    batches = crop_batches(
        reading.table,
        crop_options(recipe["data"]),
        batch_size=batch_size,
        on_bad_frame=on_bad_frame,
        bad_frames=bad,
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        rows = _write_rows(temporary, reading, embed(module, batches, device), gallery)
        if not rows:
            first = next(iter(bad.values()), "there is no box")
            raise ValueError(f"no frame of the data set can be read, the first being: {first}")
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    for sentence in bad.values():
        print(f"Skipped: {sentence}")
    print(
        f"{rows} boxes in {path}; {len(reading.table) - rows} more lie in {len(bad)} unreadable frames."
    )
    return path


def _write_rows(
    path: Path, reading: Reading, embedded: Iterator[Embeddings], gallery: Gallery
) -> int:
    table, rows = reading.table, 0
    for number, queries in enumerate(embedded):
        answer = gallery.answer(queries)
        boxes = table.iloc[queries.index.numpy()]
        result = boxes[BOX].assign(
            annotation=boxes["label"],
            label=answer.label,
            label_prototype=answer.label_prototype,
            label_knn=answer.label_knn,
            distance=answer.distance,
            ood_score=answer.ood_score,
            threshold=gallery.detector.threshold.value,
            decision=["known" if known else "unknown" for known in answer.known],
            rule=answer.rule,
        )
        result.to_csv(path, mode="a", header=number == 0, index=False)
        rows += len(result)
    return rows


def _check_device(device: str) -> None:
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(
            f"--device {device} cannot be used here ({reason}); cpu always can."
        ) from None


@torch.inference_mode()
def embed(module: EmbeddingModule, batches: Iterator[Batch], device: str) -> Iterator[Embeddings]:
    """Embeds batch by batch; the results lie on the CPU."""
    for batch in track(batches, description="Embedding crops", total=None, transient=True):
        vectors = module(batch.images.to(device))
        logits = module.compute_logits(vectors)
        yield Embeddings(
            vectors.float().cpu(),
            batch.labels,
            batch.index,
            None if logits is None else logits.float().cpu(),
        )


def read_recipe(run: Path) -> dict[str, Any]:
    """The recipe that the run was fitted with."""
    recipe: dict[str, Any] = yaml.safe_load(recipe_path(run).read_text(encoding="utf-8"))
    return recipe


def load_module(run: Path) -> EmbeddingModule:
    """A finished run's module with the weights of its best checkpoint, in evaluation mode on the CPU.

    Args:
        run: The run's folder; nothing else is needed.

    Raises:
        ValueError: If the folder is not a run or has no checkpoint.
    """
    checkpoint = run / "checkpoints" / "best.ckpt"
    if not checkpoint.is_file():
        raise ValueError(
            f"{run} has no checkpoint {checkpoint.name}: its fit has not come that far."
        )
    model = read_recipe(run)["model"]
    num_classes = len(Gallery.load(run / "gallery.npz").class_names)
    arguments = {**model["init_args"], "num_classes": num_classes, "compile": False}
    if "encoder" in arguments:  # the weights come from the run, not from where it started
        arguments["encoder"] = _without_download(arguments["encoder"])
    parser = LightningArgumentParser(exit_on_error=False)
    parser.add_lightning_class_args(EmbeddingModule, "model", subclass_mode=True)
    config = parser.parse_object({"model": {**model, "init_args": arguments}})
    module: EmbeddingModule = parser.instantiate(config).model
    state = torch.load(checkpoint, map_location="cpu", weights_only=True)["state_dict"]
    module.load_state_dict(state)
    return module.eval()


def _without_download(encoder: dict[str, Any]) -> dict[str, Any]:
    plain = {"pretrained": False, "checkpoint": None}
    inner = encoder.get("init_args")
    if inner is None:
        return {key: plain.get(key, value) for key, value in encoder.items()}
    return {**encoder, "init_args": {key: plain.get(key, value) for key, value in inner.items()}}


def crop_options(data: dict[str, Any]) -> CropOptions:
    """The crop options of a recipe's data section."""
    names = {field.name for field in fields(CropOptions)}
    options = {key: value for key, value in data.items() if key in names}
    if options.get("radiometry") is not None:
        options["radiometry"] = Radiometry(**options["radiometry"])
    if options.get("window") is not None:
        options["window"] = tuple(options["window"])
    return CropOptions(**options)


def read_source(path: Path, on_bad_frame: OnBadFrame = "stop") -> Reading:
    """Reads a data set by its config, or by the kind of its file.

    Raises:
        ValueError: If there is no such path or its kind is not known.
    """
    if path.is_dir():
        return CropFolders(path).read(on_bad_frame)
    if not path.is_file():
        raise ValueError(f"--data {path} is neither a file nor a folder.")
    if path.suffix == ".json":
        return CocoJson(path.parent, annotations=path.name).read(on_bad_frame)
    if path.suffix == ".csv":
        label = "label" if _has_labels(path) else None
        return CsvTable(path.parent, file=path.name, label_column=label).read(on_bad_frame)
    if path.suffix in (".yaml", ".yml"):
        return _source_of(path).read(on_bad_frame)
    raise ValueError(f"--data {path}: expected a .yaml config, .json, .csv or a folder of crops.")


def _has_labels(path: Path) -> bool:
    """Whether a CSV says what its boxes show; frames from a detector need no label."""
    table = pd.read_csv(path, usecols=lambda name: name == "label", dtype=str)
    return "label" in table and bool(table["label"].notna().any())


def _source_of(path: Path) -> Source:
    """The source in a data config (`data: source:`), or a YOLO set's data.yaml."""
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except yaml.YAMLError as error:
        raise ValueError(f"{path} is not YAML: {' '.join(str(error).split())}.") from None
    if not isinstance(content, dict):
        raise ValueError(f"{path} holds a {type(content).__name__}, expected `data: source:`.")
    if "names" in content and "source" not in content:
        return Yolo(path.parent, config=path.name)
    section: dict[str, Any] = content.get("data") or content
    if "source" not in section:
        raise ValueError(
            f"{path} has neither `data: source:` of a data config nor `names:` of a YOLO set."
        )
    parser = LightningArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(Source, "source")
    config = parser.parse_object({"source": section["source"]})
    source: Source = parser.instantiate(config).source
    return source
