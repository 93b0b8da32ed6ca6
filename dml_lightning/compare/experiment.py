"""The arms, seeds, folds and training set sizes of a comparison, and the jobs that follow from them."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import product
from typing import Literal

from dml_lightning.compare.jobs import Job, folder_of
from dml_lightning.compare.search import Search
from dml_lightning.files import check_name
from dml_lightning.runs.fairness import short_name
from dml_lightning.shipped import config_file
from dml_lightning.stats.units import InferenceUnit, check_margin

LONGEST_NAME = 150  # bytes of an arm's name, which is part of file names of at most 255 bytes


@dataclass(frozen=True)
class Arm:
    """One method of a comparison.

    Args:
        configs: Config files of this arm alone, read after the shared ones.
        train: Whether the arm is fitted; a floor is tested as it is initialised.
        options: Further options, such as --data.sampler=shuffled.
    """

    configs: list[str]
    train: bool = True
    options: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Experiment:
    """A comparison as its YAML file declares it; `dml_lightning.commands.compare.compare` explains the fields.

    Raises:
        ValueError: If numbers repeat, a config file is missing, a name cannot be used, the baseline is no trained arm,
            folds by classes are not 0, 1, 2, ..., the margin is not above 0, or the search is unfair.
    """

    name: str
    shared: list[str]
    arms: dict[str, Arm]
    primary: str
    baseline: str
    unit: InferenceUnit
    seeds: list[int]
    folds: list[int]
    fold_by: Literal["groups", "classes"]
    train_per_class: list[int | None]
    search: Search | None
    overrides: list[str]
    out: str
    margin: float | None = None

    def __post_init__(self) -> None:
        check_name("name", self.name)
        if self.margin is not None:
            check_margin(self.margin)
        for what in ("seeds", "folds", "train_per_class"):
            listed: list[int | None] = getattr(self, what)
            if not listed or len(set(listed)) < len(listed):
                raise ValueError(f"{what} must be different numbers, at least one, got {listed}.")
        if any(size is not None and size < 1 for size in self.train_per_class):
            raise ValueError(f"train_per_class must be 1 or more, null standing for all, got {self.train_per_class}.")
        files = [*self.shared, *(path for arm in self.arms.values() for path in arm.configs)]
        missing = [path for path in files if not config_file(path).is_file()]
        if missing:
            raise ValueError(f"there is no config file {missing[0]}.")
        for arm in self.arms:
            if not re.search(r"\w", arm) or len(arm.encode()) > LONGEST_NAME:
                raise ValueError(
                    f"an arm is named {arm!r}: give a name with a letter, of at most {LONGEST_NAME} bytes."
                )
        folders = [folder_of(arm) for arm in self.arms]
        if len(set(folders)) < len(folders):
            raise ValueError(
                f"the arms {', '.join(self.arms)} would share a folder: let their names differ in letters."
            )
        if self.baseline not in self.trained:
            raise ValueError(
                f"the baseline {self.baseline!r} is no trained arm; there are {', '.join(self.trained) or 'none'}."
            )
        if self.fold_by == "classes" and sorted(self.folds) != list(range(len(self.folds))):
            raise ValueError(f"folds by classes are counted 0, 1, 2, ..., got {self.folds}.")
        if self.search is not None:
            self.search.check(self.trained, self.seeds, self.folds)

    @property
    def trained(self) -> list[str]:
        """Names of the arms that are fitted."""
        return [name for name, arm in self.arms.items() if arm.train]

    @property
    def tested(self) -> list[str]:
        """Names of the arms that are fitted and compared with the baseline."""
        return [name for name in self.trained if name != self.baseline]

    @property
    def floors(self) -> list[str]:
        """Names of the arms that are tested as they are initialised."""
        return [name for name, arm in self.arms.items() if not arm.train]

    @property
    def searched(self) -> dict[str, list[str]]:
        """Options that the search chooses for each arm, by their short names; none without a search."""
        spaces = {} if self.search is None else self.search.space
        return {arm: sorted(map(short_name, space)) for arm, space in spaces.items()}

    def trials(self) -> Iterator[Job]:
        """The jobs of the search, arm by arm; none without a search."""
        search = self.search
        if search is not None:
            for arm in self.trained:
                for trial, setting in enumerate(search.settings(arm)):
                    args = (*self._args(arm, search.seed, search.fold), *setting)
                    yield Job(arm, search.seed, search.fold, args, test=False, trial=trial)

    def jobs(self, found: dict[str, tuple[str, ...]]) -> Iterator[Job]:
        """The jobs of the runs to report, with all arms of a seed and fold one after another.

        Args:
            found: Options of the best trial by arm; an arm without an entry keeps its own recipe.
        """
        cells = product(self.train_per_class, self.folds, self.seeds, self.arms.items())
        for size, fold, seed, (name, arm) in cells:
            args = (*self._args(name, seed, fold), *found.get(name, ()))
            if size is not None:
                args = (*args, f"--data.train_per_class={size}")
            yield Job(name, seed, fold, args, train=arm.train, train_per_class=size)

    def _args(self, name: str, seed: int, fold: int) -> tuple[str, ...]:
        """Options of `dml fit` and `dml test` for one run of an arm."""
        arm = self.arms[name]
        if self.fold_by == "groups":
            split = [f"--data.split_seed={fold}"]
        else:
            split = [f"--data.class_folds={len(self.folds)}", f"--data.class_fold={fold}"]
        return (
            *(f"--config={path}" for path in (*self.shared, *arm.configs)),
            *arm.options,
            *self.overrides,
            f"--seed_everything={seed}",
            *split,
            f"--name={self.name}/{folder_of(name)}",
            f"--runs_root={self.out}",
            f"--tracking.group={self.name}",
            f"--tracking.tags={json.dumps([name[:64], f'seed-{seed}', f'fold-{fold}'])}",
        )
