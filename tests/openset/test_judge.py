"""The judgement of a box against loops over the rows: ties, enrolled species, and distances that are missing."""

import ast
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from dml_lightning.openset import judge as judgement
from dml_lightning.openset.judge import (
    DecisionRule,
    Judgement,
    conformal_p_values,
    gaps,
    judge,
    named_sets,
    score,
    species_sets,
    vote,
)

Floats = NDArray[np.float64]
LETTERS = np.array(["coot", "gadwall", "mallard", "teal"])


class Boxes(NamedTuple):
    """Arguments of `judge`."""

    trained: Floats  # (N, C)
    enrolled: Floats  # (N, E)
    radii: Floats  # (C,)
    enrolled_radii: Floats  # (E,)
    rules: dict[str, DecisionRule]
    calibration: Floats  # (n,)
    classified: NDArray[np.int64] | None = None  # (N,)


def boxes(seed: int, *, size: int = 30, classes: int = 3, species: int = 2, classifies: bool = False) -> Boxes:
    """Distances in quarters, exact in binary and often equal: to each other, to a radius, to a threshold."""
    rng = np.random.default_rng(seed)
    quarters = [rng.integers(4, 17, shape) / 4 for shape in ((size, classes), (size, species), classes, species)]
    trained, enrolled, radii, enrolled_radii = quarters
    rules = {
        "A": DecisionRule(0.25, radii),
        "B": DecisionRule(1.75),
        "C": DecisionRule(1.5),
        "C_class": DecisionRule(0.0, rng.integers(2, 8, classes) / 4),
        "never": DecisionRule(np.inf),
    }
    classified = rng.integers(classes, size=size) if classifies else None
    calibration = np.sort(rng.integers(2, 10, 19) / 4)
    return Boxes(trained, enrolled, radii, enrolled_radii, rules, calibration, classified)


def slow_score(distances: list[float], rule: DecisionRule) -> float:
    balls = [0.0] * len(distances) if rule.balls is None else rule.balls.tolist()
    return min(distance - ball for distance, ball in zip(distances, balls, strict=True))


def slow_p_value(calibration: list[float], value: float) -> float:
    return (1 + sum(other >= value for other in calibration)) / (len(calibration) + 1)


def first_of_the_smallest(values: list[float]) -> int:
    return values.index(min(values))


def slow_row(given: Boxes, row: int) -> dict[str, Any]:
    """The judgement of one box, under the names of `columns`."""
    trained, enrolled = given.trained[row].tolist(), given.enrolled[row].tolist()
    everything, classes = trained + enrolled, len(trained)
    nearest = first_of_the_smallest(everything)
    own_class = first_of_the_smallest(trained) if given.classified is None else int(given.classified[row])
    own = {name: slow_score(trained, rule) for name, rule in given.rules.items()}
    scores, inside = dict(own), False
    if nearest >= classes:  # an enrolled species
        beyond = enrolled[nearest - classes] - given.enrolled_radii[nearest - classes]
        inside = bool(beyond <= 0)
        finite = {name: rule.threshold for name, rule in given.rules.items() if np.isfinite(rule.threshold)}
        scores |= {name: min(own[name], threshold + beyond) for name, threshold in finite.items()}
    every_radius = [*given.radii, *given.enrolled_radii]
    return {
        "name": nearest if inside else own_class,
        "nearest": nearest,
        "adjusted": first_of_the_smallest([d - r for d, r in zip(everything, every_radius, strict=True)]),
        "distance": min(everything),
        "distance_trained": min(trained),
        **{f"score {name}": value for name, value in scores.items()},
        **{f"known {name}": inside or own[name] <= rule.threshold for name, rule in given.rules.items()},
        "p_value": slow_p_value(given.calibration.tolist(), own["C"]),
    }


def columns(judged: Judgement) -> dict[str, NDArray[Any]]:
    """Each (N,), those by rule under both names."""
    flat = {name: values for name, values in judged._asdict().items() if not isinstance(values, dict)}
    flat |= {f"score {rule}": values for rule, values in judged.score.items()}
    return flat | {f"known {rule}": values for rule, values in judged.known.items()}


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    size=st.integers(0, 12),
    classes=st.integers(1, 4),
    species=st.integers(0, 3),
    classifies=st.booleans(),
)
def test_every_box_is_judged_as_defined(seed: int, size: int, classes: int, species: int, classifies: bool) -> None:
    given_boxes = boxes(seed, size=size, classes=classes, species=species, classifies=classifies)
    found = columns(judge(*given_boxes))
    assert {values.shape for values in found.values()} == {(size,)}
    for row in range(size):
        assert {name: values[row] for name, values in found.items()} == slow_row(given_boxes, row)


