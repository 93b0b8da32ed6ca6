"""A training step of ours with every callback, beside a bare PyTorch loop of the same encoder, loss and batches.

    python benchmarks/throughput.py                                               # short; nothing is written
    python benchmarks/throughput.py --steps 65 --repeats 7 --save
    python benchmarks/throughput.py --device cuda --workers 8 --crop 128 --samples 64 --steps 65 --repeats 5 --save

A repeat trains three times, in turn: the bare loop, `Trainer.fit` without callbacks and with all of
configs/base.yaml. A step lasts from one batch's start to the next one's, so that fetching, logging and callbacks are
in it; the figures are medians over repeats of the mean step of an epoch, and of its ratio to the bare loop beside it.
`--clock cpu` takes processor time of all threads, which a busy machine spoils less.
On CUDA: float32, bf16, channels_last and torch.compile for two backbones, with the loader's own speed beside them.
"""

import argparse
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import lightning as L
import torch
import yaml
from lightning.pytorch.cli import instantiate_class
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.profilers import SimpleProfiler
from typing_extensions import override

from dml_lightning.data import ThermalWaterfowlDataModule
from dml_lightning.models import EmbeddingModule, Encoder, SoftmaxModule, TripletModule
from dml_lightning.simulate import simulate
from dml_lightning.types import Batch
from measure import ROOT, Result, in_turn, options, ratios, wait

PACKAGES = ("lightning", "timm")
WARM = 5  # steps of an epoch before the clock starts
ARMS = {"softmax": SoftmaxModule, "triplet": TripletModule}
WAYS = ("bare loop", "fit, no callbacks", "fit, all callbacks")
TIMES = {"wall": "wall time", "cpu": "processor time of all threads"}
PARTS = ("data", "transfer and augment", "forward", "loss", "backward", "optimizer")


class Variant(NamedTuple):
    """How a model is run."""

    precision: str = "32-true"
    channels_last: bool = True
    compile: bool = False
    fused: bool = True


VARIANTS = {
    "float32": Variant(channels_last=False),
    "float32, channels_last": Variant(),
    "bf16": Variant("bf16-mixed", channels_last=False),
    "bf16, channels_last": Variant("bf16-mixed"),
    "bf16, channels_last, compiled": Variant("bf16-mixed", compile=True),
}


class Setting(NamedTuple):
    """What one row of the table measures."""

    arm: str
    backbone: str
    variant: Variant
    options: argparse.Namespace
    work: Path

    @property
    def device(self) -> torch.device:
        """Where it runs."""
        return torch.device(self.options.device)

    @property
    def now(self) -> Callable[[], float]:
        """The clock."""
        return time.perf_counter if self.options.clock == "wall" else time.process_time

    @property
    def crops(self) -> int:
        """Of a batch."""
        return int(self.options.classes * self.options.samples)


def base() -> dict[str, Any]:
    """What every experiment shares."""
    shared: dict[str, Any] = yaml.safe_load((ROOT / "configs/base.yaml").read_text())
    return shared


def make_data(setting: Setting) -> ThermalWaterfowlDataModule:
    """The known crops of the simulated flights, with the options of their config: plain loops take no clutter."""
    config = yaml.safe_load((ROOT / "configs/data/simulated.yaml").read_text())["data"]
    source = config.pop("source")
    source["init_args"]["root"] = str(setting.work / "flights")
    options = setting.options
    config |= {
        "ood_train": [],
        "background": 0,
        "classes_per_batch": options.classes,
        "samples_per_class": options.samples,
        "batches_per_epoch": options.steps,
        "crop_size": options.crop,
        "num_workers": options.workers,
        "cache_dir": str(setting.work / "cache"),
    }
    data = ThermalWaterfowlDataModule(instantiate_class((), source), **config)
    data._reported = True  # say nothing of the data each time
    return data


def make_module(setting: Setting, classes: int) -> EmbeddingModule:
    """A fresh module; the same weights each time."""
    torch.manual_seed(0)
    config = base()["model"]["init_args"]
    encoder = Encoder(setting.backbone, config["encoder"]["embedding_dim"])
    optimizer = partial(torch.optim.AdamW, **config["optimizer"]["init_args"] | {"fused": setting.variant.fused})
    return ARMS[setting.arm](
        encoder, optimizer, classes, channels_last=setting.variant.channels_last, compile=setting.variant.compile
    )


# Ours ------------------------------------------------------------------------------------------


