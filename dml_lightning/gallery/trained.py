"""Shared by all commands after training: load a finished run, read a data set, embed its crops."""

import warnings
from collections.abc import Collection, Iterator
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from rich.progress import track

from dml_lightning.data.crops import CropOptions, crop_batches
from dml_lightning.data.frames import Radiometry
from dml_lightning.data.sources.data_frame import BoxTable
from dml_lightning.data.sources.recognise import read_source
from dml_lightning.gallery.boxes import own_columns, predicted_tables, relative, sets_of
from dml_lightning.gallery.gallery import Gallery, encoder_digest
from dml_lightning.models.checkpoints import instantiate, network_of, read_checkpoint
from dml_lightning.models.inference import folded
from dml_lightning.models.network import Network
from dml_lightning.models.weights import weights_follow
from dml_lightning.runs.names import find_run
from dml_lightning.runs.recipes import read_recipe_file, recipe_path
from dml_lightning.trust import reading
from dml_lightning.types import Batch, Embeddings, OnBadFrame


@dataclass(frozen=True)
class TrainedRun:
    """A finished run, loaded from its folder and ready to embed."""

    folder: Path
    module: Network  # in evaluation mode, on its device
    options: CropOptions  # by which its crops are cut and normalised
    gallery: Gallery
    device: str

    @staticmethod
    def load(run: str | Path, device: str = "cpu", trust: Collection[str] = ()) -> "TrainedRun":
        """Load a run from its folder, which may come from anyone: see `dml_lightning.trust`.

        Args:
            run: Path of the folder, or the name of its only finished run; see `runs.names.find_run`.
            device: Device for the encoder, such as "cpu" or "cuda".
            trust: Modules whose classes its recipe may name in any role.

        Raises:
            ValueError: If the run is not finished, a file was edited or is of another run, the gallery is of another
                checkpoint, or the recipe names a class that is not listed.
        """
        check_device(device)
        folder = find_run(str(run))
        path = recipe_path(folder)
        gallery = Gallery.of_run(folder)
        options = _crop_options(path)
        data = _section(path, "data")
        training = {
            "turned_classes": data.get("turned_classes") or 1,
            "clutter": bool(data.get("ood_train")),
            "side_inputs": len(options.side_inputs),
        }
        module = _load_module(folder, _section(path, "model"), len(gallery.class_names), training, trust)
        if encoder_digest(module.encoder, options) != gallery.encoder:
            raise ValueError(
                f"the gallery of {folder} is of another checkpoint than checkpoints/best.ckpt: "
                f"`dml validate --run {folder}` makes it again."
            )
        return TrainedRun(folder, module.to(device), options, gallery, device)

    def predict(
        self,
        data: str | Path | pd.DataFrame,
        rule: str | None = None,
        min_score: float | None = None,
        neighbours: int = 5,
        set_alpha: float | None = None,
        batch_size: int = 256,
        on_bad_frame: OnBadFrame = "stop",
    ) -> pd.DataFrame:
        """Name every box, and refuse unknown ones: the columns and values of `dml predict`, listed by its help.

        The gallery is that of the moment of `load`: load again after an enrolment. A warning names boxes and frames
        that are left out.

        Args:
            data: Data config, annotation file or folder of a data set, whose layout is recognised by its content; or a
                table with the columns of `data.sources.data_frame.BoxTable`, whose index, names of frames and further
                columns the answer has.
            rule: Rule that decides; by default C if the run has a calibration split, else B, else A.
            min_score: Smallest score of a detector's boxes to keep, from 0 to 1; all if not given.
            neighbours: Number of stored crops that are named for each box, and that vote for label_knn.
            set_alpha: Largest share of known boxes whose set of species lacks the true one, on average; 0.05 if not
                given.
            batch_size: Number of crops embedded at once.
            on_bad_frame: Whether a frame that cannot be read is an error ("stop") or left out ("skip").

        Raises:
            ValueError: If the data cannot be read, or the run has no such rule or no sets of species.
        """
        chosen = rule or self.gallery.default_rule
        self.gallery.threshold(chosen)  # an unknown rule ends here
        sets, _ = sets_of(self.gallery, set_alpha)
        given = None
        if isinstance(data, pd.DataFrame):
            given = BoxTable(data)
            reading = given.read(on_bad_frame, min_score, allow_empty=True)
        else:
            own = own_columns(self.gallery)
            reading = read_source(Path(data), on_bad_frame, min_score, allow_empty=True, carry=own)
        bad: dict[str, str] = {}
        embedded = self.embed_table(reading.table, batch_size, on_bad_frame, bad)
        rows = pd.concat(predicted_tables(reading, embedded, self.gallery, chosen, neighbours, sets))
        skipped = [" ".join(str(reading.report).split())] if reading.report.skipped else []
        for sentence in [*skipped, *bad.values()]:
            warnings.warn(sentence, stacklevel=2)
        return given.restored(rows) if given else relative(rows, reading.root).reset_index(drop=True)

    def embed_table(
        self, table: pd.DataFrame, batch_size: int, on_bad_frame: OnBadFrame, bad_frames: dict[str, str]
    ) -> Iterator[Embeddings]:
        """Embed the boxes of a crop table, frame by frame.

        Args:
            table: Crop table.
            batch_size: Number of crops in a batch.
            on_bad_frame: Whether to stop at a frame that cannot be read, or to leave it out.
            bad_frames: Receives the reason for each frame that is left out, by frame.
        """
        batches = crop_batches(
            table, self.options, batch_size=batch_size, on_bad_frame=on_bad_frame, bad_frames=bad_frames
        )
        return embed(self._embedder, batches, self.device)

    @cached_property
    def _embedder(self) -> Network:
        """The module, or on a processor its faster copy."""
        on_cpu = torch.device(self.device).type == "cpu"
        return folded(self.module, self.options.crop_size) if on_cpu else self.module

    def embed_all(self, table: pd.DataFrame, batch_size: int) -> Embeddings:
        """Embed the boxes of a table, with their rows in it as index; an unreadable frame is an error."""
        return Embeddings.joined(list(self.embed_table(table, batch_size, "stop", {})))


