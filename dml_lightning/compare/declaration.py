"""What a comparison was to answer, written down before its first run: a question that is chosen later proves less."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml

from dml_lightning.compare.experiment import Experiment
from dml_lightning.files import read_json, write_json
from dml_lightning.runs.fairness import CHANGES_NO_NUMBER

QUESTION = ("primary", "baseline", "unit")
LISTS = {"trained": "trained arms", "seeds": "seeds", "folds": "folds", "train_per_class": "sizes of the training set"}


@dataclass(frozen=True)
class Declaration:
    """The question, and which runs are to answer it.

    Args:
        primary: The number that the answer is about.
        baseline: The arm that the others are compared with.
        unit: What counts as one observation.
        trained: Arms that are fitted; p-values are corrected for how many there are.
        seeds: Of training.
        folds: Splits of the data.
        train_per_class: Sizes of the training set; None for all.
        recipe: What the runs are made of: trained arms, digests of config files, search, overrides, kind of folds.
        tested: Fitted runs that had been tested when it was written down.
    """

    primary: str
    baseline: str
    unit: str
    trained: list[str]
    seeds: list[int]
    folds: list[int]
    train_per_class: list[int | None]
    recipe: dict[str, Any]
    tested: int = 0

    @classmethod
    def of(cls, experiment: Experiment, tested: int) -> "Declaration":
        """What an experiment asks now."""
        given = {name: getattr(experiment, name) for name in (*QUESTION, *LISTS)}
        return cls(**given, recipe=_recipe(experiment), tested=tested)

    def changes(self, asked: "Declaration") -> Iterator[str]:
        """A sentence for each way in which what is asked now departs from what was declared."""
        if self.tested:
            runs = "1 run" if self.tested == 1 else f"{self.tested} runs"
            yield f"The question was written down only after {runs} had been tested, so the p-values are exploratory."
        changed = [
            f"{name} from {getattr(self, name)} to {getattr(asked, name)}"
            for name in QUESTION
            if getattr(self, name) != getattr(asked, name)
        ]
        if changed:
            yield (
                f"The question was changed after runs had been tested ({', '.join(changed)}), so the p-values are "
                "exploratory."
            )
        both = self.recipe.keys() & asked.recipe.keys()  # an arm more or less is told apart below
        other = sorted(key for key in both if self.recipe[key] != asked.recipe[key])
        if other:
            yield (
                f"The recipe was changed after runs had been tested ({', '.join(other)}), so the p-values are "
                "exploratory."
            )
        for name, what in LISTS.items():
            yield from _changed_list(what, getattr(self, name), getattr(asked, name))


def _recipe(experiment: Experiment) -> dict[str, Any]:
    """What the runs are made of, by a name that a sentence can give; where data lie is left out."""
    words = [*experiment.overrides]
    files = {*experiment.shared}
    recipe: dict[str, Any] = {
        "shared files": experiment.shared,
        "kind of folds": experiment.fold_by,
        "search": None if experiment.search is None else asdict(experiment.search),
        "overrides": [
            word for word in experiment.overrides if not word.removeprefix("--").startswith(CHANGES_NO_NUMBER)
        ],
    }
    for name in experiment.trained:
        arm = experiment.arms[name]
        recipe[f"arm {name}"] = asdict(arm)
        files |= {*arm.configs}
        words += arm.options
    files |= {word.removeprefix("--config=") for word in words if word.startswith("--config=")}
    for path in sorted(files):
        content = yaml.safe_load(Path(path).read_text(encoding="utf-8"))  # comments do not count
        text = json.dumps(content, sort_keys=True, default=str)
        recipe[f"file {path}"] = hashlib.sha256(text.encode()).hexdigest()[:16]
    return json.loads(json.dumps(recipe))  # type: ignore[no-any-return]  # as it is read back


def _changed_list(what: str, declared: list[Any], used: list[Any]) -> Iterator[str]:
    """Whether something was added or left out: both can be done until a p-value suits."""
    added, left_out = set(used) - set(declared), set(declared) - set(used)
    ways = ["added"] * bool(added) + ["left out"] * bool(left_out)
    if ways:
        yield (
            f"{what.capitalize()} were {' and '.join(ways)} after a first look: {len(declared)} declared, "
            f"{len(used)} used, so the p-values are exploratory."
        )


def declare(experiment: Experiment, folder: Path) -> list[str]:
    """Writes OUT/NAME/declared.json, unless runs have been tested since there is one; to be called before any run.

    Until the first fitted run has been tested nobody can have chosen the question by its answer, so a later
    declaration takes the place of an earlier one. From then on the file stays.

    Args:
        experiment: As it is asked for now.
        folder: Of the comparison.

    Returns:
        What departs from the declaration, a sentence each.

    Raises:
        ValueError: If declared.json is not one.
    """
    path = folder / "declared.json"
    tests = folder.glob("*/*/metrics/test.json")
    tested = sum((test.parents[1] / "recipe.fit.yaml").is_file() for test in tests)
    asked = Declaration.of(experiment, tested)
    if not (tested and path.is_file()):
        write_json(path, asdict(asked))
        return list(asked.changes(asked))
    try:
        return list(Declaration(**read_json(path)).changes(asked))
    except (ValueError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{path} is not what `dml compare` writes ({error}): restore it, or compare under another name."
        ) from None
