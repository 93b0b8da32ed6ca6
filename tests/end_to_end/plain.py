"""A trainer that knows nothing of this package, and its data."""

from pathlib import Path
from typing import Any

import lightning as L

from dml_lightning.data import ThermalWaterfowlDataModule
from dml_lightning.data.sources import CocoJson


def plain_data(flights: Path, folder: Path, **more: Any) -> ThermalWaterfowlDataModule:
    """Four known classes in batches of 4 x 4, with a cache below `folder`."""
    return ThermalWaterfowlDataModule(
        CocoJson(flights, annotations="annotations.json"),
        known=["canada_goose", "gadwall", "mallard", "snow_goose"],
        classes_per_batch=4,
        samples_per_class=4,
        cache_dir=str(folder / "cache"),
        **more,
    )


def plain_trainer(folder: Path, epochs: int, callbacks: list[L.Callback]) -> L.Trainer:
    """One process of the processor, which writes nothing by itself."""
    return L.Trainer(
        default_root_dir=folder,
        max_epochs=epochs,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        callbacks=callbacks,
    )
