"""What a gallery is built of, and what comes back from the disk."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dml_lightning.data.crops import CropOptions
from dml_lightning.evaluation.evidence import Evidence
from dml_lightning.gallery import changes
from dml_lightning.gallery.answer import answer
from dml_lightning.gallery.gallery import Gallery, encoder_digest
from dml_lightning.gallery.summary import EnrolledSpecies
from dml_lightning.types import Embeddings
from tests.gallery.crops import DIGEST, NAMES, crops, embeddings, same


def test_what_is_loaded_answers_as_what_was_saved(evidence: Evidence, stored: Path) -> None:
    built, queries = Gallery.build(evidence, DIGEST, per_class=True), embeddings([0, 1, 2, 5, 9], 9, 5)
    loaded = Gallery.load(stored)
    assert same(answer(built, queries), answer(loaded, queries))
    assert (loaded.names, loaded.prior, loaded.encoder) == (NAMES, built.prior, DIGEST)
    assert list(loaded.rules) == ["A", "B", "C", "C_class"]
    assert loaded.default_rule == "C"
    threshold = loaded.threshold("C")
    assert (threshold.samples, threshold.groups) == (120, 4)
    assert np.array_equal(threshold.owners, built.threshold("C").owners)


def test_saving_the_same_again_adds_nothing(evidence: Evidence, stored: Path) -> None:
    files = sorted(stored.iterdir())
    Gallery.build(evidence, DIGEST, per_class=True).save(stored)
    assert sorted(stored.iterdir()) == files


def test_a_new_base_keeps_species_of_the_same_encoder_alone(evidence: Evidence, stored: Path) -> None:
    changes.add_species(stored, "eider", crops(5, 5, 0), DIGEST)
    Gallery.build(evidence, DIGEST, alpha=0.2).save(stored)
    assert Gallery.load(stored).names == [*NAMES, "eider"]
    Gallery.build(evidence, "another").save(stored)
    assert Gallery.load(stored).names == NAMES


def test_rules_are_the_strongest_that_the_data_allow(evidence: Evidence) -> None:
    none = embeddings([], 0, 0)
    groups = {**evidence.groups, "calibration": np.empty(0, str)}
    plain = replace(evidence, sets={**evidence.sets, "calibration": none}, groups=groups)
    assert Gallery.build(plain, DIGEST).default_rule == "B"
    bare = replace(plain, sets={**plain.sets, "ood": none})
    gallery = Gallery.build(bare, DIGEST)
    assert gallery.default_rule == "A"
    assert np.isnan(answer(gallery, embeddings([0], 3, 0)).p_value).all()
    with pytest.raises(ValueError, match=r"no rule 'C' .* which has A\. Rule C needs a calibration"):
        gallery.threshold("C")


def test_rule_b_takes_clutter_where_there_is_nothing_else(evidence: Evidence) -> None:
    none, others = embeddings([], 0, 0), evidence.sets["ood"]
    clutter = Gallery.build(replace(evidence, sets={**evidence.sets, "ood": none, "clutter": others}), DIGEST)
    threshold = clutter.threshold("B")
    assert threshold.seen
    assert "5 % of known crops, the unknown ones being of kinds that training saw; refuses" in threshold.origin
    assert threshold.refuses(clutter.scores(others)).mean() > 0.5
    both = Gallery.build(replace(evidence, sets={**evidence.sets, "clutter": evidence.sets["known"]}), DIGEST)
    assert both.threshold("B") == Gallery.build(evidence, DIGEST).threshold("B")
    assert not both.threshold("B").seen


def test_a_calibration_too_small_for_alpha_is_not_the_default(evidence: Evidence) -> None:
    few = embeddings([0, 1, 2], 2, 13)
    sets = {**evidence.sets, "calibration": few}
    groups = {**evidence.groups, "calibration": np.repeat("a", 6)}
    with pytest.warns(UserWarning, match="too few for alpha"):
        gallery = Gallery.build(replace(evidence, sets=sets, groups=groups), DIGEST)
    assert gallery.default_rule == "B"
    enrolled = replace(gallery, enrolled=(EnrolledSpecies("eider", crops(5, 3, 0), 1.0),))
    assert answer(enrolled, embeddings([9], 5, 0)).known["C"].all()  # refuses nothing


def test_the_digest_knows_weights_names_and_options() -> None:
    torch.manual_seed(0)
    encoder = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2))
    first = encoder_digest(encoder, "options")
    assert first == encoder_digest(encoder, "options")
    assert len(first) == 16
    assert first != encoder_digest(encoder, "other options")
    sizes = [CropOptions(side_inputs=names) for names in ((), ("width",), ("height",))]
    sizes.append(CropOptions(crop_metres=2.0))
    assert len({encoder_digest(encoder, options) for options in sizes}) == 4
    assert "side_inputs" not in repr(sizes[0])  # galleries from before have the same digest
    with torch.no_grad():
        encoder[0].bias[0] += 1e-6
    assert first != encoder_digest(encoder, "options")


class OnADevice(torch.Tensor):
    """A tensor that, like one on a GPU, has no NumPy form before `.cpu()`."""

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        if func in (torch.Tensor.__array__, torch.Tensor.numpy):
            raise TypeError("can't convert cuda:0 device type tensor to numpy")
        found = super().__torch_function__(func, types, args, kwargs or {})
        moved = func is torch.Tensor.cpu or (func is torch.Tensor.to and "cpu" in map(str, args))
        return found.as_subclass(torch.Tensor) if moved else found


def test_a_gallery_is_built_from_embeddings_on_a_device(evidence: Evidence) -> None:
    moved = {
        name: Embeddings(*(column.as_subclass(OnADevice) for column in (own.vectors, own.labels, own.index)))
        for name, own in evidence.sets.items()
    }
    with pytest.raises(TypeError):
        np.asarray(moved["known"].labels)
    gallery = Gallery.build(replace(evidence, sets=moved), DIGEST)
    assert list(gallery.rules) == ["A", "B", "C"]


def test_one_crop_per_flight_is_an_option_of_rule_c(evidence: Evidence) -> None:
    chosen = Gallery.build(evidence, DIGEST, alpha=0.3, per_flight=True).threshold("C")
    assert chosen is not None
    assert (chosen.samples, chosen.groups) == (4, 4)
    everything = Gallery.build(evidence, DIGEST, alpha=0.3).threshold("C")
    assert everything is not None
    assert (everything.samples, everything.groups) == (120, 4)


def test_too_few_flights_for_one_crop_of_each_give_all_crops_and_say_so(evidence: Evidence) -> None:
    """Four flights allow no alpha below a fifth: one crop of each would give an infinite threshold."""
    gallery = Gallery.build(evidence, DIGEST, alpha=0.1, per_flight=True)
    threshold, pooled = gallery.threshold("C"), Gallery.build(evidence, DIGEST, alpha=0.1).threshold("C")
    assert (threshold.value, threshold.samples, gallery.per_flight) == (pooled.value, 120, True)
    shares = [
        Gallery.build(without(evidence, flight), DIGEST, alpha=0.1).threshold("C").refuses(scores(evidence, flight))
        for flight in np.unique(evidence.groups["calibration"])
    ]
    assert threshold.left_out == pytest.approx(np.mean([share.mean() for share in shares]))
    excess = 100 * (threshold.left_out - 0.1)
    assert (
        "n=120 crops of 4 flights; too few flights for one crop of each, so all crops count; "
        f"{100 * threshold.left_out:.1f} % of a flight refused by the others ({excess:+.1f} % against alpha); refuses "
    ) in threshold.origin
    assert "too few flights" not in pooled.origin
    assert f"{100 * threshold.left_out:.1f} % of a flight refused" in pooled.origin


def without(evidence: Evidence, flight: str) -> Evidence:
    """The split without a calibration flight."""
    rows = evidence.groups["calibration"] != flight
    groups = {**evidence.groups, "calibration": evidence.groups["calibration"][rows]}
    return replace(evidence, sets={**evidence.sets, "calibration": part(evidence, rows)}, groups=groups)


def scores(evidence: Evidence, flight: str) -> np.ndarray:  # type: ignore[type-arg]
    """Distances of a calibration flight's crops to their nearest prototype."""
    own = part(evidence, evidence.groups["calibration"] == flight).vectors
    return np.asarray(Gallery.build(evidence, DIGEST).prototypes.score(own))


