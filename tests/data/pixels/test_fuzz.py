"""Damaged files: a frame or one sentence, never another exception."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dml_lightning.data.pixels import frame_size, read_frame

from .mutations import damaged, outcome, seeds

SEEDS = seeds()
HEADS = [b"II*\0", b"MM\0+", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe1", b"\x93NUMPY"]
EDITS = st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255), st.integers(1, 4)), max_size=6)


@pytest.mark.parametrize("reader", [read_frame, frame_size])
@pytest.mark.parametrize("name", SEEDS)
def test_valid_files(tmp_path: Path, name: str, reader: object) -> None:
    sentence = outcome(tmp_path / "a.bin", SEEDS[name], reader)
    assert sentence == "read" or (name == "dji" and "Thermal Analysis Tool" in sentence)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=st.sampled_from(sorted(SEEDS)), edits=EDITS, kept=st.one_of(st.just(1.0), st.floats(0, 1)))
def test_damaged_files(tmp_path: Path, name: str, edits: list[tuple[float, int, int]], kept: float) -> None:
    content = damaged(SEEDS[name], edits, kept)
    outcome(tmp_path / "a.bin", content, read_frame)
    outcome(tmp_path / "a.bin", content, frame_size)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(head=st.sampled_from(HEADS), rest=st.binary())
def test_signatures_before_anything(tmp_path: Path, head: bytes, rest: bytes) -> None:
    outcome(tmp_path / "a.bin", head + rest, read_frame)
