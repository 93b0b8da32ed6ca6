"""The folder of an exported run: written and compared with the run's own answers before it appears."""

import shutil
from collections.abc import Collection
from pathlib import Path

import pandas as pd
from safetensors.numpy import save

from dml_lightning.data.frames import FrameError, Unit, read_frame
from dml_lightning.data.sources.recognise import read_source
from dml_lightning.export import score
from dml_lightning.export.check import RANDOM_CROPS, frames_of_run, random_crops, require, said, sample
from dml_lightning.export.contents import model_arrays, model_content, sha256, uses_features
from dml_lightning.export.graph import OPSET, DeployedEncoder, write_graphs
from dml_lightning.export.reader import write_reader
from dml_lightning.export.readme import readme
from dml_lightning.files import replacing_folder, write_json, write_text
from dml_lightning.gallery.trained import TrainedRun
from dml_lightning.runs.recipes import recipe_path


def write_folder(trained: TrainedRun, folder: Path, unit: Unit, table: pd.DataFrame | None) -> list[str]:
    """Writes and checks the folder, or leaves nothing.

    Args:
        trained: The run, on the CPU.
        folder: Folder to write, which does not exist or is empty.
        unit: Unit of the raw crops.
        table: Crop table to check with, or None.

    Returns:
        Results of the check, a line each.

    Raises:
        ValueError: If the answers of the exported model differ from those of the run.
    """
    with replacing_folder(folder) as temporary:
        return _fill(temporary, trained, unit, table)


def _fill(folder: Path, trained: TrainedRun, unit: Unit, table: pd.DataFrame | None) -> list[str]:
    content = model_content(trained, unit)
    module, with_features = trained.module, uses_features(trained.gallery)
    graph = DeployedEncoder(module.encoder, module.linear_head(), trained.options, unit, with_features)
    description = f"Raw thermal crops in {unit} to embeddings; run {content['run']}, encoder {content['encoder']}."
    write_graphs(graph, unit, folder, description)
    (folder / "arrays.safetensors").write_bytes(save(model_arrays(trained)))
    files = ("encoder.onnx", "encoder.pt2", "arrays.safetensors")
    content["files"] = {name: sha256(folder / name) for name in files}
    write_json(folder / "model.json", content)
    write_reader(folder)
    shutil.copyfile(recipe_path(trained.folder), folder / "recipe.fit.yaml")
    content["checks"] = _check(folder, graph, trained, unit, table)
    write_json(folder / "model.json", content)
    size, options = f"(N, 1, {graph.size}, {graph.size})", trained.options
    inputs = [f"crops {size}"] + ["statistics (N, 2)"] * (options.normalisation == "frame")
    inputs += [f"side (N, {len(graph.box_inputs)})"] * bool(graph.box_inputs)
    shapes = {"embedding": f"(N, {module.encoder.embedding_dim})", "logits": f"(N, {len(content['classes'])})"}
    if with_features:
        shapes["features"] = f"(N, {trained.gallery.score_arrays['features'].shape[1]})"
    outputs = [f"{name} {shapes[name]}" for name in graph.output_names]
    write_text(folder / "README.md", readme(content, inputs, outputs, OPSET))
    return list(content["checks"])


def _check(
    folder: Path, graph: DeployedEncoder, trained: TrainedRun, unit: Unit, table: pd.DataFrame | None
) -> list[str]:
    model = score.Model(folder)
    random = random_crops(trained, graph, unit, folder, model)
    require(random, "random crops")
    lines = [said(random, "random crops")]
    real = None if table is None else frames_of_run(trained, sample(table, RANDOM_CROPS), model)
    if real is None:
        return [*lines, "no frame of the run's data was there to compare on"]
    require(real, "crops of the run's data")
    return [*lines, said(real, "crops of the run's data")]


def table_of(trained: TrainedRun, trust: Collection[str] = ()) -> pd.DataFrame | None:
    """The crop table of the run's data, or None if it can no longer be read."""
    try:
        return read_source(recipe_path(trained.folder), "skip", trust=trust).table
    except (ValueError, OSError) as error:
        print(f"The run's data cannot be read, so the check does without: {error}")
        return None


def unit_of(trained: TrainedRun, table: pd.DataFrame | None, given: Unit | None) -> Unit:
    """The unit of raw crops, from the run's options, `given`, or the frames.

    Raises:
        ValueError: If none of them tells the unit, or `given` contradicts the options.
    """
    options = trained.options
    celsius = options.radiometry is not None or options.normalisation == "window"
    if celsius and given == "counts":
        raise ValueError("--unit counts: this run turns its frames into degC.")
    if celsius or given:
        return given or "degC"
    for frame in [] if table is None else table["frame"].unique()[:10]:
        try:
            return read_frame(frame).unit
        except FrameError:
            continue
    raise ValueError(
        f"the frames of {trained.folder} cannot be read to see their unit; say --unit counts or --unit degC."
    )


def megabytes(folder: Path) -> float:
    """Size of the files of a folder."""
    return sum(path.stat().st_size for path in folder.iterdir()) / 1e6
