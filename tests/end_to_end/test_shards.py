"""`dml fit` with FSDP2 on two ranks of the processor: what one process gives, a run like any other, and a resume."""

import json
from pathlib import Path

import pytest
import torch
import yaml

from dml_lightning.cli import main
from dml_lightning.gallery.trained import TrainedRun
from tests import ROOT
from tests.end_to_end.killing import differences, outcome
from tests.end_to_end.test_kill_and_resume import only_run
from tests.end_to_end.test_killed_rank import KILLER, fit
from tests.end_to_end.test_launch import command  # noqa: F401  # a fixture


@pytest.fixture
def shards(tmp_path: Path) -> list[str]:
    """The strategy of configs/trainer/fsdp.yaml, in float32 on the processor."""
    trainer = yaml.safe_load((ROOT / "configs/trainer/fsdp.yaml").read_text())["trainer"]
    file = tmp_path / "shards.yaml"
    settings = trainer | {"accelerator": "cpu", "precision": "32-true"}
    file.write_text(yaml.safe_dump({"trainer": settings}))
    return [f"--config={file}", "--data.samples_per_class=4"]


@pytest.mark.slow
def test_shards_give_what_one_process_gives(
    command: list[str],  # noqa: F811
    shards: list[str],
    tmp_path: Path,
) -> None:
    (tmp_path / "killer.py").write_text(KILLER)
    command = [*command, "--trainer.gradient_clip_val=0.3"]  # by the norm over all shards
    one = main(["fit", *command, "--name=one"])
    done = fit("torchrun", [*command, "--name=two", *shards], tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    (two,) = (tmp_path / "runs" / "two").iterdir()
    states = [torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"] for run in (one, two)]
    assert states[0].keys() == states[1].keys()
    assert all(torch.allclose(states[0][k], states[1][k], atol=1e-5) for k in states[0])
    facts = [json.loads((run / "facts.json").read_text()) for run in (one, two)]
    assert facts[0]["initial_encoder"] == facts[1]["initial_encoder"]
    assert TrainedRun.load(str(two)).gallery.class_names  # its digest is that of the whole encoder
    dies = ["--trainer.callbacks+=killer.Dies", "--trainer.callbacks.rank=1"]
    killed = [*command, f"--runs_root={tmp_path}/killed", *shards]
    assert fit("torchrun", [*killed, *dies], tmp_path).returncode != 0
    run = only_run(tmp_path / "killed")
    assert run is not None
    run = run.rename(run.with_name(two.name))
    resumed = fit("torchrun", [*killed, "--ckpt_path=last"], tmp_path)
    assert resumed.returncode == 0, resumed.stderr[-3000:]
    assert not differences(outcome(two), outcome(run))
