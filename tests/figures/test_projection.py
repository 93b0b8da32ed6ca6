"""Points of the plane and pictures of crops."""

import base64
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE

from dml_lightning.evaluation.evidence import Evidence
from dml_lightning.figures.embeddings import draw_comparison
from dml_lightning.figures.projection import (
    SPRITE_COLUMNS,
    _projected,
    chosen_crops,
    principal,
    project,
    shown_crops,
    sprite,
    used_method,
)
from dml_lightning.report import page
from dml_lightning.report.inputs import read_inputs
from dml_lightning.types import Projection


@pytest.fixture(autouse=True)
def _forgotten() -> None:
    """No projection of another test is there."""
    _projected.cache_clear()


@pytest.mark.parametrize("method", ["tsne", "pca"])
def test_a_projection_is_the_same_on_every_call_and_finite(method: Projection) -> None:
    vectors = np.random.default_rng(0).normal(size=(60, 5))
    first = project(vectors, method)
    _projected.cache_clear()  # so that it is computed again
    second = project(vectors, method)
    assert first.shape == (60, 2)
    assert np.isfinite(first).all()
    np.testing.assert_array_equal(first, second)


def test_a_projection_is_computed_once_and_nobody_can_spoil_it(monkeypatch: pytest.MonkeyPatch) -> None:
    rng, made = np.random.default_rng(0), list[int]()
    vectors, others = rng.normal(size=(60, 5)), rng.normal(size=(60, 5))

    class Counted(TSNE):  # type: ignore[misc]  # scikit-learn has no types
        def fit_transform(self, x: Any, y: Any = None) -> Any:
            made.append(len(x))
            return super().fit_transform(x, y)

    monkeypatch.setattr("sklearn.manifold.TSNE", Counted)
    first = project(vectors)
    kept = first.copy()
    first[:] = np.nan
    np.testing.assert_array_equal(project(vectors.copy()), kept)  # told by what the array holds
    assert made == [60]
    vectors[0, 0] += 1e-9
    project(vectors)
    project(others)
    assert made == [60] * 3
    assert not np.array_equal(project(others, "pca"), project(others))


def test_a_comparison_s_picture_and_its_report_share_crops_and_projection(npz: Path) -> None:
    figure = draw_comparison({"e": npz})
    points = np.concatenate([np.stack(line.get_data(), axis=1) for line in figure.axes[0].lines])
    shown = page.embeddings(read_inputs([npz]), "tsne")
    assert _projected.cache_info()[:2] == (1, 1)  # found once, computed once
    (arm,) = shown["arms"]
    on_page = np.stack([arm["x"], arm["y"]], axis=1)
    order = np.argsort(shown["pools"][0]["labels"], kind="stable")
    np.testing.assert_allclose(on_page[order], points, atol=6e-4)  # the page rounds


def test_the_method_that_is_named_is_the_one_that_was_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sklearn.manifold.TSNE", None)  # PCA does without
    few = np.random.default_rng(0).normal(size=(29, 4))
    assert used_method(29) == "pca"
    np.testing.assert_array_equal(project(few), project(few, "pca"))
    assert used_method(30) == "tsne"
    assert used_method(30, "pca") == "pca"
    with pytest.raises(TypeError):
        project(np.concatenate([few, few]))


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
    crops = chosen_crops(evidence, most=50)
    assert len(crops.vectors) == len(crops.labels) <= 50
    assert set(crops.labels.tolist()) == set(range(6))
    whole = chosen_crops(evidence)
    assert len(whole.labels) == 45 + 8 + 14  # no reference crops
    assert whole.same_as(chosen_crops(evidence))
    assert whole.same_as(shown_crops(evidence))
    assert not whole.same_as(crops)


def test_crops_and_vectors_are_of_the_same_rows(evidence: Evidence) -> None:
    crops = chosen_crops(evidence, most=40)
    part = evidence.sets["ood"]
    for row in np.flatnonzero(crops.roles == "ood"):
        at = part.index.tolist().index(int(crops.index[row]))
        np.testing.assert_allclose(crops.vectors[row], part.vectors[at].numpy())
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
