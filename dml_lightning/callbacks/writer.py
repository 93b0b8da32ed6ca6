"""Callback that writes metrics, embeddings and the gallery into the run's folder, for later commands."""

from dataclasses import replace
from pathlib import Path
from typing import Literal

import lightning as L
import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from dml_lightning.callbacks.base import EvaluationCallback, data_of, evidence_of
from dml_lightning.data.loaders import CropDataset, is_trial
from dml_lightning.evaluation.evidence import Evidence
from dml_lightning.evaluation.probabilities import temperature_on
from dml_lightning.files import read_json, write_json
from dml_lightning.gallery.gallery import ALPHA, Gallery, encoder_digest
from dml_lightning.models import EmbeddingModule
from dml_lightning.openset.conformal import check_alpha
from dml_lightning.openset.scores import KINDS, RANK_SUM
from dml_lightning.openset.thresholds import COST, check_cost
from dml_lightning.runs import digests
from dml_lightning.runs.folder import read_metrics
from dml_lightning.types import SETS


class RunWriter(EvaluationCallback):
    """Writes metrics, embeddings and the gallery of a finished `validate` or `test` into the run's folder.

    No results are written while training. Those in the folder itself belong to the best checkpoint, which `dml fit`
    evaluates when training has ended; those of another checkpoint go to `other/<checkpoint>`. A fit also writes
    `facts.json`: digest of the initial encoder, number of crops seen, number of ranks.

    Args:
        alpha: Largest share of known crops that rule C of the gallery may refuse, on average. The rule needs a
            calibration split.
        per_flight: Whether rule C takes one random crop of each calibration flight. Its guarantee then holds for new
            flights, but it needs 1/alpha - 1 calibration flights; of fewer it takes all crops.
        cost: Largest share of known validation crops that rule B may refuse.
        per_class: Whether the gallery has the rule C_class, too: refused by the conformal threshold of every class.
        score: Kind of score of rules B and C, such as nearest or knn5_features; by default it is chosen on validation.

    Raises:
        ValueError: If alpha does not lie strictly between 0 and 1, the cost not from 0 to 1, or there is no such score;
            when a fit starts, if the score is of a reject class and the arm has none.
    """

    def __init__(
        self,
        alpha: float = ALPHA,
        per_flight: bool = False,
        cost: float = COST,
        per_class: bool = False,
        score: str | None = None,
    ) -> None:
        check_alpha(alpha)
        check_cost(cost)
        if score is not None and score not in (*KINDS, RANK_SUM):
            raise ValueError(f"there is no score {score!r}, only {', '.join((*KINDS, RANK_SUM))}.")
        self.alpha, self.per_flight, self.cost, self.per_class, self.score = alpha, per_flight, cost, per_class, score

    @override
    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if self.score == "reject" and pl_module.reject_head() is None:  # type: ignore[operator]
            raise ValueError(
                "the score 'reject' is of a reject class, which only softmax trained against clutter (data.ood_train) "
                "has: take another score, or none to choose it on validation."
            )
        if trainer.ckpt_path is None and not is_trial(trainer):
            initial = encoder_digest(pl_module.encoder, None)  # type: ignore[arg-type]  # on every rank
            if trainer.is_global_zero:
                path = Path(trainer.default_root_dir, "facts.json")
                write_json(path, {"initial_encoder": initial})

    @override
    def on_fit_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        # not on_train_end: a fit that is resumed after its last step does not reach it
        if trainer.is_global_zero and not is_trial(trainer):
            path, data = Path(trainer.default_root_dir, "facts.json"), data_of(trainer)
            crops = data.crops_per_batch * trainer.world_size
            batches = trainer.fit_loop.epoch_loop.batch_progress.total.ready
            facts = {"samples_seen": batches * crops, "world_size": trainer.world_size}
            write_json(path, read_json(path) | facts)

    @override
    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._begin(trainer, "val")

    @override
    def on_test_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        run = Path(trainer.default_root_dir)
        if result_folder(trainer) == run and (run / "gallery").is_dir():
            _check_gallery(run, encoder_digest(pl_module.encoder, data_of(trainer).options))  # type: ignore[arg-type]
        self._begin(trainer, "test")

    @override
    def evaluate(self, trainer: L.Trainer, module: EmbeddingModule, stage: str) -> None:
        if trainer.state.fn not in ("validate", "test"):
            return
        digest = encoder_digest(module.encoder, data_of(trainer).options)  # on every rank, since it gathers
        evidence = replace(with_temperature(trainer, evidence_of(trainer, module), stage), encoder=digest)
        if trainer.is_global_zero:
            folder = result_folder(trainer)
            _write_embeddings(trainer, evidence, folder / "embeddings" / f"{stage}.npz")
            if stage == "val":
                gallery = Gallery.build(
                    evidence, evidence.encoder, self.alpha, self.per_flight, self.cost, self.per_class, self.score
                )
                gallery.save(folder / "gallery")

    @override
    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if trainer.state.fn == "validate":
            self._write_metrics(trainer, "val")

    @override
    def on_test_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._write_metrics(trainer, "test")

    def _write_metrics(self, trainer: L.Trainer, stage: digests.Stage) -> None:
        if trainer.is_global_zero:
            logged = trainer.callback_metrics
            values = {key: float(logged[key]) for key in sorted(logged) if key.startswith(stage)}
            folder = result_folder(trainer)
            write_json(folder / "metrics" / f"{stage}.json", values)
            if folder == Path(trainer.default_root_dir):
                gallery = [Gallery.load(folder / "gallery").file] if stage == "val" else []
                digests.record(folder, stage, [f"embeddings/{stage}.npz", f"metrics/{stage}.json", *gallery])

    def _begin(self, trainer: L.Trainer, stage: digests.Stage) -> None:
        """Forgets the digests of files that will be written anew."""
        run = Path(trainer.default_root_dir)
        if trainer.state.fn != "fit" and trainer.is_global_zero and result_folder(trainer) == run:
            digests.forget(run, stage)


