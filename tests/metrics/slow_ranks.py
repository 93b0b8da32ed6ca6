"""The ranks of the references for each query from the definitions, by a full sort."""

import math

from torch import Tensor


def slow_ranks(
    x: Tensor,
    y: Tensor,
    z: Tensor | None = None,
    w: Tensor | None = None,
    groups: Tensor | None = None,
    reference_groups: Tensor | None = None,
) -> list[tuple[int, int, float, float]]:
    """R, rank of the first hit, R-precision and average precision at R of each query; zeros where R is 0.

    Queries (Q, D) with labels (Q,) find references (M, D) with labels (M,), or each other; groups (Q,) and (M,).
    """
    targets, labels = (x, y) if z is None or w is None else (z, w)
    flights = groups if reference_groups is None else reference_groups
    found = []
    for i in range(len(x)):
        others = [j for j in range(len(targets)) if z is not None or j != i]
        if groups is not None and flights is not None:
            others = [j for j in others if flights[j] != groups[i]]
        others.sort(key=lambda j: math.dist(x[i].tolist(), targets[j].tolist()))
        hits = [bool(labels[j] == y[i]) for j in others]
        r = sum(hits)
        if r == 0:
            found.append((0, 0, 0.0, 0.0))
            continue
        average = sum(sum(hits[:j]) / j * hits[j - 1] for j in range(1, r + 1)) / r
        found.append((r, 1 + hits.index(True), sum(hits[:r]) / r, average))
    return found