class Clock(L.Callback):
    """When each batch started, and when the last one ended."""

    def __init__(self, setting: Setting) -> None:
        self.setting = setting
        self.times: list[float] = []

    @override
    def on_train_batch_start(self, *_: Any) -> None:
        if len(self.times) == WARM:  # no wait in between
            wait(self.setting.device)
        self.times.append(self.setting.now())

    @override
    def on_train_epoch_end(self, *_: Any) -> None:
        wait(self.setting.device)
        self.times.append(self.setting.now())


def fit(setting: Setting, with_callbacks: bool, profiler: SimpleProfiler | None = None) -> float:
    """Mean seconds of a step of `Trainer.fit`."""
    shared = base()["trainer"]
    clock, listed = Clock(setting), shared["callbacks"] if with_callbacks else []
    trainer = L.Trainer(
        default_root_dir=setting.work / "run",
        logger=CSVLogger(setting.work / "run"),
        accelerator="gpu" if setting.device.type == "cuda" else "cpu",
        devices=1,
        precision=setting.variant.precision,  # type: ignore[arg-type]
        max_epochs=1,
        check_val_every_n_epoch=2,  # never: starting its workers would count as part of the last step
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
        log_every_n_steps=shared["log_every_n_steps"],
        callbacks=[clock, *(instantiate_class((), each) for each in listed)],
        enable_checkpointing=with_callbacks,
        enable_progress_bar=False,
        enable_model_summary=False,
        profiler=profiler,
    )
    data = make_data(setting)
    trainer.fit(make_module(setting, data.num_classes), datamodule=data)
    return (clock.times[-1] - clock.times[WARM]) / (len(clock.times) - 1 - WARM)


# The bare loop ---------------------------------------------------------------------------------


class Split:
    """Seconds of each part of a step; without parts it never waits for the device."""

    def __init__(self, setting: Setting, active: bool) -> None:
        self.setting, self.active = setting, active
        self.spent = dict.fromkeys(PARTS, 0.0)

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Counts what happens inside."""
        if not self.active:
            yield
            return
        start = self.setting.now()
        yield
        wait(self.setting.device)
        self.spent[name] += self.setting.now() - start


def bare(setting: Setting, active: bool = False) -> tuple[float, dict[str, float]]:
    """Mean seconds of a step of a plain loop, and of its parts."""
    data, device = make_data(setting), setting.device
    data.prepare_data()
    data.setup()
    module = make_module(setting, data.num_classes).to(device).train()
    optimizer = module._optimizer(module.parameter_groups())
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, setting.options.steps)
    split = Split(setting, active)
    batches = iter(data.train_dataloader())
    for step in range(setting.options.steps):
        if step == WARM:
            wait(device)
            start, split.spent = setting.now(), dict.fromkeys(PARTS, 0.0)
        with split.part("data"):
            loaded = next(batches)
        with split.part("transfer and augment"):
            moved = type(loaded)(*(each.to(device, non_blocking=True) for each in loaded))
            batch: Batch = data.augment(moved)
        with split.part("forward"), autocast(setting):
            embeddings = module(batch.images)
        with split.part("loss"):
            loss = module.compute_loss(embeddings, batch.labels).loss
        with split.part("backward"):
            optimizer.zero_grad()
            loss.backward()
        with split.part("optimizer"):
            optimizer.step()
            schedule.step()
    wait(device)
    timed = setting.options.steps - WARM
    parts = {name: spent / timed for name, spent in split.spent.items()}
    return (setting.now() - start) / timed, parts


def autocast(setting: Setting) -> AbstractContextManager[Any]:
    """As Lightning's precision plugin does."""
    if setting.variant.precision == "32-true":
        return nullcontext()
    return torch.autocast(setting.device.type, torch.bfloat16)


# The table -------------------------------------------------------------------------------------


def compare(setting: Setting) -> dict[str, tuple[float, float]]:
    """Median seconds of a step of each way, and median of its ratio to the bare loop of the same repeat."""
    works: dict[str, Callable[[], float]] = {
        "bare loop": lambda: bare(setting)[0],
        "fit, no callbacks": lambda: fit(setting, with_callbacks=False),
        "fit, all callbacks": lambda: fit(setting, with_callbacks=True),
    }
    times = in_turn(works, setting.options.repeats)
    first = times["bare loop"]
    return {way: (statistics.median(took), statistics.median(ratios(took, first))) for way, took in times.items()}


