r"""Characters never trained on: `dml fit` beside plain loops around pytorch-metric-learning's losses, on Omniglot.

    python benchmarks/omniglot.py                                    # 5 steps, two folds; nothing is written
    python benchmarks/omniglot.py --steps 900 --search-steps 300 --rates 0.001 0.003 0.01 --folds 6 \
      --jobs 2 --keep runs/omniglot_fits --save                      # fifty minutes of one core

The 136 characters of the file "images_background_small1" are dealt into seven parts. Fold 0 is for the search alone:
the learning rate of each arm is the one with the best MAP@R on that fold's validation characters, part 1. The test is
on the six other parts, each by a fold that never trained on it: nothing was chosen by a tested character. Characters of
one alphabet lie in several parts, because there are five alphabets.

`ours` is the shipped recipe: `dml fit` with `configs/data/omniglot.yaml` and `configs/model/pml_multi_similarity.yaml`.
A peer is a loop of a dozen lines with the same encoder, drawings, number of samples, schedule and number of trials. It
runs with the usual augmentation, a small affine map, and with that of our config, turned classes included; its weight
decay is that of `configs/base.yaml`. All are judged by one function, on the test characters alone.

With `--keep` each finished fit stays in that folder and is not repeated: a stop costs one fit.
"""

import json
import tempfile
import zipfile
from argparse import Namespace
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import redirect_stdout
from functools import partial
from io import StringIO
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

import lightning as L
import numpy as np
import torch
import yaml
from pytorch_metric_learning import losses, miners
from pytorch_metric_learning.samplers import MPerClassSampler
from torch import Tensor, nn

from dml_lightning.cli import main as dml
from dml_lightning.data import ThermalWaterfowlDataModule
from dml_lightning.data.sources import CropFolders
from dml_lightning.data.transforms import Augmentation, augment, noise_sheet
from dml_lightning.data.turned import turn
from dml_lightning.evaluation.evidence import read_evidence
from dml_lightning.files import write_text
from dml_lightning.models import Encoder
from dml_lightning.models.schedule import lr_factor
from dml_lightning.runs.folder import code_digest
from dml_lightning.stats.paired import family_level, holm, sign_flip_p, t_interval
from measure import ROOT, Result, options
from retrieval import ours as judge
from retrieval import peer as judge_of_peer

PACKAGES = ("pytorch-metric-learning", "timm", "lightning", "faiss-cpu")
FILE = ROOT / ".." / "shared" / "data" / "omniglot" / "images_background_small1.zip"
CONFIGS = ROOT / "configs"
PARTS, SEARCHED, FOLDS = 7, 0, (0, 2, 3, 4, 5, 6)  # fold 1 would test the characters of the search
DIM, BATCH = 64, 128
SMALL = {"channels": [16, 32, 64, 128], "stem_width": 8}
USUAL = Augmentation(rotate=10, flip=0, shift=0.1, scale=0.1, polarity=0, gain=0, offset=0, noise=0, blur=0)
DECAY, PROXY_RATE = 1e-4, 10.0  # of the peers; proxies learn that many times faster, as in configs/model/pml_*.yaml


class Loss(NamedTuple):
    """A loss of the library, with its miner if it has one."""

    loss: nn.Module
    miner: Any = None


PEERS: dict[str, Callable[[int], Loss]] = {  # by the number of training classes
    "multi-similarity + miner": lambda _: Loss(losses.MultiSimilarityLoss(), miners.MultiSimilarityMiner()),
    "triplet + semi-hard miner": lambda _: Loss(
        losses.TripletMarginLoss(margin=0.2), miners.TripletMarginMiner(margin=0.2, type_of_triplets="semihard")
    ),
    "ProxyAnchor": lambda classes: Loss(losses.ProxyAnchorLoss(classes, DIM)),
    "normalised softmax": lambda classes: Loss(losses.NormalizedSoftmaxLoss(classes, DIM)),
}
OURS = "ours"
AUGMENTATIONS = ("usual", "as ours")


class Fit(NamedTuple):
    """One fit; its test is looked at only for the rate that validation has chosen."""

    val: dict[str, float]
    test: dict[str, float]
    difference: float  # largest, to what the peer's calculator gives for the test
    code: str


# Fits --------------------------------------------------------------------------------------------


