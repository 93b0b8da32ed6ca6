"""Reading a data set of any layout: by its config, or by the content of its files."""

import os
from argparse import ArgumentError
from collections.abc import Collection, Iterable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser

from dml_lightning.data.frames import FRAME_SUFFIXES
from dml_lightning.data.sources import signatures as kinds
from dml_lightning.data.sources.base import Reading, Scan, Source
from dml_lightning.data.sources.boxes import Box
from dml_lightning.data.sources.coco import INSTANCES, CocoJson
from dml_lightning.data.sources.coco_results import CocoResults
from dml_lightning.data.sources.csv_table import CsvTable, read_header, read_rows
from dml_lightning.data.sources.cvat import CvatXml
from dml_lightning.data.sources.files import list_frames
from dml_lightning.data.sources.folders import CropFolders
from dml_lightning.data.sources.hu import HuWaterfowl
from dml_lightning.data.sources.label_studio import LabelStudio
from dml_lightning.data.sources.labelme import LabelMe
from dml_lightning.data.sources.megadetector import MegaDetector
from dml_lightning.data.sources.report import ReadReport
from dml_lightning.data.sources.voc import PascalVoc
from dml_lightning.data.sources.yolo import NAME_FILES, Yolo
from dml_lightning.trust import is_recipe, reading
from dml_lightning.types import OnBadFrame
from dml_lightning.yaml_files import read_yaml

# columns of a CSV that may be missing
LABEL, GROUP, SCORES, GSD = ("label", "class"), ("flight",), ("score", "confidence"), ("gsd",)
LAYOUTS = (
    "a data config, a YOLO set, Pascal VOC, LabelMe, CVAT XML, Label Studio JSON, MegaDetector JSON, COCO JSON or "
    "results, a CSV table with the columns frame, x, y, width, height, or a folder of crops with a folder per class"
)
NO_CLASSES = {"labels", "annotations", "Annotations", "images", "frames", "JPEGImages", "ImageSets", "obj_train_data"}
FEW = 3  # most annotation files of single frames that are opened
MANY = 50  # most other annotation files that are opened
Readers = dict[str, Source]  # name of a layout that a path fits -> its reader


def read_source(
    path: Path,
    on_bad_frame: OnBadFrame = "stop",
    min_score: float | None = None,
    allow_empty: bool = False,
    trust: Collection[str] = (),
    carry: Collection[str] | None = None,
) -> Reading:
    """Reads a data set by its config, or by the content of its files.

    Args:
        path: A data config or recipe, an annotation file, or the folder of a data set.
        on_bad_frame: See `Source.read`.
        min_score: See `Source.read`.
        allow_empty: See `Source.read`.
        trust: Modules whose classes a recipe of a run's folder may name beside the listed ones.
        carry: Names that further columns of a .csv table may not have to be carried into the table of boxes; None
            carries none.

    Returns:
        The data set; its report states the layout that was recognised.

    Raises:
        ValueError: There is no such path, it fits no layout or several, or it cannot be read.
    """
    source, layout = recognise(path, trust)
    if carry is not None and isinstance(source, CsvTable):
        source.carry(carry)
    reading = source.read(on_bad_frame, min_score, allow_empty, _stated_gsd(path))
    reading.report.layout = f"read as {layout}"
    return reading


def recognise(path: Path, trust: Collection[str] = ()) -> tuple[Source, str]:
    """Returns the reader of a path, and the name of the layout.

    Raises:
        ValueError: There is no such path, or it fits no layout or several.
    """
    check_there(path)
    with reading(path, trust, part=("data", "source")) if is_recipe(path) else nullcontext():
        readers = _in_folder(path) if path.is_dir() else _of_file(path)
    if len(readers) > 1:
        raise ValueError(
            f"{path} may be {' or '.join(readers)}: name one file, or a config with the source of the data."
        )
    if not readers:
        raise ValueError(f"{path} is none of the layouts that can be read: expected {LAYOUTS}.")
    layout, source = next(iter(readers.items()))
    return source, layout


