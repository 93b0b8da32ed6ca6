"""`dml check`: what it prints, its status and its picture."""

from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from dml_lightning.cli import main
from dml_lightning.data import looks
from tests.data.checking import Rows, clean, pixels, save


def counts(root: Path) -> Rows:
    rows = clean(root)
    for number in range(6):
        values = np.round(100 * (pixels(number) + 273.15)).astype(np.uint16)
        tifffile.imwrite(root / f"flight_{number // 2}/{number}.tif", values)
    return rows


def test_without_a_doubt(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    rows = clean(tmp_path / "set")
    rows[0].update(width=12)
    save(tmp_path / "set", rows)
    assert main(["check", "set"]) == []
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("12 boxes in 6 frames, read as a table of boxes (boxes.csv)")
    assert "  frames: 100x80 px (6)" in lines
    assert "  3 groups (frames): night 0 (2), night 1 (2), night 2 (2)" in lines
    assert ["mallard", "6", "3", "8", "8", "12"] in [line.split() for line in lines]
    assert lines[-4] == "  pixels of all frames:"
    low, high = (function([pixels(n) for n in range(6)]) for function in (np.min, np.max))
    assert lines[-3].startswith(f"  TIFF (6): {low:.6g} to {high:.6g} degC, median ")
    assert lines[-2] == "No doubt."
    assert lines[-1] == "12 crops with their boxes in check.png; look at them."
    with Image.open("check.png") as picture:
        assert picture.size[0] > 900


def test_doubts_end_with_status_3(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = save(tmp_path, counts(tmp_path))
    with pytest.raises(SystemExit) as status:
        main(["check", "--data", str(table), f"--picture={tmp_path / 'out.png'}"])
    assert status.value.code == 3
    text = capsys.readouterr().out
    assert "Doubt 1, units: 6 of 6 frames hold counts without a scale to degC" in text
    assert "No doubt" not in text
    assert (tmp_path / "out.png").is_file()


def test_a_radiometry_by_option_or_config(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = save(tmp_path, counts(tmp_path))
    out = f"--picture={tmp_path / 'out.png'}"
    assert main(["check", str(table), out, "--radiometry.gain=0.01", "--radiometry.offset=-273.15"]) == []
    config = tmp_path / "config.yaml"
    options = f"{{root: {tmp_path}, file: boxes.csv, group_column: flight}}"
    section = f"data:\n  source: {{class_path: dml_lightning.data.sources.CsvTable, init_args: {options}}}\n"
    config.write_text(section + "  radiometry: {gain: 0.01, offset: -273.15}\n")
    assert main(["check", str(config), out]) == []
    assert "read as CsvTable as config.yaml says" in capsys.readouterr().out
    config.write_text(section + "  radiometry: {gain: 0.01}\n")
    with pytest.raises(SystemExit, match="2"):
        main(["check", str(config), out])
    assert "radiometry is {'gain': 0.01} and needs a gain and an offset" in capsys.readouterr().err


def test_of_many_frames_some_are_looked_at(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    table = save(tmp_path, clean(tmp_path))
    monkeypatch.setattr(looks, "evenly", lambda frames: frames[::2])
    main(["check", str(table), f"--picture={tmp_path / 'out.png'}"])
    text = capsys.readouterr().out
    assert "pixels of 3 of 6 frames, evenly spaced:\n  TIFF (3): " in text


@pytest.mark.parametrize("picture", ["out.jpg", "."])
def test_a_picture_that_cannot_be_written(tmp_path: Path, picture: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["check", str(tmp_path), f"--picture={picture}"])
    assert f"--picture {picture}: name the .png file to write" in capsys.readouterr().err


def test_nothing_that_can_be_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = clean(tmp_path)
    for file in tmp_path.glob("*/*.tif"):
        file.write_bytes(file.read_bytes()[:-1000])
    out = tmp_path / "out.png"
    for data in (save(tmp_path, rows), tmp_path / "nowhere"):
        with pytest.raises(SystemExit, match="2"):
            main(["check", str(data), f"--picture={out}"])
    first, second = capsys.readouterr().err.splitlines()
    assert first.startswith("dml check: no frame of 6 can be read, the first being ")
    assert "0.tif: the file is truncated" in first
    assert second.endswith("nowhere is neither a file nor a folder.")
    assert not out.exists()
