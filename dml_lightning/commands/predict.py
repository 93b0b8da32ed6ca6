"""`dml predict`: names every box of new frames with a finished run, and refuses unknown ones."""

import json
import os
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import chain
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from dml_lightning.data.sources import OnBadFrame, Reading
from dml_lightning.data.sources.recognise import read_source, recognise
from dml_lightning.data.table import BOX_COLUMNS
from dml_lightning.figures.frames import FramePictures
from dml_lightning.files import check_output, replacing, write_text
from dml_lightning.flights.annotations import Tool, annotations_path, writing
from dml_lightning.flights.effort import SUFFIX, frames_path, frames_table, open_frames
from dml_lightning.flights.maps import check_map, drawing
from dml_lightning.flights.taxonomy import (
    ROOT,
    SPECIES,
    Taxonomy,
    joined_counts,
    node_counts,
    nodes_path,
    read_taxonomy,
)
from dml_lightning.flights.whole_frames import WholeFrames
from dml_lightning.gallery.answer import answer
from dml_lightning.gallery.gallery import ALPHA, Gallery
from dml_lightning.gallery.trained import TrainedRun
from dml_lightning.openset.sets import SetThresholds
from dml_lightning.trust import modules_of
from dml_lightning.types import Embeddings

BOX = ["frame", *BOX_COLUMNS, "group"]
# Names of all columns but those of the rules, which begin with `RULES`.
OWN = (
    *(*BOX, "annotation", "score", "min_score", "species", "label", "label_prototype", "label_radius", "label_knn"),
    *("distance", "distance_trained", "neighbours", "neighbour_labels", "p_value", "decision", "rule", "rule_origin"),
    *("rule_score", "rule_score_reason"),
    *("species_set", "set_alpha", "set_level", "set_node", "gallery"),
)
RULES = ("ood_score_", "threshold_")


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
    write: Tool | None = None,
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
        pictures: Folder for one annotated picture per frame; none are drawn if not given.
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
    path = Path(out)
    if path.is_dir() or path.suffix not in (".csv", ".parquet"):
        raise ValueError(f"--out {out}: name the .csv or .parquet file to write.")
    if path.name.endswith(SUFFIX):
        raise ValueError(f"--out {out}: {SUFFIX} ends the table of frames beside that of the boxes; name it otherwise.")
    inputs, nodes_file = ([taxonomy], str(nodes_path(path))) if taxonomy else ([], None)
    written = [("--out", each) for each in (out, str(frames_path(path)), nodes_file)]
    for option, target in (*written, ("--pictures", pictures), ("--map", map)):
        if target:
            check_output(option, Path(target), [data, *inputs, *_read_by(Path(data), Path(target))])
    if write:
        annotations_path(path, write)  # corrections of before end here
    if map:
        check_map(Path(map))
    if neighbours < 1:
        raise ValueError(f"--neighbours {neighbours} must be at least 1.")
    trained = TrainedRun.load(run, device, modules_of(trust))
    chosen = rule or trained.gallery.default_rule
    trained.gallery.threshold(chosen)  # an unknown rule ends here
    sets = _sets(trained.gallery, set_alpha, asked=set_alpha is not None or taxonomy is not None)
    tree = read_taxonomy(Path(taxonomy), trained.gallery.names) if taxonomy else None
    own = [*OWN, *(f"{each}{name}" for each in RULES for name in trained.gallery.thresholds)]
    reading = read_source(Path(data), on_bad_frame, min_score, allow_empty=True, carry=own)
    print(reading.report)
    if trained.gallery.why:
        print(trained.gallery.why)
    bad: dict[str, str] = {}
    boxes = Counter[str]()
    embedded = trained.embed_table(reading.table, batch_size, on_bad_frame, bad)
    nodes: list[pd.DataFrame] = []
    tables = _counted(_tables(reading, embedded, trained.gallery, chosen, neighbours, sets, tree), boxes, nodes)
    with ExitStack() as held:
        receivers: list[Callable[[str, pd.DataFrame], None]] = []
        if pictures:
            receivers.append(FramePictures(Path(pictures)).draw)
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
            write_text(frames_path(path), _relative(frames, reading.root).to_csv(index=False))
            if tree:
                write_text(nodes_path(path), joined_counts(nodes).to_csv(index=False))
            else:
                nodes_path(path).unlink(missing_ok=True)  # it would be of another table

        _write(path, tables, WholeFrames(*receivers), finish, reading.root)
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
        print(f"By lowest node in {nodes_path(path)}: {_by_level(joined_counts(nodes), tree)}.")
    return path


def _sets(gallery: Gallery, alpha: float | None, asked: bool) -> SetThresholds | None:
    """Thresholds of the sets of species; None, after a sentence, where the gallery allows none and nobody asked.

    Raises:
        ValueError: If alpha is not in (0, 1), or the gallery allows no sets and they were asked for.
    """
    try:
        return gallery.set_thresholds(ALPHA if alpha is None else alpha)
    except ValueError as error:
        if asked:
            raise
        if "C" in gallery.thresholds:  # without a calibration split nobody expects sets
            print(f"No sets of species: {error}")
        return None