def _of_file(file: Path) -> Readers:
    reader = {
        ".json": _json,
        ".xml": _xml,
        ".csv": _table,
        ".tsv": _table,
        ".yaml": _yaml,
        ".yml": _yaml,
        ".names": _names,
        ".txt": _names,
    }.get(file.suffix.lower())
    return {} if reader is None else reader(file)


def _json(file: Path) -> Readers:
    kind, root, name = kinds.json_kind(file), file.parent, file.name
    if kind in kinds.REFUSED:
        raise ValueError(f"{file} is {kind}: {kinds.REFUSED[kind][1]}.")
    if kind == kinds.COCO:
        base = root.parent if root.name == "annotations" else root
        return {f"{kind} ({name})": CocoJson(base, annotations=file.relative_to(base).as_posix())}
    if kind == kinds.COCO_RESULTS:
        beside = [other for other in _others(root, "json", file) if kinds.json_kind(other) == kinds.COCO]
        beside = [other for other in beside if other.stem.startswith(INSTANCES)] or beside
        if len(beside) > 1:
            raise ValueError(
                f"{file} is {kind}, and {len(beside)} COCO JSON files lie beside it: name the one that it "
                "belongs to in a config (CocoResults, annotations)."
            )
        images = beside[0].relative_to(root).as_posix() if beside else None
        return {f"{kind} ({name}{(images and f', images of {images}') or ''})": CocoResults(root, name, images)}
    if kind == kinds.LABELME:
        return {f"{kind} (all of {root})": LabelMe(root)}
    if kind == kinds.LABEL_STUDIO:
        return {f"{kind} ({name})": LabelStudio(root, name)}
    return {f"{kind} ({name})": MegaDetector(root, name)} if kind == kinds.MEGADETECTOR else {}


def _xml(file: Path) -> Readers:
    kind = kinds.xml_kind(file)
    if kind == kinds.CVAT:
        return {f"{kind} ({file.name})": CvatXml(file.parent, file.name)}
    if kind == kinds.VOC:
        return {f"{kind} (all of {file.parent})": _voc(file.parent)}
    return {}


def _voc(folder: Path) -> Source:
    """Returns the reader of XML files in a folder, with frames beside them or in a folder JPEGImages next to theirs."""
    if (folder.parent / "JPEGImages").is_dir():
        return PascalVoc(folder.parent, annotations=folder.name)
    return PascalVoc(folder, annotations=".", images=".")


def _table(file: Path) -> Readers:
    delimiter, frame, form = kinds.csv_form(file) or (",", "frame", "xywh")  # the reader then names the missing columns
    filled = _filled_columns(file, delimiter, (*LABEL, *GROUP, *SCORES, *GSD))
    label, group, score, gsd = (
        next((name for name in each if name in filled), None) for each in (LABEL, GROUP, SCORES, GSD)
    )
    source = CsvTable(
        file.parent,
        file.name,
        box_format="xyxy" if form == "xyxy" else "xywh",
        frame_column=frame,
        label_column=label,
        group_column=group,
        delimiter=delimiter,
        score_column=score,
        gsd_column=gsd,
    )
    return {f"{kinds.CSV} ({file.name})": source}


def _filled_columns(file: Path, delimiter: str, names: Iterable[str]) -> set[str]:
    """Returns those of the columns in which some row is not empty; "NA" is not empty."""
    present = {name for name in names if name in read_header(file, delimiter)}
    return {name for _, row in read_rows(file, (), delimiter) for name in present if row.get(name)}


def _yaml(file: Path) -> Readers:
    content = read_yaml(file, texts=["names"])
    if content is not None and not isinstance(content, dict):
        raise ValueError(f"{file} holds a {type(content).__name__}, expected `data: source:`.")
    if kinds.names_classes(content):
        return {f"{kinds.YOLO} ({file.name})": Yolo(file.parent, config=file.name)}
    section: Any = (content or {}).get("data") or content
    if not isinstance(section, dict) or "source" not in section:
        raise ValueError(f"{file} has neither `data: source:` of a data config nor `names:` of a YOLO set.")
    source = _configured(file, section["source"])
    return {f"{type(source).__name__} as {file.name} says": source}


