"""Ground sampling distances: where a data set states them, what they reach, and what is refused without."""

import json
from pathlib import Path

import pandas as pd
import pytest

from dml_lightning.data import ThermalWaterfowlDataModule
from dml_lightning.data.ground import check_gsd, ground_distances
from dml_lightning.data.positions import ground_scale
from dml_lightning.data.sources import CocoJson, CsvTable, Reading
from dml_lightning.data.sources.recognise import read_source
from tests.data.sources.making import picture
from tests.data.test_positions import camera


def frames(root: Path, number: int = 6) -> list[str]:
    """Frames of 40x30 px, each in a flight of its own."""
    names = [f"f{n}/a.png" for n in range(number)]
    for name in names:
        picture(root / name, (40, 30))
    return names


def coco(root: Path, stated: list[object]) -> Path:
    """A box of 8x4 px in each frame, whose image has the stated gsd."""
    images = [{"id": n, "file_name": name} for n, name in enumerate(frames(root, len(stated)))]
    images = [image | ({} if gsd is None else {"gsd": gsd}) for image, gsd in zip(images, stated, strict=True)]
    boxes = [
        {"id": n, "image_id": n // 2, "category_id": n % 2, "bbox": [5 + n % 2, 6, 8, 4]}
        for n in range(2 * len(images))
    ]
    categories = [{"id": 0, "name": "coot"}, {"id": 1, "name": "teal"}]
    (root / "boxes.json").write_text(json.dumps({"images": images, "annotations": boxes, "categories": categories}))
    return root


def distances(reading: Reading) -> list[float]:
    return [reading.gsd.get(frame, 0.0) for frame in reading.frames["frame"]]


def test_an_image_of_coco_states_it(tmp_path: Path) -> None:
    reading = CocoJson(coco(tmp_path, [0.05, None, "0.1", -1, "far", 0])).read()
    assert distances(reading) == [0.05, 0, 0.1, 0, 0, 0]
    assert reading.table["gsd"].iloc[:2].tolist() == [0.05, 0.05]
    assert reading.table["gsd"].isna().tolist() == [False] * 2 + [True] * 2 + [False] * 2 + [True] * 6


def test_one_for_the_set_fills_the_frames_that_state_none(tmp_path: Path) -> None:
    root = coco(tmp_path, [0.05, None, 0.1])
    assert distances(CocoJson(root).read(gsd=0.2)) == [0.05, 0.2, 0.1]
    config = tmp_path / "data.yaml"
    source = {"class_path": "dml_lightning.data.sources.CocoJson", "init_args": {"root": str(root)}}
    config.write_text(json.dumps({"data": {"source": source, "gsd": 0.2}}))
    assert distances(read_source(config)) == [0.05, 0.2, 0.1]
    config.write_text(json.dumps({"data": {"source": source, "gsd": "wide"}}))
    with pytest.raises(ValueError, match=r"data\.yaml: gsd is 'wide'; it is metres per px"):
        read_source(config)


def test_nothing_is_added_where_nothing_is_stated(tmp_path: Path) -> None:
    reading = CocoJson(coco(tmp_path, [None, None])).read()
    assert "gsd" not in reading.table
    assert not reading.gsd


def test_a_column_of_a_table_states_it(tmp_path: Path) -> None:
    names = frames(tmp_path, 3)
    rows = [
        f"{names[0]};1;2;8;4;coot;0,05",
        f"{names[0]};9;2;8;4;coot;0,05",
        f"{names[1]};1;2;8;4;coot;",
        f"{names[2]};;;;;;0,2",
    ]
    (tmp_path / "b.csv").write_text("\n".join(["frame;x;y;width;height;label;gsd", *rows]))
    reading = CsvTable(tmp_path, "b.csv", delimiter=";", decimal=",", gsd_column="gsd").read()
    assert distances(reading) == [0.05, 0, 0.2]
    (tmp_path / "b.csv").write_text("\n".join(["frame,x,y,width,height,gsd", f"{names[0]},1,2,8,4,0.05"]))
    assert distances(read_source(tmp_path / "b.csv")) == [0.05]
    (tmp_path / "b.csv").write_text(
        "\n".join(["frame,x,y,width,height,gsd", f"{names[0]},1,2,8,4,0.05", f"{names[0]},9,2,8,4,0.06"])
    )
    with pytest.raises(
        ValueError, match=r"row 3: .* has the ground sampling distance '0.06', an earlier row said '0.05'"
    ):
        read_source(tmp_path / "b.csv")


@pytest.mark.parametrize("gsd", [0.0, -0.1, float("nan"), float("inf")])
def test_a_distance_that_no_camera_has_is_refused(gsd: float) -> None:
    with pytest.raises(ValueError, match="it is metres per px, a positive number"):
        check_gsd(gsd)


def test_a_frame_without_one_is_named(tmp_path: Path) -> None:
    table = pd.DataFrame({"frame": ["a.tif", "b.tif", "b.tif", "c.tif"], "gsd": [0.1, None, None, None]})
    assert ground_distances(table[:1]).tolist() == [0.1]
    with pytest.raises(ValueError, match=r"b.tif: its ground sampling distance is not known \(2 such frames\)"):
        ground_distances(table)
    with pytest.raises(ValueError, match=r"a.tif: .* or as data.gsd of a config"):
        ground_distances(table.drop(columns="gsd"))


def test_what_a_set_does_not_state_its_frames_may(tmp_path: Path) -> None:
    flown, plain = camera(tmp_path / "a.jpg"), camera(tmp_path / "b.jpg", RelativeAltitude=None)
    table = pd.DataFrame({"frame": [str(plain), str(flown)], "gsd": [0.2, None]})
    assert ground_distances(table).tolist() == [0.2, ground_scale(flown)]
    with pytest.raises(ValueError, match=r"b\.jpg: .* states no altitude, focal length and view straight down"):
        ground_distances(table.drop(columns="gsd"))


def test_metres_reach_the_batches_of_the_data_module(tmp_path: Path) -> None:
    root = coco(tmp_path, [0.05, 0.1, 0.05, None, 0.1, 0.1])
    options = {"cache_dir": None, "crop_size": 8, "ood_test": ["background"], "background": 1, "unseen_groups": "all"}
    data = ThermalWaterfowlDataModule(CocoJson(root), side_inputs=["width_m"], gsd=0.2, **options)
    for name in ("known", "ood"):
        crops = data.evaluation_crops(name, "test")  # type: ignore[arg-type]
        batch = crops.__getitems__(range(len(crops)))
        rows = data.table.iloc[batch.index.numpy()]
        assert batch.side[:, 0].tolist() == pytest.approx((rows["width"] * rows["gsd"]).tolist())
        assert len(crops)
    squares = ThermalWaterfowlDataModule(CocoJson(root), crop_metres=0.4, gsd=0.2, **options)
    batch = squares.evaluation_crops("known", "test")[0]
    assert batch.images.shape == (1, 1, 8, 8)
    assert batch.side.shape == (1, 0)
    unknown = ThermalWaterfowlDataModule(CocoJson(root), side_inputs=["width_m"], **options)
    with pytest.raises(ValueError, match=r"f3/a\.png: its ground sampling distance is not known"):
        _ = unknown.table
    plain = ThermalWaterfowlDataModule(CocoJson(root), **options)
    assert "gsd" not in plain.table
