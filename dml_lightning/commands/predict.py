"""`dml predict`: names every box of new frames with a finished run, and refuses unknown ones."""

from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dml_lightning.files import check_output, write_text
from dml_lightning.gallery.records import check_trained
from dml_lightning.runs.names import find_run
from dml_lightning.trust import modules_of
from dml_lightning.types import AnnotationTool, OnBadFrame

if TYPE_CHECKING:
    import pandas as pd

    from dml_lightning.gallery.gallery import Gallery
    from dml_lightning.openset.sets import SetThresholds


def predict(
    run: str,
    data: str,
    out: str = "predictions.csv",
    rule: str | None = None,
    min_score: float | None = None,
    neighbours: int = 5,
    set_alpha: float | None = None,
    taxonomy: str | None = None,
    pictures: str | None = None,
    write: AnnotationTool | None = None,
    map: str | None = None,
    batch_size: int = 256,
    on_bad_frame: OnBadFrame = "skip",
    device: str = "cpu",
    trust: str | None = None,
) -> Path:
    """Writes one row per box: label, neighbours, distance, OOD scores and decision; and beside it one row per frame.

    Columns: frame (path below the folder of the data), x, y, width, height (px), group (flight), annotation (label in
    the data set), score (of a detector, empty without), min_score (smallest score of a box that was kept, empty if all
    were), species (the label of a known box, empty for a refused one), label (the guess for every box: by the arm's
    own rule, or the enrolled species in whose ball the box lies), label_prototype (of the nearest prototype),
    label_radius (of the smallest distance less the radius of the class), label_knn, distance (to the nearest
    prototype), distance_trained (to the nearest prototype of the classes trained on), neighbours (JSON list of stored
    crops, nearest first: the row in the crop table that the run was trained on, or "species/number" for an enrolled
    species), neighbour_labels (JSON list of their classes), ood_score_R (larger is more OOD) and threshold_R for each
    rule R of the run, p_value (conformal, of rule C, for the classes trained on), decision (known or unknown), rule
    (the one that decided), rule_origin (how its threshold was chosen), rule_score (what is compared with it),
    rule_score_reason (why, for rules B and C), species_set (JSON list of the species that the box may show, likeliest
    first), set_alpha, set_level and set_node (lowest node of the taxonomy that holds the set; empty without one),
    gallery (digest of the encoder and number of the gallery's last record, which tells predictions from before an
    enrolment or a recalibration apart), and the further columns of a .csv table as they are, but for those of a name
    given here.

    A set holds the species of a known box with probability 1 - set_alpha, before refusal: on average over
    calibrations, for boxes that are exchangeable with the calibration crops and of the classes trained on. A known box
    is accepted by rule C *and* has its species in its set with probability 1 - alpha - set_alpha or more. An enrolled
    species is in the sets of the boxes in its ball, and nothing is promised for it. The set's node is right at least as
    often as the set.

    `predictions.frames.csv` beside `predictions.csv` lists every frame that was flown, so that a flight without a bird
    is counted as such: frame, group, boxes (number), used, reason (why it was not used), min_score, rule, gallery.
    With a taxonomy `predictions.nodes.csv` counts the boxes of each flight by lowest node, as named and not corrected.

    Rules: A, outside the balls of the reference crops; B, threshold chosen on known and OOD crops of validation; C,
    split conformal at a chosen rate of false refusals; C_class, the same per class, in runs that have it. The decision,
    not the label, says whether a box shows a known species at all.

    Args:
        run: Folder of a finished run, or its name: NAME, or NAME@latest for the newest of several.
        data: Data config, annotation file or folder of a data set; its layout is recognised by its content. In a .csv
            table with the columns of configs/data/csv.yaml label and flight may be missing.
        out: Table to write, .csv or .parquet; it appears when it is complete.
        rule: Rule that decides; by default C if the run has a calibration split, else B, else A.
        min_score: Smallest score of a detector's boxes to keep, from 0 to 1; by default that of a data config, or all.
        neighbours: Number of stored crops that are named for each box, and that vote for label_knn.
        set_alpha: Largest share of known boxes whose set of species lacks the true one, on average; 0.05 if not given.
        taxonomy: .csv file with the columns species,genus,group or the like, from narrow to wide, or .yaml file with
            `mallard: {genus: Anas, group: dabbling duck}`; it has every species of the run.
        pictures: Folder for one annotated picture per frame, with a number and colour for each species and a legend;
            none are drawn if not given.
        write: Also writes the boxes with the predicted names for an annotation tool, into the folder
            `predictions.labelme`, `.coco` or `.yolo` beside `predictions.csv`; a refused box is called "unknown".
        map: Also writes each box as a point (WGS84) into this .geojson file, or .gpkg file with geopandas: by the
            transform of GeoTIFF frames, or by position, height and angles of a camera that looks straight down, with
            the error in m. Needs the extra `geo`.
        batch_size: Number of crops embedded at once.
        on_bad_frame: Whether a frame that cannot be read stops the command, or is skipped and named.
        trust: Modules whose classes the run's recipe may name beside the listed ones, joined by commas.
        device: Device of the encoder, such as cpu or cuda.

    Returns:
        The path of the table.

    Raises:
        ValueError: If the run is not finished or the data cannot be read.
    """
    from dml_lightning.data.sources.recognise import check_there, files_of, read_source
    from dml_lightning.flights.annotations import annotations_path, writing
    from dml_lightning.flights.effort import SUFFIX, frames_path, frames_table, open_frames
    from dml_lightning.flights.maps import check_map, drawing
    from dml_lightning.flights.taxonomy import boxes_by_level, check_taxonomy, joined_counts, nodes_path, read_taxonomy

    path = Path(out)
    if path.is_dir() or path.suffix not in (".csv", ".parquet"):
        raise ValueError(f"--out {out}: name the .csv or .parquet file to write.")
    if path.name.endswith(SUFFIX):
        raise ValueError(f"--out {out}: {SUFFIX} ends the table of frames beside that of the boxes; name it otherwise.")
    inputs, nodes_file = ([taxonomy], str(nodes_path(path))) if taxonomy else ([], None)
    written = [("--out", each) for each in (out, str(frames_path(path)), nodes_file)]
    for option, target in (*written, ("--pictures", pictures), ("--map", map)):
        if target:
            check_output(option, Path(target), [data, *inputs, *files_of(Path(data), Path(target))])
    if write:
        annotations_path(path, write)  # corrections of before end here
    if map:
        check_map(Path(map))
    if neighbours < 1:
        raise ValueError(f"--neighbours {neighbours} must be at least 1.")
    check_trained(find_run(run))
    check_there(Path(data))
    if taxonomy:
        check_taxonomy(Path(taxonomy))
    trusted = modules_of(trust)
    from dml_lightning.figures.frames import FramePictures
    from dml_lightning.flights.boxes import counted, write_boxes
    from dml_lightning.flights.whole_frames import WholeFrames
    from dml_lightning.gallery.boxes import own_columns, predicted_tables, relative, sets_of
    from dml_lightning.gallery.trained import TrainedRun

    trained = TrainedRun.load(run, device, trusted)
    chosen = rule or trained.gallery.default_rule
    trained.gallery.threshold(chosen)  # an unknown rule ends here
    sets, without_sets = sets_of(trained.gallery, set_alpha, needed=taxonomy is not None)
    if without_sets and "C" in trained.gallery.thresholds:  # without a calibration split nobody expects sets
        print(f"No sets of species: {without_sets}")
    tree = read_taxonomy(Path(taxonomy), trained.gallery.names) if taxonomy else None
    reading = read_source(Path(data), on_bad_frame, min_score, allow_empty=True, carry=own_columns(trained.gallery))
    print(reading.report)
    if trained.gallery.why:
        print(trained.gallery.why)
    bad: dict[str, str] = {}
    boxes = Counter[str]()
    embedded = trained.embed_table(reading.table, batch_size, on_bad_frame, bad)
    nodes: list[pd.DataFrame] = []
    lowest = tree.lowest if tree else None
    tables = predicted_tables(reading, embedded, trained.gallery, chosen, neighbours, sets, lowest)
    tables = counted(tables, boxes, nodes)
    with ExitStack() as held:
        receivers: list[Callable[[str, pd.DataFrame], None]] = []
        if pictures:
            receivers.append(FramePictures(Path(pictures), trained.gallery.names).draw)
        if map:
            # left last: where no box can be placed, all else is complete
            drawn = held.enter_context(drawing(Path(map)))
            receivers.append(drawn.add)
        if write:
            flights = dict(zip(reading.frames["frame"], reading.frames["group"], strict=True))
            opened = writing(path, write, flights, trained.gallery.names)
            writer = held.enter_context(opened)  # left after the table, so that the folder appears later
            receivers.append(writer.add)

        def finish() -> None:
            open_frames([frame for frame in reading.frames["frame"] if not boxes[frame]], on_bad_frame, bad)
            frames = frames_table(reading, boxes, bad, chosen, trained.gallery.version)
            if not frames["used"].any():
                first = next(iter(bad.values()), "there is none")
                raise ValueError(f"no frame of the data set can be read, the first being: {first}")
            for frame in frames["frame"][frames["used"] & (frames["boxes"] == 0)] if write else ():
                writer.add(frame, reading.table[:0])
            write_text(frames_path(path), relative(frames, reading.root).to_csv(index=False))
            if tree:
                write_text(nodes_path(path), joined_counts(nodes).to_csv(index=False))
            else:
                nodes_path(path).unlink(missing_ok=True)  # it would be of another table

        write_boxes(path, tables, WholeFrames(*receivers), finish, reading.root)
    for sentence in bad.values():
        print(f"Skipped: {sentence}")
    if map:
        print(f"{drawn.points} boxes in {map}; {len(drawn.lost)} frames cannot be placed.")
        for sentence in drawn.lost.values():
            print(f"Not on the map: {sentence}")
    lost = len(reading.table) - boxes.total()
    print(f"Frames are named relative to {reading.root}.")
    print(f"{boxes.total()} boxes in {path}; {lost} more lie in {len(bad)} unreadable frames.")
    empty = len(reading.frames) - len(boxes) - len(bad)
    print(f"All frames in {frames_path(path)}: {empty} of {len(reading.frames)} have no box.")
    if sets:
        print(_promise(sets, trained.gallery, chosen))
    if tree:
        print(f"By lowest node in {nodes_path(path)}: {boxes_by_level(joined_counts(nodes), tree)}.")
    return path


def _promise(sets: "SetThresholds", gallery: "Gallery", rule: str) -> str:
    """What the sets promise and what they rest on, in one or two sentences."""
    kept = f"Sets of species hold that of a known box with probability {1 - sets.alpha:g}, before refusal"
    alpha = gallery.threshold(rule).alpha if rule.startswith("C") else float("nan")
    if alpha == alpha:
        kept += f", and with rule {rule} accept it too with {max(0.0, 1 - sets.alpha - alpha):g} or more"
    lost = "" if np.isfinite(sets.values).all() else " Too few for that alpha: some species are in every set."
    return f"{kept}: {sets.origin(gallery.class_names)}.{lost}"
