"""Data sets whose boxes are of another form than stated, scores, groups and copies."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dml_lightning.data.sources import Box, CropFolders, CsvTable, PascalVoc, ReadReport, Yolo
from dml_lightning.data.sources.checks import (
    check_forms,
    cut_scores,
    identical_frames,
    warn_of_groups,
    warn_of_one_based,
)
from tests.data.sources.making import BOX, picture, text

FRAME = Path("/a.png")
SIZES = {FRAME: (640, 512)}


def boxes(*sides: tuple[float, float, float, float], **more: object) -> list[Box]:
    return [
        Box(FRAME, float(x), float(y), float(w), float(h), "duck", f"row {n}", **more)
        for n, (x, y, w, h) in enumerate(sides)
    ]


def check(*sides: tuple[float, float, float, float], **more: object) -> ReadReport:
    report = ReadReport()
    check_forms(boxes(*sides, **more), SIZES, report, ": set relative")
    return report


def test_fractions_in_place_of_px() -> None:
    with pytest.raises(ValueError, match=r"row 1: the box x 0\.5.* and 1 more of 3 look like fractions.* relative"):
        check((10, 10, 5, 5), (0.5, 0.5, 0.1, 0.1), (0.2, 0.3, 0.01, 0.02))
    check((10, 10, 5, 5), (20, 20, 5, 5), (0, 0, 0.5, 0.5))  # one small box in a corner may be one
    check((0.5, 0.5, 0.1, 0.1), relative=True)


def test_px_in_place_of_fractions() -> None:
    with pytest.raises(ValueError, match=r"look like px and not fractions"):
        check((320, 256, 7, 7), relative=True)


def test_corners_in_place_of_sizes() -> None:
    with pytest.raises(ValueError, match="look like two corners"):
        check((100, 100, 107, 107), (500, 400, 507, 409))
    check((100, 100, 107, 107), (500, 400, 20, 20))  # a size: the other box may be one too
    check((0, 0, 640, 512))  # whole frames
    warned = check(*((10 + n, 10 + n, 17 + n, 17 + n) for n in range(25)))  # none leaves its frame
    assert "two corners" in warned.warnings[0]


def test_sizes_in_place_of_corners(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    text(tmp_path / "b.csv", "frame,xmin,ymin,xmax,ymax,label\na.png,30,20,7,7,duck\na.png,50,60,7,7,duck\n")
    with pytest.raises(ValueError, match=r"b\.csv row 2: .* look like sizes read as corners"):
        CsvTable(tmp_path, "b.csv", box_format="xyxy").read()
    reading = CsvTable(tmp_path, "b.csv", box_columns=["xmin", "ymin", "xmax", "ymax"]).read()
    assert reading.table[BOX].to_numpy().tolist() == [[30, 20, 7, 7], [50, 60, 7, 7]]


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.floats(0, 600), st.floats(0, 500), st.floats(2, 39), st.floats(2, 11)), min_size=1))
def test_boxes_inside_their_frames_pass(sides: list[tuple[float, float, float, float]]) -> None:
    check(*sides)


@pytest.mark.parametrize(
    ("sides", "warned"),
    [
        ([(1, 5, 3, 3), (40, 9, 3, 3)], True),  # touches 1, never 0
        ([(7, 5, 0, 3), (40, 9, 3, 3)], True),  # a box of one px, whose corners are the same
        ([(7, 5, 4, 3), (638, 9, 3, 3)], True),  # ends one px outside
        ([(0, 5, 3, 3), (1, 9, 3, 3)], False),
        ([(7, 5, 3, 3), (40, 9, 3, 3)], False),
        ([(1.5, 5, 3, 3)], False),
    ],
)
def test_counting_from_one_is_suspected(sides: list[tuple[float, float, float, float]], warned: bool) -> None:
    report = ReadReport()
    warn_of_one_based(boxes(*sides), SIZES, report)
    assert bool(report.warnings) == warned


def test_scores_are_cut_and_counted(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    rows = "a.png,1,2,3,4,duck,0.9\na.png,11,2,3,4,duck,0.3\na.png,21,2,3,4,duck,\n"
    text(tmp_path / "b.csv", "frame,x,y,width,height,label,score\n" + rows)
    whole = CsvTable(tmp_path, "b.csv", score_column="score").read()
    np.testing.assert_equal(whole.table["score"].tolist(), [0.9, 0.3, np.nan])
    for cut in (
        CsvTable(tmp_path, "b.csv", score_column="score", min_score=0.5).read(),
        CsvTable(tmp_path, "b.csv", score_column="score").read(min_score=0.5),
    ):
        assert cut.table["x"].tolist() == [1, 21]  # a box without a score stays
        assert cut.report.skipped == {"score below 0.5": 1}
        assert cut.obstacles["x"].tolist() == [11]  # it may show a bird: no background
    assert "score" not in CsvTable(tmp_path, "b.csv").read().table


def test_scores_that_are_none() -> None:
    with pytest.raises(ValueError, match=r"row 0: the score 87 is not between 0 and 1"):
        cut_scores(boxes((1, 2, 3, 4), score=87), None)
    with pytest.raises(ValueError, match=r"min_score is 50: scores lie between 0 and 1"):
        cut_scores(boxes((1, 2, 3, 4), score=0.5), 50)
    with pytest.raises(ValueError, match=r"min_score is 0\.5, but no box here has a score"):
        cut_scores(boxes((1, 2, 3, 4)), 0.5)
    assert cut_scores([], 0.5) == []


def test_a_copy_of_a_box_keeps_the_higher_score(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    for scores in ((".3", ".8", ""), ("", ".8", ".3"), (".8", ".3", "")):
        rows = "".join(f"a.png,1,2,3,4,duck,{score}\n" for score in scores)
        text(tmp_path / "b.csv", "frame,x,y,width,height,label,score\n" + rows)
        reading = CsvTable(tmp_path, "b.csv", score_column="score").read()
        assert reading.table["score"].tolist() == [0.8]


@pytest.mark.parametrize(
    ("names", "cause"),
    [
        (["0a1b2c3d-x_1.png", "1a1b2c3d-x_2.png", "2a1b2c3d-x_3.png"], "as Label Studio adds them"),
        ([f"{n}a1b2c3d-0000-4000-8000-000000000000_x.png" for n in range(3)], "an upload has given"),
        (["a.png", "b.png", "c.png"], ""),
    ],
)
def test_groups_that_are_frames_are_warned_of(names: list[str], cause: str) -> None:
    report = ReadReport()
    warn_of_groups({Path(name): name[:8] for name in names}, report)
    assert "each of the 3 frames is a group of its own" in report.warnings[0]
    assert cause in report.warnings[0]
    assert ("begin with" in report.warnings[0]) == bool(cause)


def test_no_warning_where_frames_share_a_group_or_were_meant_to_be_alone(tmp_path: Path) -> None:
    report = ReadReport()
    warn_of_groups({Path("a"): "f", Path("b"): "f", Path("c"): "g"}, report)
    warn_of_groups({Path("a"): "f", Path("b"): "g"}, report)
    assert not report.warnings
    for number in range(4):
        picture(tmp_path / "duck" / f"{number}.png")
    assert not CropFolders(tmp_path, group_by="frame").read().report.warnings


def test_label_studio_prefixes_in_a_yolo_set(tmp_path: Path) -> None:
    """The shipped group_by takes the prefix for the flight."""
    text(tmp_path / "classes.txt", "duck\n")
    for number in range(4):
        name = f"{number}a1b2c3d-flight_{number // 2}"
        picture(tmp_path / "images" / f"{name}.png")
        text(tmp_path / "labels" / f"{name}.txt", "0 .5 .5 .1 .1")
    reading = Yolo(tmp_path, group_by=r"^([^_]+_\d+)").read()
    assert "as Label Studio adds them: let group_by start after that" in str(reading.report)
    better = Yolo(tmp_path, group_by=r"^\w{8}-([^_]+_\d+)").read()
    assert better.frames["group"].nunique() == 2
    assert not better.report.warnings


def test_copies_in_two_groups(tmp_path: Path) -> None:
    big = np.random.default_rng(0).bytes(50_000)
    other = bytearray(big)
    other[10] ^= 1  # the same size and the same middle
    for name, content in {"f0/a": big, "f0/b": big, "f1/c": big, "f1/d": bytes(other), "f2/e": b"short"}.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
    groups = {path: path.parent.name for path in sorted(tmp_path.rglob("*/*"))}
    assert identical_frames(groups) == [(tmp_path / "f0" / "a", tmp_path / "f1" / "c")]
    assert identical_frames(dict.fromkeys(groups, "one")) == []


def test_copies_are_named_in_the_reading(tmp_path: Path) -> None:
    first = picture(tmp_path / "f0" / "a.png")
    (tmp_path / "f1").mkdir()
    (tmp_path / "f1" / "z.png").write_bytes(first.read_bytes())
    text(tmp_path / "b.csv", "frame,x,y,width,height,label\nf0/a.png,1,2,3,4,duck\nf1/z.png,1,2,3,4,duck\n")
    reading = CsvTable(tmp_path, "b.csv").read()
    assert reading.identical == [(first, tmp_path / "f1" / "z.png")]
    assert reading.report.examples["frame with the same bytes as one of another group"] == ["f0/a.png and f1/z.png"]


def test_one_row_of_px_in_a_yolo_set(tmp_path: Path) -> None:
    text(tmp_path / "data.yaml", "names: [duck]\n")
    picture(tmp_path / "a.png")
    text(tmp_path / "a.txt", "0 .5 .5 .1 .1\n0 .4 .5 .1 .1\n0 320 256 7 7\n")
    reading = Yolo(tmp_path).read()
    assert reading.report.skipped == {"box is not given in fractions of its frame": 1}
    text(tmp_path / "a.txt", "0 320 256 7 7\n")
    with pytest.raises(ValueError, match=r"a\.txt line 1: .* look like px and not fractions of the frame"):
        Yolo(tmp_path).read()


def test_fractions_in_voc(tmp_path: Path) -> None:
    picture(tmp_path / "JPEGImages" / "a.png")
    corners = "<xmin>.1</xmin><ymin>.2</ymin><xmax>.3</xmax><ymax>.4</ymax>"
    content = f"<annotation><object><name>duck</name><bndbox>{corners}</bndbox></object></annotation>"
    text(tmp_path / "Annotations" / "a.xml", content)
    with pytest.raises(ValueError, match=r"a\.xml object 1: .* look like fractions of the frame and not px\.$"):
        PascalVoc(tmp_path).read()
