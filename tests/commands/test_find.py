"""`dml fit --find`: a learning rate from the loss, a batch size from the memory, and nothing written."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch.tuner.tuning import Tuner

from dml_lightning.cli import main
from dml_lightning.commands import find as finding
from dml_lightning.models import EmbeddingModule
from dml_lightning.types import Batch
from tests.end_to_end.arms import arm_words


@pytest.fixture
def command(words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.chdir(tmp_path)
    return ["fit", *arm_words(words, "softmax"), f"--runs_root={tmp_path}/runs"]


def test_the_rate_is_where_the_loss_falls_most_steeply(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(finding, "LR_STEPS", 30)
    seen: list[Any] = []
    look = Tuner.lr_find

    def watched(tuner: Tuner, model: EmbeddingModule, **more: Any) -> Any:
        seen.extend([[p.detach().clone() for p in model.parameters()], model, look(tuner, model, **more)])
        return seen[-1]

    monkeypatch.setattr(Tuner, "lr_find", watched)
    main([*command, "--find", "lr"])
    before, model, result = seen
    rates, losses = (torch.tensor(result.results[name])[10:-1] for name in ("lr", "loss"))
    steepest = float(rates[torch.gradient(losses, spacing=[rates])[0].argmin()])
    told = capsys.readouterr().out.splitlines()[-1]
    assert told.endswith(f"in one pass over 30 steps: --model.init_args.optimizer.init_args.lr={steepest:.2g}")
    assert all(torch.equal(*pair) for pair in zip(before, model.parameters(), strict=True))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.filterwarnings("ignore:Fewer than .* training crops")
@pytest.mark.parametrize(("room", "samples", "why"), [(40, 8, "twice as many do not fit"), (1000, 16, "the largest")])
def test_the_batch_is_doubled_until_the_memory_is_full_or_the_classes_are(
    command: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    room: int,
    samples: int,
    why: str,
) -> None:
    """A GPU is made up that has room for so many crops; the largest class has 17 to 32 crops to train on."""
    step, tried = EmbeddingModule.training_step, list[int]()

    def limited(model: EmbeddingModule, batch: Batch, batch_idx: int) -> Any:
        tried.append(len(batch.labels))
        if len(batch.labels) > room:
            raise RuntimeError("CUDA out of memory.")
        return step(model, batch, batch_idx)

    monkeypatch.setattr(EmbeddingModule, "training_step", limited)
    monkeypatch.setattr(finding, "_has_own_memory", lambda trainer: True)
    main([*command, "--find=batch_size"])
    told = capsys.readouterr().out.splitlines()[-1]
    assert re.fullmatch(
        rf"A batch holds 4 classes of {samples} crops \({why}.*\), {4 * samples} in all: "
        rf"--data\.samples_per_class={samples}",
        told,
    )
    assert 4 * samples in tried  # an answer that was tried
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--find=batch_size"], "on a processor the system would end the command instead: set data.classes_per_batch"),
        (["--find=lr", "--model.init_args.layer_decay=0.7"], "one rate for all layers, and layer_decay gives each its"),
        (["--find=lr", "--trainer.devices=2"], "looks in one process: give --trainer.devices=1"),
        (["--find=momentum"], "find: momentum is not one of 'lr', 'batch_size' or null"),
    ],
)
def test_what_cannot_be_found_is_one_sentence(
    command: list[str], capsys: pytest.CaptureFixture[str], more: list[str], message: str
) -> None:
    with pytest.raises(SystemExit, match="2"):
        main([*command, *more])
    assert message in capsys.readouterr().err


def test_an_evaluation_finds_nothing(runs: dict[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["test", "--run", str(runs["softmax"]), "--find=lr"])
    assert "--find is for dml fit" in capsys.readouterr().err
