"""YAML files of strangers: large once parsed, broken, and with texts that YAML takes for values."""

from pathlib import Path

import pytest

from dml_lightning.yaml_files import read_yaml
from tests.data.sources.making import text


@pytest.mark.parametrize(
    ("content", "nodes"),
    [
        ("[1, 2]", 3),
        ("a: &x [1, 2]\nb: *x\nc: *x\n", 13),  # 1 + 3 keys + 3 lists of 3
        ("a: &a [1]\nb: &b [*a, *a]\nc: [*b, *b]\n", 1 + 3 + 2 + 5 + 11),
        ("a: &x {k: v}\nb: {<<: *x, m: n}\n", 1 + 2 + 3 + (1 + 1 + 3 + 2)),
    ],
)
def test_the_parsed_size_is_bounded(tmp_path: Path, content: str, nodes: int) -> None:
    file = text(tmp_path / "data.yaml", content)
    assert read_yaml(file, max_nodes=nodes) is not None
    with pytest.raises(ValueError, match=rf"data\.yaml has more than {nodes - 1} nodes once its aliases are followed"):
        read_yaml(file, max_nodes=nodes - 1)


def test_doubling_aliases_are_counted_without_being_followed(tmp_path: Path) -> None:
    lines = ["n0: &n0 [duck]", *(f"n{n}: &n{n} [*n{n - 1}, *n{n - 1}]" for n in range(1, 40))]  # 2 ** 39 ducks
    file = text(tmp_path / "data.yaml", "\n".join(lines))
    with pytest.raises(ValueError, match="has more than 200000 nodes"):
        read_yaml(file)


def test_an_alias_inside_itself(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"data\.yaml has an alias inside of what it stands for"):
        read_yaml(text(tmp_path / "data.yaml", "names: &a [*a]"))


@pytest.mark.parametrize("content", ["names: [", "a: *nobody", "{" * 5000, "a: !!python/object:x.y {}", "a: b: c"])
def test_yaml_that_is_none(tmp_path: Path, content: str) -> None:
    with pytest.raises(ValueError, match=r"data\.yaml is no valid YAML") as error:
        read_yaml(text(tmp_path / "data.yaml", content))
    assert "\n" not in str(error.value)


def test_texts_below_a_key_stay_as_written(tmp_path: Path) -> None:
    file = text(tmp_path / "data.yaml", "names: {0: NO, 1: [yes, 010], 010: null}\nnc: 010\nflag: yes\nempty:\n")
    assert read_yaml(file, texts=["names"]) == {
        "names": {0: "NO", 1: ["yes", "010"], 8: "null"},
        "nc": 8,
        "flag": True,
        "empty": None,
    }
    assert read_yaml(text(tmp_path / "empty.yaml", "# nothing\n"), texts=["names"]) is None
