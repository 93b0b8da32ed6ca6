"""A training step of the shipped recipe beside a plain PyTorch loop in float32, and where its time goes.

    python benchmarks/training_step.py                                        # short; nothing is written
    python benchmarks/training_step.py --steps 35 --repeats 7 --save

The plain loop is what one writes without this package: same net (timm's), same batches of patches, same augmentation
and ranges, contiguous float32, `TripletMarginLoss` of pytorch-metric-learning or `cross_entropy`, AdamW as it comes, no
callbacks. Ours is `Trainer.fit` with all callbacks of configs/base.yaml: set as the plain loop is, with each setting
alone, and with all of them; what torch.compile takes before its first steps does not count. Ways alternate; the clock
is processor time of all threads, which a busy machine spoils less than wall time (`--clock wall` on an idle one).
"""

import argparse
import statistics
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
import torch.nn.functional as F
from pytorch_metric_learning.losses import TripletMarginLoss
from torch import Tensor, nn

from dml_lightning.data.transforms import Augmentation
from dml_lightning.models import Encoder
from dml_lightning.models.narrow import CHANNELS, STEM_WIDTH
from dml_lightning.simulate import simulate
from measure import Result, in_turn, options, ratios, spread
from throughput import TIMES, WARM, Setting, Variant, bare, callbacks_cost, fit, make_data

PACKAGES = ("lightning", "timm", "pytorch-metric-learning")
PLAIN = "plain loop, float32"
BEFORE = Variant(channels_last=False, fused=False)
WAYS = {
    "ours, nothing set": BEFORE,
    "channels_last": BEFORE._replace(channels_last=True),
    "fused AdamW": BEFORE._replace(fused=True),
    "bf16": BEFORE._replace(precision="bf16-mixed"),
    "channels_last, fused AdamW": Variant(),
    "channels_last, fused AdamW, compiled": Variant(compile=True),
    "channels_last, fused AdamW, bf16": Variant("bf16-mixed"),
}
PROFILED = ("ours, nothing set", "channels_last, fused AdamW", "channels_last, fused AdamW, bf16")


def signed(crops: int) -> Tensor:
    """Uniform in -1..1, (crops,)."""
    return 2 * torch.rand(crops) - 1


def plain_augment(patches: Tensor, side: int) -> Tensor:
    """Patches (B, 1, P, P) as augmented crops (B, 1, S, S), one operation after the other."""
    ranges, crops = Augmentation(), len(patches)
    angle, zoom = torch.pi / 180 * ranges.rotate * signed(crops), (1 + ranges.scale) ** signed(crops)
    mirror = torch.where(torch.rand(crops) < ranges.flip, -1.0, 1.0)
    cosine, sine = zoom * angle.cos(), zoom * angle.sin()
    right, down = (2 * ranges.shift * signed(crops) for _ in range(2))
    matrix = torch.stack([cosine * mirror, -sine, right, sine * mirror, cosine, down], dim=1).view(-1, 2, 3)
    grid = F.affine_grid(side / patches.shape[-1] * matrix, [crops, 1, side, side], align_corners=False)
    images = F.grid_sample(patches, grid, padding_mode="reflection", align_corners=False)
    sigma = (ranges.blur * torch.rand(crops)).clamp(min=0.05)
    taps = torch.softmax(-0.5 * (torch.arange(-2, 3) / sigma[:, None]) ** 2, dim=1)  # (B, 5)
    padded = F.pad(images.view(1, crops, side, side), (2, 2, 2, 2), mode="reflect")  # a crop is a channel
    blurred = F.conv2d(padded, taps.view(crops, 1, 5, 1), groups=crops)
    images = F.conv2d(blurred, taps.view(crops, 1, 1, 5), groups=crops).view(crops, 1, side, side)
    gain = torch.where(torch.rand(crops) < ranges.polarity, -1.0, 1.0) * (1 + ranges.gain) ** signed(crops)
    offset, deviation = ranges.offset * signed(crops), ranges.noise * torch.rand(crops)
    images = images * gain.view(-1, 1, 1, 1) + offset.view(-1, 1, 1, 1)
    return images + deviation.view(-1, 1, 1, 1) * torch.randn_like(images)


def plain_loss(arm: str, width: int, classes: int) -> tuple[Callable[[Tensor, Tensor], Tensor], list[nn.Parameter]]:
    """The loss of an arm with its parameters."""
    if arm == "triplet":
        return TripletMarginLoss(margin=0.2), []
    head = nn.Linear(width, classes)
    return lambda embeddings, labels: F.cross_entropy(head(embeddings), labels), list(head.parameters())