def _promise(sets: SetThresholds, gallery: Gallery, rule: str) -> str:
    """What the sets promise and what they rest on, in one or two sentences."""
    kept = f"Sets of species hold that of a known box with probability {1 - sets.alpha:g}, before refusal"
    alpha = gallery.threshold(rule).alpha if rule.startswith("C") else float("nan")
    if alpha == alpha:
        kept += f", and with rule {rule} accept it too with {max(0.0, 1 - sets.alpha - alpha):g} or more"
    lost = "" if np.isfinite(sets.values).all() else " Too few for that alpha: some species are in every set."
    return f"{kept}: {sets.origin(gallery.class_names)}.{lost}"


def _by_level(counts: pd.DataFrame, taxonomy: Taxonomy) -> str:
    """Number of boxes by the level of their lowest node, narrow levels first."""
    levels = {SPECIES: SPECIES, **dict.fromkeys(taxonomy.levels, ""), ROOT[0]: ROOT[1], "": "unknown"}
    by_level = counts.groupby("level")["boxes"].sum()
    return ", ".join(f"{by_level.get(level, 0)} {name or level}" for level, name in levels.items())


def _read_by(data: Path, target: Path) -> list[Path]:
    """Files that a data config names; the file to write, if it exists in the folder of the data, and so may be read."""
    if data.is_file() and data.suffix in (".yaml", ".yml"):
        source, _ = recognise(data)
        return [source.root / value for value in vars(source).values() if isinstance(value, str)]
    inside = Path(os.path.realpath(target)).is_relative_to(os.path.realpath(data))
    return [target] if data.is_dir() and target.is_file() and inside else []


def _tables(
    reading: Reading,
    embedded: Iterator[Embeddings],
    gallery: Gallery,
    rule: str,
    k: int,
    sets: SetThresholds | None = None,
    taxonomy: Taxonomy | None = None,
) -> Iterator[pd.DataFrame]:
    """Yields the rows of the table, batch by batch, in frame order; a table without rows where there is no box."""
    deciding = gallery.threshold(rule)
    table = reading.table if "score" in reading.table else reading.table.assign(score=float("nan"))
    for queries in chain([next(embedded, gallery.reference.at(slice(0)))], embedded):
        answers = answer(gallery, queries, k, sets)
        nodes = [taxonomy.lowest(names) if taxonomy and sets else ("", "") for names in answers.species_set]
        boxes = table.iloc[queries.index.numpy()]
        scores = {
            f"{column}_{each}": values
            for each, threshold in gallery.thresholds.items()
            for column, values in (("ood_score", answers.score[each]), ("threshold", threshold.value))
        }
        yield boxes[BOX].assign(
            annotation=boxes["label"],
            score=boxes["score"],
            min_score=float("nan") if reading.min_score is None else reading.min_score,
            species=[name if known else "" for name, known in zip(answers.label, answers.known[rule], strict=True)],
            label=answers.label,
            label_prototype=answers.label_prototype,
            label_radius=answers.label_radius,
            label_knn=answers.label_knn,
            distance=answers.distance,
            distance_trained=answers.distance_trained,
            neighbours=[json.dumps(crops) for crops in answers.neighbours],
            neighbour_labels=[json.dumps(labels, ensure_ascii=False) for labels in answers.neighbour_labels],
            **scores,
            p_value=answers.p_value,
            decision=["known" if known else "unknown" for known in answers.known[rule]],
            rule=rule,
            rule_origin=deciding.origin,
            rule_score=deciding.score,
            rule_score_reason=gallery.choice.reason if rule in ("B", "C") else "",
            species_set=[json.dumps(names, ensure_ascii=False) if sets else "" for names in answers.species_set],
            set_alpha=float("nan") if sets is None else sets.alpha,
            set_level=[level for level, _ in nodes],
            set_node=[node for _, node in nodes],
            gallery=gallery.version,
            **{name: boxes[name] for name in reading.carried},
        )


def _counted(tables: Iterator[pd.DataFrame], boxes: Counter[str], nodes: list[pd.DataFrame]) -> Iterator[pd.DataFrame]:
    """The same tables, with the boxes of each frame and of each node counted as they pass."""
    for table in tables:
        boxes.update(table["frame"])
        nodes[:] = [joined_counts([*nodes, node_counts(table)])]
        yield table


def _relative(table: pd.DataFrame, root: Path) -> pd.DataFrame:
    """The table with its frames as paths below the folder of the data."""
    paths = {frame: Path(os.path.relpath(frame, root)).as_posix() for frame in table["frame"].unique()}
    return table.assign(frame=table["frame"].map(paths).astype("str"))


def _write(
    path: Path, tables: Iterator[pd.DataFrame], whole_frames: WholeFrames, finish: Callable[[], None], root: Path
) -> None:
    """Writes a table that appears when it is complete, with one batch in memory at a time.

    Args:
        path: File to write, .csv or .parquet.
        tables: Parts of the table, the first of which may have no rows.
        whole_frames: Receives the parts.
        finish: Called after the last part and before the table appears; it does not appear if this raises.
        root: Folder that the frames are written relative to.
    """
    writer: pq.ParquetWriter | None = None
    with replacing(path) as file, ExitStack() as closing:
        for number, table in enumerate(tables):
            rows = _relative(table, root)
            if path.suffix == ".csv":
                rows.to_csv(file, header=number == 0, index=False)
            else:
                batch = pa.Table.from_pandas(rows, preserve_index=False)
                writer = writer or closing.enter_context(pq.ParquetWriter(file, batch.schema))
                writer.write_table(batch)
            whole_frames.add(table)
        whole_frames.finish()
        finish()