def loader_speed(setting: Setting) -> float:
    """Crops a second that the loader yields when nothing else is done."""
    data = make_data(setting)
    data.prepare_data()
    data.setup()
    times = [time.perf_counter() for _ in data.train_dataloader()]
    return setting.crops * (len(times) - 1 - WARM) / (times[-1] - times[WARM])


def callbacks_cost(setting: Setting) -> dict[str, float]:
    """Seconds per step in the training hooks of each callback, by Lightning's own profiler."""
    profiler = SimpleProfiler(dirpath=setting.work, filename="profile")
    fit(setting, with_callbacks=True, profiler=profiler)
    found: dict[str, float] = {}
    for action, seconds in profiler.recorded_durations.items():
        if action.startswith("[Callback]") and "train_batch" in action and "Clock" not in action:
            name = action.removeprefix("[Callback]").split(".")[0].split("{")[0]
            found[name] = found.get(name, 0.0) + sum(seconds) / setting.options.steps
    return found


def describe(setting: Setting, name: str) -> tuple[tuple[str, ...], str]:
    """A row of the table, and where its time goes."""
    found = compare(setting)
    cells = [f"{1e3 * found[way][0]:.2f} ms ({found[way][1]:.3f})" for way in WAYS]
    speed = setting.crops / found["fit, all callbacks"][0]
    _, parts = bare(setting, active=True)
    whole = sum(parts.values())
    shares = ", ".join(f"{part} {spent / whole:.1%}" for part, spent in parts.items())
    hooks = {k: v for k, v in callbacks_cost(setting).items() if v > 1e-6}
    costs = ", ".join(f"{k} {1e6 * v:.0f} µs" for k, v in sorted(hooks.items(), key=lambda i: -i[1]))
    return (setting.arm, setting.backbone, name, *cells, f"{speed:,.0f}"), (
        f"- {setting.arm}, {setting.backbone}, {name}: {shares} of the bare loop's {1e3 * whole:.2f} ms "
        f"when each part is waited for; callbacks per step: {costs}."
    )


def settings(args: argparse.Namespace, work: Path) -> Iterator[tuple[Setting, str]]:
    """Every row's setting and the name of its variant."""
    for arm in args.arms.split(","):
        for backbone in args.backbones.split(","):
            for variant in (v.strip() for v in args.variants.split(";")):
                yield Setting(arm, backbone, VARIANTS[variant], args, work), variant


def parse() -> argparse.Namespace:
    parser = options(__doc__)
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--arms", default="softmax,triplet")
    parser.add_argument("--backbones", help="timm names, or resnet10t_narrow of configs/base.yaml")
    parser.add_argument("--variants", help=f"of: {'; '.join(VARIANTS)}")
    parser.add_argument("--classes", type=int, default=8)
    parser.add_argument("--samples", type=int, default=16)
    parser.add_argument("--crop", type=int, default=32)
    parser.add_argument("--steps", type=int, default=25)
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--clock", choices=TIMES, default="wall", help="cpu for a busy machine")
    args = parser.parse_args()
    if args.steps < WARM + 2 or args.repeats < 1:
        parser.error(f"a figure takes at least {WARM + 2} steps, {WARM} of them warming up, and 1 repeat")
    cuda = args.device == "cuda"
    args.backbones = args.backbones or ("resnet50,convnext_tiny" if cuda else "resnet10t_narrow")
    args.variants = args.variants or (";".join(VARIANTS) if cuda else "float32, channels_last")
    return args


def main() -> None:
    """Measures and reports."""
    args = parse()
    title = "A training step beside a bare PyTorch loop"
    with Result(__file__, title, PACKAGES, args) as result, tempfile.TemporaryDirectory() as folder:
        warnings.simplefilter("ignore")
        result.text(
            f"Batches of {args.classes} x {args.samples} crops of {args.crop} px. Median over {args.repeats} repeats "
            f"of the mean of {args.steps - WARM} steps, {TIMES[args.clock]}; in brackets the median ratio to the bare "
            "loop of the same repeat."
        )
        work, notes = Path(folder), []
        simulate(work / "flights", flights=6, frames=20, progress=False)

        def rows() -> Iterator[tuple[str, ...]]:
            for setting, variant in settings(args, work):
                row, note = describe(setting, variant)
                notes.append(note)
                yield row

        result.table(("arm", "backbone", "variant", *WAYS, "crops/s"), rows(), texts=3)
        speed = loader_speed(next(settings(args, work))[0])
        notes.append(f"- The loader alone, {args.workers} workers: {speed:,.0f} crops/s.")
        result.text("Where the time goes:", "\n".join(notes))


if __name__ == "__main__":
    main()