def test_the_made_boxes_meet_every_case() -> None:
    """Ties between a class and a species, a box on the surface of a ball, and one at a threshold."""
    made = boxes(0, size=200)
    to_class, to_species = made.trained.min(axis=1), made.enrolled.min(axis=1)
    assert (to_class == to_species).any()
    excess = (made.enrolled - made.enrolled_radii)[np.arange(200), made.enrolled.argmin(axis=1)]
    assert set(np.sign(excess[to_species < to_class])) == {-1, 0, 1}
    for name in ("A", "B", "C", "C_class"):
        assert (score(made.trained, made.rules[name]) == made.rules[name].threshold).any(), name


def test_a_tie_goes_to_the_class_and_a_surface_belongs_to_its_ball() -> None:
    rules = {"C": DecisionRule(0.5)}
    trained, enrolled = np.array([[2.0, 2.0], [2.0, 3.0], [3.0, 3.0]]), np.array([[4.0], [2.0], [2.0]])
    judged = judge(trained, enrolled, np.zeros(2), np.array([2.0]), rules)
    assert judged.nearest.tolist() == judged.name.tolist() == [0, 0, 2]
    assert judged.known["C"].tolist() == [False, False, True]
    assert judged.score["C"].tolist() == [2.0, 2.0, 0.5]  # on the surface: at the threshold
    assert np.isnan(judged.p_value).all()  # without a calibration


def test_a_score_at_the_threshold_is_known_and_an_infinite_one_refuses_nothing_or_all() -> None:
    above = np.nextafter(1.5, 2.0)
    trained, nothing = np.array([[1.5], [above], [1e300]]), np.empty((3, 0))
    rules = {"C": DecisionRule(1.5), "never": DecisionRule(np.inf), "always": DecisionRule(-np.inf)}
    judged = judge(trained, nothing, np.zeros(1), np.empty(0), rules)
    assert judged.known["C"].tolist() == [True, False, False]
    assert judged.known["never"].all()
    assert not judged.known["always"].any()
    assert judged.score["always"].tolist() == trained[:, 0].tolist()  # as by the other rules
    far = judge(trained, np.ones((3, 1)), np.zeros(1), np.array([0.5]), rules)  # nearest, and out of its ball
    assert far.score["never"].tolist() == trained[:, 0].tolist()  # not infinite


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), classifies=st.booleans())
def test_enrolling_adds_its_own_and_takes_nothing(seed: int, classifies: bool) -> None:
    after_given = boxes(seed, classifies=classifies)
    before = judge(*after_given._replace(enrolled=np.empty((30, 0)), enrolled_radii=np.empty(0)))
    after = judge(*after_given)
    renamed = after.name >= 3
    assert np.array_equal(after.name[~renamed], before.name[~renamed])
    assert np.array_equal(after.p_value, before.p_value)
    assert np.array_equal(after.distance_trained, before.distance_trained)
    for rule, threshold in after_given.rules.items():
        gained = after.known[rule] & ~before.known[rule]
        assert np.array_equal(after.known[rule], before.known[rule] | renamed)
        assert (gained <= renamed).all()
        assert (after.score[rule] <= before.score[rule]).all()
        assert np.array_equal(after.known[rule], after.score[rule] <= threshold.threshold)


@pytest.mark.parametrize("missing", ["all", "one class", "one species"])
def test_a_box_with_missing_distances_is_refused_and_changes_no_other(missing: str) -> None:
    whole = boxes(1)
    trained, enrolled = whole.trained.copy(), whole.enrolled.copy()
    whole.rules.pop("never")  # knows whatever has a distance to every class
    trained[4] += 10
    if missing != "one species":
        trained[4, slice(None) if missing == "all" else 1] = np.nan
    if missing != "one class":
        enrolled[4, slice(None) if missing == "all" else 0] = np.nan
    judged = judge(*whole._replace(trained=trained, enrolled=enrolled))
    assert not any(known[4] for known in judged.known.values())
    assert np.isnan(judged.distance[4])
    others = np.delete(np.arange(30), 4)
    alone = columns(judge(*whole._replace(trained=whole.trained[others], enrolled=whole.enrolled[others])))
    assert all(np.array_equal(values[others], alone[name]) for name, values in columns(judged).items())


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**6), size=st.integers(0, 10), classes=st.integers(1, 5), balls=st.booleans())
def test_a_score_is_the_smallest_distance_to_a_class_or_its_ball(
    seed: int, size: int, classes: int, balls: bool
) -> None:
    rng = np.random.default_rng(seed)
    distances = rng.random((size, classes))
    rule = DecisionRule(1.0, rng.random(classes) if balls else None)
    found = score(distances, rule)
    assert found.shape == (size,)
    assert found.tolist() == [slow_score(own, rule) for own in distances.tolist()]


