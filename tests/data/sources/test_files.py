"""Finding the frame that a name means: where it may lie, and names that may mean another frame."""

import unicodedata
from pathlib import Path

import pytest

from dml_lightning.data.sources import CsvTable, ReadReport
from dml_lightning.data.sources.files import FrameFinder, frame_sizes
from tests.data.sources.making import picture, text


def find(name: str, *folders: Path, **options: object) -> Path:
    return FrameFinder().find(name, list(folders), "row 1", **options)


def test_names_as_they_are_with_other_slashes_and_suffixes(tmp_path: Path) -> None:
    upper = picture(tmp_path / "a b.TIF")
    lower = picture(tmp_path / "deep" / "c.png")
    folders = [tmp_path, tmp_path / "deep"]
    assert find("a b.tif", *folders) == upper
    assert find("c.PNG", *folders) == lower
    assert find("deep\\c.png", *folders) == lower
    assert find("/elsewhere/deep/c.png", *folders) == lower
    assert find("C:\\elsewhere\\deep\\c.png", *folders) == lower
    assert find(str(lower), *folders) == lower
    assert find("no.png", *folders) == tmp_path / "no.png"
    assert find("../no.png", tmp_path / "deep") == tmp_path / "no.png"
    assert find("no.png", tmp_path, also=["x.png", "deep/c.png"]) == lower


def test_the_first_folders_of_a_name_are_left_out_one_by_one(tmp_path: Path) -> None:
    one, two = (picture(tmp_path / f"flight_{n}" / "a.png") for n in (1, 2))
    finder = FrameFinder()
    assert finder.find("/data/2024/flight_1/a.png", [tmp_path], "row 1") == one
    assert finder.find("/data/2024/flight_2/a.png", [tmp_path], "row 2") == two


def test_two_flights_never_share_a_file(tmp_path: Path) -> None:
    """`DJI_0001.tif` of two flights, of which only one flat file is there."""
    flat = picture(tmp_path / "DJI_0001.tif")
    finder = FrameFinder()
    assert finder.find("flight_1/DJI_0001.tif", [tmp_path], "row 1") == flat
    assert finder.find("flight_1\\DJI_0001.tif", [tmp_path], "row 2") == flat  # the same name
    with pytest.raises(ValueError, match=r"row 3: two names end on one file, 'flight_1\S* \(row 1\) and 'flight_2"):
        finder.find("flight_2/DJI_0001.tif", [tmp_path], "row 3")


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_a_missing_flight_is_not_read_from_its_namesake(tmp_path: Path, order: tuple[int, int]) -> None:
    picture(tmp_path / "DJI_0001.tif")
    picture(tmp_path / "flight_1" / "DJI_0001.tif")
    names = ["flight_1/DJI_0001.tif", "flight_2/DJI_0001.tif"]
    finder = FrameFinder()
    finder.find(names[order[0]], [tmp_path], f"row {order[0]}")
    with pytest.raises(ValueError, match=r"row 1: 'flight_2/DJI_0001.tif' does not exist, and .*another frame of that"):
        finder.find(names[order[1]], [tmp_path], f"row {order[1]}")


def test_a_file_in_two_folders_is_ambiguous_unless_one_comes_first(tmp_path: Path) -> None:
    folders = [tmp_path / "a", tmp_path / "b"]
    first, _ = (picture(folder / "x.png") for folder in folders)
    with pytest.raises(ValueError, match=r"row 1: the frame 'x.png' may be .*a/x.png or .*b/x.png"):
        find("x.png", *folders)
    assert find("x.png", folders[1], own=[folders[0]]) == first
    (tmp_path / "link").symlink_to(folders[0])
    assert find("x.png", folders[0], tmp_path / "link") == first  # one file by two ways


def test_a_frame_that_may_be_listed_once(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    finder = FrameFinder()
    finder.find("a.png", [tmp_path], "image 1", once=True)
    with pytest.raises(ValueError, match=r"image 7 and image 1 are both about .*a\.png: keep one"):
        finder.find("a.png", [tmp_path], "image 7", once=True)


@pytest.mark.parametrize(
    ("there", "named"),
    [
        ("a.tiff", "a.jpg"),
        ("flight 1.png", "flight%201.png"),
        (unicodedata.normalize("NFC", "é.png"), unicodedata.normalize("NFD", "é.png")),
        ("DJI_1.png", "dji_1.png"),
    ],
)
def test_a_near_name_of_a_missing_frame_is_offered(tmp_path: Path, there: str, named: str) -> None:
    picture(tmp_path / there)
    report = ReadReport()
    sizes, unused = frame_sizes([tmp_path / named], "stop", report)
    assert not sizes
    assert unused == {tmp_path / named: "frame file is missing"}
    assert report.examples["frame file is missing"] == [f"{tmp_path / named}; there is {there}"]


def test_no_near_name_where_there_is_none(tmp_path: Path) -> None:
    report = ReadReport()
    frame_sizes([tmp_path / "b.png", tmp_path / "gone" / "b.png"], "stop", report)
    assert [example.endswith("b.png") for example in report.examples["frame file is missing"]] == [True, True]


def test_a_table_of_two_flights_with_one_of_them_missing(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    picture(tmp_path / "f1" / "a.png")
    text(tmp_path / "b.csv", "frame,x,y,width,height,label\nf1/a.png,1,2,3,4,duck\nf2/a.png,1,2,3,4,duck\n")
    with pytest.raises(ValueError, match=r"b\.csv row 3: 'f2/a\.png' does not exist"):
        CsvTable(tmp_path, "b.csv").read()
