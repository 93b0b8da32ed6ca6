"""Callback that draws the figures of a tested run, and sends them, tables and files to Weights & Biases."""

from pathlib import Path

import lightning as L
import pandas as pd
from lightning.pytorch.loggers import WandbLogger
from typing_extensions import override

from dml_lightning.callbacks.base import EvaluationCallback
from dml_lightning.callbacks.writer import result_folder
from dml_lightning.data.loaders import is_trial
from dml_lightning.evaluation.evidence import read_evidence
from dml_lightning.evaluation.npz import test_file
from dml_lightning.evaluation.ood import POSITIVES
from dml_lightning.figures.embeddings import draw_comparison, draw_neighbours
from dml_lightning.models import EmbeddingModule
from dml_lightning.runs.tracker import tolerated


class Tracking(EvaluationCallback):
    """Draws the figures of a test, and sends them, the table of OOD classes and the run's files to Weights & Biases.

    It writes `projection.png` and `neighbours.png` to the run's `figures/`. With a Weights & Biases logger it logs them
    as the images `test/projection` and `test/neighbours`, the table `test/ood_by_class` and, if that is online, an
    artifact with the recipe, the gallery and the best checkpoint. In the list of callbacks it has to come after
    `RunWriter`, whose files it reads; without them it does nothing.
    """

    @override
    def evaluate(self, trainer: L.Trainer, module: EmbeddingModule, stage: str) -> None:
        """Does nothing: the files to send are complete only at the end of the test."""

    @override
    def on_test_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        loggers = [each for each in trainer.loggers if isinstance(each, WandbLogger)]
        folder = result_folder(trainer)
        if not trainer.is_global_zero or is_trial(trainer) or not test_file(folder).is_file():
            return
        arm = Path(trainer.default_root_dir).parent.name
        pictures = {name: folder / "figures" / f"{name}.png" for name in ("projection", "neighbours")}
        tested = {arm: read_evidence(test_file(folder))}
        draw_comparison(tested, pictures["projection"])
        draw_neighbours(tested, pictures["neighbours"])
        table = ood_by_class({key: float(v) for key, v in trainer.callback_metrics.items()})
        for logger in loggers:
            for name, path in pictures.items():
                logger.log_image(f"test/{name}", [str(path)])
            if len(table):
                logger.log_table("test/ood_by_class", dataframe=table)
            if not logger.experiment.offline:
                _send_files(logger, Path(trainer.default_root_dir))


def ood_by_class(metrics: dict[str, float]) -> pd.DataFrame:
    """Tabulates AUROC and FPR at 95 % TPR of the nearest-prototype score for each OOD class, part and average.

    Args:
        metrics: Logged values by key, those of `test/ood_auroc_<class>` among them.

    Returns:
        Columns class, auroc, fpr95_ood_positive and fpr95_known_positive; NaN where a value was not logged.

    >>> ood_by_class({"test/ood_auroc_gull": 0.75, "test/accuracy": 0.5}).iloc[0].to_dict()
    {'class': 'gull', 'auroc': 0.75, 'fpr95_ood_positive': nan, 'fpr95_known_positive': nan}
    """
    start = "test/ood_auroc_"
    names = [key.removeprefix(start) for key in metrics if key.startswith(start)]
    rows = [
        {
            "class": name,
            "auroc": metrics[start + name],
            **{
                f"fpr95_{positive}_positive": metrics.get(f"test/ood_fpr95_{positive}_positive_{name}", float("nan"))
                for positive in POSITIVES
            },
        }
        for name in names
        if not f"{name}_".startswith("radius_")
    ]
    return pd.DataFrame(rows)


def _send_files(logger: WandbLogger, run: Path) -> None:
    import wandb

    name = f"run-{logger.version}"
    with tolerated(f"the artifact {name}"):
        artifact = wandb.Artifact(name, type="model")
        for path in (run / "recipe.fit.yaml", run / "checkpoints" / "best.ckpt"):
            if path.is_file():
                artifact.add_file(str(path))
        for folder in ("gallery", "digests"):
            if (run / folder).is_dir():
                artifact.add_dir(str(run / folder), name=folder)
        logger.experiment.log_artifact(artifact)
