"""Verification: whether two samples are of one class, decided by their distance alone.

A pair of samples of one class is genuine, a pair of two classes an impostor (ISO/IEC 19795-1: mated and non-mated). A
pair matches if it is nearer than a limit. The false match rate (FMR) is the share of impostors that match, the false
non-match rate (FNMR) the share of genuine pairs that do not.

N samples have N (N - 1) / 2 pairs, which are never listed: one pass over blocks of rows counts distances by the upper
half of their float32 bits, a second one counts the lower half where the limit lies. That gives exact order statistics
of all pairs, from counts that processes can add up.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from dml_lightning.distributed import all_sum
from dml_lightning.pairs.blocks import Vectors, as_labels, as_vectors
from dml_lightning.pairs.distances import PairwiseDistances
from dml_lightning.pairs.shares import share_of

LOWER_BITS = 15  # of the 31 bits of a squared float32 distance
LOWER, UPPER = 1 << LOWER_BITS, 1 << 16  # number of values of either part
IMPOSTOR, GENUINE, LEFT_OUT = 0, 1, 2


class Verification(NamedTuple):
    """False non-match rates, and the number of pairs that they rest on."""

    fnmr_at: dict[float, float]  # FMR -> FNMR; NaN without a genuine pair, or below the least FMR
    genuine: int  # number of pairs of one class
    impostors: int  # number of pairs of two classes

    @property
    def least_fmr(self) -> float:
        """Smallest FMR that the impostors can resolve: one of them; NaN without any."""
        return 1 / self.impostors if self.impostors else math.nan


def fnmr_at_fmr(
    embeddings: Vectors,
    labels: Vectors,
    fmrs: Sequence[float] = (0.01, 0.001),
    *,
    groups: Vectors | None = None,
    split_over_ranks: bool = False,
) -> Verification:
    """False non-match rate at the widest limit whose false match rate is at most each of `fmrs`.

    Of K impostors at most floor(K FMR) may match, so the limit is the distance of the next one: pairs that are nearer
    match. Pairs whose squared distances are equal in float32 are decided alike, so ties never raise the FMR. Where not
    even one impostor may match, the rate is NaN: K impostors say nothing about an FMR below 1 / K. Pairs that share a
    sample are not independent, so K is no sample size of an interval.

    Args:
        embeddings: Embeddings (N, D).
        labels: Labels (N,), integers.
        fmrs: False match rates, each in (0, 1).
        groups: Group (N,) of each sample, such as its flight, integers: pairs within a group are left out. None takes
            all pairs.
        split_over_ranks: Whether each process counts the pairs of its share of the samples. Every process returns the
            same, and all must call this with the same arguments.

    Raises:
        ValueError: If an FMR is not in (0, 1), shapes disagree, or an embedding is not finite.

    Example:
        >>> points, labels = torch.tensor([[0.0], [1.0], [3.0], [7.0]]), torch.tensor([0, 0, 0, 1])
        >>> fnmr_at_fmr(points, labels, fmrs=(0.5, 0.01))  # impostors are 4, 6 and 7 apart, genuine pairs 1, 2 and 3
        Verification(fnmr_at={0.5: 0.0, 0.01: nan}, genuine=3, impostors=3)
    """
    for fmr in fmrs:
        if not 0 < fmr < 1:
            raise ValueError(f"a false match rate must lie strictly between 0 and 1, got {fmr}.")
    vectors = as_vectors(embeddings)
    classes = as_labels(labels, vectors)
    own_groups = None if groups is None else as_labels(groups, vectors, "groups", "group")
    share = share_of(torch.arange(len(vectors), device=vectors.device), split_over_ranks)
    pairs = _Pairs(vectors, classes, own_groups, share, split_over_ranks)
    upper = pairs.count_upper()  # (2, UPPER)
    impostors, genuine = upper.sum(1).tolist()
    allowed = {fmr: min(math.floor(impostors * fmr + 1e-9), impostors - 1) for fmr in fmrs}  # 1e-9: often whole
    told = {fmr: count for fmr, count in allowed.items() if genuine and count >= 1}
    part = {fmr: _holding(upper[IMPOSTOR], count) for fmr, count in told.items()}
    lower = pairs.count_lower(sorted(set(part.values())))
    rates = dict.fromkeys(fmrs, math.nan)
    for fmr, count in told.items():
        value = part[fmr]
        within = lower[value]
        end = _holding(within[IMPOSTOR], count - int(upper[IMPOSTOR, :value].sum()))
        matching = int(upper[GENUINE, :value].sum() + within[GENUINE, :end].sum())
        rates[fmr] = (genuine - matching) / genuine
    return Verification(rates, genuine, impostors)


def _holding(counts: Tensor, number: int) -> int:
    """The value among ascending ones that holds item `number`, from 0, if `counts` are the items of each value."""
    return int((counts.cumsum(0) <= number).sum())


@dataclass(frozen=True, eq=False)
class _Pairs:
    """All pairs of samples, each once, of which this process counts those of its share."""

    vectors: Tensor  # (N, D)
    classes: Tensor  # (N,)
    groups: Tensor | None  # (N,)
    share: Tensor  # (P,) positions of the first sample of a pair
    split_over_ranks: bool

    def count_upper(self) -> Tensor:
        """Numbers (2, UPPER) of impostors and genuine pairs by the upper bits of their distance."""
        counts = self.classes.new_zeros(3 * UPPER)
        for bits, kind in self._blocks():
            counts += torch.bincount((kind * UPPER + (bits >> LOWER_BITS)).flatten(), minlength=len(counts))
        return self._of_all(counts.view(3, UPPER)[:LEFT_OUT])

    def count_lower(self, uppers: Sequence[int]) -> dict[int, Tensor]:
        """For each of some upper bits, numbers (2, LOWER) of the pairs with these by the lower bits."""
        counts = {upper: self.classes.new_zeros(2 * LOWER) for upper in uppers}
        for bits, kind in self._blocks() if counts else ():
            high = (bits >> LOWER_BITS).masked_fill_(kind == LEFT_OUT, -1)
            for upper, own in counts.items():
                chosen = high == upper
                own += torch.bincount(kind[chosen] * LOWER + (bits[chosen] & (LOWER - 1)), minlength=len(own))
        return {upper: self._of_all(own.view(2, LOWER)) for upper, own in counts.items()}

    def _blocks(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the bits of squared distances (rows, M), which sort as they do, and the kinds of pairs (rows, M)."""
        every = torch.arange(len(self.vectors), device=self.vectors.device)
        for rows, block in PairwiseDistances(self.vectors[self.share], self.vectors, dtype=torch.float32).blocks():
            own = self.share[rows, None]  # (rows, 1)
            others = slice(int(own[0]), None)  # M columns: a pair is counted from its first sample
            left_out = every[others] <= own
            if self.groups is not None:
                left_out |= self.groups[own] == self.groups[others]
            kind = (self.classes[own] == self.classes[others]).int()
            yield block[:, others].view(torch.int32), kind.masked_fill_(left_out, LEFT_OUT)

    def _of_all(self, counts: Tensor) -> Tensor:
        return all_sum(counts) if self.split_over_ranks else counts
