"""CVAT XML 1.1: images and tracks."""

from pathlib import Path

import numpy as np
import pytest

from dml_lightning.data.sources import CvatXml
from dml_lightning.data.sources.recognise import read_source
from tests.data.sources.making import BOX, picture, text


def box(label: str, *corners: float, **more: object) -> str:
    names = dict(zip(("xtl", "ytl", "xbr", "ybr"), corners, strict=True)) | more
    return f'<box label="{label}" occluded="0" {attributes(names)}><attribute name="sex">m</attribute></box>'


def attributes(values: dict[str, object]) -> str:
    return " ".join(f'{key}="{value}"' for key, value in values.items())


def image(name: str, *shapes: str, number: int = 0, size: tuple[int, int] = (100, 80)) -> str:
    return f'<image id="{number}" name="{name}" width="{size[0]}" height="{size[1]}">{"".join(shapes)}</image>'


def save(root: Path, *images: str, meta: str = "") -> CvatXml:
    content = f'<?xml version="1.0" encoding="utf-8"?>\n<annotations><version>1.1</version>{meta}{"".join(images)}'
    text(root / "annotations.xml", content + "</annotations>")
    return CvatXml(root)


def test_boxes_and_frames_of_images(tmp_path: Path) -> None:
    for name in ("f0/a.png", "f1/b.png"):
        picture(tmp_path / "images" / name)
    source = save(tmp_path, image("f0/a.png", box("duck", 1.5, 2, 4, 6)), image("f1/b.png", number=1))
    reading = source.read()
    assert reading.table[[*BOX, "label"]].to_numpy().tolist() == [[1.5, 2, 2.5, 4, "duck"]]
    assert reading.frames["group"].tolist() == ["images/f0", "images/f1"]  # b is empty
    assert str(reading.report) == "1 boxes in 2 frames"