def plain(setting: Setting) -> float:
    """Mean seconds of a step of the plain loop."""
    data = make_data(setting)
    data.prepare_data()
    data.setup()
    torch.manual_seed(0)
    encoder = Encoder("resnet10t", 64, backbone_args={"channels": CHANNELS, "stem_width": STEM_WIDTH})
    loss, more = plain_loss(setting.arm, encoder.embedding_dim, data.num_classes)
    optimizer = torch.optim.AdamW([*encoder.parameters(), *more], lr=0.003, weight_decay=0.0001)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, setting.options.steps)
    start = 0.0
    for step, batch in enumerate(data.train_dataloader()):
        if step == WARM:
            start = setting.now()
        images = plain_augment(batch.patches, setting.options.crop)
        optimizer.zero_grad()
        loss(encoder(images), batch.labels).backward()
        optimizer.step()
        schedule.step()
    return (setting.now() - start) / (setting.options.steps - WARM)


def speeds(setting: Setting) -> Iterator[tuple[str, ...]]:
    """A row for each way: milliseconds of a step, crops a second, and how many times the plain loop's."""

    def ours(variant: Variant) -> Callable[[], float]:
        return lambda: fit(setting._replace(variant=variant), with_callbacks=True)

    works = {PLAIN: lambda: plain(setting), **{name: ours(variant) for name, variant in WAYS.items()}}
    times = in_turn(works, setting.options.repeats, warm=0)
    for name, took in times.items():
        step = statistics.median(took)
        gain = spread(ratios(times[PLAIN], took))
        yield setting.arm, name, f"{1e3 * step:.1f}", f"{setting.crops / step:,.0f}", gain


def profile(setting: Setting) -> dict[str, float]:
    """Milliseconds of each part of a step of ours."""
    whole = fit(setting, with_callbacks=True)
    _, parts = bare(setting, active=True)
    parts["callbacks"] = sum(callbacks_cost(setting).values())
    parts["trainer's loop and logging"] = whole - sum(parts.values())
    return {name: 1e3 * spent for name, spent in parts.items()}


def profiles(setting: Setting) -> Iterator[tuple[str, ...]]:
    """A row for each part, a column for each of `PROFILED`; medians of alternating repeats."""

    def one(name: str) -> Callable[[], dict[str, float]]:
        return lambda: profile(setting._replace(variant=WAYS[name]))

    found = in_turn({name: one(name) for name in PROFILED}, setting.options.repeats, warm=0)
    for part in found[PROFILED[0]][0]:
        yield part, *(f"{statistics.median(each[part] for each in repeats):.2f}" for repeats in found.values())


def parse() -> argparse.Namespace:
    parser = options(__doc__)
    parser.add_argument("--arms", default="softmax,triplet")
    parser.add_argument("--steps", type=int, default=15, help=f"of an epoch, the first {WARM} of which do not count")
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--clock", choices=TIMES, default="cpu")
    # the batches of configs/data/simulated.yaml
    parser.set_defaults(device="cpu", classes=8, samples=16, crop=32, workers=0)
    return parser.parse_args()


def main() -> None:
    """Measures and reports."""
    args = parse()
    with (
        Result(__file__, "A training step beside a plain loop in float32", PACKAGES, args) as result,
        tempfile.TemporaryDirectory() as folder,
    ):
        warnings.simplefilter("ignore")
        simulate(Path(folder) / "flights", flights=6, frames=20, progress=False)
        arms = [Setting(arm, "resnet10t_narrow", BEFORE, args, Path(folder)) for arm in args.arms.split(",")]
        result.text(
            f"Batches of 8 x 16 crops of 32 px, resnet10t_narrow. Median over {args.repeats} repeats of the mean of "
            f"{args.steps - WARM} steps, {TIMES[args.clock]}; in the last column how many times the plain loop's crops "
            "a second, median over repeats (smallest-largest)."
        )
        heads = ("arm", "way", "ms per step", "crops/s", "times the plain loop")
        result.table(heads, (row for setting in arms for row in speeds(setting)), texts=2)
        for setting in arms:
            result.text(f"Where the milliseconds of a step go, {setting.arm} arm, each part waited for:")
            result.table(("part", *PROFILED), profiles(setting))


if __name__ == "__main__":
    main()
