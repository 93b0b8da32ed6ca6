"""What a reader skipped or changed, counted by reason, with the first examples."""

from dml_lightning.data.sources import ReadReport


def test_only_three_examples_are_kept() -> None:
    report = ReadReport()
    for number in range(9):
        report.skip("reason", f"row {number}")
    assert report.skipped["reason"] == 9
    assert report.examples["reason"] == ["row 0", "row 1", "row 2"]


def test_the_text_has_a_line_for_each_reason_in_order() -> None:
    report = ReadReport()
    assert str(report) == "0 boxes in 0 frames"
    report.layout, report.boxes, report.frames = "read as COCO JSON", 7, 4
    report.note("box clipped", "id 9")
    report.skip("no area", "id 3")
    report.skip("crowd", "id 1")
    report.skip("no area", "id 5")
    report.warn("each frame is a group of its own")
    assert str(report).splitlines() == [
        "7 boxes in 4 frames, read as COCO JSON",
        "  skipped 1: crowd (e.g. id 1)",
        "  skipped 2: no area (e.g. id 3; id 5)",
        "  noted 1: box clipped (e.g. id 9)",
        "  warning: each frame is a group of its own",
    ]