def fitted(arm: str, fold: int, rate: float, steps: int, kept: Path, work: Path) -> Fit:
    """The fit of an arm on a fold, made or found among those that are kept."""
    path = kept / f"{arm.replace(', ', '-').replace(' ', '_')}-fold{fold}-rate{rate:g}-{steps}.json"
    if not path.exists():
        sets = fit_ours(fold, rate, steps, work) if arm == OURS else fit_peer(arm, fold, rate, steps, work)
        val, test = (judge(*sets[split]) for split in ("val", "test"))
        other = judge_of_peer(*sets["test"])
        fit = Fit(val, test, max(abs(test[key] - other[key]) for key in test), code_digest()[:10])
        write_text(path, json.dumps(fit._asdict()))
    return Fit(**json.loads(path.read_text(encoding="utf-8")))


def fit_ours(fold: int, rate: float, steps: int, work: Path) -> dict[str, tuple[Tensor, Tensor]]:
    """Embeddings and labels of the unseen characters of both splits, after `dml fit` and `dml test`."""
    words = [
        *(f"--config={CONFIGS}/{name}.yaml" for name in ("base", "data/omniglot", "model/pml_multi_similarity")),
        f"--data.source.init_args.root={work}/images_background_small1",
        f"--data.cache_dir={work}/cache",
        f"--runs_root={work}/runs",
        f"--data.class_folds={PARTS}",
        f"--data.class_fold={fold}",
        f"--data.batches_per_epoch={steps}",
        "--trainer.max_epochs=1",
        f"--model.init_args.optimizer.init_args.lr={rate}",
        f"--model.init_args.encoder.backbone_args={json.dumps(SMALL)}",
        f"--model.init_args.encoder.embedding_dim={DIM}",
        "--model.init_args.channels_last=true",
        "--trainer.accelerator=cpu",
        "--trainer.enable_progress_bar=false",
        "--tracking.wandb=disabled",
    ]
    with redirect_stdout(StringIO()):  # what the data hold and the numbers, once for each fit
        run = dml(["fit", *words])
        dml(["test", "--run", str(run)])
    parts = {split: read_evidence(run / "embeddings" / f"{split}.npz").sets["novel"] for split in ("val", "test")}
    return {split: (part.vectors, part.labels) for split, part in parts.items()}


def fit_peer(arm: str, fold: int, rate: float, steps: int, work: Path) -> dict[str, tuple[Tensor, Tensor]]:
    """The same after a plain loop."""
    peer, augmentation = arm.split(", ")
    data = omniglot(fold, augmentation == "usual", steps, work)
    L.seed_everything(0, verbose=False)
    encoder = Encoder("resnet10t", DIM, backbone_args=SMALL).to(memory_format=torch.channels_last)
    train(encoder, data, PEERS[peer](data.num_classes * data.turned_classes), rate, steps)
    encoder.eval()
    sets = {}
    for split in ("val", "test"):
        crops = data.evaluation_crops("novel", split)
        images, labels, *_ = crops.__getitems__(range(len(crops)))
        with torch.no_grad():
            sets[split] = encoder(images), labels
    return sets


def omniglot(fold: int, usual: bool, steps: int, work: Path) -> ThermalWaterfowlDataModule:
    """The data of our config, or those with the usual augmentation and upright classes."""
    settings = yaml.safe_load((CONFIGS / "data" / "omniglot.yaml").read_text(encoding="utf-8"))["data"]
    source = {**settings.pop("source")["init_args"], "root": work / "images_background_small1"}
    settings["augmentation"] = Augmentation(**settings["augmentation"])
    chosen = {"class_folds": PARTS, "class_fold": fold, "batches_per_epoch": steps, "cache_dir": str(work / "cache")}
    if usual:
        chosen.update(augmentation=USUAL, turned_classes=1)
    return ThermalWaterfowlDataModule(CropFolders(**source), **{**settings, **chosen})


def train(encoder: Encoder, data: ThermalWaterfowlDataModule, loss: Loss, rate: float, steps: int) -> None:
    """The peer's loop, over all patches in memory."""
    data.setup("fit")
    training = data.train_dataloader().dataset
    patches, labels, *_ = training.crops.read(range(len(training)))
    patches, sheet = turn(patches, training.turns), noise_sheet()
    rows = torch.tensor(list(MPerClassSampler(labels, data.samples_per_class, BATCH, BATCH * steps))).view(steps, BATCH)
    groups = [{"params": encoder.parameters()}, {"params": loss.loss.parameters(), "lr": PROXY_RATE * rate}]
    optimizer = torch.optim.AdamW(groups, lr=rate, weight_decay=DECAY)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lr_factor("cosine", 0.05, steps))
    for step, batch in enumerate(rows):
        drawn = data.augmentation.draw(0, 0, step, BATCH)
        images = augment(patches[batch], drawn, data.options.crop_size, sheet)
        embeddings = encoder(images.contiguous(memory_format=torch.channels_last))
        mined = None if loss.miner is None else loss.miner(embeddings, labels[batch])
        optimizer.zero_grad()
        loss.loss(embeddings, labels[batch], mined).backward()
        optimizer.step()
        schedule.step()


