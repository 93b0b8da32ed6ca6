"""The offline Weights & Biases file of a run, read back record by record."""

import json
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from wandb.proto.wandb_internal_pb2 import Record

from dml_lightning.cli import main
from tests import ROOT
from tests.end_to_end.arms import arm_words, interrupted

BLOCK = 32_768  # bytes; LevelDB's log format, behind a header of 7 bytes
FULL, FIRST, MIDDLE, LAST = 1, 2, 3, 4


def records(path: Path) -> Iterator[Record]:
    """Every record of a .wandb file."""
    data, position, parts = path.read_bytes(), 7, b""
    assert data[:4] == b":W&B"
    while position + 7 <= len(data):
        left = BLOCK - position % BLOCK
        if left < 7:
            position += left
            continue
        length, kind = struct.unpack("<HB", data[position + 4 : position + 7])
        parts += data[position + 7 : position + 7 + length]
        position += 7 + length
        if kind in (FULL, LAST):
            yield Record.FromString(parts)
            parts = b""


@pytest.mark.parametrize("arm", ["softmax", "triplet"])
def test_everything_is_tracked_offline(runs: dict[str, Path], arm: str) -> None:
    path = min(runs[arm].glob("wandb/offline-run-*/run-*.wandb"))  # the fit, before any test
    history: set[str] = set()
    config: dict[str, object] = {}
    names = []
    for record in records(path):
        kind = record.WhichOneof("record_type")
        if kind == "history":
            history |= {item.key or "/".join(item.nested_key) for item in record.history.item}
        elif kind == "config":
            update = record.config.update
            config |= {i.key or i.nested_key[0]: json.loads(i.value_json) for i in update}
        elif kind == "run":
            names.append((record.run.run_id, record.run.project))
    logged = json.loads((runs[arm] / "metrics" / "val.json").read_text())
    assert set(logged) <= history
    assert {"train/loss", "train/active_triplet_fraction", "val/ood_auroc"} <= history
    assert {"model", "data", "trainer", "seed_everything", "data_digest"} <= set(config)
    assert names[0] == (f"{arm}-{runs[arm].name}", "dml_lightning")


def test_a_comparison_is_one_group_with_tags_pictures_and_a_summary(words: list[str], tmp_path: Path) -> None:
    shared = [word.removeprefix("--config=") for word in words if word.startswith("--config=")]
    settings = {
        "name": "group",
        "shared": shared,
        "arms": {"soft max": {"configs": [f"{ROOT}/configs/model/softmax.yaml"]}},
        "overrides": [w for w in words if not w.startswith(("--config=", "--runs_root="))],
        "seeds": [3],
        "out": str(tmp_path / "runs"),
    }
    path = tmp_path / "experiment.yaml"
    path.write_text(yaml.safe_dump(settings))
    folder = main(["compare", f"--config={path}"])
    runs = {"fit": set(), "test": set(), "summary": set()}
    for path in folder.glob("**/offline-run-*/run-*.wandb"):
        keys: set[str] = set()
        for record in records(path):
            kind = record.WhichOneof("record_type")
            if kind == "run":
                assert record.run.run_group == "group"
                summary = record.run.run_id == "group-summary"
                assert summary or set(record.run.tags) == {"soft max", "seed-3", "fold-0"}
            elif kind == "history":
                keys |= {item.key or "/".join(item.nested_key) for item in record.history.item}
        stage = "summary" if summary else "test" if "test/accuracy" in keys else "fit"
        runs[stage] |= keys
    assert {"runs", "comparison", "neighbours"} <= {key.split("/")[0] for key in runs["summary"]}
    joined = " ".join(runs["test"])
    for key in ("test/projection", "test/neighbours", "test/ood_by_class", "test/ood_auroc"):
        assert key in joined
    assert "val/map_at_r" in runs["fit"]


def test_a_resumed_run_goes_on_with_its_offline_history(words: list[str], tmp_path: Path) -> None:
    again = [*arm_words(words, "softmax"), f"--runs_root={tmp_path}", "--tracking.group=seeds"]
    interrupted(again)
    run = main(["fit", *again, "--ckpt_path=last"])
    files = sorted(run.glob("wandb/offline-run-*/run-*.wandb"))
    assert len(files) == 2
    steps = []
    for path in files:
        for record in records(path):
            kind = record.WhichOneof("record_type")
            if kind == "run":
                assert record.run.run_id == f"softmax-{run.name}"
                assert record.run.run_group == "seeds"
            elif kind == "history":
                steps.append(record.history.step.num)
    assert steps == sorted(set(steps))
