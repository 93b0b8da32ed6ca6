"""`dml compare`: every arm on every split and seed, under one recipe but for the arm's own files."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

from rich.console import Console

from dml_lightning.cli import main
from dml_lightning.compare.figures import draw_comparison, draw_neighbours
from dml_lightning.compare.intervals import ood_interval
from dml_lightning.compare.table import comparison_table, render
from dml_lightning.runs import write_text


@dataclass(frozen=True)
class Arm:
    """One way of getting embeddings.

    Args:
        configs: Files that set it apart, read after the shared ones.
        train: Whether it is fitted; a floor is tested as it is initialised.
    """

    configs: list[str]
    train: bool = True


@dataclass(frozen=True)
class RunRecord:
    """A finished run and what it stands for."""

    arm: str
    seed: int
    split: int
    run: Path


def compare(
    name: str,
    shared: list[str],
    arms: dict[str, Arm],
    seeds: list[int] = [0],  # noqa: B006 - read by the command's parser, never changed
    splits: list[int] = [0],  # noqa: B006
    overrides: list[str] = [],  # noqa: B006
    out: str = "runs",
) -> Path:
    """Fits and tests every arm, prints one table and draws the arms side by side.

    Runs that have finished are taken as they are and begun ones go on from their last checkpoint, so an
    interrupted comparison goes on where it stopped.

    Args:
        name: Of the comparison; results go to OUT/NAME.
        shared: Config files that all arms read first.
        arms: The arms by name.
        seeds: Of training: initialisation, batches, augmentation.
        splits: Seeds of the grouped split into training, validation and test.
        overrides: Further words for every `dml fit` and `dml test`, such as --trainer.max_epochs=5.
        out: Where run folders go.

    Returns:
        The folder with comparison.csv, comparison.md and the figures.
    """
    folder = Path(out, name)
    common = [f"--config={path}" for path in shared]
    records = list(_run_all(name, common, arms, seeds, splits, overrides, out))
    table = comparison_table(records)
    write_text(folder / "comparison.csv", table.to_csv(index=False))
    rendered = render(table, records)
    intervals = "".join(_interval_lines(arms, records))
    write_text(folder / "comparison.md", rendered.markdown + intervals)
    Console().print(rendered.rich)
    print(intervals)
    first = [r for r in records if (r.seed, r.split) == (seeds[0], splits[0])]
    trained = {r.arm: r.run for r in first if arms[r.arm].train}
    if trained:
        draw_comparison(trained, folder / "comparison.png")
        draw_neighbours(trained, folder / "neighbours.png")
    print(f"Results: {', '.join(sorted(str(path) for path in folder.glob('*.*')))}")
    return folder


def _interval_lines(arms: Iterable[str], records: Sequence[RunRecord]) -> Iterator[str]:
    """The OOD AUROC of each arm with its interval, if there are OOD crops."""
    runs = {arm: [record.run for record in records if record.arm == arm] for arm in arms}
    intervals = {arm: ood_interval(chosen) for arm, chosen in runs.items()}
    if any(intervals.values()):
        yield "\nOOD AUROC with its 95 % bootstrap interval over groups:\n\n"
    for arm, interval in intervals.items():
        if interval is not None:
            yield f"- {arm}: {interval}\n"


def _run_all(
    name: str,
    common: list[str],
    arms: dict[str, Arm],
    seeds: list[int],
    splits: list[int],
    overrides: list[str],
    out: str,
) -> Iterator[RunRecord]:
    for split, seed, (label, arm) in product(splits, seeds, arms.items()):
        words = [
            *common,
            *(f"--config={path}" for path in arm.configs),
            *overrides,
            f"--seed_everything={seed}",
            f"--data.split_seed={split}",
            f"--name={name}/{label.replace(' ', '_')}",
            f"--runs_root={out}",
            f"--tracking.group={name}",
        ]
        if arm.train:
            run = main(["fit", *words, "--reuse=true"])
            if not (run / "metrics" / "test.json").is_file():
                main(["test", "--run", str(run), "--verbose=false"])
        else:
            run = main(["test", *words, "--ckpt_path=none", "--verbose=false"])
        yield RunRecord(label, seed, split, run)
