"""An experiment as a list of jobs, and what it refuses."""

from pathlib import Path
from typing import Any

import pytest

from dml_lightning.compare.experiment import LONGEST_NAME, Arm
from dml_lightning.compare.search import Search
from tests.compare.experiments import experiment


def test_arms_are_trained_tested_or_floors() -> None:
    asked = experiment(arms={"pixels": Arm([], train=False), "softmax": Arm([]), "triplet": Arm([])})
    assert (asked.trained, asked.tested, asked.floors) == (["softmax", "triplet"], ["triplet"], ["pixels"])


def test_all_arms_of_a_cell_come_one_after_another() -> None:
    asked = experiment(train_per_class=[5, None], folds=[0, 1], seeds=[3, 4])
    jobs = list(asked.jobs({"triplet": ("--a=1",)}))
    assert [(job.train_per_class, job.fold, job.seed, job.arm) for job in jobs[:5]] == [
        (5, 0, 3, "softmax"),
        (5, 0, 3, "triplet"),
        (5, 0, 4, "softmax"),
        (5, 0, 4, "triplet"),
        (5, 1, 3, "softmax"),
    ]
    assert len(jobs) == 2 * 2 * 2 * 2
    assert all(("--a=1" in job.words) == (job.arm == "triplet") for job in jobs)
    assert all(("--data.train_per_class=5" in job.words) == (job.train_per_class == 5) for job in jobs)
    for job in jobs:
        assert f"--seed_everything={job.seed}" in job.words
        assert f"--data.split_seed={job.fold}" in job.words


def test_words_come_from_shared_files_to_overrides(tmp_path: Path) -> None:
    files = [tmp_path / f"{name}.yaml" for name in ("base", "arm")]
    for file in files:
        file.write_text("")
    arms = {"soft max": Arm([str(files[1])], options=["--one=1"]), "softmax": Arm([])}
    asked = experiment(shared=[str(files[0])], arms=arms, overrides=["--two=2"], out=str(tmp_path))
    words = next(iter(asked.jobs({}))).words
    assert words[:4] == (f"--config={files[0]}", f"--config={files[1]}", "--one=1", "--two=2")
    assert "--name=ours/soft_max" in words
    assert '--tracking.tags=["soft max", "seed-0", "fold-0"]' in words


def test_folds_by_classes_count_themselves() -> None:
    asked = experiment(fold_by="classes", folds=[1, 0])
    words = next(iter(asked.jobs({}))).words
    assert {"--data.class_folds=2", "--data.class_fold=1"} <= set(words)
    assert not any(word.startswith("--data.split_seed") for word in words)


def test_trials_are_of_trained_arms_alone_and_test_nothing() -> None:
    option = "model.init_args.warmup"
    search = Search(trials=3, space={arm: {option: [0.1, 0.2, 0.3]} for arm in ("softmax", "triplet")}, seed=7)
    arms = {"pixels": Arm([], train=False), "softmax": Arm([]), "triplet": Arm([])}
    trials = list(experiment(arms=arms, search=search).trials())
    assert [(job.arm, job.trial) for job in trials] == [(arm, n) for arm in ("softmax", "triplet") for n in range(3)]
    assert not any(job.test for job in trials)
    assert {(job.seed, job.fold) for job in trials} == {(7, 0)}
    tried = [[word for word in job.words if option in word] for job in trials]
    assert tried[0] == tried[3] == []  # the arm's own recipe
    assert all(len(words) == 1 for words in tried[1:3] + tried[4:])
    assert list(experiment().trials()) == []


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"name": ".."}, r"name '\.\.' must name a folder below another"),
        ({"name": "/tmp/x"}, "name '/tmp/x' must name a folder below another"),
        ({"seeds": []}, "seeds must be different numbers, at least one, got"),
        ({"folds": [0, 0]}, r"folds must be different numbers, at least one, got \[0, 0\]"),
        ({"train_per_class": [None, None]}, "train_per_class must be different"),
        ({"train_per_class": [0]}, "train_per_class must be 1 or more, null standing for all"),
        ({"shared": ["/nowhere.yaml"]}, r"there is no config file /nowhere\.yaml"),
        ({"arms": {"softmax": Arm(["/none.yaml"])}}, r"there is no config file /none\.yaml"),
        ({"arms": {"softmax": Arm([]), "-/-": Arm([])}}, "an arm is named '-/-': give a name with a letter"),
        ({"arms": {"softmax": Arm([]), "ü" * LONGEST_NAME: Arm([])}}, "of at most 150 bytes"),
        ({"arms": {"softmax": Arm([]), "a b": Arm([]), "a/b": Arm([])}}, "softmax, a b, a/b would share a folder"),
        ({"baseline": "pairs"}, "baseline 'pairs' is no trained arm; there are softmax, triplet"),
        ({"arms": {"softmax": Arm([], train=False)}}, "no trained arm; there are none"),
        ({"fold_by": "classes", "folds": [1, 2]}, r"folds by classes are counted 0, 1, 2, \.\.\., got \[1, 2\]"),
        ({"search": Search(trials=1, space={})}, "search.trials is 1"),
    ],
)
def test_what_cannot_be_compared_is_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        experiment(**changes)
