"""Files of a run that belong together, by what its stages recorded of them."""

import json
from pathlib import Path

import pytest

from dml_lightning.files import write_text
from dml_lightning.runs import digests

ABC = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # sha256 of "abc", FIPS 180-4


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run that was fitted, validated and tested."""
    for name in ("recipe.fit.yaml", digests.BEST, "embeddings/val.npz", "gallery/0000.json", "embeddings/test.npz"):
        write_text(tmp_path / name, name)
    digests.record(tmp_path, "fit")
    digests.record(tmp_path, "val", ["embeddings/val.npz", "gallery/0000.json", "metrics/val.json"])
    digests.record(tmp_path, "test", ["embeddings/test.npz"])
    return tmp_path


def test_the_digest_is_that_of_the_bytes(tmp_path: Path) -> None:
    write_text(tmp_path / "file", "abc")
    assert digests.sha256(tmp_path / "file") == ABC


def test_a_stage_records_what_is_there(run: Path) -> None:
    write_text(run / digests.BEST, "abc")
    digests.record(run, "fit")
    content = json.loads((run / "digests" / "fit.json").read_text())
    assert content == {"recipe.fit.yaml": digests.sha256(run / "recipe.fit.yaml"), digests.BEST: ABC}
    assert list(digests.recorded(run, "val")) == [
        "recipe.fit.yaml",
        digests.BEST,
        "embeddings/val.npz",
        "gallery/0000.json",
    ]


def test_a_floor_has_the_recipe_of_its_test(tmp_path: Path) -> None:
    write_text(tmp_path / "recipe.test.yaml", "abc")
    digests.record(tmp_path, "test")
    assert digests.recorded(tmp_path, "test") == {"recipe.test.yaml": ABC}


def test_what_is_as_it_was_passes_and_what_is_gone_is_not_missed(run: Path) -> None:
    digests.check(run)
    (run / digests.BEST).unlink()
    digests.check(run)


def test_a_run_without_digests_is_not_checked(tmp_path: Path) -> None:
    write_text(tmp_path / "recipe.fit.yaml", "abc")
    digests.check(tmp_path)


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("recipe.fit.yaml", "RUN/recipe.fit.yaml is not the file that dml fit wrote, by RUN/digests/fit.json"),
        (digests.BEST, "RUN/checkpoints/best.ckpt is not the file that dml fit wrote, by RUN/digests/fit.json"),
        ("embeddings/val.npz", "RUN/embeddings/val.npz is not the file that dml validate wrote"),
        ("gallery/0000.json", "RUN/gallery/0000.json is not the file that dml validate wrote"),
        ("embeddings/test.npz", "RUN/embeddings/test.npz is not the file that dml test wrote"),
    ],
)
def test_an_edited_file_is_named(run: Path, name: str, sentence: str) -> None:
    write_text(run / name, "edited")
    with pytest.raises(ValueError, match="another run") as refusal:
        digests.check(run)
    assert str(refusal.value).startswith(sentence.replace("RUN", str(run)))


@pytest.mark.parametrize(("stage", "result"), [("val", "embeddings/val.npz"), ("test", "embeddings/test.npz")])
def test_results_of_another_checkpoint_are_named_with_it(run: Path, stage: digests.Stage, result: str) -> None:
    write_text(run / digests.BEST, "better")
    for each in digests.STAGES:
        if each != stage:
            digests.record(run, each)
    with pytest.raises(ValueError, match=r"was made of another checkpoints/best\.ckpt than the one in") as refusal:
        digests.check(run)
    assert str(refusal.value).startswith(str(run / result))
    assert f"{digests.COMMANDS[stage]} --run {run} makes" in str(refusal.value)


def test_the_stages_to_check_are_chosen(run: Path) -> None:
    write_text(run / "embeddings" / "test.npz", "edited")
    digests.check(run, ("fit", "val"))
    with pytest.raises(ValueError, match=r"test\.npz"):
        digests.check(run, ("test",))


def test_a_forgotten_stage_is_not_checked(run: Path) -> None:
    write_text(run / "embeddings" / "test.npz", "half written")
    digests.forget(run, "test")
    digests.forget(run, "test")
    digests.check(run)


def test_damaged_digests_are_named(run: Path) -> None:
    write_text(run / "digests" / "val.json", "[]")
    with pytest.raises(ValueError, match=r"val\.json is damaged"):
        digests.check(run)