def test_turned_boxes_and_other_shapes(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    shapes = [
        box("duck", 40, 30, 50, 34, rotation=90),  # about its centre (45, 32)
        '<polygon label="teal" points="10,10;20.5,12;15,24"/>',
        '<ellipse label="teal" cx="60" cy="50" rx="6" ry="3"/>',
        '<ellipse label="teal" cx="60" cy="50" rx="6" ry="3" rotation="90"/>',
        '<mask label="teal" rle="1,2" left="5" top="6" width="7" height="8"/>',
        '<polyline label="teal" points="70,10;75,15"/>',
        '<points label="teal" points="70,10"/>',
        '<tag label="teal"/>',
        '<polygon label="teal" points="1,2;x"/>',
        '<polygon label="" points="1,2;3,2;3,4"/>',
    ]
    reading = save(tmp_path, image("a.png", *shapes)).read()
    expected = [[43, 27, 4, 10], [10, 10, 10.5, 14], [54, 47, 12, 6], [57, 44, 6, 12], [5, 6, 7, 8]]
    np.testing.assert_allclose(reading.table[BOX], expected)
    assert reading.report.skipped == {
        "shape that is no box: polyline": 1,
        "shape that is no box: points": 1,
        "box is not four finite numbers": 1,
        "shape without a label": 1,
    }


def track(label: str, *boxes: str) -> str:
    return f'<track id="0" label="{label}">{"".join(boxes)}</track>'


def test_tracks(tmp_path: Path) -> None:
    for number in range(5):
        picture(tmp_path / "images" / f"frame_{number:06d}.PNG")
    picture(tmp_path / "images" / "cover.png")
    shapes = [
        box("", 1, 2, 4, 6, frame=0, outside=0, keyframe=1),
        box("", 2, 2, 5, 6, frame=1, outside=0, keyframe=0),
        box("", 3, 2, 6, 6, frame=2, outside=1, keyframe=1),
    ]
    reading = save(tmp_path, track("duck", *shapes)).read()
    assert reading.table[[*BOX, "label"]].to_numpy().tolist() == [[1, 2, 3, 4, "duck"], [2, 2, 3, 4, "duck"]]
    assert len(reading.frames) == 5  # those without a box too, but not the cover
    assert str(reading.report) == "2 boxes in 5 frames"


def test_a_track_with_key_frames_alone_is_noted(tmp_path: Path) -> None:
    for number in range(5):
        picture(tmp_path / f"frame_{number:06d}.png")
    shapes = [box("", 1, 2, 4, 6, frame=number, outside=0) for number in (0, 4)]
    reading = save(tmp_path, track("duck", *shapes)).read()
    (reason,) = reading.report.changed
    assert "frames inside of a track that have no box of it" in reason
    assert reading.report.examples[reason] == ["annotations.xml track 0 frame 4"]


def test_other_names_of_frames(tmp_path: Path) -> None:
    picture(tmp_path / "night_7.tif")
    picture(tmp_path / "night_08.tif")
    save(tmp_path, track("duck", box("", 1, 2, 4, 6, frame=7)))
    reading = CvatXml(tmp_path, frame_name="night_{frame}").read()
    assert reading.frames["frame"].tolist() == [str(tmp_path / "night_7.tif")]
    with pytest.raises(ValueError, match=r"frame_name '\{video\}' may use \{frame\} or \{frame:06d\} alone"):
        CvatXml(tmp_path, frame_name="{video}")


def test_a_video_without_a_bird(tmp_path: Path) -> None:
    picture(tmp_path / "frame_000000.png")
    source = save(tmp_path, meta="<meta><task><mode>interpolation</mode></task></meta>")
    assert len(source.read(allow_empty=True).frames) == 1


def test_one_image_twice(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    source = save(tmp_path, image("a.png", box("duck", 1, 2, 4, 6)), image("a.png", box("duck", 1, 2, 4, 7), number=9))
    with pytest.raises(ValueError, match=r"annotations\.xml image 9 and annotations\.xml image 0 are both about"):
        source.read()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("<annotation/>", "begins with <annotation>: CVAT's XML begins with <annotations>"),
        ("<annotations><image id='3'/></annotations>", "annotations.xml image 3 has no name"),
        ("<annotations><image name='a.png'/><track/></annotations>", "has images and tracks"),
        ("<annotations><track id='2'><box/></track></annotations>", "track 2 has a shape without the number"),
        ("<!DOCTYPE a><annotations/>", "has a document type definition"),
        ("<annotations>", "is no valid XML"),
        ("<annotations/>", "No usable box"),
    ],
)
def test_errors(tmp_path: Path, content: str, message: str) -> None:
    text(tmp_path / "annotations.xml", content)
    with pytest.raises(ValueError, match=message):
        CvatXml(tmp_path).read()


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"There is no .*annotations\.xml: name the XML file"):
        CvatXml(tmp_path).read()


def subsets(root: Path, second: str) -> CvatXml:
    """Two files, as datumaro writes them: train.xml about a.png, and another."""
    for name in ("a.png", "b.png"):
        picture(root / "images" / name)
    first = image("a.png", box("duck", 1, 2, 4, 6))
    for name, content in (("train.xml", first), ("val.xml", second)):
        text(root / name, f"<annotations><version>1.1</version>{content}</annotations>")
    return CvatXml(root, ["train.xml", "val.xml"])


def test_a_file_for_each_subset(tmp_path: Path) -> None:
    source = subsets(tmp_path, image("b.png", box("teal", 5, 6, 9, 9)))
    for reading in (source.read(), read_source(tmp_path)):
        table = reading.table[["frame", *BOX, "label"]].to_numpy().tolist()
        assert [[Path(row[0]).name, *row[1:]] for row in table] == [
            ["a.png", 1, 2, 3, 4, "duck"],
            ["b.png", 5, 6, 4, 3, "teal"],
        ]
    assert read_source(tmp_path / "val.xml").table["label"].tolist() == ["teal"]


def test_two_files_about_one_image_are_refused(tmp_path: Path) -> None:
    source = subsets(tmp_path, image("a.png", box("teal", 1, 2, 4, 6)))
    with pytest.raises(ValueError, match=r"val\.xml image 0 and train\.xml image 0 are both about .*a\.png"):
        source.read()


def test_a_video_beside_images_is_refused(tmp_path: Path) -> None:
    source = subsets(tmp_path, '<track id="0" label="duck"><box frame="0" xtl="1" ytl="2" xbr="3" ybr="4"/></track>')
    with pytest.raises(ValueError, match=r"val\.xml is about a video, .*: read it alone"):
        source.read()
