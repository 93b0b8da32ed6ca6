"""The few types that everybody shares."""

import torch

from dml_lightning.types import EVALUATION_SETS, SETS, Batch, Embeddings


def test_a_batch_names_its_index_which_tuples_have_as_a_method() -> None:
    batch = Batch(torch.zeros(2, 1, 3, 3), torch.tensor([0, 1]), torch.tensor([5, 9]))
    assert batch.index.tolist() == [5, 9]
    assert [part.shape[0] for part in batch] == [2, 2, 2]


def test_embeddings_move_with_all_their_columns() -> None:
    parts = (torch.rand(3, 2), torch.tensor([0, 1, 1]), torch.arange(3))
    bare, whole = Embeddings(*parts), Embeddings(*parts, logits=torch.rand(3, 4))
    assert len(bare) == len(whole) == 3
    assert bare.to("meta").logits is None
    moved = whole.to("meta")
    assert moved.logits is not None
    assert {column.device.type for column in (moved.vectors, moved.labels, moved.index, moved.logits)} == {"meta"}
    assert whole.vectors.device.type == "cpu"


def test_calibration_comes_last_and_only_where_it_is_asked_for() -> None:
    assert (*EVALUATION_SETS, "calibration") == SETS
