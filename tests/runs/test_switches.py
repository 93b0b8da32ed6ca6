"""Options and callbacks of the trainer that leave no usable run."""

import os
from collections.abc import Callable
from typing import Any

import lightning as L
import pytest
import torch
from jsonargparse import Namespace
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import BackboneFinetuning, BatchSizeFinder, LearningRateFinder

from dml_lightning.callbacks import Accuracy
from dml_lightning.runs.checkpoints import LatestCheckpoint
from dml_lightning.runs.switches import (
    RULES,
    check_callbacks,
    check_options,
    evaluate_whole_sets,
    one_sentence,
)


def settings(
    rerun: int = 0, num_classes: int | None = None, clutter: bool = False, fused: bool = False, **trainer: Any
) -> Namespace:
    """Settings as the parser makes them, where options that are not given are None."""
    options = {rule.option: None for rule in RULES} | trainer
    optimizer = Namespace(init_args=Namespace(fused=fused))
    model = Namespace(init_args=Namespace(num_classes=num_classes, clutter=clutter, optimizer=optimizer))
    return Namespace(trainer=Namespace(options), model=model, rerun=rerun)


FIT: dict[str, tuple[list[Any], list[Any]]] = {  # wrong, right
    "max_epochs": ([0, -5], [1, -1]),
    "max_steps": ([0, -3], [1, -1]),
    "accumulate_grad_batches": ([0, -1], [1, 4]),
    "check_val_every_n_epoch": ([0, -1], [1, 3]),
    "val_check_interval": ([0, 0.0, -1], [0.5, 10, "00:01:00:00"]),
    "log_every_n_steps": ([-1], [0, 1]),
    "gradient_clip_val": ([-1, float("nan"), float("inf")], [0, 0.5]),
    "limit_train_batches": ([0, 0.0], [1, 0.5]),
    "limit_val_batches": ([0, 0.0], [1, 1.0]),
    "use_distributed_sampler": ([True], [False]),
    "enable_checkpointing": ([False], [True]),
    "precision": (["bf16-true", "16-true"], ["bf16-mixed", "32-true", 32, "64-true"]),
    "devices": ([0, "0", [], {"a": 1}], ["auto", 1, "2", [0, 1], -1]),
    "accelerator": ([], ["auto", "cpu", "tpu"]),
}


@pytest.mark.parametrize("option", FIT)
def test_what_leaves_no_usable_run_is_refused_with_its_value(option: str) -> None:
    wrong, right = FIT[option]
    for value in wrong:
        with pytest.raises(ValueError, match=rf"^trainer\.{option} is .*; it has to be \w"):
            check_options(settings(**{option: value}), "fit")
    for value in right:
        check_options(settings(**{option: value}), "fit")


def test_every_rule_is_tried() -> None:
    assert {rule.option for rule in RULES if "fit" in rule.stages} == set(FIT)


def test_fused_optimizers_clip_no_gradient_of_mixed_precision() -> None:
    with pytest.raises(ValueError, match=r"gradient_clip_val with precision bf16-mixed .* give --model.*fused=false"):
        check_options(settings(fused=True, gradient_clip_val=1.0, precision="bf16-mixed"), "fit")
    for fused, bound, precision in ((False, 1.0, "bf16-mixed"), (True, None, "bf16-mixed"), (True, 1.0, "32-true")):
        check_options(settings(fused=fused, gradient_clip_val=bound, precision=precision), "fit")


def test_a_gpu_is_only_asked_for_where_one_is(monkeypatch: pytest.MonkeyPatch) -> None:
    for there in (True, False):
        monkeypatch.setattr(torch.cuda, "is_available", lambda there=there: there)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
        if there:
            check_options(settings(accelerator="gpu"), "test")
            continue
        with pytest.raises(ValueError, match="accelerator is gpu; it has to be cpu or auto: there is no GPU here"):
            check_options(settings(accelerator="gpu"), "test")


def test_processes_are_limited_by_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    for devices, accelerator in ((8, "cpu"), ("8", "cpu"), ("auto", "cpu"), (-1, "cpu"), (9, "tpu")):
        check_options(settings(devices=devices, accelerator=accelerator), "fit")
    for devices in (9, "999"):
        with pytest.raises(ValueError, match=f"devices is {devices}, .* 8 at most on the 2 cores here"):
            check_options(settings(devices=devices, accelerator="cpu"), "fit")


def test_a_stage_is_asked_for_its_own_limits_alone() -> None:
    check_options(settings(limit_test_batches=0), "fit")
    check_options(settings(limit_val_batches=0, max_epochs=0), "test")  # a recipe of another fit
    with pytest.raises(ValueError, match="limit_test_batches is 0"):
        check_options(settings(limit_test_batches=0), "test")
    with pytest.raises(ValueError, match="limit_val_batches is 0"):
        check_options(settings(limit_val_batches=0), "validate")
    for stage in ("validate", "test"):
        with pytest.raises(ValueError, match="precision is bf16-true; it has to be a mixed one"):
            check_options(settings(precision="bf16-true"), stage)


def test_what_follows_from_others_is_not_given_by_hand() -> None:
    with pytest.raises(ValueError, match="num_classes is 7 by hand"):
        check_options(settings(num_classes=7), "fit")
    with pytest.raises(ValueError, match=r"clutter is true by hand, and data.ood_train makes it so"):
        check_options(settings(clutter=True), "fit")
    with pytest.raises(ValueError, match="rerun is -1"):
        check_options(settings(rerun=-1), "fit")
    check_options(settings(rerun=2), "fit")


@pytest.mark.parametrize("kind", [LearningRateFinder, BatchSizeFinder, BackboneFinetuning])
def test_callbacks_without_use_are_refused_by_name(kind: Callable[[], L.Callback]) -> None:
    check_callbacks([Accuracy(), LatestCheckpoint()])
    with pytest.raises(ValueError, match=f"^{kind.__name__} would "):
        check_callbacks([Accuracy(), kind()])


def test_overfitting_evaluates_whole_sets() -> None:
    quiet: dict[str, Any] = {"accelerator": "cpu", "logger": False, "enable_checkpointing": False}
    for options, limit in (({"overfit_batches": 2}, 1.0), ({"limit_val_batches": 3}, 3)):
        trainer = L.Trainer(**quiet, **options, enable_progress_bar=False)
        evaluate_whole_sets(trainer)
        assert trainer.limit_val_batches == limit


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (MisconfigurationException("no\n  such thing"), "^no such thing$"),
        (ModuleNotFoundError("psutil is not installed"), "^psutil is not installed$"),
        (RuntimeError("Early stopping conditioned on metric `a`"), "^Early stopping conditioned on metric `a`$"),
    ],
)
def test_lightning_s_complaints_become_one_sentence(error: Exception, said: str) -> None:
    with pytest.raises(ValueError, match=said), one_sentence():
        raise error


def test_other_errors_stay_what_they_are() -> None:
    with pytest.raises(RuntimeError, match="a fault"), one_sentence():
        raise RuntimeError("a fault")
