"""Where a run keeps its recipe, and what a damaged one says."""

from pathlib import Path

import pytest

from dml_lightning.files import write_text
from dml_lightning.runs.recipes import read_recipe_file, recipe_file, recipe_path


def test_a_recipe_is_read(tmp_path: Path) -> None:
    write_text(tmp_path / "recipe.fit.yaml", "seed_everything: 3\ndata: {known: [coot, Küken]}\n")
    result = read_recipe_file(tmp_path / "recipe.fit.yaml")
    assert result == {"seed_everything": 3, "data": {"known": ["coot", "Küken"]}}


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", r"is damaged: it holds no recipe\."),
        (b"a: [", "is no valid YAML"),
        (b"- 1\n- 2\n", r"is damaged: it holds no recipe\."),
        (b"just words", r"is damaged: it holds no recipe\."),
        (b"model: other.yaml", r"is damaged: its section model is .other\.yaml.\."),
        (b"\xff\xfe\x00", "is no valid YAML"),
        (b"a: &a [1, 2, 3]\n" + b"b: [" + b"*a, " * 50_000 + b"]", "has more than 200000 nodes"),
    ],
)
def test_a_damaged_recipe_is_named(tmp_path: Path, content: bytes, why: str) -> None:
    path = tmp_path / "recipe.fit.yaml"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=rf"recipe\.fit\.yaml {why}"):
        read_recipe_file(path)


def test_the_recipe_of_a_stage(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"is not a run's folder: it has no recipe\.fit\.yaml"):
        recipe_path(tmp_path)
    write_text(tmp_path / "recipe.test.yaml", "a: 1")
    assert recipe_path(tmp_path, "test") == tmp_path / "recipe.test.yaml"
    with pytest.raises(ValueError, match="not a run's folder"):
        recipe_path(tmp_path)


def test_the_fit_comes_before_the_test_and_a_floor_has_the_test_alone(tmp_path: Path) -> None:
    assert recipe_file(tmp_path) is None
    write_text(tmp_path / "recipe.test.yaml", "a: 1")
    assert recipe_file(tmp_path) == tmp_path / "recipe.test.yaml"
    write_text(tmp_path / "recipe.fit.yaml", "a: 1")
    assert recipe_file(tmp_path) == tmp_path / "recipe.fit.yaml"
