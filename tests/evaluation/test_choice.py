"""Which score is chosen on validation, and why."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn.functional import normalize

from dml_lightning.evaluation.choice import (
    Compared,
    Trial,
    choose_score,
    compare,
    fitted,
    simplest,
)
from dml_lightning.evaluation.evidence import Evidence
from dml_lightning.metrics.bootstrap import group_draws
from dml_lightning.metrics.ood import auroc
from dml_lightning.openset.scores import KINDS, RANK_SUM, rank_sum, ranked, score
from dml_lightning.types import SETS, Embeddings, LinearHead

NAMES = ["coot", "gadwall", "mallard", "fox", "seal"]
SIZES = {"reference": 90, "known": 60, "novel": 0, "ood": 40, "clutter": 0, "calibration": 60}


def part(labels: torch.Tensor, seed: int, told_by: str) -> Embeddings:
    """Crops around a point per class, 4 apart. `told_by` says where OOD crops (labels above 2) lie apart from them."""
    generator = torch.Generator().manual_seed(seed)
    centres = {space: 4 * torch.eye(8)[labels % 3] for space in ("vectors", "features")}
    centres[told_by] = 4 * torch.eye(8)[labels]
    noisy = {space: at + 0.8 * torch.randn(len(labels), 8, generator=generator) for space, at in centres.items()}
    index = torch.arange(len(labels))
    return Embeddings(noisy["vectors"], labels, index, features=normalize(noisy["features"], dim=1))


def evidence(told_by: str, ood: bool = True, flights: int = 8, reject: float | None = None) -> Evidence:
    """Evidence of a classifier of the known classes; with `reject`, the factor of OOD classes in a reject class."""
    labels = {name: torch.arange(size) % 3 + (3 if name == "ood" else 0) for name, size in SIZES.items()}
    labels["ood"] = torch.arange(SIZES["ood"] if ood else 0) % 2 + 3
    sets = {name: part(labels[name], seed, told_by) for seed, name in enumerate(SETS)}
    groups = {name: np.array([f"f{i % flights}" for i in range(len(own))], dtype=str) for name, own in sets.items()}
    head = LinearHead(torch.eye(8)[:3], torch.zeros(3))
    row = None if reject is None else LinearHead(reject * torch.eye(8)[3:5].sum(0, keepdim=True), torch.zeros(1))
    return Evidence(sets, NAMES, 3, groups, prediction_rule="softmax", head=head, reject=row)


def test_the_space_that_tells_ood_from_known_is_chosen() -> None:
    choice = choose_score(evidence("features"))
    assert choice.kind in ("knn1_features", "knn5_features", "mahalanobis")
    assert choice.aurocs["nearest"] < 0.8 < 0.95 < choice.aurocs[choice.kind]
    assert list(choice.aurocs) == [kind for kind in (*KINDS, RANK_SUM) if kind != "reject"]
    both = "OOD classes (fox, seal) and, counted as much, over known classes, each held out as unknown (coot, gadwall, "
    assert f"mean over {both}mallard); " in choice.reason
    assert choose_score(evidence("vectors")).kind in ("nearest", "radius", "knn1", "knn5")


def test_calibration_crops_do_not_matter() -> None:
    given = evidence("features")
    others = part(torch.zeros(5, dtype=torch.int64), 99, "vectors")
    changed = replace(given, sets={**given.sets, "calibration": others})
    first, second = choose_score(given), choose_score(changed)
    assert (first.kind, first.aurocs, first.reason) == (second.kind, second.aurocs, second.reason)


def test_without_ood_each_known_class_is_held_out_of_references_and_known_crops() -> None:
    given = evidence("features", ood=False)
    given.sets["ood"] = replace(given.sets["ood"], features=None)  # as no crop was embedded
    choice, expected = choose_score(given), []
    known = given.sets["known"]
    for label in range(3):
        fewer = fitted(given, without=label)
        own, unknown = (fewer.scores(known.at(rows)) for rows in (known.labels != label, known.labels == label))
        expected.append(auroc(*(rank_sum(scores, ranked(own)) for scores in (own, unknown))))
    assert choice.aurocs[RANK_SUM] == pytest.approx(np.mean(expected))
    assert "mean over known classes, each held out as unknown (coot, gadwall, mallard); " in choice.reason


def test_the_reject_class_is_chosen_where_it_tells_most() -> None:
    given = evidence("vectors", reject=9.0)
    wide = torch.tensor([1.0] * 5 + [30.0] * 3)  # in directions that the classifier does not look at
    stretched = {name: replace(own, vectors=own.vectors * wide) for name, own in given.sets.items()}
    choice = choose_score(replace(given, sets=stretched))
    assert choice.kind == "reject"
    assert list(choice.aurocs) == [*KINDS, RANK_SUM]
    assert {name: array.shape for name, array in choice.arrays.items()} == {
        "classifier_weight": (4, 8),
        "classifier_bias": (4,),
    }


def test_a_known_class_that_is_held_out_is_no_evidence_against_rejecting() -> None:
    """Its row of the classifier is left out, as its crops are of the references."""
    given = evidence("vectors", ood=False, reject=1.0)
    known, expected = given.sets["known"], []
    for label in range(3):
        others = [other for other in range(3) if other != label]
        odds = known.vectors[:, 3:5].sum(1) - known.vectors[:, others].logsumexp(1)
        expected.append(auroc(odds[known.labels != label], odds[known.labels == label]))
    assert choose_score(given).aurocs["reject"] == pytest.approx(np.mean(expected))


def test_without_anything_unknown_it_is_the_prototype_distance() -> None:
    given = evidence("features", ood=False)
    single = {name: own.at(own.labels == 0) for name, own in given.sets.items()}
    groups = {name: given.groups[name][given.sets[name].labels.numpy() == 0] for name in SETS}
    choice = choose_score(replace(given, sets=single, groups=groups))
    assert (choice.kind, choice.aurocs) == ("nearest", {})
    assert choice.reason == "there is neither an OOD class nor a second known class on validation"


def test_a_single_flight_tells_no_scores_apart() -> None:
    choice = choose_score(evidence("features", flights=1))
    assert choice.kind == "nearest"
    assert choice.reason.endswith("known or unknown crops are of a single flight, which does not tell scores apart")


def test_embeddings_without_features_have_fewer_scores() -> None:
    given = evidence("features")
    bare = {name: replace(own, features=None) for name, own in given.sets.items()}
    assert list(choose_score(replace(given, sets=bare)).aurocs) == ["nearest", "radius", "knn1", "knn5", RANK_SUM]


def trial(rng: np.random.Generator, names: np.ndarray, shifts: dict[str, float]) -> Trial:
    """A trial on flights of its own, whose unknown crops are shifted by score."""
    flights = [rng.choice(names, size) for size in (40, 25)]
    known = {kind: rng.normal(0, 1, 40) for kind in shifts}
    return Trial("a class", known, {kind: rng.normal(shift, 1, 25) for kind, shift in shifts.items()}, *flights)


def test_the_standard_error_is_that_of_whole_flights_drawn_again() -> None:
    rng, names = np.random.default_rng(0), np.array([f"f{i}" for i in range(6)])
    unknown = [[trial(rng, names, {"nearest": shift}) for shift in shifts] for shifts in ((1, 0), (1, 2, 3))]
    means = []
    for times in group_draws(6, 200, seed=3):
        of_kinds = []
        for own in unknown:
            values = []
            for each in own:
                sides = ((each.known, each.known_flights), (each.unknown, each.unknown_flights))
                drawn = [
                    np.concatenate(
                        [np.tile(of["nearest"][at == name], n) for name, n in zip(names, times, strict=True)]
                    )
                    for of, at in sides
                ]
                values += [auroc(*drawn)] if all(map(len, drawn)) else []
            of_kinds += [np.mean(values)] if values else []
        means += [np.mean(of_kinds)] if of_kinds else []
    compared = compare(unknown, draws=200, seed=3)
    assert compared.errors["nearest"] == pytest.approx(np.std(means, ddof=1) * np.sqrt(6 / 5))
    assert compared.flights == 6
    single = [[auroc(each.known["nearest"], each.unknown["nearest"]) for each in own] for own in unknown]
    assert compared.aurocs["nearest"] == pytest.approx((np.mean(single[0]) + np.mean(single[1])) / 2)


def test_a_score_that_tells_one_kind_of_unknown_alone_is_not_the_best() -> None:
    rng, names = np.random.default_rng(1), np.array([f"f{i}" for i in range(8)])
    like_background = [trial(rng, names, {"nearest": 1.5, "reject": 6.0}) for _ in range(4)]
    birds = [trial(rng, names, {"nearest": 1.5, "reject": 0.0})]
    assert simplest(compare([like_background])) == "reject"
    assert simplest(compare([like_background, birds])) == "nearest"


def test_the_simplest_within_one_standard_error_of_the_best_wins() -> None:
    aurocs = {"nearest": 0.7, "radius": 0.8, "knn1": 0.9, "knn5": 0.88}
    for error, kind in ((0.05, "knn1"), (0.1, "radius"), (0.2, "nearest"), (float("inf"), "nearest")):
        assert simplest(Compared(aurocs, dict.fromkeys(aurocs, error), 8)) == kind
    of_best = {"nearest": 1.0, "radius": 1.0, "knn1": 0.01, "knn5": 1.0}  # that of the best counts alone
    assert simplest(Compared(aurocs, of_best, 8)) == "knn1"


def test_only_what_the_score_needs_is_kept() -> None:
    given = evidence("features")
    choice = choose_score(given)
    everything = fitted(given)
    known = everything.crops(given.sets["known"])
    assert score(choice.kind, known, everything.arrays | choice.arrays).tolist() == choice.known.tolist()
    assert not {"vectors", "features", "radii"} & choice.arrays.keys()
    assert choose_score(evidence("vectors")).arrays == {}
