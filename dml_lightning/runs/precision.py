"""The precision of training, where a recipe leaves it to the machine.

Mixed precision concerns training alone: an `EmbeddingModule` evaluates in float32, as galleries are used.
"""

from typing import Any, Literal

import lightning as L
import torch
from lightning.fabric.connector import _PRECISION_INPUT  # type: ignore[attr-defined]  # of Lightning's trainer

FASTEST: Literal["auto"] = "auto"


class Trainer(L.Trainer):
    """Lightning's trainer, whose precision may be `auto`.

    Args:
        precision: As Lightning's, or `auto`: bf16-mixed where the device computes in bfloat16 by itself, else 32-true.
        **settings: Lightning's.
    """

    def __init__(self, *, precision: Literal["auto"] | _PRECISION_INPUT | None = None, **settings: Any) -> None:
        super().__init__(precision=resolved(precision, settings.get("accelerator", "auto")), **settings)


def resolved(precision: Any, accelerator: Any) -> Any:
    """The precision itself, or for `auto` that of this machine.

    Args:
        precision: Setting of the trainer.
        accelerator: Setting of the trainer.

    Example:
        >>> resolved("32-true", "auto")
        '32-true'
    """
    if precision != FASTEST:
        return precision
    on_gpu = accelerator in ("gpu", "cuda", "auto") and torch.cuda.is_available()
    native = torch.cuda.is_bf16_supported(including_emulation=False) if on_gpu else has_bf16_processor()
    return "bf16-mixed" if native and accelerator != "mps" else "32-true"


def has_bf16_processor() -> bool:
    """Whether the processor multiplies in bfloat16; others only imitate it, slower than float32."""
    return bool(torch.cpu.get_capabilities().get("avx512_bf16"))
