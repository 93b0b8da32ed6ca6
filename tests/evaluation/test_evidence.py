"""Embeddings of any framework, read back as they were meant or refused in one sentence."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from dml_lightning.evaluation.evidence import Evidence, read_evidence
from dml_lightning.evaluation.naming import accuracy_values

Arrays = dict[str, NDArray[Any]]


def arrays() -> Arrays:
    """Two known classes, one novel, two OOD; rows in no order."""
    roles = ["reference"] * 4 + ["known"] * 3 + ["novel"] * 2 + ["ood"] * 2 + ["calibration"]
    texts = ["duck", "duck", "coot", "coot", "duck", "coot", "duck", "swan", "swan", "tree", "fox", "coot"]
    order = np.random.default_rng(0).permutation(12)
    return {
        "vectors": np.arange(36, dtype=np.float32).reshape(12, 3)[order],
        "labels": np.array(texts)[order],
        "roles": np.array(roles)[order],
        "index": np.arange(12)[order],
    }


def read(path: Path, content: Arrays) -> Evidence:
    np.savez(path / "e.npz", **content)
    return read_evidence(path / "e.npz")


def test_rows_come_by_set_and_index_with_known_classes_first(tmp_path: Path) -> None:
    result = read(tmp_path, arrays())
    assert result.class_names == ["coot", "duck", "swan", "fox", "tree"]
    assert result.num_classes == 2
    assert result.sets["reference"].index.tolist() == [0, 1, 2, 3]
    assert result.sets["known"].labels.tolist() == [1, 0, 1]
    assert result.sets["ood"].labels.tolist() == [4, 3]
    assert result.sets["calibration"].labels.tolist() == [0]
    np.testing.assert_array_equal(result.sets["novel"].vectors, [[21, 22, 23], [24, 25, 26]])
    assert result.sets["novel"].vectors.dtype == torch.float32
    assert (result.prediction_rule, result.head, result.thumbnails) == ("prototype", None, {})


def test_sets_without_rows_are_there_and_empty(tmp_path: Path) -> None:
    content = arrays()
    kept = np.isin(content["roles"], ("reference", "known"))
    result = read(tmp_path, {key: value[kept] for key, value in content.items()})
    for name in ("novel", "ood", "calibration"):
        assert len(result.sets[name]) == 0  # type: ignore[index]
        assert result.sets[name].vectors.shape == (0, 3)  # type: ignore[index]
        assert len(result.groups[name]) == 0  # type: ignore[index]


def test_other_groups_are_searched_where_groups_are_named_and_not_turned_off(tmp_path: Path) -> None:
    content = arrays()
    assert read(tmp_path, content).other_groups is False
    content["groups"] = np.array([f"flight {row % 3}" for row in range(12)])
    assert read(tmp_path, content).other_groups is True
    content["other_groups"] = np.array(False)
    result = read(tmp_path, content)
    result.save(tmp_path / "again.npz")
    assert result.other_groups is read_evidence(tmp_path / "again.npz").other_groups is False
    for wrong, message in (
        (np.array(1), "other_groups must be true or false, got int64"),
        (np.array([True, False]), r"other_groups must be one value, got \(2,\)"),
    ):
        with pytest.raises(ValueError, match=message):
            read(tmp_path, {**content, "other_groups": wrong})


def test_a_crop_without_a_group_is_its_own(tmp_path: Path) -> None:
    content = arrays()
    result = read(tmp_path, content)
    assert len({name for groups in result.groups.values() for name in groups.tolist()}) == 12
    flights = np.array([f"f{i % 3}" for i in content["index"]])
    named = read(tmp_path, content | {"groups": flights})
    assert named.groups["known"].tolist() == ["f1", "f2", "f0"]


def test_the_order_of_given_names_is_kept_within_known_novel_and_ood(tmp_path: Path) -> None:
    names = np.array(["tree", "duck", "coot", "fox", "swan", "lynx"])
    content = arrays() | {"class_names": names}
    assert read(tmp_path, content).class_names == ["duck", "coot", "swan", "tree", "fox", "lynx"]
    number = {name: label for label, name in enumerate(names.tolist())}
    content["labels"] = np.array([number[word] for word in content["labels"].tolist()])
    again = read(tmp_path, content)
    assert again.class_names == ["duck", "coot", "swan", "tree", "fox", "lynx"]
    assert again.sets["known"].labels.tolist() == [0, 1, 0]


def test_integers_without_names_are_classes_of_that_name(tmp_path: Path) -> None:
    content = arrays()
    texts = sorted(set(content["labels"].tolist()))
    content["labels"] = np.array([texts.index(w) + 7 for w in content["labels"].tolist()])
    result = read(tmp_path, content)  # coot 7, duck 8, fox 9, swan 10, tree 11
    assert result.class_names == ["7", "8", "10", "9", "11"]


def test_many_integers_keep_their_order(tmp_path: Path) -> None:
    labels = np.repeat(np.arange(12), 2)
    result = read(
        tmp_path,
        {
            "vectors": np.eye(24, dtype=np.float32),
            "labels": labels,
            "roles": np.tile(["reference", "known"], 12),
            "logits": np.eye(12, dtype=np.float32)[labels],
            "prediction_rule": np.array("softmax"),
        },
    )
    known = result.sets["known"]
    assert known.logits is not None
    assert known.logits.argmax(1).tolist() == known.labels.tolist()  # column c is class c


def test_what_is_saved_is_read(tmp_path: Path) -> None:
    content = arrays() | {
        "class_names": np.array(["duck", "coot"]),
        "far_ood": np.array(["tree"]),
        "logits": np.random.default_rng(1).normal(size=(12, 2)),
        "features": np.random.default_rng(2).normal(size=(12, 5)),
        "head_weight": np.ones((2, 3)),
        "head_bias": np.array([1.0, 2.0]),
        "prediction_rule": np.array("softmax"),
        "encoder": np.array("0123456789abcdef"),
        "thumbnails": np.arange(12 * 4, dtype=np.uint8).reshape(12, 2, 2),
    }
    first = read(tmp_path, content)
    first.save(tmp_path / "again.npz")
    second = read_evidence(tmp_path / "again.npz")
    assert second.class_names == first.class_names
    assert second.far_ood == frozenset({"tree"})
    assert second.prediction_rule == "softmax"
    assert second.encoder == "0123456789abcdef"
    assert second.head is not None
    assert second.head.bias.tolist() == [1.0, 2.0]
    for name, part in first.sets.items():
        other = second.sets[name]
        assert part.features is not None
        assert part.features.shape == (len(part), 5)
        for mine, theirs in zip(vars(part).values(), vars(other).values(), strict=True):
            torch.testing.assert_close(mine, theirs, rtol=0, atol=0)
        np.testing.assert_array_equal(first.groups[name], second.groups[name])
        np.testing.assert_array_equal(first.thumbnails[name], second.thumbnails[name])


def test_columns_are_those_of_the_class_names(tmp_path: Path) -> None:
    """Of a perfect classifier whose classes are in no alphabetical order."""
    content, names = arrays(), ["duck", "coot"]
    content["logits"] = np.array([[float(label == name) for name in names] for label in content["labels"]])
    content |= {"class_names": np.array(names), "prediction_rule": np.array("softmax")}
    assert accuracy_values(read(tmp_path, content))["accuracy"] == 1
    numbered = content | {"labels": np.array([[*names, "swan", "fox", "tree"].index(x) for x in content["labels"]])}
    del numbered["class_names"]
    assert accuracy_values(read(tmp_path, numbered))["accuracy"] == 1


@pytest.mark.parametrize(
    ("key", "values"),
    [("logits", np.zeros((12, 2))), ("head_weight", np.ones((2, 3)))],
)
def test_columns_of_classes_without_a_name_are_refused(tmp_path: Path, key: str, values: NDArray[Any]) -> None:
    content = arrays() | {key: values}
    if key == "head_weight":
        content["head_bias"] = np.zeros(2)
    with pytest.raises(ValueError, match=f"labels are names, and which column of {key} is which class is not said"):
        read(tmp_path, content)
    with pytest.raises(ValueError, match=f"class_names lacks 'coot', so that no column of {key} is known"):
        read(tmp_path, content | {"class_names": np.array(["duck", "swan"])})
    assert read(tmp_path, content | {"class_names": np.array(["duck", "coot"])}).class_names[:2] == ["duck", "coot"]


def test_half_precision_unit_vectors_are_normalized(tmp_path: Path) -> None:
    content = arrays()
    assert not read(tmp_path, content).normalized
    unit = content["vectors"] / np.linalg.norm(content["vectors"], axis=1, keepdims=True)
    result = read(tmp_path, content | {"vectors": unit.astype(np.float16)})
    assert result.normalized
    assert result.sets["known"].vectors.dtype == torch.float32


def changed(**change: Any) -> Arrays:
    return {key: value for key, value in (arrays() | change).items() if value is not None}


def with_row(key: str, row: int, value: Any) -> Arrays:
    content = arrays()
    at = int(np.flatnonzero(content["index"] == row)[0])
    content[key] = content[key].astype("U16") if content[key].dtype.kind == "U" else content[key]
    content[key][at] = value
    return content


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (changed(labels=None), r"lacks the array\(s\) labels; it has index, roles, vectors"),
        (
            changed(vectors=np.ones(12)),
            r"vectors must be floating-point \(N, D\) .*, got float64 \(12,\)",
        ),
        (changed(vectors=np.ones((12, 3), int)), "vectors must be floating-point"),
        (changed(groups=np.zeros(11)), "groups has 11 rows, vectors has 12"),
        (changed(logits=np.zeros((5, 2))), "logits has 5 rows, vectors has 12"),
        (with_row("vectors", 3, np.nan), "row [0-9]+ of vectors holds NaN or infinity"),
        (changed(features=np.zeros((5, 2))), "features has 5 rows, vectors has 12"),
        (changed(features=np.zeros((12, 2), int)), "features must be numbers, got int64"),
        (changed(features=np.full((12, 2), np.nan)), "row 0 of features holds NaN or infinity"),
        (with_row("roles", 3, "train"), "the role 'train' is none of reference, known"),
        (with_row("index", 1, 0), "index 0 comes twice among the reference rows"),
        (with_row("labels", 7, "duck"), "the class 'duck' is known in some rows and novel in others"),
        (with_row("labels", 9, "swan"), "the class 'swan' is novel in some rows and ood in others"),
        (with_row("labels", 5, "gull"), "the known class 'gull' has no row with the role 'reference'"),
        (changed(prediction_rule=np.array("knn")), "prediction_rule is 'knn'"),
        (changed(prediction_rule=np.array("softmax")), "there is no array logits"),
        (
            changed(head_weight=np.ones((2, 4)), class_names=np.array(["duck", "coot"])),
            r"head_weight \(2, 4\) and head_bias \(2,\) must be \(C, 3\)",
        ),
        (changed(labels=np.full(12, 9), class_names=np.array(["a"])), "labels go from 9 to 9, class_names has 1"),
        (changed(labels=np.full(12, -1), class_names=np.array(["a"])), "labels go from -1 to -1"),
        (changed(head_bias=np.ones(2)), "there is an array head_bias and no head_weight"),
        (
            changed(logits=np.zeros((12, 3)), class_names=np.array(["duck", "coot"])),
            r"logits \(12, 3\) is of 3 classes, and the reference rows of 2",
        ),
        (
            changed(head_weight=np.ones((3, 3)), class_names=np.array(["duck", "coot"])),
            r"head_weight \(3, 3\) is of 3 classes",
        ),
        (changed(class_names=np.array(["duck", "duck"])), "class_names has 'duck' more than once"),
        (changed(thumbnails=np.zeros((12, 4, 4))), "thumbnails must be uint8"),
        (changed(labels=np.ones((12, 2), int)), r"labels must have 1 dimension\(s\), got \(12, 2\)"),
        (changed(far_ood=np.array(["tre"])), "far_ood names 'tre', which is no class of the file; there are coot, "),
        (changed(labels=np.full(12, 0.5)), "labels must be class names or integers, got float64"),
    ],
)
def test_nonsense_is_refused_with_the_file_and_the_array(content: Arrays, message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message) as told:
        read(tmp_path, content)
    assert "e.npz" in str(told.value)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize("role", ["reference", "known"])
def test_nothing_is_judged_without_references_and_known_crops(tmp_path: Path, role: str) -> None:
    content = arrays()
    content["roles"][content["roles"] == role] = "calibration"
    with pytest.raises(ValueError, match=f"no row has the role '{role}'"):
        read(tmp_path, content)


def test_a_file_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="there is no such file"):
        read_evidence(tmp_path / "absent.npz")
    (tmp_path / "text.npz").write_text("vectors")
    with pytest.raises(ValueError, match=r"text\.npz cannot be read as an npz file"):
        read_evidence(tmp_path / "text.npz")
    np.save(tmp_path / "one.npy", np.ones(3))
    (tmp_path / "one.npy").rename(tmp_path / "one.npz")
    with pytest.raises(ValueError, match=r"one\.npz cannot be read as an npz file"):
        read_evidence(tmp_path / "one.npz")


def test_skipped_arrays_are_as_if_the_file_had_none(tmp_path: Path) -> None:
    more = {"features": np.ones((12, 2), np.float32), "thumbnails": np.zeros((12, 4, 4), np.uint8)}
    assert read(tmp_path, arrays() | more).thumbnails
    skipped = read_evidence(tmp_path / "e.npz", skip=("features", "thumbnails"))
    assert not skipped.thumbnails
    for name, part in read(tmp_path, arrays()).sets.items():
        assert skipped.sets[name].features is None
        torch.testing.assert_close(skipped.sets[name].vectors, part.vectors)
        assert torch.equal(skipped.sets[name].labels, part.labels)


def test_objects_are_never_unpickled(tmp_path: Path) -> None:
    content = arrays()
    np.savez(tmp_path / "e.npz", **content | {"groups": np.array([{}] * 12, dtype=object)})
    with pytest.raises(ValueError, match="cannot be read as an npz file of plain arrays"):
        read_evidence(tmp_path / "e.npz")