def _stated_gsd(path: Path) -> float | None:
    """Ground sampling distance that a data config states for all frames, m per px."""
    content = read_yaml(path) if path.is_file() and path.suffix in (".yaml", ".yml") else None
    section: Any = (content.get("data") or content) if isinstance(content, dict) else {}
    gsd = section.get("gsd") if isinstance(section, dict) and "source" in section else None
    if gsd is not None and not isinstance(gsd, int | float):
        raise ValueError(f"{path}: gsd is {gsd!r}; it is metres per px, a positive number such as 0.05.")
    return gsd


def _configured(file: Path, section: Any) -> Source:
    parser = ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(Source, "source")
    try:
        config = parser.parse_object({"source": section})
    except ArgumentError as error:
        raise ValueError(f"{file}: {' '.join(str(error).split())}.") from error
    source: Source = parser.instantiate(config).source
    return source


def _names(file: Path) -> Readers:
    """Returns the reader of the YOLO set that a list of class names belongs to."""
    if file.name not in {Path(name).name for name in NAME_FILES}:
        return {}
    root = file.parent.parent if file.parent.name in ("labels", "data") else file.parent
    return {f"{kinds.YOLO} ({file.name})": Yolo(root, config=file.relative_to(root).as_posix())}


def _in_folder(root: Path) -> Readers:
    """Returns every layout that a folder fits; folders of crops only where there are no annotations."""
    readers: Readers = {}
    for each in (_yolo_folder, _voc_folder, _xml_folder, _json_folder, _csv_folder):
        readers |= each(root)
    if readers:
        return readers
    _refuse_half_layouts(root)
    pictures = [picture for picture in list_frames(root) if picture.parent != root]
    return {f"folders of crops, {len(pictures)} pictures": CropFolders(root)} if pictures else {}


def _yolo_folder(root: Path) -> Readers:
    configs = [file for file in sorted(root.glob("*.y*ml")) if kinds.is_yolo(file)]
    if configs:
        return {f"{kinds.YOLO} ({file.name})": Yolo(root, config=file.name) for file in configs}
    lists = [name for name in NAME_FILES if (root / name).is_file()]
    if lists and any(_sidecar(file) for file in _few(root.rglob("*.txt"), MANY)):
        return {f"{kinds.YOLO} ({lists[0]})": Yolo(root, config=lists[0])}
    return {}


def _voc_folder(root: Path) -> Readers:
    for folder, source in ((root / "Annotations", PascalVoc(root)), (root, _voc(root))):
        files = _few(folder.rglob("*.xml") if folder != root else folder.glob("*.xml"), FEW)
        if any(kinds.xml_kind(file) == kinds.VOC for file in files):
            return {f"{kinds.VOC} ({folder.name})": source}
    return {}


def _xml_folder(root: Path) -> Readers:
    others = (file for file in root.glob("*.xml") if not _sidecar(file))
    names = [file.name for file in _few(others, MANY) if kinds.xml_kind(file) == kinds.CVAT]
    return {f"{kinds.CVAT} ({', '.join(names)})": CvatXml(root, names)} if names else {}


def _json_folder(root: Path) -> Readers:
    given = {file: kinds.json_kind(file) for file in _others(root, "json")}
    readers: Readers = {}
    if instances := [
        file.name for file, kind in given.items() if kind == kinds.COCO and file.stem.startswith(INSTANCES)
    ]:
        readers[f"{kinds.COCO} ({', '.join(instances)})"] = CocoJson(root)
    for file, kind in given.items():
        if kind and kind != kinds.LABELME and not (instances and kind == kinds.COCO):
            readers |= _json(file)
    beside = _few((file for file in root.rglob("*.json") if _sidecar(file)), FEW)
    below = _few((file for file in root.rglob("*.json") if file.parent != root), FEW)  # their frames lie elsewhere
    if kinds.LABELME in {*given.values(), *map(kinds.json_kind, [*beside, *below])}:
        readers[kinds.LABELME] = LabelMe(root)
    return readers


