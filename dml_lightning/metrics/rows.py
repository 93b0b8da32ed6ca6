"""Base of the torchmetrics classes: rows that are kept until an epoch ends, and gathered over ranks."""

from typing import Any, ClassVar

import torch
import torch.distributed as dist
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities.distributed import gather_all_tensors

from dml_lightning.distributed import without_copies
from dml_lightning.pairs.blocks import Vectors, as_labels

INTEGERS = torch.empty(0, dtype=torch.int64)


def gather_rows(rows: Tensor, group: Any = None) -> list[Tensor]:
    """Gather the rows of every rank of a group; some ranks may hold none.

    For a rank that was never updated torchmetrics makes up an empty vector of floats, and its own gather then fails,
    since shape and type differ from those of the other ranks: here such a rank takes theirs.

    Args:
        rows: Rows (N_r, ...) of this rank; N_r may differ between ranks, the rest may not.
        group: Process group; None is all processes.

    Raises:
        ValueError: On every rank, if the ranks hold rows of different shapes or types.
    """
    kinds: list[Any] = [None] * dist.get_world_size(group)
    dist.all_gather_object(kinds, (len(rows), tuple(rows.shape[1:]), rows.dtype), group=group)
    held = {(shape, dtype) for count, shape, dtype in kinds if count}
    if len(held) > 1:
        raise ValueError(f"ranks must keep rows of one shape and type, got {sorted(map(str, held))}.")
    if not held:
        return [rows]
    ((shape, dtype),) = held
    return gather_all_tensors(rows if len(rows) else rows.new_empty((0, *shape), dtype=dtype), group)


class RowMetric(Metric):
    """Base class that keeps named columns with one entry per crop until `compute`.

    Each column is a list state that is concatenated over ranks. Columns that updates leave out stay empty.
    """

    full_state_update = False  # an update does not depend on earlier ones
    is_differentiable = False
    columns: ClassVar[dict[str, Tensor]]  # name -> the column without rows; the first always has one entry per crop

    def __init__(self, **kwargs: Any) -> None:
        # A rank without a batch since the last `compute` would return the cached value, and the others wait for it.
        super().__init__(**{"dist_sync_fn": gather_rows, "compute_with_cache": False, **kwargs})
        for name in self.columns:
            self.add_state(name, [], dist_reduce_fx="cat")

    def keep(self, **columns: Tensor | None) -> None:
        """Add the rows of a batch, copied: a compiled encoder writes every batch into the same memory.

        Raises:
            ValueError: If embeddings differ in size from those before.
        """
        for name, values in columns.items():
            if values is None:
                continue
            kept = getattr(self, name)
            if kept and kept[-1].shape[1:] != values.shape[1:]:
                have, got = kept[-1].shape[1], values.shape[1]
                raise ValueError(f"{name} have {got} dimensions and those before {have}: embed all with one encoder.")
            kept.append(values.detach().clone())

    def keep_crops(self, rows: Tensor, index: Vectors | None, groups: Vectors | None, **columns: Tensor) -> None:
        """Add the rows of a batch with the number and the group of each crop.

        Args:
            rows: Rows (B, ...) of the batch, which name the device.
            index: Unique number (B,) of each crop, integers, or None.
            groups: Group (B,) of each crop, integers, or None.
            columns: Other columns of the batch.

        Raises:
            ValueError: If index or groups are not one integer per row, or embeddings differ in size from those before.
        """
        self.keep(
            **columns,
            index=None if index is None else as_labels(index, rows, "index", "number"),
            groups=None if groups is None else as_labels(groups, rows, "groups", "group"),
        )

    def scalar(self, value: float) -> Tensor:
        """The value as a float64 scalar on the metric's device."""
        return torch.tensor(value, dtype=torch.float64, device=self.device)

    def rows(self) -> dict[str, Tensor]:
        """All rows by column, those of every rank inside `compute`; columns that were never given are absent.

        With an index each crop comes once, in order of the index, so that nothing depends on which rank held it.

        Raises:
            ValueError: If a column came with some updates only, or one index stands for two crops.
        """
        columns = {name: _joined(getattr(self, name), none) for name, none in self.columns.items()}
        first = next(iter(columns))
        count = len(columns[first])
        for name, column in columns.items():
            if 0 < len(column) != count:
                raise ValueError(f"{name} came with {len(column)} of {count} crops: give it in each update or in none.")
        index = columns.pop("index")
        given = {name: column for name, column in columns.items() if len(column) or name == first or not count}
        return _once(index, given) if len(index) else given


def _joined(state: list[Tensor] | Tensor, none: Tensor) -> Tensor:
    """A list state as one tensor, before or after torchmetrics has concatenated it over ranks."""
    parts = [part for part in ([state] if isinstance(state, Tensor) else state) if len(part)]
    return torch.cat(parts) if parts else none


def _once(index: Tensor, columns: dict[str, Tensor]) -> dict[str, Tensor]:
    """One row for each number of `index` (N,), by ascending number."""
    rows = without_copies(index)
    copies = torch.searchsorted(index[rows], index)  # (N,) place of each among those kept
    for name, column in columns.items():
        if column.dtype in (torch.int64, torch.bool) and not torch.equal(column[rows][copies], column):
            number = int(index[(column[rows][copies] != column).nonzero()[0, 0]])
            raise ValueError(
                f"index {number} stands for crops that differ in {name}: number the crops of all loaders apart."
            )
    return {name: column[rows] for name, column in columns.items()}
