"""`dml enroll` and `dml gallery`: adds and removes species, and recalibrates rule C on checked crops."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dml_lightning.gallery.records import check_gallery, check_trained
from dml_lightning.runs.names import find_run
from dml_lightning.trust import modules_of

if TYPE_CHECKING:
    import pandas as pd

    from dml_lightning.gallery.gallery import Gallery
    from dml_lightning.gallery.summary import EnrolledSpecies

ALPHA = 0.05  # as that of a fit's gallery


def enroll(
    run: str,
    crops: str,
    label: str,
    only: str | None = None,
    batch_size: int = 256,
    device: str = "cpu",
    trust: str | None = None,
) -> "EnrolledSpecies":
    """Adds a species from a few crops, without training; later predictions can name it.

    Boxes in their frames serve best: a crop is then normalised by its frame and shows some ground around the bird, as
    training crops do. If the label was enrolled before, these crops are added to its crops.

    Args:
        run: Folder of a finished run, or its name: NAME, or NAME@latest for the newest of several.
        crops: Folder of pictures, each one crop; or boxes in frames, as `dml predict --data` takes them: a YAML config,
            a COCO .json, a .csv table, a YOLO data.yaml, or a folder with one folder per class.
        label: Name of the new species.
        only: Label of the crops to take, if they have several; by default the one that equals `label`.
        batch_size: Number of crops embedded at once.
        device: Device of the encoder, such as cpu or cuda.
        trust: Modules whose classes the run's recipe may name beside the listed ones, joined by commas.

    Returns:
        The species with all its crops.

    Raises:
        ValueError: If the run is not finished, no crop can be read, or the label is a class that the run was
            trained on.
    """
    check_trained(find_run(run))
    trusted = modules_of(trust)
    from dml_lightning.data.sources.recognise import check_there, read_crops

    check_there(Path(crops))
    from dml_lightning.gallery import changes
    from dml_lightning.gallery.overlap import overlap_text, overlaps
    from dml_lightning.gallery.trained import TrainedRun

    trained = TrainedRun.load(run, device, trusted)
    table = _of_one_label(read_crops(Path(crops)).table, only, label)
    vectors = trained.embed_all(table, batch_size).vectors.numpy()
    species = changes.add_species(trained.folder / "gallery", label, vectors, trained.gallery.encoder, source=crops)
    print(f"{label}: {len(species.vectors)} crops, {len(vectors)} of them new; radius {species.radius:.4g}.")
    print(overlap_text(overlaps(trained.gallery, species), label))
    return species


def list_species(run: str) -> "pd.DataFrame":
    """Prints the classes and the rules of a run's gallery.

    Args:
        run: Folder of a finished run, or its name: NAME, or NAME@latest for the newest of several.

    Returns:
        A row per class: label, origin (trained or enrolled), number of crops, radius.
    """
    check_gallery(Path(run) / "gallery")
    import pandas as pd

    from dml_lightning.gallery.summary import GallerySummary

    gallery = GallerySummary.of_run(Path(run))
    known = zip(gallery.class_names, gallery.sizes.tolist(), gallery.radii.tolist(), strict=True)
    rows = [(label, "trained", size, radius) for label, size, radius in known]
    rows += [(s.label, "enrolled", len(s.vectors), s.radius) for s in gallery.enrolled]
    table = pd.DataFrame(rows, columns=["label", "origin", "crops", "radius"])
    print(table.to_string(index=False, float_format="%.4g"))
    for rule, threshold in gallery.thresholds.items():
        default = ", the default" if rule == gallery.default_rule else ""
        print(f"rule {rule}: {threshold.score}; {threshold.origin}; threshold {threshold.value:.4g}{default}")
    if gallery.why:
        print(gallery.why)
    return table


def remove(run: str, label: str) -> None:
    """Removes an enrolled species; predictions are again what they were before its enrolment.

    Args:
        run: Folder of a finished run, or its name: NAME, or NAME@latest for the newest of several.
        label: Name of the species.

    Raises:
        ValueError: If no species of that name is enrolled.
    """
    check_gallery(Path(run) / "gallery")
    from dml_lightning.gallery import changes
    from dml_lightning.gallery.gallery import Gallery

    Gallery.of_run(Path(run))  # a mixed folder ends here
    changes.remove_species(Path(run) / "gallery", label)
    print(f"{label} is no longer in the gallery of {run}.")


def recalibrate(
    run: str,
    data: str,
    alpha: float = ALPHA,
    per_flight: bool | None = None,
    batch_size: int = 256,
    device: str = "cpu",
    trust: str | None = None,
) -> "Gallery":
    """Sets the threshold of rule C from checked crops of the known classes, such as those of a new flight.

    The crops must be used for nothing else, and be all crops of the known classes or a random part of them: with
    selected crops the rate of false refusals holds for such crops only. Crops of one flight do not show how flights
    differ.

    Args:
        run: Folder of a finished run, or its name: NAME, or NAME@latest for the newest of several.
        data: Checked boxes with labels, in any form that `dml predict --data` takes. Boxes of classes that were not
            trained on are left out and counted.
        alpha: Share of known crops that may be refused, on average.
        per_flight: Whether rule C takes one random crop of each flight, as `per_flight` of the run's `RunWriter` says;
            by default as before. Of too few flights for alpha all crops count.
        batch_size: Number of crops embedded at once.
        device: Device of the encoder, such as cpu or cuda.
        trust: Modules whose classes the run's recipe may name beside the listed ones, joined by commas.

    Returns:
        The gallery with the new rule.

    Raises:
        ValueError: If there are too few crops for alpha, none is of a known class, or some were trained on.
    """
    check_trained(find_run(run))
    trusted = modules_of(trust)
    from dml_lightning.data.sources.recognise import check_there, read_source

    check_there(Path(data))
    import torch

    from dml_lightning.gallery import changes
    from dml_lightning.gallery.trained import TrainedRun

    trained = TrainedRun.load(run, device, trusted)
    names = trained.gallery.class_names
    table = read_source(Path(data)).table
    kept = table[table["label"].isin(names)].reset_index(drop=True)
    if kept.empty:
        labels = ", ".join(sorted(table["label"].unique()))
        raise ValueError(f"{data} has no crop of {', '.join(names)}; its labels are {labels}.")
    print(f"{len(kept)} crops of known classes; {len(table) - len(kept)} of others are left out.")
    single = trained.gallery.per_flight if per_flight is None else per_flight
    changes.check_enough(len(kept), alpha)
    embedded = trained.embed_all(kept, batch_size)
    changes.check_unseen(trained.gallery, embedded.vectors.numpy(), data)
    rows = embedded.index.numpy()
    owners = torch.from_numpy(kept["label"].map(names.index).to_numpy(np.int64)[rows])
    groups = kept["group"].to_numpy(str)[rows]
    before = trained.gallery.thresholds.get("C")
    changed = changes.recalibrate_rule_c(
        trained.folder / "gallery",
        replace(embedded, labels=owners),
        groups,
        trained.gallery.encoder,
        alpha,
        source=data,
        per_flight=single,
    )
    old = "none" if before is None else f"{before.value:.4g}"
    print(f"rule C: {changed.threshold('C').origin}; threshold {changed.threshold('C').value:.4g}, before {old}.")
    if len(set(groups.tolist())) == 1:
        print(f"Warning: all crops are of {groups[0]}: the rate of false refusals holds for that flight alone.")
    return changed


GALLERY = {"list": list_species, "remove": remove, "recalibrate": recalibrate}


def _of_one_label(table: "pd.DataFrame", only: str | None, label: str) -> "pd.DataFrame":
    """The rows of one class of a crop table.

    Raises:
        ValueError: If there are several labels and none is the wanted one.
    """
    labels = sorted(table["label"].unique())
    wanted = only or (labels[0] if len(labels) == 1 else label)
    if wanted not in labels:
        raise ValueError(f"the crops show {', '.join(labels)}: say with --only which are {label!r}.")
    return table[table["label"] == wanted].reset_index(drop=True)
