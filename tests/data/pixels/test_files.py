"""What is no regular file is refused instead of waited for."""

import os
import socket
from pathlib import Path

import numpy as np
import pytest

from dml_lightning.data.pixels import FrameError, frame_size, read_frame

from .writing import write


@pytest.mark.parametrize("reader", [read_frame, frame_size])
def test_a_pipe_a_socket_and_a_device_are_refused(
    tmp_path: Path, reader: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # the name of a socket is short
    os.mkfifo("pipe.tif")
    Path("link.tif").symlink_to("pipe.tif")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket.tif")
        for path in ("pipe.tif", "link.tif", "socket.tif", "/dev/zero"):
            with pytest.raises(FrameError, match=f"{path}: this is a pipe, a socket or a device; a frame is a regular"):
                reader(path)


def test_an_animated_gif_under_another_name_is_refused(tmp_path: Path) -> None:
    from PIL import Image

    pictures = [Image.fromarray(np.full((8, 8), value, np.uint8)) for value in (0, 99)]
    pictures[0].save(tmp_path / "a.gif", save_all=True, append_images=pictures[1:])
    (tmp_path / "a.gif").rename(tmp_path / "a.png")
    with pytest.raises(FrameError, match=r"this is no TIFF, PNG or JPEG \(it starts with b'GIF8'\)"):
        read_frame(tmp_path / "a.png")


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((4, 5), np.complex64), "the pixels are complex64"),
        (np.zeros((4, 5), np.int64), "the pixels are int64"),
        (np.zeros((2, 4, 5), np.uint8), r"the array has the shape \(2, 4, 5\); a frame is an array \(H, W\)"),
        (np.zeros((0, 5), np.uint8), r"the array has the shape \(0, 5\)"),
        (np.array([["a"]], dtype=object), "damaged"),
    ],
)
def test_arrays_that_are_no_frame(tmp_path: Path, array: np.ndarray, message: str) -> None:
    np.save(tmp_path / "a.npy", array)
    with pytest.raises(FrameError, match=message):
        read_frame(tmp_path / "a.npy")


def test_an_array_that_states_more_than_it_has(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros((4, 50_000), np.uint8))
    content = (tmp_path / "a.npy").read_bytes()
    (tmp_path / "a.npy").write_bytes(content.replace(b"(4, 50000)", b"(9999999, 50000)"[:10].ljust(10)))
    with pytest.raises(FrameError, match=r"a\.npy: the file is damaged"):
        read_frame(tmp_path / "a.npy")


def test_arrays_are_read(tmp_path: Path) -> None:
    counts = np.arange(20, dtype=np.uint16).reshape(4, 5)
    np.save(tmp_path / "a.npy", counts)
    frame = read_frame(tmp_path / "a.npy")
    assert frame.unit == "counts"
    np.testing.assert_array_equal(frame.pixels, counts)
    assert frame_size(tmp_path / "a.npy") == (5, 4)
    np.save(tmp_path / "b.npy", (counts / 2).astype(np.float32))
    assert read_frame(tmp_path / "b.npy").unit == "degC"


def test_a_missing_decoder_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "a.tif", np.zeros((4, 5), np.uint8))
    monkeypatch.setitem(__import__("sys").modules, "tifffile", None)
    with pytest.raises(FrameError, match="reading it needs tifffile; install it: pip install tifffile"):
        read_frame(path)