def _csv_folder(root: Path) -> Readers:
    tables = [file for file in _few(root.glob("*.csv"), MANY) if kinds.csv_form(file)]
    readers = {layout: source for file in tables for layout, source in _table(file).items()}
    if any(root.glob("01_Thermal*/02_*/*.csv")) or any(root.glob("02_Ground*/*.csv")):
        readers["the waterfowl imagery of Hu et al."] = HuWaterfowl(root)
    return readers


def _refuse_half_layouts(root: Path) -> None:
    """Refuses a folder of annotated frames whose layout is not recognised, so that frames are not read as crops.

    Raises:
        ValueError: There are files with the stems of frames, or folders of an annotated set or of splits.
    """
    for suffix in ("txt", "json", "xml"):
        for file in root.rglob(f"*.{suffix}"):
            if _sidecar(file):
                raise ValueError(
                    f"{root} has files such as {file.relative_to(root)} beside its frames and is none of the "
                    f"layouts that can be read: expected {LAYOUTS} (a YOLO set needs its data.yaml or classes.txt)."
                )
    folders = {folder.name for folder in root.iterdir() if folder.is_dir()}
    if typical := sorted(folders & NO_CLASSES):
        raise ValueError(
            f"{root} has the folder {typical[0]} of an annotated set, which names no class, and no annotation "
            f"that can be read: expected {LAYOUTS}."
        )
    if folders and folders <= {"train", "val", "valid", "validation", "test"}:
        raise ValueError(
            f"{root} has the folders {sorted(folders)}, which are splits and no classes: give one of them."
        )


def _others(root: Path, suffix: str, but: Path | None = None) -> list[Path]:
    """Returns annotation files at the top or in annotations/ that are not those of a single frame."""
    files = [*root.glob(f"*.{suffix}"), *root.glob(f"annotations/*.{suffix}")]
    return _few((file for file in files if file != but and not _sidecar(file)), MANY)


def _few(files: Iterable[Path], most: int) -> list[Path]:
    return [file for file in sorted(files) if not file.name.startswith(".") and file.is_file()][:most]


def _sidecar(file: Path) -> bool:
    """Whether a frame of that stem lies beside a file, or in the `images` that its `labels` belong to."""
    parts = file.parent.parts
    last = len(parts) - 1 - parts[::-1].index("labels") if "labels" in parts else None
    images = [] if last is None else [Path(*parts[:last], "images", *parts[last + 1 :])]
    suffixes = [case for suffix in FRAME_SUFFIXES for case in (suffix, suffix.upper())]
    return any((folder / (file.stem + suffix)).is_file() for folder in (file.parent, *images) for suffix in suffixes)


def check_there(path: Path) -> None:
    """Refuses a path that does not exist.

    Raises:
        ValueError: There is no such path.
    """
    if not path.exists():
        raise ValueError(f"{path} is neither a file nor a folder.")


def files_of(data: Path, target: Path) -> list[Path]:
    """Files that a data config names; the file to write, if it exists in the folder of the data, and so may be read."""
    if data.is_file() and data.suffix in (".yaml", ".yml"):
        source, _ = recognise(data)
        return [source.root / value for value in vars(source).values() if isinstance(value, str)]
    inside = Path(os.path.realpath(target)).is_relative_to(os.path.realpath(data))
    return [target] if data.is_dir() and target.is_file() and inside else []


class _Pictures(CropFolders):
    """A folder of pictures, each one crop, without folders of classes."""

    def scan(self, report: ReadReport) -> Scan:
        pictures = list_frames(self.root, recursive=False)
        label = self.root.name
        boxes = [Box(p, 0.0, 0.0, 1.0, 1.0, label, p.name, relative=True) for p in pictures]
        return Scan([], boxes)


def read_crops(path: Path) -> Reading:
    """Reads crops; a folder that itself holds pictures is one class, whatever its subfolders hold."""
    if path.is_dir() and list_frames(path, recursive=False):
        return _Pictures(path).read()
    return read_source(path)
