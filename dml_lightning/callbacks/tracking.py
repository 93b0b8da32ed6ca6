"""What a tested run shows in Weights & Biases beside its numbers."""

from pathlib import Path

import lightning as L
import pandas as pd
from lightning.pytorch.loggers import WandbLogger
from typing_extensions import override

from dml_lightning.callbacks.base import EvaluationCallback
from dml_lightning.callbacks.writer import result_folder
from dml_lightning.evaluation.evidence import read_evidence, test_file
from dml_lightning.evaluation.ood import POSITIVES
from dml_lightning.figures.embeddings import draw_comparison, draw_neighbours
from dml_lightning.models import EmbeddingModule
from dml_lightning.runs.tracker import tolerated


class Tracking(EvaluationCallback):
    """Sends figures, the OOD classes and the run's files to Weights & Biases after a test.

    Images `test/projection` and `test/neighbours` (also in the run's `figures/`), the table `test/ood_by_class`, and,
    online, an artifact with the recipe, the gallery and the best checkpoint. Without a Weights & Biases logger nothing
    happens. It stands behind `RunWriter` in the list of callbacks, whose files it draws.
    """

    @override
    def evaluate(self, trainer: L.Trainer, module: EmbeddingModule, stage: str) -> None:
        """Nothing is logged before the numbers are."""

    @override
    def on_test_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        loggers = [each for each in trainer.loggers if isinstance(each, WandbLogger)]
        folder = result_folder(trainer)
        if not loggers or not trainer.is_global_zero:
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
    """One row per OOD class, part and average: AUROC and FPR at 95 % TPR, of the nearest-prototype score.

    Args:
        metrics: The logged numbers, `test/ood_auroc_<class>` among them.
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
        if not name.startswith("radius")
    ]
    return pd.DataFrame(rows)


def _send_files(logger: WandbLogger, run: Path) -> None:
    import wandb

    artifact = wandb.Artifact(f"run-{logger.version}", type="model")
    for path in (run / "recipe.fit.yaml", run / "checkpoints" / "best.ckpt"):
        if path.is_file():
            artifact.add_file(str(path))
    if (run / "gallery").is_dir():
        artifact.add_dir(str(run / "gallery"), name="gallery")
    with tolerated(f"the artifact {artifact.name}"):
        logger.experiment.log_artifact(artifact)
