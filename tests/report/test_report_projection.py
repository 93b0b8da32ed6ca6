"""Points of the plane and pictures of crops."""

import base64
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.decomposition import PCA

from dml_lightning.evaluation.evidence import Evidence, read_evidence
from dml_lightning.figures.projection import SPRITE_COLUMNS, chosen_crops, principal, project, sprite


@pytest.fixture
def evidence(tmp_path: Path, made) -> Evidence:  # type: ignore[no-untyped-def]
    np.savez(tmp_path / "e.npz", **made())
    return read_evidence(tmp_path / "e.npz")


@pytest.mark.parametrize("method", ["tsne", "pca"])
def test_a_projection_is_the_same_on_every_call_and_finite(method: str) -> None:
    vectors = np.random.default_rng(0).normal(size=(60, 5))
    first, second = project(vectors, method), project(vectors, method)  # type: ignore[arg-type]
    assert first.shape == (60, 2)
    assert np.isfinite(first).all()
    np.testing.assert_array_equal(first, second)


def test_pca_keeps_distances_of_points_in_a_plane() -> None:
    plane = np.random.default_rng(0).normal(size=(40, 2))
    turned = plane @ np.linalg.qr(np.random.default_rng(1).normal(size=(7, 2)))[0].T
    found = project(turned, "pca")
    for a, b in ((0, 1), (5, 30)):
        assert np.linalg.norm(found[a] - found[b]) == pytest.approx(np.linalg.norm(plane[a] - plane[b]))


def test_tsne_keeps_clusters_apart() -> None:
    rng = np.random.default_rng(0)
    vectors = np.concatenate([rng.normal(size=(30, 5)), rng.normal(size=(30, 5)) + 40])
    found = project(vectors)
    gap = np.linalg.norm(found[:30].mean(0) - found[30:].mean(0))
    assert gap > 3 * found[:30].std(0).max()


@pytest.mark.parametrize("shape", [(0, 4), (1, 4), (2, 4), (5, 1), (40, 1), (6, 3)])
def test_few_crops_or_dimensions_do_no_harm(shape: tuple[int, int]) -> None:
    found = project(np.random.default_rng(0).normal(size=shape))
    assert found.shape == (shape[0], 2)
    assert np.isfinite(found).all()


def test_equal_vectors_do_no_harm() -> None:
    assert np.isfinite(project(np.ones((40, 4)))).all()


def test_crops_are_drawn_by_share_and_small_classes_are_kept(evidence: Evidence) -> None:
    crops, vectors = chosen_crops(evidence, most=50)
    assert len(vectors) == len(crops.labels) <= 50
    assert set(crops.labels.tolist()) == set(range(6))
    whole, _ = chosen_crops(evidence)
    assert len(whole.labels) == 45 + 8 + 14  # no reference crops
    assert whole.same_as(chosen_crops(evidence)[0])
    assert not whole.same_as(crops)


def test_crops_and_vectors_are_of_the_same_rows(evidence: Evidence) -> None:
    crops, vectors = chosen_crops(evidence, most=40)
    part = evidence.sets["ood"]
    for row in np.flatnonzero(crops.roles == "ood"):
        at = part.index.tolist().index(int(crops.index[row]))
        np.testing.assert_allclose(vectors[row], part.vectors[at].numpy())
        assert crops.groups[row] == evidence.groups["ood"][at]
        assert crops.thumbnails is not None
        np.testing.assert_array_equal(crops.thumbnails[row], evidence.thumbnails["ood"][at])


def test_a_sprite_holds_every_crop_in_its_place() -> None:
    images = np.random.default_rng(0).integers(0, 256, size=(SPRITE_COLUMNS + 3, 8, 8), dtype=np.uint8)
    address, side = sprite(images)
    data = base64.b64decode(address.removeprefix("data:image/png;base64,"))
    sheet = np.asarray(Image.open(io.BytesIO(data)))
    assert (sheet.shape, side) == ((16, SPRITE_COLUMNS * 8), 8)
    np.testing.assert_array_equal(sheet[8:16, 16:24], images[SPRITE_COLUMNS + 2])
    np.testing.assert_array_equal(sheet[:8, 8:16], images[1])


def test_large_crops_are_made_small() -> None:
    assert sprite(np.full((2, 96, 96), 7, np.uint8))[1] == 32


def test_principal_coordinates_are_scikit_learns() -> None:
    vectors = np.random.default_rng(0).normal(size=(50, 8)) * np.arange(1, 9)
    expected = PCA(4, svd_solver="full").fit_transform(vectors)
    np.testing.assert_allclose(principal(vectors, 4), expected, atol=1e-10)
