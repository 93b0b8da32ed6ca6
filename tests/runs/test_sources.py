"""Digests of the sources of a user's own classes."""

import hashlib
import sys
from pathlib import Path

import pytest

from dml_lightning.runs.folder import run_hash
from dml_lightning.runs.sources import source_digests


def recipe(**settings: object) -> dict[str, object]:
    loss = {"class_path": "own_losses.OwnLoss", "init_args": {"inner": [{"class_path": "own_losses.made"}]}}
    own = {"class_path": "dml_lightning.models.TripletModule", "init_args": {"loss": loss}}
    return {"model": own, "trainer": {"callbacks": [{"class_path": "time.struct_time"}]}, **settings}


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "own_losses", raising=False)
    path = tmp_path / "own_losses.py"
    path.write_text("class OwnLoss:\n    pass\n\n\ndef made():\n    pass\n")
    return path


def test_each_class_outside_of_the_package_has_the_digest_of_its_file(source: Path) -> None:
    digest = hashlib.sha256(source.read_bytes()).hexdigest()[:16]
    assert source_digests(recipe()) == {"own_losses.OwnLoss": digest, "own_losses.made": digest}
    assert source_digests({"class_path": "builtins.int"}) == {}  # of C


def test_another_source_is_another_run(source: Path) -> None:
    before = run_hash(recipe(), "data")
    assert run_hash(recipe(), "data") == before
    source.write_text(source.read_text().replace("pass", "margin = 0.3"))
    assert run_hash(recipe(), "data") != before


def test_the_source_of_what_changes_no_result_counts_for_nothing(source: Path) -> None:
    logger = {"class_path": "own_losses.OwnLoss"}
    before = run_hash({"trainer": {"logger": logger}}, "data")
    source.write_text("class OwnLoss:\n    other = 1\n")
    assert run_hash({"trainer": {"logger": logger}}, "data") == before