def with_temperature(trainer: L.Trainer, evidence: Evidence, stage: str) -> Evidence:
    """The evidence with its temperature: in validation fitted on it, in a test read from the validation's metrics.

    Args:
        trainer: Trainer in use.
        evidence: Embeddings of the split.
        stage: `val` or `test`.
    """
    if stage == "val":
        return replace(evidence, temperature=temperature_on(evidence))
    if evidence.prediction_rule != "softmax":
        return evidence
    return replace(evidence, temperature=read_metrics(result_folder(trainer), "val").get("temperature"))


def _check_gallery(run: Path, encoder: str) -> None:
    """Refuses to replace results of a run by those of other weights or crop options.

    Raises:
        ValueError: If the run's gallery is of another encoder.
    """
    known = Gallery.load(run / "gallery").encoder
    if known != encoder:
        raise ValueError(
            f"the gallery of {run} is of the encoder {known}, and the weights and crop options to test are of "
            f"{encoder}: test the run as it was trained, or dml validate --run {run} makes the gallery of new weights."
        )


def _write_embeddings(trainer: L.Trainer, evidence: Evidence, path: Path) -> None:
    data = data_of(trainer)
    split: Literal["val", "test"] = "val" if path.stem == "val" else "test"
    thumbnails = {name: _thumbnails(data.evaluation_crops(name, split)) for name in SETS if len(evidence.sets[name])}
    replace(evidence, thumbnails=thumbnails).save(path)


def result_folder(trainer: L.Trainer) -> Path:
    """Folder for the results of the checkpoint in use.

    This is the run's folder for its best checkpoint, or while there is none; else a folder below `other/`.
    """
    run = Path(trainer.default_root_dir)
    best = run / "checkpoints" / "best.ckpt"
    used = None if trainer.ckpt_path is None else Path(trainer.ckpt_path)
    if not best.exists() or (used is not None and used.resolve() == best.resolve()):
        return run
    return run / "other" / ("initial" if used is None else used.stem)


def _thumbnails(crops: CropDataset) -> NDArray[np.uint8]:
    """Crops (N, S, S) for figures, in 8 bits from the 1st to the 99.5th percentile of each crop.

    Rows are in the order of the crops' index, as those of the gathered embeddings are.
    """
    images = crops.__getitems__(range(len(crops))).images[:, 0].numpy()  # (N, S, S)
    low, high = np.quantile(images, (0.01, 0.995), axis=(1, 2), keepdims=True)
    scaled = (images - low) / np.maximum(high - low, 1e-6)
    return np.asarray(255 * scaled.clip(0, 1), dtype=np.uint8)