def check_device(device: str) -> None:
    """Refuse a device that cannot be used here.

    Raises:
        ValueError: With the reason.
    """
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"--device {device} cannot be used here ({reason}); cpu always can.") from None


def embed(module: Network, batches: Iterator[Batch], device: str) -> Iterator[Embeddings]:
    """Embed batch by batch, each by ascending index; the results are on the CPU."""
    for batch in track(batches, description="Embedding crops", total=None, transient=True):
        yield module.embed(batch._replace(images=batch.images.to(device), side=batch.side.to(device)))


def _load_module(
    run: Path, model: dict[str, Any], num_classes: int, training: dict[str, Any], trust: Collection[str] = ()
) -> Network:
    """Network of a finished run with the weights of its best checkpoint, in evaluation mode on the CPU.

    An arm of another package is made whole, with its loss and optimizer.

    Args:
        run: Folder of the run.
        model: Model section of its recipe.
        num_classes: Number C of known classes.
        training: What the data said of training: `turned_classes` and `clutter` of `EmbeddingModule`, and the number of
            `side_inputs` of its encoder.
        trust: Modules whose classes the recipe may name in any role.

    Raises:
        ValueError: If the folder has no checkpoint, or the recipe names a class that is not listed.
    """
    checkpoint = run / "checkpoints" / "best.ckpt"
    if not checkpoint.is_file():
        raise ValueError(f"{run} has no checkpoint {checkpoint.name}: its fit has not come that far.")
    recipe = recipe_path(run)
    given = {"num_classes": num_classes, **training, "compile": False}
    side_inputs = given.pop("side_inputs", 0)
    section = {**model, "init_args": {**(model.get("init_args") or {}), **given}}
    weights = read_checkpoint(checkpoint)["state_dict"]
    with weights_follow(run):
        with reading(recipe, trust, part=("model", "init_args", "encoder")):
            network = network_of(section, str(recipe), side_inputs)
        if network is not None:
            weights = {name: tensor for name, tensor in weights.items() if not name.startswith("loss.")}
        else:
            with reading(recipe, trust):
                network = instantiate(section, str(recipe), {}, side_inputs)
    network.load_state_dict(weights)
    return network.eval()


def _section(path: Path, name: str) -> dict[str, Any]:
    """A section of a recipe.

    Raises:
        ValueError: If the recipe lacks it.
    """
    section = read_recipe_file(path).get(name)
    if not isinstance(section, dict):
        raise ValueError(f"{path} is damaged: it has no section {name}.")
    return section


def _crop_options(path: Path) -> CropOptions:
    """Crop options of a recipe.

    Raises:
        ValueError: If they cannot be used.
    """
    try:
        return crop_options(_section(path, "data"))
    except TypeError as error:
        raise ValueError(f"{path} has no crop options of this version: {error}.") from None


def crop_options(data: dict[str, Any]) -> CropOptions:
    """Crop options in the data section of a recipe.

    Example:
        >>> crop_options({"crop_size": 48, "batch_size": 8}).crop_size
        48
    """
    names = {field.name for field in fields(CropOptions)}
    options = {key: value for key, value in data.items() if key in names}
    if options.get("radiometry") is not None:
        options["radiometry"] = Radiometry(**options["radiometry"])
    if options.get("window") is not None:
        options["window"] = tuple(options["window"])
    if options.get("side_inputs") is not None:
        options["side_inputs"] = tuple(options["side_inputs"])
    return CropOptions(**options)
