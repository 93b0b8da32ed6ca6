"""The few types that everybody shares."""

import pytest
import torch
from torch import Tensor

from dml_lightning.types import EVALUATION_SETS, SETS, Batch, Embeddings, Stream


def test_a_batch_names_its_index_which_tuples_have_as_a_method() -> None:
    batch = Batch(torch.zeros(2, 1, 3, 3), torch.tensor([0, 1]), torch.tensor([5, 9]), torch.empty(2, 0))
    assert batch.index.tolist() == [5, 9]
    assert [part.shape[0] for part in batch] == [2, 2, 2, 2]


def test_embeddings_move_with_all_their_columns() -> None:
    parts = (torch.rand(3, 2), torch.tensor([0, 1, 1]), torch.arange(3))
    bare, whole = Embeddings(*parts), Embeddings(*parts, logits=torch.rand(3, 4), features=torch.rand(3, 5))
    assert len(bare) == len(whole) == 3
    assert bare.to("meta").logits is None
    moved = whole.to("meta")
    assert moved.logits is not None
    assert {column.device.type for column in vars(moved).values()} == {"meta"}
    assert whole.vectors.device.type == "cpu"


def test_some_rows_are_those_of_every_column() -> None:
    whole = Embeddings(torch.rand(4, 2), torch.arange(4), torch.arange(4), torch.rand(4, 3), torch.rand(4, 5))
    rows = torch.tensor([1, 3])
    for chosen in (rows, torch.tensor([False, True, False, True])):
        for name, column in vars(whole.at(chosen)).items():
            assert torch.equal(column, getattr(whole, name)[rows])
    none = Embeddings(torch.rand(2, 2), torch.arange(2), torch.arange(2)).at(slice(0))
    assert (len(none), none.logits, none.features) == (0, None, None)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"vectors": torch.zeros(3)}, r"vectors must be floating-point \(N, D\), got torch.float32 \(3,\)\."),
        (
            {"vectors": torch.zeros(3, 2, dtype=torch.int64)},
            r"vectors must be floating-point \(N, D\), got torch.int64",
        ),
        ({"vectors": torch.zeros(2, 2)}, r"labels must be 2 integers, one per row, got torch.int64 \(3,\)\."),
        ({"labels": torch.zeros(3)}, r"labels must be 3 integers, one per row, got torch.float32 \(3,\)\."),
        ({"labels": torch.zeros(3, dtype=torch.bool)}, "labels must be 3 integers, one per row, got torch.bool"),
        ({"index": torch.zeros(3, 1, dtype=torch.int64)}, r"index must be 3 integers, .* got torch.int64 \(3, 1\)\."),
        ({"index": torch.arange(2)}, r"index must be 3 integers, .* got torch.int64 \(2,\)\."),
        ({"index": torch.tensor([4, 7, 7])}, r"the index must increase from row to row: row 2 has 7 after 7\."),
        ({"index": torch.tensor([4, 3, 9])}, r"the index must increase from row to row: row 1 has 3 after 4\."),
        ({"logits": torch.zeros(2, 4)}, r"logits must be \(3, C\), got torch.float32 \(2, 4\)\."),
        ({"logits": torch.zeros(3)}, r"logits must be \(3, C\), got torch.float32 \(3,\)\."),
        ({"features": torch.zeros(2, 4)}, r"features must be \(3, F\), got torch.float32 \(2, 4\)\."),
    ],
)
def test_columns_that_do_not_fit_are_refused_where_they_are_put_together(change: dict[str, Tensor], said: str) -> None:
    columns = {"vectors": torch.rand(3, 2), "labels": torch.tensor([0, 1, 1]), "index": torch.tensor([1, 4, 9])}
    Embeddings(**columns)
    with pytest.raises(ValueError, match=said):
        Embeddings(**{**columns, **change})


def test_no_rows_and_one_row_are_in_order() -> None:
    for rows in (0, 1):
        columns = (torch.zeros(rows, 2), torch.zeros(rows, dtype=torch.int32), torch.zeros(rows, dtype=torch.int64))
        assert len(Embeddings(*columns)) == rows


def test_calibration_comes_last_and_only_where_it_is_asked_for() -> None:
    assert (*EVALUATION_SETS, "calibration") == SETS


def test_every_kind_of_draw_has_a_stream_of_its_own() -> None:
    assert len({stream.value for stream in Stream}) == len(Stream.__members__)
