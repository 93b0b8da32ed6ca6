"""What was asked before the first run stays on record, and what is changed after it is said."""

import json
from pathlib import Path
from typing import Any

import pytest

from dml_lightning.compare.declaration import declare, note_data
from dml_lightning.compare.experiment import Arm, Experiment
from dml_lightning.compare.search import Search
from dml_lightning.files import read_json, write_json, write_text
from dml_lightning.runs.folder import code_digest, package_versions


def asked(**changes: Any) -> Experiment:
    return Experiment(
        **{
            "name": "ours",
            "shared": [],
            "arms": {"pixels": Arm([], train=False), "softmax": Arm([]), "triplet": Arm([])},
            "primary": "map_at_r",
            "baseline": "softmax",
            "unit": "seed",
            "seeds": [0, 1, 2, 3],
            "folds": [0],
            "fold_by": "groups",
            "train_per_class": [None],
            "search": None,
            "overrides": [],
            "out": "runs",
            **changes,
        }
    )


def write_tests(folder: Path, *arms: str, stage: str = "fit") -> None:
    for arm in arms:
        write_json(folder / arm / "0a-s0" / "metrics" / "test.json", {"test/map_at_r": 0.5})
        write_text(folder / arm / "0a-s0" / f"recipe.{stage}.yaml", "{}")


def test_the_question_is_on_disk_before_any_run(tmp_path: Path) -> None:
    assert declare(asked(), tmp_path) == []
    assert json.loads((tmp_path / "declared.json").read_text()) == {
        "primary": "map_at_r",
        "baseline": "softmax",
        "unit": "seed",
        "trained": ["softmax", "triplet"],
        "seeds": [0, 1, 2, 3],
        "folds": [0],
        "train_per_class": [None],
        "recipe": {
            "shared files": [],
            "kind of folds": "groups",
            "search": None,
            "overrides": [],
            "arm softmax": {"configs": [], "train": True, "options": []},
            "arm triplet": {"configs": [], "train": True, "options": []},
        },
        "tested": 0,
        "code": code_digest(),
        "versions": package_versions(),
        "data": {},
        "sources": {},
        "margin": None,
    }


def test_the_margin_is_declared_before_any_run(tmp_path: Path) -> None:
    assert declare(asked(margin=0.02), tmp_path) == []
    assert read_json(tmp_path / "declared.json")["margin"] == 0.02
    write_tests(tmp_path, "softmax")
    assert declare(asked(margin=0.02), tmp_path) == []
    assert len(declare(asked(margin=0.05), tmp_path)) == 1


def test_the_same_question_in_another_order_is_the_same(tmp_path: Path) -> None:
    declare(asked(), tmp_path)
    write_tests(tmp_path, "softmax")
    arms = {"triplet": Arm([]), "softmax": Arm([])}  # a floor costs the others nothing
    assert declare(asked(seeds=[3, 2, 1, 0], arms=arms), tmp_path) == []