# Tables ------------------------------------------------------------------------------------------


class Arm(NamedTuple):
    """An arm with the learning rate that the search has chosen, and its fits on the tested folds."""

    name: str
    rate: float
    fits: list[Fit]

    def mean(self, key: str) -> float:
        """Mean of a number over the tested folds."""
        return float(np.mean([fit.test[key] for fit in self.fits]))


def measured(name: str, args: Namespace, work: Path) -> Arm:
    """Searches the learning rate of an arm by validation, then fits it on the tested folds."""
    kept = args.keep or work / "fits"
    kept.mkdir(parents=True, exist_ok=True)
    searched = {rate: fitted(name, SEARCHED, rate, args.search_steps, kept, work) for rate in args.rates}
    rate = max(searched, key=lambda each: searched[each].val["map_at_r"])
    return Arm(name, rate, [fitted(name, fold, rate, args.steps, kept, work) for fold in FOLDS[: args.folds]])


def rows(arms: Sequence[Arm]) -> Iterator[list[str]]:
    """A row for each arm: its means over folds, and ours minus it with its interval and p-value."""
    ours, *peers = arms
    maps = np.array([[fit.test["map_at_r"] for fit in arm.fits] for arm in arms])  # (arms, folds)
    gaps = (maps[0] - maps[1:]).T  # (folds, peers)
    low, high = t_interval(gaps, family_level(0.95, len(peers)))
    p_values = holm(sign_flip_p(gaps))
    yield [*cells(ours), "", ""]
    for row, arm in enumerate(peers):
        interval = f"{gaps[:, row].mean():+.3f} [{low[row]:+.3f}, {high[row]:+.3f}]"
        yield [*cells(arm), interval, f"{p_values[row]:.2g}"]


def cells(arm: Arm) -> list[str]:
    return [arm.name, f"{arm.rate:g}", f"{arm.mean('map_at_r'):.3f}", f"{arm.mean('precision_at_1'):.3f}"]


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--steps", type=int, default=5, help="of 128 crops")
    parser.add_argument("--search-steps", type=int, default=5, help="of each trial of the search")
    parser.add_argument("--rates", type=float, nargs="+", default=[0.003], help="learning rates to search")
    parser.add_argument("--folds", type=int, default=2, help="to test, 2 to 6")
    parser.add_argument("--jobs", type=int, default=1, help="arms at once, each in a process of its own")
    parser.add_argument("--keep", type=Path, help="folder of finished fits")
    args = parser.parse_args()
    with (
        Result(__file__, "Unseen characters beside pytorch-metric-learning", PACKAGES, args) as result,
        tempfile.TemporaryDirectory() as work,
    ):
        if not FILE.is_file():
            print(f"Skipped: there is no {FILE}.")
            raise SystemExit(0)  # which saves nothing
        zipfile.ZipFile(FILE).extractall(work)
        names = [OURS, *(f"{peer}, {augmentation}" for augmentation in AUGMENTATIONS for peer in PEERS)]
        with ProcessPoolExecutor(args.jobs, mp_context=get_context("spawn")) as pool:
            arms = list(pool.map(partial(measured, args=args, work=Path(work)), names))
        fits = [fit for arm in arms for fit in arm.fits]
        result.text(
            f"{args.steps} steps of {BATCH} crops for every fit, one seed, {args.folds} folds; the learning rate is "
            f"the best of {len(args.rates)} for each arm, by fits of {args.search_steps} steps. The last columns are "
            "ours minus the arm in MAP@R: the mean over folds, an interval (all of them hold together with 95 %), and "
            "Holm's p-value of the sign-flip test. The peer's AccuracyCalculator differs from the numbers of the table "
            f"by at most {max(fit.difference for fit in fits):.1e}. Fits by code "
            f"{', '.join(sorted({fit.code for fit in fits}))}."
        )
        heads = ("arm", "rate", "MAP@R", "Recall@1", "ours minus it", "p")
        result.table(heads, rows(arms))


if __name__ == "__main__":
    main()
