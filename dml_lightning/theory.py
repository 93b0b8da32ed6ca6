"""Bounds on margins and on the distance of metric cross-entropy that hold before anything is trained."""

import math
from typing import NamedTuple


def _sharp_bound(num_classes: int, embedding_dim: int) -> tuple[float, bool]:
    """Largest Euclidean margin, and whether unit vectors attain it."""
    if embedding_dim == 1:  # the unit sphere is two points
        return (2.0, True) if num_classes == 2 else (0.0, False)
    if embedding_dim == 2:  # a regular polygon
        return 2 * math.sin(math.pi / num_classes), True
    if num_classes <= embedding_dim + 1:  # a simplex
        return math.sqrt(2 * num_classes / (num_classes - 1)), True
    return math.sqrt(2), num_classes <= 2 * embedding_dim


def max_feasible_margin(num_classes: int, embedding_dim: int, squared: bool = False) -> float:
    """Largest margin that triplets of L2-normalised embeddings can satisfy.

    If all triplets are satisfied, one representative of each class (of at least two samples)
    gives unit vectors at pairwise distance of at least the margin: Rankin (1955).

    Args:
        num_classes: Number of classes C, at least 2.
        embedding_dim: Embedding size D.
        squared: Whether the margin is one of squared distances.

    Returns:
        sqrt(2C / (C − 1)) if C <= D + 1, else sqrt(2); in two dimensions 2 sin(π / C); the square
        of these if `squared`. With C > 2D > 4 the margin must stay below sqrt(2).

    Raises:
        ValueError: If there are fewer than two classes, or no dimension.

    Example:
        >>> max_feasible_margin(num_classes=4, embedding_dim=3)  # the edges of a regular tetrahedron
        1.632993161855452
    """
    if num_classes < 2:
        raise ValueError(f"triplets need at least 2 classes, got {num_classes}")
    if embedding_dim < 1:
        raise ValueError(f"embedding_dim must be at least 1, got {embedding_dim}")
    bound, _ = _sharp_bound(num_classes, embedding_dim)
    return bound**2 if squared else bound


def is_feasible_margin(margin: float, num_classes: int, embedding_dim: int, squared: bool = False) -> bool:
    """Whether the bound on the unit sphere allows the margin; arguments as in `max_feasible_margin`.

    Example:
        >>> is_feasible_margin(1.6, 4, 3), is_feasible_margin(1.7, 4, 3)
        (True, False)
    """
    bound = max_feasible_margin(num_classes, embedding_dim, squared)
    _, attained = _sharp_bound(num_classes, embedding_dim)
    slack = 4e-16 * bound  # one rounding
    return margin <= bound + slack if attained else margin < bound - slack


def check_margin(margin: float, num_classes: int, embedding_dim: int, squared: bool = False) -> None:
    """Refuse a margin that no set of L2-normalised embeddings can satisfy; arguments as in `max_feasible_margin`.

    Raises:
        ValueError: If the margin is infeasible; the message names the bound.

    Example:
        >>> check_margin(0.2, num_classes=4, embedding_dim=3)
    """
    if is_feasible_margin(margin, num_classes, embedding_dim, squared):
        return
    bound = max_feasible_margin(num_classes, embedding_dim, squared)
    relation = "at most" if _sharp_bound(num_classes, embedding_dim)[1] else "below"
    kind = "squared Euclidean" if squared else "Euclidean"
    raise ValueError(
        f"margin {margin} is infeasible: the triplets of {num_classes} classes of unit vectors in "
        f"{embedding_dim} dimensions need a {kind} margin {relation} {bound:.4f} (Rankin's bound); "
        f"lower the margin, or set allow_infeasible_margin to train regardless"
    )


class MarginRow(NamedTuple):
    """Bounds on the margin for one number of classes."""

    num_classes: int
    euclidean: float
    squared: float
    attained: bool  # whether the bound itself is feasible; otherwise the margin must stay below it


def margin_table(num_classes: int, embedding_dim: int) -> list[MarginRow]:
    """Bounds for the class count, the counts at which the bound changes, and powers of two, in increasing order.

    Example:
        >>> [(row.num_classes, round(row.euclidean, 3), row.attained) for row in margin_table(4, 3)]
        [(2, 2.0, True), (4, 1.633, True), (6, 1.414, True), (8, 1.414, False)]
    """
    powers = (2**k for k in range(1, max(num_classes, 2 * embedding_dim).bit_length() + 1))
    rows = []
    for c in sorted({num_classes, embedding_dim + 1, 2 * embedding_dim, *powers} - {0, 1}):
        bound = max_feasible_margin(c, embedding_dim)
        rows.append(MarginRow(c, bound, bound**2, _sharp_bound(c, embedding_dim)[1]))
    return rows


# The distance −log(1 + a − b|x − y|^p) + log(1 + a) of metric cross-entropy -----------------------


def check_metric_parameters(a: float, b: float, p: float) -> None:
    """Refuse parameters for which the distance is undefined, negative or convex at 0.

    Raises:
        ValueError: Unless a >= 0, 0 < b <= 1 + a and 0 < p <= 1.

    Example:
        >>> check_metric_parameters(a=0.0, b=0.8, p=0.5)
    """
    if not 0 <= a < math.inf:
        raise ValueError(f"a must be at least 0, got {a}")
    if not 0 < b <= 1 + a:
        raise ValueError(f"b must be in (0, 1 + a] = (0, {1 + a}], got {b}")
    if not 0 < p <= 1:
        raise ValueError(f"p must be in (0, 1], got {p}")


def metric_bound(p: float) -> float:
    """Largest b / (1 + a) for which the distance is a metric on [0, 1]: 2^(p+1) − 2^(2p).

    Example:
        >>> round(metric_bound(0.5), 4)
        0.8284
    """
    return float(2 ** (p + 1) - 2 ** (2 * p))


def is_metric(a: float, b: float, p: float) -> bool:
    """Whether the distance is a metric on [0, 1], and not only symmetric and zero for equal arguments.

    Raises:
        ValueError: As `check_metric_parameters`.

    Example:
        >>> is_metric(a=0.0, b=0.8, p=0.5), is_metric(a=0.0, b=0.9, p=0.5)
        (True, False)
    """
    check_metric_parameters(a, b, p)
    return b / (1 + a) <= metric_bound(p)


def label_distance(a: float, b: float, p: float) -> float:
    """Distance M = d(0, 1) between the two values of a one-hot label; infinite if b = 1 + a.

    Raises:
        ValueError: As `check_metric_parameters`.

    Example:
        >>> round(label_distance(a=0.0, b=0.5, p=1.0), 4)  # log 2
        0.6931
    """
    check_metric_parameters(a, b, p)
    share = b / (1 + a)
    return math.inf if share >= 1 else -math.log1p(-share)
