"""Readers of data sets: one per on-disk layout, each of which yields the crop table, all frames and a report."""

from dml_lightning.data.sources.base import Reading, Scan, Source
from dml_lightning.data.sources.boxes import Box
from dml_lightning.data.sources.coco import CocoJson
from dml_lightning.data.sources.coco_results import CocoResults
from dml_lightning.data.sources.csv_table import CsvTable
from dml_lightning.data.sources.cvat import CvatXml
from dml_lightning.data.sources.folders import CropFolders
from dml_lightning.data.sources.hu import HuWaterfowl
from dml_lightning.data.sources.label_studio import LabelStudio
from dml_lightning.data.sources.labelme import LabelMe
from dml_lightning.data.sources.megadetector import MegaDetector
from dml_lightning.data.sources.report import ReadReport
from dml_lightning.data.sources.voc import PascalVoc
from dml_lightning.data.sources.yolo import Yolo

__all__ = [
    "Box",
    "CocoJson",
    "CocoResults",
    "CropFolders",
    "CsvTable",
    "CvatXml",
    "HuWaterfowl",
    "LabelMe",
    "LabelStudio",
    "MegaDetector",
    "PascalVoc",
    "ReadReport",
    "Reading",
    "Scan",
    "Source",
    "Yolo",
]