def part(evidence: Evidence, rows: np.ndarray) -> Embeddings:  # type: ignore[type-arg]
    every, chosen = evidence.sets["calibration"], torch.from_numpy(rows)
    return Embeddings(every.vectors[chosen], every.labels[chosen], every.index[chosen])


def test_every_rule_says_what_it_refuses_of_the_known_validation_crops(evidence: Evidence, stored: Path) -> None:
    known = evidence.sets["known"]
    for gallery in (Gallery.load(stored), changes.recalibrate_rule_c(stored, known, evidence.groups["known"], DIGEST)):
        kept = answer(gallery, known).known
        assert list(kept) == ["A", "B", "C", "C_class"]
        for rule, threshold in gallery.thresholds.items():
            assert threshold.refused == pytest.approx(1 - kept[rule].mean())
            assert threshold.origin.endswith(f"refuses {100 * threshold.refused:.1f} % of known validation crops")


def test_rule_b_costs_what_it_may(evidence: Evidence) -> None:
    near = {**evidence.sets, "ood": embeddings([0], 20, 3)}  # not to be told from known crops
    for cost in (0.0, 0.05, 0.5):
        rule = Gallery.build(replace(evidence, sets=near), DIGEST, cost=cost).threshold("B")
        assert rule.refused <= cost == rule.cost
    assert rule.refused > 0.05
    with pytest.raises(ValueError, match=r"cost is a share of the known crops, from 0 to 1, got 1\.5"):
        Gallery.build(evidence, DIGEST, cost=1.5)


