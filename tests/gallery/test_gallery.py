"""What a gallery is built of, and what comes back from the disk."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from dml_lightning.evaluation.evidence import Evidence
from dml_lightning.gallery import changes
from dml_lightning.gallery.answer import answer
from dml_lightning.gallery.gallery import EnrolledSpecies, Gallery, encoder_digest
from dml_lightning.types import Embeddings
from tests.gallery.crops import DIGEST, NAMES, crops, embeddings, same


def test_what_is_loaded_answers_as_what_was_saved(evidence: Evidence, stored: Path) -> None:
    built, queries = Gallery.build(evidence, DIGEST), embeddings([0, 1, 2, 5, 9], 9, 5)
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
    Gallery.build(evidence, DIGEST).save(stored)
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
    assert list(gallery.rules) == ["A", "B", "C", "C_class"]


def test_one_crop_per_flight_is_an_option_of_rule_c(evidence: Evidence) -> None:
    chosen = Gallery.build(evidence, DIGEST, alpha=0.3, per_flight=True).threshold("C")
    assert chosen is not None
    assert (chosen.samples, chosen.groups) == (4, 4)
    everything = Gallery.build(evidence, DIGEST, alpha=0.3).threshold("C")
    assert everything is not None
    assert (everything.samples, everything.groups) == (120, 4)
