"""Pascal VOC XML: each quirk that published sets have is handled or reported."""

from pathlib import Path

import pytest

from dml_lightning.data.sources import PascalVoc
from tests.data.sources.making import BOX, picture, text


class TestVoc:
    @staticmethod
    def xml(name: str | None, objects: str, size: str = "") -> str:
        filename = "" if name is None else f"<filename>{name}</filename>"
        return f"<annotation>{filename}{size}{objects}</annotation>"

    @staticmethod
    def entry(label: str, xmin: object, ymin: object, xmax: object, ymax: object) -> str:
        corners = {"ymin": ymin, "xmin": xmin, "ymax": ymax, "xmax": xmax}
        inner = "".join(f"<{key}>{value}</{key}>" for key, value in corners.items())
        return f"<object><name>{label}</name><bndbox>{inner}</bndbox></object>"

    def save(self, root: Path, content: str, name: str = "a") -> PascalVoc:
        picture(root / "JPEGImages" / f"{name}.png")
        text(root / "Annotations" / f"{name}.xml", content)
        return PascalVoc(root)

    def test_the_format_itself(self, tmp_path: Path) -> None:
        size = "<size><width>100</width><height>80</height></size>"
        objects = self.entry("duck", 1, 2, 4, 6) + self.entry(" teal ", "9.5", 9, 12, "20.5")
        source = self.save(tmp_path, self.xml("a.png", objects, size))
        self.save(tmp_path, self.xml("b.png", ""), "b")
        picture(tmp_path / "JPEGImages" / "c.png")
        reading = source.read()
        assert reading.table[[*BOX, "label"]].to_numpy().tolist() == [[1, 2, 3, 4, "duck"], [9.5, 9, 2.5, 11.5, "teal"]]
        assert len(reading.frames) == 2  # b is empty, nobody looked at c
        assert reading.report.examples["frame that nobody has annotated"] == ["JPEGImages/c.png"]

    @pytest.mark.parametrize("name", [None, "other.png", "a", "a.jpg", "a.PNG"])
    def test_the_frame_is_found_by_the_file_name(self, tmp_path: Path, name: str | None) -> None:
        reading = self.save(tmp_path, self.xml(name, self.entry("duck", 1, 2, 4, 6))).read()
        assert reading.table["frame"].tolist() == [str(tmp_path / "JPEGImages" / "a.png")]

    @pytest.mark.parametrize(
        ("broken", "reason"),
        [
            ("<object><name>duck</name></object>", "box is not four finite numbers"),
            ("x", "box is not four finite numbers"),
            ("4", "box has no area"),
        ],
    )
    def test_what_is_skipped(self, tmp_path: Path, broken: str, reason: str) -> None:
        entry = broken if broken.startswith("<") else self.entry("duck", 4, 2, broken, 6)
        good = self.entry("duck", 1, 2, 4, 6)
        reading = self.save(tmp_path, self.xml("a.png", good + entry)).read()
        assert reading.report.examples == {reason: ["a.xml object 2"]}

    def test_objects_without_a_name_keep_background_away(self, tmp_path: Path) -> None:
        objects = self.entry("duck", 1, 2, 4, 6) + self.entry("", 20, 20, 30, 30)
        reading = self.save(tmp_path, self.xml("a.png", objects)).read()
        assert reading.report.skipped == {"object without a name": 1}
        assert len(reading.obstacles) == 1

    def test_broken_xml_is_reported(self, tmp_path: Path) -> None:
        self.save(tmp_path, self.xml("a.png", self.entry("duck", 1, 2, 4, 6)))
        reading = self.save(tmp_path, "<annotation><object>", "b").read()
        assert reading.report.skipped["XML file cannot be parsed"] == 1
        assert reading.report.examples["XML file cannot be parsed"][0].endswith(
            "b.xml is no valid XML (no element found: line 1, column 20)."
        )

    def test_other_folders(self, tmp_path: Path) -> None:
        picture(tmp_path / "img" / "a.png")
        text(tmp_path / "xml" / "a.XML", self.xml("a.png", self.entry("duck", 1, 2, 4, 6)))
        assert len(PascalVoc(tmp_path, "xml", "img").read().table) == 1
        with pytest.raises(ValueError, match=r"There is no XML file in .*Annotations"):
            PascalVoc(tmp_path).read()

    def test_flights_with_bare_file_names(self, tmp_path: Path) -> None:
        """Two folders of XML and of frames; `filename` has no folder."""
        for flight in ("f1", "f2"):
            picture(tmp_path / "JPEGImages" / flight / "DJI_1.png")
            objects = self.entry(f"duck_{flight}", 1, 2, 4, 6)
            text(tmp_path / "Annotations" / flight / "DJI_1.xml", self.xml("DJI_1.png", objects))
        table = PascalVoc(tmp_path).read().table
        assert table[["label", "group"]].to_numpy().tolist() == [
            ["duck_f1", "JPEGImages/f1"],
            ["duck_f2", "JPEGImages/f2"],
        ]

    def test_flights_on_one_flat_frame(self, tmp_path: Path) -> None:
        picture(tmp_path / "JPEGImages" / "DJI_1.png")
        for flight in ("f1", "f2"):
            text(tmp_path / "Annotations" / flight / "DJI_1.xml", self.xml("DJI_1.png", self.entry("duck", 1, 2, 4, 6)))
        with pytest.raises(ValueError, match=r"DJI_1\.xml and DJI_1\.xml are both about .*DJI_1\.png"):
            PascalVoc(tmp_path).read()

    def test_lists_name_frames_that_were_checked(self, tmp_path: Path) -> None:
        source = self.save(tmp_path, self.xml("a.png", self.entry("duck", 1, 2, 4, 6)))
        for name in ("checked", "seen one", "new"):
            picture(tmp_path / "JPEGImages" / f"{name}.png")
        text(tmp_path / "ImageSets" / "Main" / "train.txt", "a\nchecked\ngone\n")
        text(tmp_path / "ImageSets" / "Main" / "duck_train.txt", "a  1\nseen one -1\n")
        reading = source.read()
        assert [Path(frame).stem for frame in reading.frames["frame"]] == ["a", "checked", "seen one"]
        assert reading.report.examples == {
            "frame that nobody has annotated": ["JPEGImages/new.png"],
            "frame file is missing": [str(tmp_path / "JPEGImages" / "gone")],
        }
        everything = PascalVoc(tmp_path, unlabelled="empty").read()
        assert len(everything.frames) == 4

    @pytest.mark.parametrize(
        ("options", "expected"),
        [
            ({}, [1, 2, 3, 4]),
            ({"one_based": True}, [0, 1, 4, 5]),  # PASCAL: the last pixel belongs to the box
            ({"one_based": True, "inclusive": False}, [0, 1, 3, 4]),  # edges shifted by 1
            ({"inclusive": True}, [1, 2, 4, 5]),
        ],
    )
    def test_counting_from_one(self, tmp_path: Path, options: dict[str, bool], expected: list[float]) -> None:
        self.save(tmp_path, self.xml("a.png", self.entry("duck", 1, 2, 4, 6)))
        assert PascalVoc(tmp_path, **options).read().table[BOX].to_numpy().tolist() == [expected]

    def test_a_box_of_one_px_counted_from_one(self, tmp_path: Path) -> None:
        objects = self.entry("duck", 9, 9, 9, 9) + self.entry("duck", 1, 9, 20, 20)
        self.save(tmp_path, self.xml("a.png", objects))
        assert "set one_based" in PascalVoc(tmp_path).read().report.warnings[0]
        reading = PascalVoc(tmp_path, one_based=True).read()
        assert reading.table[BOX].to_numpy().tolist() == [[8, 8, 1, 1], [0, 8, 20, 12]]
        assert not reading.report.warnings

    def test_document_types_are_refused(self, tmp_path: Path) -> None:
        source = self.save(tmp_path, "<!DOCTYPE a>" + self.xml("a.png", self.entry("duck", 1, 2, 4, 6)))
        with pytest.raises(ValueError, match=r"a\.xml has a document type definition"):
            source.read()
