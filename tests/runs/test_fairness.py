"""What arms of a comparison do not share, told one sentence each."""

import copy
from pathlib import Path
from typing import Any

import pytest

from dml_lightning.compare.search import Search
from dml_lightning.files import write_json, write_text
from dml_lightning.runs.fairness import arm_differences, differences, recipe_differences
from dml_lightning.runs.recipes import read_recipe
from tests.compare.experiments import experiment

RECIPE: dict[str, Any] = {
    "seed_everything": 1,
    "name": "ours/a",
    "data": {"classes_per_batch": 4, "samples_per_class": 8, "crop_size": 64, "source": {"init_args": {"root": "/a"}}},
    "trainer": {"max_epochs": 3, "callbacks": [{"class_path": "A"}, {"class_path": "B"}]},
    "model": {
        "class_path": "TripletModule",
        "init_args": {"loss": {"margin": 0.2}, "optimizer": {"class_path": "AdamW", "init_args": {"lr": 0.1}}},
    },
}


def changed(path: str, value: Any) -> dict[str, Any]:
    """The recipe with one setting changed."""
    recipe = copy.deepcopy(RECIPE)
    *way, last = path.split(".")
    node: Any = recipe
    for name in way:
        node = node[int(name) if isinstance(node, list) else name]
    node[last] = value
    return recipe


def write_run(run: Path, recipe: dict[str, Any], stages: tuple[str, ...] = ("fit", "test"), **facts: Any) -> Path:
    for stage in stages:
        write_json(run / f"recipe.{stage}.yaml", recipe)  # JSON is YAML
    record = {"data": "d", "code": "c", "versions": {"torch": "2"}}
    write_json(run / "run.json", {"stages": dict.fromkeys(stages, record)})
    write_json(run / "facts.json", {"initial_encoder": "e", "samples_seen": 96, "world_size": 1} | facts)
    return run


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("name", "ours/b"),
        ("seed_everything", 2),
        ("model.class_path", "SoftmaxModule"),
        ("model.init_args.loss", {"label_smoothing": 0.1}),
        ("data.source.init_args.root", "/b"),
    ],
)
def test_what_makes_an_arm_or_changes_no_number_may_differ(path: str, value: Any) -> None:
    assert recipe_differences({"a": RECIPE, "b": changed(path, value)}, ["a", "b"]) == []


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ("trainer.max_epochs", 4, "trainer.max_epochs: a has 3, b has 4"),
        ("data.crop_size", 32, "data.crop_size: a has 64, b has 32"),
        ("trainer.callbacks.1.class_path", "C", "trainer.callbacks.1.class_path: a has B, b has C"),
        ("model.init_args.optimizer.class_path", "SGD", "model.init_args.optimizer.class_path: a has AdamW, b has SGD"),
        ("model.init_args.optimizer.init_args.lr", 1.0, "model.init_args.optimizer.init_args.lr: a has 0.1, b has 1.0"),
        (
            "model.init_args.optimizer.init_args.weight_decay",
            0.05,
            "model.init_args.optimizer.init_args.weight_decay: a has None, b has 0.05",
        ),
        ("data.samples_per_class", 4, "crops per step and process: a has 32, b has 16"),
        ("trainer.precision", "bf16-mixed", "trainer.precision: a has None, b has bf16-mixed"),
        ("data.ood_train", ["background"], "data.ood_train.0: a has None, b has background"),
        ("data.clutter_per_batch", 8, "data.clutter_per_batch: a has None, b has 8"),
    ],
)
def test_everything_else_has_to_be_equal(path: str, value: Any, said: str) -> None:
    assert recipe_differences({"a": RECIPE, "b": changed(path, value)}, ["a", "b"]) == [said]


@pytest.mark.parametrize("short", ["model.optimizer.lr", "model.init_args.optimizer.lr"])
def test_a_search_may_name_an_option_by_its_short_form(short: str) -> None:
    rate = "model.init_args.optimizer.init_args.lr"
    recipes = {"a": RECIPE, "b": changed(rate, 1.0)}
    assert recipe_differences(recipes, ["a", "b"], {"a": [rate], "b": [short]}) == []
    assert len(recipe_differences(recipes, ["a", "b"], {"a": [], "b": ["model.optimizer.lr_decay"]})) == 1
    search = Search(2, {"softmax": {rate: [1, 2]}, "triplet": {short: [1, 2]}})
    assert experiment(search=search).searched == {arm: ["model.optimizer.lr"] for arm in search.space}


