"""What the recipe of a run's folder may name, with harmless modules that tell when they are imported."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonargparse import ArgumentParser

from dml_lightning import trust
from dml_lightning.data.sources.recognise import read_source
from dml_lightning.losses import PMLLoss
from tests import ROOT

OWN = "dml_lightning"


@pytest.fixture
def strange(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Name of a module that may be imported, and whose import can be seen in `sys.modules`."""
    folder = tmp_path / "strange_packages"
    folder.mkdir()
    lines = ["class Thing:", "    pass", "", "def function():", "    return Thing()", ""]
    (folder / "strange_things.py").write_text("\n".join(lines))
    monkeypatch.syspath_prepend(folder)
    yield "strange_things"
    sys.modules.pop("strange_things", None)


def recipe(tmp_path: Path, **content: Any) -> Path:
    path = tmp_path / "recipe.fit.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


def model(**arguments: Any) -> dict[str, Any]:
    return {"class_path": f"{OWN}.models.TripletModule", "init_args": arguments}


def test_every_shipped_config_may_be_a_recipe(tmp_path: Path) -> None:
    found = []
    for path in (ROOT / "configs").rglob("*.yaml"):
        content = yaml.safe_load(path.read_text())
        if path.parent.name not in ("experiment", "sweep"):
            found += trust.check_recipe(recipe(tmp_path, **content))
    assert {f"{OWN}.losses.pml.PMLLoss", f"{OWN}.models.sync.GlobalBatchNorm"} <= set(found)
    assert "pytorch_metric_learning.losses.arcface_loss.ArcFaceLoss" in found


def test_a_recipe_of_before_may_name_what_has_moved() -> None:
    old = ROOT / "tests" / "old_files" / "run_of_0_1" / "recipe.fit.yaml"
    assert f"{OWN}.runs.checkpoints.BestCheckpoint" in trust.check_recipe(old)


def test_a_class_may_be_named_by_the_shortest_of_its_names(tmp_path: Path) -> None:
    path = recipe(tmp_path, model=model(encoder={"class_path": f"{OWN}.Encoder"}))
    assert trust.check_recipe(path) == [f"{OWN}.models.triplet.TripletModule", f"{OWN}.models.encoder.Encoder"]


ROLES = [
    ("loss", {"model": model(loss={"class_path": "NAME"})}),
    ("optimizer", {"model": model(optimizer={"class_path": "NAME"})}),
    ("scheduler", {"model": model(scheduler={"class_path": "NAME"})}),
    ("callbacks", {"trainer": {"callbacks": [{"class_path": f"{OWN}.callbacks.Retrieval"}, {"class_path": "NAME"}]}}),
    ("source", {"data": {"source": {"class_path": "NAME"}}}),
    (
        "miner",
        {"model": model(loss={"class_path": f"{OWN}.losses.PMLLoss", "init_args": {"miner": {"class_path": "NAME"}}})},
    ),
    ("model", {"model": {"class_path": "NAME"}}),
    ("logger", {"trainer": {"logger": {"class_path": "NAME"}}}),
    ("profiler", {"trainer": {"profiler": {"class_path": "NAME"}}}),
    ("norm_layer", {"model": model(encoder={"backbone_args": {"norm_layer": {"class_path": "NAME"}}})}),
    (
        "root",
        {
            "data": {
                "source": {"class_path": f"{OWN}.data.sources.CocoJson", "init_args": {"root": {"class_path": "NAME"}}}
            }
        },
    ),
    ("optimizer", {"model": model(optimizer="NAME")}),
]


def named(content: Any, name: str) -> Any:
    return yaml.safe_load(yaml.safe_dump(content).replace("NAME", name))


@pytest.mark.parametrize(("role", "content"), ROLES)
def test_a_class_that_is_not_listed_is_refused_before_its_import_and_taken_when_trusted(
    tmp_path: Path, strange: str, role: str, content: Any
) -> None:
    path = recipe(tmp_path, **named(content, f"{strange}.Thing"))
    with pytest.raises(ValueError, match=f"add --trust {strange}") as refusal:
        trust.check_recipe(path)
    assert str(refusal.value).startswith(f"{path} names {strange}.Thing as {role}, ")
    assert strange not in sys.modules
    with pytest.raises(ValueError, match="add --trust"):
        trust.check_recipe(path, ["strange"])  # a module, not the beginning of its name
    assert f"{strange}.Thing" in trust.check_recipe(path, [strange])