def test_a_score_with_a_missing_distance_is_missing() -> None:
    found = score(np.array([[1.0, np.nan], [2.0, 3.0]]), DecisionRule(1.0, np.ones(2)))
    assert np.isnan(found[0])
    assert found[1] == 1.0


@settings(max_examples=60, deadline=None)
@given(
    calibration=st.lists(st.integers(0, 6), max_size=30),
    values=st.lists(st.one_of(st.integers(-1, 7), st.sampled_from([np.inf, -np.inf])), max_size=12),
)
def test_p_values_count_what_lies_at_or_above(calibration: list[int], values: list[float]) -> None:
    ascending = np.sort(np.array(calibration, float))
    found = conformal_p_values(ascending, np.array(values, float))
    assert found.dtype == np.float64
    assert found.tolist() == [slow_p_value(calibration, value) for value in values]


def test_a_missing_score_has_the_smallest_p_value() -> None:
    assert conformal_p_values(np.arange(19.0), np.array([np.nan])).tolist() == [1 / 20]


def slow_vote(row: list[str]) -> str:
    most = max(row.count(label) for label in row)
    return next(label for label in row if row.count(label) == most)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**6), size=st.integers(0, 10), k=st.integers(1, 7))
def test_the_commonest_neighbour_wins_and_the_nearest_of_equals(seed: int, size: int, k: int) -> None:
    numbers = np.random.default_rng(seed).integers(len(LETTERS), size=(size, k))
    for labels in (numbers, LETTERS[numbers]):
        assert vote(labels).tolist() == [slow_vote(row) for row in labels.tolist()]
        assert vote(labels).dtype == labels.dtype


def test_the_file_needs_numpy_alone() -> None:
    """An export copies it to where the package is not."""
    tree = ast.parse(Path(judgement.__file__).read_text(encoding="utf-8"))
    modules = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    modules |= {each.name for node in ast.walk(tree) if isinstance(node, ast.Import) for each in node.names}
    assert modules == {"collections.abc", "typing", "numpy", "numpy.typing"}


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("classifies", [True, False])
def test_sets_against_a_loop(seed: int, classifies: bool) -> None:
    """Each class within its limit behind the best one, then each enrolled species in whose ball the box lies."""
    given_boxes, rng = boxes(seed), np.random.default_rng(seed)
    logits = rng.integers(0, 8, given_boxes.trained.shape) / 4 if classifies else None
    limits = rng.integers(0, 8, 3) / 4
    excess = given_boxes.enrolled - given_boxes.enrolled_radii
    behind = gaps(given_boxes.trained, logits)
    members = species_sets(behind, limits, excess)
    names = ["coot", "gadwall", "mallard", "eider", "smew"]
    for row, (distances, named) in enumerate(zip(given_boxes.trained, named_sets(behind, members, names), strict=True)):
        scores = (
            [max(logits[row]) - value for value in logits[row]] if logits is not None else distances - min(distances)
        )
        inside = [(scores[c], c) for c in range(3) if scores[c] <= limits[c]]
        species = [3 + e for e in range(2) if given_boxes.enrolled[row, e] <= given_boxes.enrolled_radii[e]]
        assert named == [names[number] for _, number in sorted(inside)] + [names[number] for number in species]
        assert scores[names.index(named[0])] == 0


def test_an_enrolled_species_takes_no_class_out_of_a_set() -> None:
    given_boxes = boxes(9)
    behind, limits = gaps(given_boxes.trained), np.full(3, 0.5)
    before = species_sets(behind, limits, np.empty((30, 0)))
    after = species_sets(behind, limits, given_boxes.enrolled - given_boxes.enrolled_radii)
    assert np.array_equal(after[:, :3], before)
    assert after[:, 3:].any()