def test_a_learning_rate_may_differ_where_a_search_has_chosen_it() -> None:
    rate, decay = (f"model.init_args.optimizer.init_args.{name}" for name in ("lr", "weight_decay"))
    recipes = {"a": RECIPE, "b": changed(rate, 1.0), "c": changed(decay, 0.5)}
    arms = list(recipes)
    decays = [f"{decay}: a has None, c has 0.5"]
    assert recipe_differences(recipes, arms, {"a": [], "b": [rate], "c": []}) == decays
    assert recipe_differences(recipes, arms, {key: [rate] for key in arms}) == decays
    assert recipe_differences(recipes, arms, {key: [rate, decay] for key in arms}) == []
    alone = recipe_differences(recipes, arms, {"a": [rate]})  # b has not searched, and differs from c
    assert alone == [f"{rate}: b has 1.0, c has 0.1", *decays]
    smaller = {"a": RECIPE, "b": changed("data.crop_size", 32)}  # a search chooses nothing that arms share
    assert len(recipe_differences(smaller, ["a", "b"], {key: ["data.crop_size"] for key in "ab"})) == 1


def test_batches_of_as_many_crops_may_be_made_of_other_classes() -> None:
    other = changed("data.classes_per_batch", 8)
    other["data"]["samples_per_class"] = 4
    assert recipe_differences({"a": RECIPE, "b": other}, ["a", "b"]) == []


def test_batches_of_all_classes_are_compared_by_their_crops_of_each() -> None:
    every, fewer = (changed("data.classes_per_batch", None) for _ in range(2))
    fewer["data"]["samples_per_class"] = 4
    assert recipe_differences({"a": every, "b": every}, ["a", "b"]) == []
    (sentence,) = recipe_differences({"a": every, "b": fewer}, ["a", "b"])
    assert sentence == "crops per step and process: a has 8 of each class, b has 4 of each class"


def test_of_floors_the_clutter_is_compared() -> None:
    """Clutter moves groups from split to split, and so changes what a floor is tested on."""
    floor = changed("data.ood_train", ["background"])
    (sentence,) = recipe_differences({"a": RECIPE, "floor": floor}, ["a"])
    assert sentence == "data.ood_train.0: a has None, floor has background"


def test_of_floors_the_model_is_not_compared() -> None:
    floor = changed("model.init_args", {"encoder": "pixels"})
    assert recipe_differences({"a": RECIPE, "floor": floor}, ["a"]) == []
    assert len(recipe_differences({"a": RECIPE, "floor": floor}, ["a", "floor"])) > 0


def test_what_runs_recorded_is_compared(tmp_path: Path) -> None:
    runs = {arm: write_run(tmp_path / arm, RECIPE) for arm in ("a", "b")}
    assert differences(runs, ["a", "b"]) == []
    rate = "model.init_args.optimizer.init_args.lr"
    write_run(tmp_path / "b", changed(rate, 1.0))
    assert differences(runs, ["a", "b"]) == [f"{rate}: a has 0.1, b has 1.0"]
    assert differences(runs, ["a", "b"], {"b": [rate]}) == []
    write_run(tmp_path / "b", RECIPE, samples_seen=48)
    assert differences(runs, ["a", "b"]) == ["samples seen: a has 96, b has 48"]
    write_json(tmp_path / "b" / "facts.json", {"initial_encoder": "e", "world_size": 1})
    assert differences(runs, ["a", "b"]) == [
        "b has recorded no samples seen",
        "samples seen: a has 96, b has None",
    ]


def test_other_data_and_a_test_split_touched_twice_are_told(tmp_path: Path) -> None:
    runs = {arm: write_run(tmp_path / arm, RECIPE) for arm in ("a", "b")}
    record = {"data": "d", "code": "c", "versions": {"torch": "2"}}
    stages = {"fit": record | {"data": "other"}, "test": record | {"times": 2}}
    write_json(tmp_path / "b" / "run.json", {"stages": stages})
    assert differences(runs, ["a", "b"]) == [
        "crop table of the fit: a has d, b has other",
        f"the test split was touched 2 times by b ({tmp_path / 'b'})",
    ]


def test_runs_of_one_arm_differ_in_seed_and_fold_alone(tmp_path: Path) -> None:
    runs = [write_run(tmp_path / str(seed), changed("seed_everything", seed)) for seed in (1, 2)]
    assert arm_differences("a", {run: read_recipe(run) for run in runs}) == []
    runs.append(write_run(tmp_path / "3", changed("model.init_args.loss.margin", 0.5)))
    (said,) = arm_differences("a", {run: read_recipe(run) for run in runs})
    assert said == f"model.init_args.loss.margin of a: {runs[0]} has 0.2, {runs[2]} has 0.5"


def test_a_floor_has_the_recipe_of_its_test(tmp_path: Path) -> None:
    floor = write_run(tmp_path / "floor", RECIPE, stages=("test",))
    assert read_recipe(floor) == RECIPE
    with pytest.raises(ValueError, match="is not a run's folder: it has no recipe"):
        read_recipe(tmp_path)
    write_text(floor / "recipe.test.yaml", "")
    with pytest.raises(ValueError, match=r"recipe\.test\.yaml is damaged"):
        read_recipe(floor)