def change_base(folder: Path, edit: Callable[[dict[str, Any]], object]) -> None:
    """Edits the fields of a base as version 0.1 wrote them, without a digest."""
    base = folder / "0000.json"
    fields = json.loads(base.read_text())
    del fields["words_sha256"]
    edit(fields)
    base.write_text(json.dumps(fields))


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (lambda fields: fields.pop("class_names"), "is damaged .lacks 'class_names'.; restore the whole folder"),
        (lambda fields: fields["class_names"].pop(), r"its class_names must be 3 different names, got \['coot', 'gad"),
        (lambda fields: fields.update(class_names=["coot", "coot", "mallard"]), "must be 3 different names"),
        (lambda fields: fields.update(class_names=["coot", 1, "mallard"]), "must be 3 different names"),
        (lambda fields: fields.update(class_names=None), "must be 3 different names, got None"),
        (
            lambda fields: fields.update(prediction_rule="nearest"),
            "its prediction_rule is 'nearest', none of soft",
        ),
        (lambda fields: fields.update(prior={"a": 1}), "is damaged .*unexpected keyword argument 'a'"),
        (lambda fields: fields.pop("texts"), "is damaged .lacks 'texts'."),
        (lambda fields: fields.pop("encoder"), "is damaged .lacks 'encoder'."),
    ],
)
def test_a_base_with_other_fields_than_were_written_is_named(
    stored: Path, edit: Callable[[dict[str, Any]], object], said: str
) -> None:
    change_base(stored, edit)
    with pytest.raises(ValueError, match=f"record 0 of .*{said}"):
        Gallery.load(stored)


def test_features_of_the_reference_crops_are_kept(evidence: Evidence, stored: Path) -> None:
    given, kept = evidence.sets["reference"].features, Gallery.load(stored).reference.features
    assert given is not None
    assert kept is not None
    assert torch.equal(kept, given)
