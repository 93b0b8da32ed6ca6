"""The published layout of Hu et al: each quirk that published sets have is handled or reported."""

from pathlib import Path

import pytest

from dml_lightning.data.sources import HuWaterfowl
from tests.data.sources.making import BOX, picture, text


class TestHu:
    BASE = "01_Thermal Images and Ground Truth (used for detector training and testing)"
    HEADER = "imageFilename,x(column),y(row),width,height\n"

    def save(self, root: Path, rows: str) -> Path:
        base = root / self.BASE
        for name in ("20180322_1_R.tif", "20180323_2_R.tif"):
            picture(base / "01_Posistive Image" / name)
        folder = base / "02_Groundtruth Label for Positive Images"
        text(folder / "Bounding Box Label.csv", self.HEADER + rows)
        return base

    def test_the_published_layout(self, tmp_path: Path) -> None:
        base = self.save(tmp_path, "20180322_1_R.tif,127,11,7,7\n20180322_1_R.tif,10,11,7,7\n,1,1,7,7\n")
        picture(base / "03_Negative Images" / "20180324_9_R.TIF")
        for root, prefix in ((tmp_path, f"{self.BASE}/"), (base, "")):
            reading = HuWaterfowl(root).read()
            assert reading.table[[*BOX, "label", "group"]].to_numpy().tolist() == [
                [10, 11, 7, 7, "waterfowl", "20180322"]
            ]
            assert reading.frames["group"].tolist() == ["20180322", "20180324"]
            assert reading.report.examples == {
                "positive frame without a row in the CSV": [f"{prefix}01_Posistive Image/20180323_2_R.tif"],
                "box lies outside the frame": ["Bounding Box Label.csv row 2"],
                "row without a frame": ["Bounding Box Label.csv row 4"],
            }

    def test_one_based(self, tmp_path: Path) -> None:
        self.save(tmp_path, "20180322_1_R.tif,10,11,7,7\n")
        reading = HuWaterfowl(tmp_path, one_based=True).read()
        assert reading.table[BOX].to_numpy().tolist() == [[9, 10, 7, 7]]

    def test_another_layout(self, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match=r"There is no 01_Pos\* in .*the published folder"):
            HuWaterfowl(tmp_path).read()
        (tmp_path / "01_Posistive Image").mkdir()
        with pytest.raises(ValueError, match=r"There is no 02_\*/\*\.csv in"):
            HuWaterfowl(tmp_path).read()
