"""`auto` becomes the precision of the machine before a run has its hash; bfloat16 stays within its tolerance."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn.functional import cosine_similarity

from dml_lightning.commands import train
from dml_lightning.models import Encoder
from dml_lightning.runs import precision
from dml_lightning.runs.precision import Trainer, resolved

LARGEST_DISTANCE, SMALLEST_COSINE = 0.1, 0.95  # of unit embeddings, and of the gradient, to those in float32


def test_auto_is_what_the_device_computes_in_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    native, imitated = {"avx512_bf16": True}, {"avx512_bf16": False}
    for found, name in ((native, "bf16-mixed"), (imitated, "32-true"), ({}, "32-true")):  # {} is no x86
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda found=found: found)
        monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
        assert [resolved("auto", device) for device in ("cpu", "auto", "mps")] == [name, name, "32-true"]
        assert [resolved(given, "cpu") for given in ("bf16-mixed", "32-true", None)] == ["bf16-mixed", "32-true", None]
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        for of_gpu in (True, False):
            monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda of_gpu=of_gpu, **_: of_gpu)
            wanted = "bf16-mixed" if of_gpu else "32-true"
            assert [resolved("auto", device) for device in ("gpu", "auto", "cpu")] == [wanted, wanted, name]


@pytest.mark.parametrize(("native", "name"), [(True, "bf16-mixed"), (False, "32-true")])
def test_the_hash_is_that_of_the_resolved_recipe(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, native: bool, name: str
) -> None:
    hashed: list[Any] = []

    def stop(config: dict[str, Any], _: str) -> str:
        hashed.append(config)
        raise ValueError("stop here")

    monkeypatch.setattr(precision, "has_bf16_processor", lambda: native)
    monkeypatch.setattr(train, "run_hash", stop)
    for given in ("auto", name):
        with pytest.raises(ValueError, match="stop here"):
            train.train(["fit", *words, f"--runs_root={tmp_path}", f"--trainer.precision={given}"])
    assert hashed[0]["trainer"]["precision"] == name
    assert hashed[0] == hashed[1]


def test_bfloat16_stays_near_float32() -> None:
    torch.manual_seed(0)
    encoder = Encoder("resnet10t_narrow", 64).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    images, direction = torch.randn(32, 1, 32, 32), torch.randn(32, 64)
    vectors, gradients = [], []
    for low in (False, True):
        with torch.autocast("cpu", torch.bfloat16, enabled=low):
            vectors.append(encoder(images))
        encoder.zero_grad()
        (vectors[-1] * direction).sum().backward()
        gradients.append(torch.cat([each.grad.flatten() for each in encoder.parameters()]))
    assert 0 < (vectors[0] - vectors[1]).norm(dim=1).max() < LARGEST_DISTANCE
    assert cosine_similarity(gradients[0], gradients[1], dim=0) > SMALLEST_COSINE


def test_the_trainer_itself_takes_auto(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "has_bf16_processor", lambda: False)
    made = Trainer(precision="auto", accelerator="cpu", logger=False, default_root_dir=tmp_path)
    assert made.precision == "32-true"