@pytest.mark.parametrize(("role", "content"), ROLES)
def test_a_listed_class_of_another_role_is_refused(tmp_path: Path, role: str, content: Any) -> None:
    other = f"{OWN}.models.Encoder" if role != "model" else "torch.optim.AdamW"
    with pytest.raises(ValueError, match=f"as {role}, which is none of the classes that a run's folder may name there"):
        trust.check_recipe(recipe(tmp_path, **named(content, other)))


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("torch.optim.adam.adam", "functions are never called by name"),
        ("torch.optim.Adamm", "there is no such class"),
        ("torch.optim.nothing.Adam", "there is no such class"),
        ("torch.optim.lr_scheduler.partial", "which is none of the classes"),  # it is only imported there
    ],
)
def test_only_classes_that_are_defined_there(tmp_path: Path, name: str, why: str) -> None:
    with pytest.raises(ValueError, match=f"names {name} as optimizer, .*{why}"):
        trust.check_recipe(recipe(tmp_path, model=model(optimizer={"class_path": name})))


def test_a_function_of_a_trusted_module_is_refused(tmp_path: Path, strange: str) -> None:
    path = recipe(tmp_path, model=model(optimizer={"class_path": f"{strange}.function"}))
    with pytest.raises(ValueError, match="functions are never called by name"):
        trust.check_recipe(path, [strange])


@pytest.mark.parametrize("key", ["weights_only", "ckpt_path", "config", "trust", "model.class_path"])
def test_other_settings_than_those_of_a_recipe_are_refused(tmp_path: Path, key: str) -> None:
    with pytest.raises(ValueError, match=f"sets {key}, which no recipe of a run does"):
        trust.check_recipe(recipe(tmp_path, **{key: "x"}))


def test_a_name_with_dots_does_not_hide_a_class(tmp_path: Path, strange: str) -> None:
    with pytest.raises(ValueError, match=r"has the setting 'loss\.class_path'"):
        trust.check_recipe(recipe(tmp_path, model=model(**{"loss.class_path": f"{strange}.Thing"})))
    for source in ({"init_args.root.class_path": "x"}, {"init_args": {"root.class_path": "x"}}):
        with pytest.raises(ValueError, match=r"root\.class_path', which is no name"):
            trust.check_recipe(recipe(tmp_path, data={"source": source}))
    names = {"class_path": f"{OWN}.data.sources.Yolo", "init_args": {"names": {"coot.adult": 1}}}
    trust.check_recipe(recipe(tmp_path, data={"source": names}))


def test_texts_that_look_like_modules_are_texts(tmp_path: Path) -> None:
    source = {"class_path": f"{OWN}.data.sources.CsvTable", "init_args": {"root": "torch.data", "file": "test.csv"}}
    encoder = {"class_path": f"{OWN}.models.Encoder", "init_args": {"backbone": "resnet50.a1_in1k"}}
    data = {"source": source, "known": ["site.one"], "cache_dir": "cache.of.all"}
    found = trust.check_recipe(recipe(tmp_path, data=data, model=model(encoder=encoder), name="triplet.a"))
    assert [name.rpartition(".")[2] for name in found] == ["CsvTable", "TripletModule", "Encoder"]


def test_a_recipe_that_is_none_or_too_large_is_named(tmp_path: Path) -> None:
    path = tmp_path / "recipe.fit.yaml"
    for content, why in (("- 1", "holds no recipe"), ("", "holds no recipe"), ("a: [", "no valid YAML")):
        path.write_text(content)
        with pytest.raises(ValueError, match=why):
            trust.check_recipe(path)
    lines = ["n0: &n0 [duck]", *(f"n{n}: &n{n} [*n{n - 1}, *n{n - 1}]" for n in range(1, 40))]
    path.write_text("\n".join(lines))
    with pytest.raises(ValueError, match="more than 200000 nodes"):
        trust.check_recipe(path)


def test_the_words_of_the_option() -> None:
    assert trust.modules_of("a.b, c,") == ("a.b", "c")
    with pytest.raises(ValueError, match=r"--trust 'a/b' is no name of a module"):
        trust.modules_of("a/b")


def test_a_recipe_is_known_by_its_name_or_by_what_lies_beside_it(tmp_path: Path) -> None:
    assert trust.is_recipe(tmp_path / "recipe.validate.yaml")
    assert not trust.is_recipe(tmp_path / "arm.yaml")
    (tmp_path / "run.json").write_text("{}")
    assert trust.is_recipe(tmp_path / "arm.yaml")
    assert not trust.is_recipe(tmp_path / "predictions.csv")


def parser() -> ArgumentParser:
    made = ArgumentParser(exit_on_error=False)
    made.add_subclass_arguments(PMLLoss, "loss")
    made.add_argument("--anything", type=Any)
    return made


def loss(name: str) -> dict[str, Any]:
    inner = {
        "class_path": "pytorch_metric_learning.losses.TripletMarginLoss",
        "init_args": {"distance": {"class_path": name}},
    }
    return {"loss": {"class_path": f"{OWN}.losses.PMLLoss", "init_args": {"loss": inner}}}


