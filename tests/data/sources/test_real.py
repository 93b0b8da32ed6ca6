"""The readers on real sets."""

from dml_lightning.data.sources import CocoJson, HuWaterfowl, PascalVoc, Yolo
from tests.data.sources.making import BOX, needs


class TestReal:
    def test_hit_uav_as_coco_and_as_voc(self) -> None:
        root = needs("hit_uav")
        coco, voc = (source(root, group_by=r"^(\d+_\d+_\d+_\d+)").read() for source in (CocoJson, PascalVoc))
        assert coco.table["label"].value_counts().to_dict() == {
            "Person": 1168,
            "Car": 719,
            "Bicycle": 554,
            "OtherVehicle": 12,
            "DontCare": 7,
        }
        assert str(coco.report) == str(voc.report) == "2460 boxes in 290 frames"
        columns = ["frame", *BOX, "label", "group"]
        assert set(coco.table[columns].itertuples(index=False, name=None)) == set(
            voc.table[columns].itertuples(index=False, name=None)
        )
        assert coco.frames["group"].nunique() == 89
        assert coco.frames.equals(voc.frames)

    def test_hu_frame(self) -> None:
        reading = HuWaterfowl(needs("hu_waterfowl")).read()
        assert reading.table[["x", "y"]].head(2).to_numpy().tolist() == [[127, 11], [174, 32]]
        assert len(reading.table) == 10
        assert set(reading.table["width"]) == {7.0}

    def test_cheetahs(self) -> None:
        reading = Yolo(needs("thermal_cheetah")).read()
        assert reading.table["label"].value_counts().to_dict() == {"cheetah": 186, "human": 45}
        assert len(reading.frames) == 129
        assert reading.frames["group"].nunique() == 3
