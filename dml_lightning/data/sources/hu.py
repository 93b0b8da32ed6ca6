"""The layout of Hu, Smith, Woldt, Tang: UAV-derived waterfowl thermal imagery (Mendeley Data 46k66mz9sz)."""

from pathlib import Path

from dml_lightning.data.sources.base import Scan, Source
from dml_lightning.data.sources.boxes import Box
from dml_lightning.data.sources.csv_table import read_rows, to_float
from dml_lightning.data.sources.files import FrameFinder, list_frames
from dml_lightning.data.sources.report import ReadReport

HU_COLUMNS = ("imageFilename", "x(column)", "y(row)", "width", "height")
LABEL = "waterfowl"


class HuWaterfowl(Source):
    """Reads the published folders; all boxes have the one class "waterfowl".

    Below `01_Thermal Images and Ground Truth...`: `01_Posistive Image` (its own spelling),
    `02_Groundtruth Label for Positive Images/Bounding Box Label.csv` and, if present,
    `03_Negative Images`, whose frames are background frames. A positive frame that the CSV does not name is
    reported and not used: birds may be in it.

    Args:
        root: The `01_Thermal...` folder or the one above it.
        one_based: Whether the CSV counts pixels from 1; the publication does not say.
        group_by: See `Source`; the default is the date in front of the file names, because all frames
            share one folder.
    """

    def __init__(self, root: str | Path, one_based: bool = False, group_by: str = r"^\d{8}") -> None:
        super().__init__(root, group_by)
        self.one_based = one_based

    def scan(self, report: ReadReport) -> Scan:
        """Reads the CSV and lists the negative frames."""
        base = next(iter(sorted(self.root.glob("01_Thermal*"))), self.root)
        positive, labels = self._one(base, "01_Pos*"), self._one(base, "02_*/*.csv")
        first = 1.0 if self.one_based else 0.0
        boxes, finder = [], FrameFinder()
        for number, row in read_rows(labels, HU_COLUMNS):
            where = f"{labels.name} row {number}"
            if not row[HU_COLUMNS[0]]:
                report.skip("row without a frame", where)
                continue
            x, y, width, height = (to_float(row[name]) for name in HU_COLUMNS[1:])
            frame = finder.find(row[HU_COLUMNS[0]], [positive], where)
            boxes.append(Box(frame, x - first, y - first, width, height, LABEL, where))
        unnamed = sorted(set(list_frames(positive)) - {box.frame for box in boxes})
        negative = [frame for folder in base.glob("03_Neg*") for frame in list_frames(folder)]
        return Scan(negative, boxes, unused=dict.fromkeys(unnamed, "positive frame without a row in the CSV"))

    def _one(self, base: Path, pattern: str) -> Path:
        """Returns the first file or folder that fits the pattern."""
        paths = sorted(base.glob(pattern))
        if not paths:
            raise ValueError(
                f"There is no {pattern} in {base}: the root must be the published folder "
                '"01_Thermal Images and Ground Truth..." or the one above it.'
            )
        return paths[0]