def test_nothing_tested_means_nothing_seen(tmp_path: Path) -> None:
    declare(asked(), tmp_path)
    write_tests(tmp_path, "pixels", stage="test")  # a floor says nothing of the arms
    (tmp_path / "softmax" / "0a-s0").mkdir(parents=True)  # begun
    assert declare(asked(primary="recall_at_1"), tmp_path) == []
    assert read_json(tmp_path / "declared.json")["primary"] == "recall_at_1"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"primary": "ood_auroc"}, "(primary from map_at_r to ood_auroc)"),
        ({"baseline": "triplet"}, "(baseline from softmax to triplet)"),
        ({"margin": 0.02}, "(margin from None to 0.02)"),
        ({"unit": "fold", "primary": "r"}, "(primary from map_at_r to r, unit from seed to fold)"),
    ],
)
def test_a_question_changed_after_a_test_is_told(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    declare(asked(), tmp_path)
    before = (tmp_path / "declared.json").read_bytes()
    write_tests(tmp_path, "softmax")
    assert declare(asked(**changes), tmp_path) == [
        f"The question was changed after runs had been tested {said}, so the p-values are exploratory."
    ]
    assert (tmp_path / "declared.json").read_bytes() == before
    assert declare(asked(), tmp_path) == []  # what was declared still counts


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"seeds": [*range(8)]}, "Seeds were added after a first look: 4 declared, 8 used"),
        ({"seeds": [0, 3]}, "Seeds were left out after a first look: 4 declared, 2 used"),
        ({"seeds": [0, 5, 6]}, "Seeds were added and left out after a first look: 4 declared, 3 used"),
        ({"folds": [0, 1]}, "Folds were added after a first look: 1 declared, 2 used"),
        ({"train_per_class": [5, None]}, "Sizes of the training set were added after a first look"),
        ({"arms": {"softmax": Arm([])}}, "Trained arms were left out after a first look: 2 declared, 1"),
    ],
)  # fmt: skip
def test_more_or_fewer_runs_after_a_test_are_told(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    declare(asked(), tmp_path)
    write_tests(tmp_path, "softmax", "triplet")
    (sentence,) = declare(asked(**changes), tmp_path)
    assert sentence.startswith(said)
    assert sentence.endswith("so the p-values are exploratory.")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"fold_by": "classes"}, "kind of folds"),
        ({"overrides": ["--trainer.max_epochs=50"]}, "overrides"),
        ({"search": Search(2, {"softmax": {"model.lr": [1, 2]}, "triplet": {"model.lr": [1, 2]}})}, "search"),
        (
            {"arms": {"softmax": Arm([]), "triplet": Arm([], options=["--model.init_args.margin=0.7"])}},
            "arm triplet",
        ),
        ({"overrides": ["--data.source.init_args.root=elsewhere", "--data.cache_dir=/tmp"]}, ""),
        ({"arms": {"softmax": Arm([]), "triplet": Arm([]), "none": Arm([], train=False)}}, ""),
    ],
)  # fmt: skip
def test_a_recipe_changed_after_a_test_is_told(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    declare(asked(), tmp_path)
    write_tests(tmp_path, "softmax")
    sentence = f"The recipe was changed after runs had been tested ({said}), so the p-values are exploratory."
    assert declare(asked(**changes), tmp_path) == [sentence] * bool(said)


@pytest.mark.parametrize("given", ["shared", "overrides", "options"])
def test_the_content_of_a_config_file_belongs_to_the_recipe(tmp_path: Path, given: str) -> None:
    file = tmp_path / "given.yaml"
    arms = {"softmax": Arm([]), "triplet": Arm([], options=[f"--config={file}"])}
    every: dict[str, dict[str, Any]] = {
        "shared": {"shared": [str(file)]},
        "overrides": {"overrides": [f"--config={file}"]},
        "options": {"arms": arms},
    }
    asks = every[given]
    file.write_text("trainer: {max_epochs: 8}\n")
    declare(asked(**asks), tmp_path)
    write_tests(tmp_path, "softmax")
    file.write_text("trainer: {max_epochs: 8} # a comment\n")
    assert declare(asked(**asks), tmp_path) == []
    file.write_text("trainer: {max_epochs: 9}\n")
    (sentence,) = declare(asked(**asks), tmp_path)
    assert f"(file {file})" in sentence


def test_a_shared_file_more_or_another_is_told(tmp_path: Path) -> None:
    files = [str(tmp_path / name) for name in ("a.yaml", "b.yaml")]
    for number, file in enumerate(files):
        Path(file).write_text(f"trainer: {{max_epochs: {number}}}\n")
    declare(asked(shared=files[:1]), tmp_path)
    write_tests(tmp_path, "softmax")
    for shared in (files, files[1:], []):
        (sentence,) = declare(asked(shared=shared), tmp_path)
        assert "(shared files)" in sentence


def test_a_declaration_that_came_late_or_was_taken_away_says_so(tmp_path: Path) -> None:
    declare(asked(), tmp_path)
    write_tests(tmp_path, "softmax", "triplet")
    (tmp_path / "declared.json").unlink()
    late = "The question was written down only after 2 runs had been tested, so the p-values are exploratory."
    assert declare(asked(primary="ood_auroc"), tmp_path) == [late]
    assert declare(asked(primary="ood_auroc"), tmp_path) == [late]
    assert len(declare(asked(), tmp_path)) == 2


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"code": "other"}, "code from other to {code}"),
        ({"versions": {"torch": "1.0"}}, "torch from 1.0 to {torch}"),
        ({"versions": {"gone": "1.0"}}, ""),  # a package that no number depends on any more
        ({"code": "", "versions": {}}, "code from an earlier version's to {code}"),  # as version 0.2 wrote it
    ],
)
def test_other_code_or_packages_after_a_test_are_told(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    declare(asked(), tmp_path)
    write_json(tmp_path / "declared.json", read_json(tmp_path / "declared.json") | changes)
    write_tests(tmp_path, "softmax")
    what = message.format(code=code_digest(), torch=package_versions()["torch"])
    sentence = f"Code or packages were changed after runs had been tested ({what}), so the p-values are exploratory."
    assert declare(asked(), tmp_path) == [sentence] * bool(message)


def write_data(folder: Path, digest: str, fold: int = 0, arm: str = "softmax", started: str = "2026") -> Path:
    """A fitted and tested run, with the digest of its crop table."""
    run = folder / arm / f"{digest}-s{fold}"
    write_json(run / "metrics" / "test.json", {"test/map_at_r": 0.5})
    write_json(run / "recipe.fit.yaml", {"data": {"class_folds": 4, "class_fold": fold}})
    write_json(run / "run.json", {"stages": {"test": {"data": digest, "started": started}}})
    return run


def test_another_data_set_after_a_test_is_told(tmp_path: Path) -> None:
    declare(asked(), tmp_path)
    first, other_fold = write_data(tmp_path, "a" * 64), write_data(tmp_path, "c" * 64, fold=1)
    assert note_data(tmp_path, [first]) == []
    assert read_json(tmp_path / "declared.json")["data"] == {"0": "a" * 64}
    assert note_data(tmp_path, [first, other_fold]) == []  # folds have crop tables of their own
    later = write_data(tmp_path, "b" * 64, started="2027")
    sentence = (
        "The data set was changed after runs had been tested (fold 0 from aaaaaaaaaa to bbbbbbbbbb), so the p-values "
        "are exploratory."
    )
    assert note_data(tmp_path, [later, other_fold]) == [sentence]
    assert declare(asked(), tmp_path) == []
    assert read_json(tmp_path / "declared.json")["data"] == {"0": "a" * 64, "1": "c" * 64}
    assert note_data(tmp_path, [later]) == [sentence]  # also where the earlier run is gone


def test_another_source_of_a_class_after_a_test_is_told(tmp_path: Path) -> None:
    declare(asked(), tmp_path)
    first, later = write_data(tmp_path, "a" * 64), write_data(tmp_path, "a" * 64, fold=1, started="2027")
    for run, digest in ((first, "1" * 16), (later, "2" * 16)):
        stages = read_json(run / "run.json")["stages"]
        write_json(run / "run.json", {"stages": {"test": stages["test"] | {"sources": {"ours.Loss": digest}}}})
    assert note_data(tmp_path, [first]) == []
    assert note_data(tmp_path, [later]) == [
        "Sources of classes were changed after runs had been tested (ours.Loss from 1111111111 to 2222222222), so the "
        "p-values are exploratory."
    ]
    assert read_json(tmp_path / "declared.json")["sources"] == {"ours.Loss": "1" * 16}


def test_packages_that_were_changed_and_changed_back_are_told(tmp_path: Path) -> None:
    declare(asked(), tmp_path)
    run = write_data(tmp_path, "a" * 64)
    entry = read_json(run / "run.json")["stages"]["test"]
    for versions, message in (
        (package_versions(), ""),
        ({"gone": "1.0"}, ""),  # no number depends on it any more
        (package_versions() | {"torch": "1.0", "numpy": "0.9"}, "numpy 0.9, torch 1.0"),
    ):
        write_json(run / "run.json", {"stages": {"test": entry | {"versions": versions}}})
        sentence = f"Runs were tested with other packages than declared ({message}), so the p-values are exploratory."
        assert note_data(tmp_path, [run]) == [sentence] * bool(message)
    now = read_json(tmp_path / "declared.json")
    write_json(tmp_path / "declared.json", now | {"versions": now["versions"] | {"torch": "1.9"}})
    write_json(run / "run.json", {"stages": {"test": entry | {"versions": package_versions()}}})
    assert note_data(tmp_path, [run]) == []  # told once, by `declare`
    assert len(declare(asked(), tmp_path)) == 1


def test_data_of_an_interrupted_comparison_are_those_that_were_tested_first(tmp_path: Path) -> None:
    declare(asked(), tmp_path)
    write_data(tmp_path, "b" * 64, started="2027")
    write_data(tmp_path, "a" * 64, arm="triplet", started="2026")
    write_tests(tmp_path, "pixels", stage="test")
    declare(asked(), tmp_path)
    assert read_json(tmp_path / "declared.json")["data"] == {"0": "a" * 64}


@pytest.mark.parametrize("content", ["{", '{"primary": "map_at_r"}', '{"question": 1}', "[]"])
def test_a_declaration_that_is_none(tmp_path: Path, content: str) -> None:
    (tmp_path / "declared.json").write_text(content)
    write_tests(tmp_path, "softmax")
    with pytest.raises(ValueError, match=r"declared.json is not what `dml compare` writes"):
        declare(asked(), tmp_path)
