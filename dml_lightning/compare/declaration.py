"""The question of a comparison, written down before its first run: a question that is chosen later proves less."""

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from dml_lightning.compare.experiment import Experiment
from dml_lightning.files import read_json, write_json
from dml_lightning.runs.fairness import CHANGES_NO_NUMBER
from dml_lightning.runs.folder import code_digest, package_versions, read_run
from dml_lightning.runs.recipes import fold_of, read_recipe
from dml_lightning.shipped import config_file
from dml_lightning.yaml_files import read_yaml

NAME = "declared.json"
QUESTION = ("primary", "baseline", "unit", "margin")
LISTS = {"trained": "trained arms", "seeds": "seeds", "folds": "folds", "train_per_class": "sizes of the training set"}


@dataclass(frozen=True)
class Declaration:
    """The question of a comparison, and the runs that are to answer it.

    Args:
        primary: Metric that the answer is about.
        baseline: Arm that the others are compared with.
        unit: What counts as one observation, `seed` or `fold`.
        trained: Arms that are fitted; p-values are corrected for their number.
        seeds: Seeds of training.
        folds: Numbers of the splits of the data.
        train_per_class: Largest numbers of training crops per class; None for all.
        recipe: Parts of the recipes by name: trained arms, digests of config files, search, overrides, kind of folds.
        tested: Number of fitted runs that had been tested when the question was written down.
        code: Digest of the package's source files; "" in a file of an earlier version, which noted none.
        versions: Versions of the packages that numbers depend on, by name.
        data: Digest of the crop table by number of the fold, each from the fold's first test on.
        sources: Digests of the files of classes outside of this package by their names, from the first test on.
        margin: Largest difference that counts as none; None if equality is not asked for.
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
    code: str = ""
    versions: dict[str, str] = field(default_factory=dict)
    data: dict[str, str] = field(default_factory=dict)
    sources: dict[str, str] = field(default_factory=dict)
    margin: float | None = None

    @classmethod
    def of(cls, experiment: Experiment, tested: int) -> "Declaration":
        """The declaration of an experiment, of which `tested` fitted runs have been tested."""
        fields = {name: getattr(experiment, name) for name in (*QUESTION, *LISTS)}
        recipe, code = _recipe(experiment), code_digest()
        return cls(**fields, recipe=recipe, tested=tested, code=code, versions=package_versions())

    def changes(self, asked: "Declaration") -> Iterator[str]:
        """Describes how the question of now departs from this declaration.

        Args:
            asked: Declaration of the experiment as it is now.

        Yields:
            A sentence for each difference, and one if runs had been tested before this declaration.
        """
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
        both = self.recipe.keys() & asked.recipe.keys()  # arms that were added or left out follow below
        other = sorted(key for key in both if self.recipe[key] != asked.recipe[key])
        if other:
            yield (
                f"The recipe was changed after runs had been tested ({', '.join(other)}), so the p-values are "
                "exploratory."
            )
        before, now = ({"code": each.code or "an earlier version's"} | each.versions for each in (self, asked))
        newer = [
            f"{name} from {before[name]} to {now[name]}"
            for name in before.keys() & now.keys()
            if before[name] != now[name]
        ]
        if newer:
            yield (
                f"Code or packages were changed after runs had been tested ({', '.join(sorted(newer))}), so the "
                "p-values are exploratory."
            )
        for name, what in LISTS.items():
            yield from _changed_list(what, getattr(self, name), getattr(asked, name))


def _recipe(experiment: Experiment) -> dict[str, Any]:
    """Parts of the recipes by a name for use in a sentence; options that change no number are left out."""
    options = [*experiment.overrides]
    files = {*experiment.shared}
    recipe: dict[str, Any] = {
        "shared files": experiment.shared,
        "kind of folds": experiment.fold_by,
        "search": None if experiment.search is None else asdict(experiment.search),
        "overrides": [
            option for option in experiment.overrides if not option.removeprefix("--").startswith(CHANGES_NO_NUMBER)
        ],
    }
    for name in experiment.trained:
        arm = experiment.arms[name]
        recipe[f"arm {name}"] = asdict(arm)
        files |= {*arm.configs}
        options += arm.options
    files |= {option.removeprefix("--config=") for option in options if option.startswith("--config=")}
    for path in sorted(files):
        content = read_yaml(config_file(path))  # comments do not count
        text = json.dumps(content, sort_keys=True, default=str)
        recipe[f"file {path}"] = hashlib.sha256(text.encode()).hexdigest()[:16]
    return json.loads(json.dumps(recipe))  # type: ignore[no-any-return]  # as a file gives it back


def _changed_list(what: str, declared: list[Any], used: list[Any]) -> Iterator[str]:
    """A sentence if something was added or left out, since both can be done until a p-value suits."""
    added, left_out = set(used) - set(declared), set(declared) - set(used)
    ways = ["added"] * bool(added) + ["left out"] * bool(left_out)
    if ways:
        yield (
            f"{what.capitalize()} were {' and '.join(ways)} after a first look: {len(declared)} declared, "
            f"{len(used)} used, so the p-values are exploratory."
        )


def declare(experiment: Experiment, folder: Path) -> list[str]:
    """Writes declared.json, or compares the experiment with the file that is there; to be called before any run.

    Until the first fitted run has been tested, nobody can have chosen the question by its answer, so a new declaration
    replaces the old one. From then on the file stays as it is.

    Args:
        experiment: Experiment as it is now.
        folder: Folder of the comparison, OUT/NAME.

    Returns:
        Departures from the declaration, a sentence each.

    Raises:
        ValueError: If declared.json is damaged.
    """
    path = folder / NAME
    tests = [test.parents[1] for test in folder.glob("*/*/metrics/test.json")]
    fitted = [run for run in tests if (run / "recipe.fit.yaml").is_file()]
    asked = Declaration.of(experiment, len(fitted))
    if not (fitted and path.is_file()):
        write_json(path, asdict(asked))
        changes = list(asked.changes(asked))
    else:
        changes = list(_read(path).changes(asked))
    note_data(folder, fitted)  # of runs that an interrupted comparison has tested
    return changes


def note_data(folder: Path, runs: Iterable[Path]) -> list[str]:
    """Adds what first tests were made of to declared.json, and compares later tests with it: data, sources, packages.

    Args:
        folder: Folder of the comparison, OUT/NAME, with a declared.json.
        runs: Folders of fitted and tested runs; those that were tested first count.

    Returns:
        A sentence if a fold was tested on other data than declared, one if a class outside of this package was tested
        from another source, and one if a run was tested with packages that are neither declared nor installed now.

    Raises:
        ValueError: If declared.json is damaged, or a run's folder.
    """
    path = folder / NAME
    declared = _read(path)
    tests = [(read_run(run)["stages"].get("test", {}), run) for run in runs]
    data, sources = dict(declared.data), dict(declared.sources)
    changed, edited = set[str](), set[str]()
    for test, run in sorted(tests, key=lambda each: str(each[0].get("started", ""))):
        digest = test.get("data")
        if digest is not None:
            fold = str(fold_of(read_recipe(run)))
            if data.setdefault(fold, digest) != digest:
                changed.add(f"fold {fold} from {data[fold][:10]} to {digest[:10]}")
        for name, source in test.get("sources", {}).items():
            if sources.setdefault(name, source) != source:
                edited.add(f"{name} from {sources[name][:10]} to {source[:10]}")
    if (data, sources) != (declared.data, declared.sources):
        write_json(path, asdict(replace(declared, data=data, sources=sources)))
    sentences = [
        f"{what} changed after runs had been tested ({', '.join(sorted(how))}), so the p-values are exploratory."
        for what, how in (("The data set was", changed), ("Sources of classes were", edited))
        if how
    ]
    return sentences + _other_packages(declared.versions, [test for test, _ in tests])


def _other_packages(declared: dict[str, str], tests: Iterable[dict[str, Any]]) -> list[str]:
    """A sentence on tests with other packages than declared; those of now are compared by `Declaration.changes`."""
    now = package_versions()
    others = {
        f"{name} {version}"
        for test in tests
        for name, version in test.get("versions", {}).items()
        if version not in (declared.get(name, version), now.get(name))
    }
    listed = ", ".join(sorted(others))
    return [f"Runs were tested with other packages than declared ({listed}), so the p-values are exploratory."] * bool(
        others
    )


def _read(path: Path) -> Declaration:
    try:
        declared = Declaration(**read_json(path))
        list(declared.changes(declared))  # its lists are lists, and its dictionaries such
        return declared
    except (ValueError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{path} is not what `dml compare` writes ({error}): restore it, or compare under another name."
        ) from None
