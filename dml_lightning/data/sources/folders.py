"""Folders of crops: one folder per class, each picture is one crop."""

from pathlib import Path

from dml_lightning.data.sources.base import Scan, Source
from dml_lightning.data.sources.boxes import Box
from dml_lightning.data.sources.files import list_frames
from dml_lightning.data.sources.report import ReadReport


class CropFolders(Source):
    """Reads `root/CLASS/.../picture`; the whole picture is the box.

    With two levels a class is `FIRST/SECOND`, such as `SPECIES/SUBSPECIES`.

    Args:
        root: Folder of the class folders.
        group_by: See `Source`. "parent" is the folder below the class folder
            (`root/mallard/flight_03/a.png` gives flight_03, the same for every class).
        levels: Number of nested folders whose names form the class.

    Raises:
        ValueError: The number of levels is below 1.
    """

    def __init__(self, root: str | Path, group_by: str = "parent", levels: int = 1) -> None:
        super().__init__(root, group_by)
        if levels < 1:
            raise ValueError(f"levels is {levels}; the name of at least one folder makes a class.")
        self.levels = levels

    def scan(self, report: ReadReport) -> Scan:
        """Lists the pictures of every class folder."""
        boxes = []
        for picture in list_frames(self.root):
            parts = picture.relative_to(self.root).parts
            if len(parts) <= self.levels:
                report.skip("picture outside a class folder", picture.name)
                continue
            label = "/".join(parts[: self.levels])
            where = str(picture.relative_to(self.root))
            boxes.append(Box(picture, 0.0, 0.0, 1.0, 1.0, label, where, relative=True))
        return Scan([], boxes)

    def group_of(self, frame: Path) -> str:
        """Returns the group; with "parent" the folders between the class folder and the picture."""
        if self.group_by != "parent":
            return super().group_of(frame)
        between = frame.relative_to(self.root).parts[self.levels : -1]
        return "/".join(between) or self.root.name