def test_parsers_import_nothing_else_while_a_recipe_is_read(tmp_path: Path, strange: str) -> None:
    """The second line: what the library would import of a text, of a file, or below an untyped argument."""
    listed = loss("pytorch_metric_learning.distances.CosineSimilarity")
    with trust.reading(recipe(tmp_path, model=model())):
        made = parser().instantiate_classes(parser().parse_object(listed))
        assert type(made.loss.loss.distance).__name__ == "CosineSimilarity"
        with pytest.raises(Exception, match=f"Importing '{strange}.Thing' is not allowed"):
            parser().instantiate_classes(parser().parse_object({**listed, "loss": f"{strange}.Thing"}))
        assert strange not in sys.modules
    with trust.reading(recipe(tmp_path, model=model()), trust=[strange]):
        made = parser().instantiate_classes(parser().parse_object(loss(f"{strange}.Thing")))
        assert type(made.loss.loss.distance).__name__ == "Thing"


def test_what_parsers_may_import_is_as_before_afterwards(tmp_path: Path, strange: str) -> None:
    with trust.reading(recipe(tmp_path, model=model())):
        pass
    made = parser().instantiate_classes(parser().parse_object(loss(f"{strange}.Thing")))
    assert type(made.loss.loss.distance).__name__ == "Thing"


def test_the_user_s_own_words_and_files_are_trusted(tmp_path: Path, strange: str) -> None:
    own = tmp_path / "own.yaml"
    own.write_text(f"trainer: {{callbacks: [{{class_path: {strange}.Thing}}]}}")
    folder = tmp_path / "run"
    folder.mkdir()
    path = recipe(folder, model=model())
    for words in (["-c", str(path), f"--config={own}"], ["-c", str(path), f"--loss={strange}.Thing"]):
        with trust.reading_recipes(words):
            parser().instantiate_classes(parser().parse_object(loss(f"{strange}.Thing")))
    for words in ([f"-c{path}"], [f"--config={path}"], ["--config", str(path)]):
        with trust.reading_recipes(words), pytest.raises(Exception, match="is not allowed"):
            parser().parse_object({"loss": f"{strange}.Thing"})
    with trust.reading_recipes([f"--config={own}"]):  # no recipe, so nothing to check
        parser().instantiate_classes(parser().parse_object(loss(f"{strange}.Thing")))


def test_a_folder_trusts_no_module_by_its_own_name(strange: str, tmp_path: Path) -> None:
    """A run's folder may be called after a module, and a link to its recipe after anything."""
    run = tmp_path / f"{strange}.v1"
    run.mkdir()
    file = recipe(run, data={"source": {"class_path": f"{OWN}.data.sources.CocoJson", "init_args": {"root": "x"}}})
    bait = run / "bait.yaml"
    bait.write_text(yaml.safe_dump({"data": {"source": {"class_path": f"{strange}.Thing"}}}))
    with trust.reading_recipes(["test", "-c", str(file)]), pytest.raises(ValueError, match=strange):
        read_source(bait)
    link = tmp_path / "mine.yaml"
    link.symlink_to(recipe(run, model={"class_path": f"{strange}.Thing"}))
    with pytest.raises(ValueError, match=f"names {strange}.Thing as model"), trust.reading_recipes(["-c", str(link)]):
        pass
    assert strange not in sys.modules


def test_of_a_part_nothing_else_is_imported(tmp_path: Path, strange: str) -> None:
    encoder = {"class_path": f"{OWN}.models.Encoder"}
    part = ("model", "init_args", "encoder")
    elsewhere = model(encoder=encoder, loss={"class_path": f"{OWN}.losses.no_such_module.Loss"})
    path = recipe(tmp_path, model=elsewhere)
    assert trust.check_recipe(path, part=part) == [f"{OWN}.models.encoder.Encoder"]
    assert trust.check_recipe(path, part=("data", "source")) == []
    with trust.reading(path, part=part), pytest.raises(Exception, match="SGD' is not allowed"):
        parser().parse_object({"loss": "torch.optim.SGD"})
    with pytest.raises(ValueError, match="there is no such class"):
        trust.check_recipe(path)
    for wrong in (model(encoder=encoder, loss={"class_path": f"{strange}.Thing"}), model(encoder=f"{strange}.Thing")):
        with pytest.raises(ValueError, match=f"names {strange}.Thing as (loss|encoder), which is none of the classes"):
            trust.check_recipe(recipe(tmp_path, model=wrong), part=part)
    inner = {**encoder, "init_args": {"backbone": {"class_path": f"{OWN}.losses.TripletLoss"}}}
    with pytest.raises(ValueError, match=r"names .*TripletLoss as backbone, which is none of the classes"):
        trust.check_recipe(recipe(tmp_path, model=model(encoder=inner)), part=part)
