"""Equivalence of two arms within a margin that was stated beforehand: two one-sided paired t-tests.

"No difference shown" may come of too few units. Equality has to be shown, too: the difference lies within ±margin if
both the hypothesis that it is the margin or more and the one that it is minus the margin or less are rejected
(Schuirmann, Journal of Pharmacokinetics and Biopharmaceutics 15, 1987).
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtr

from dml_lightning.stats.paired import standard_error
from dml_lightning.stats.units import check_margin
from dml_lightning.types import Floats


def equivalence_p(differences: NDArray[Any], margin: float) -> Floats:
    """The p-value of each column: the larger one of the two tests, for normal differences.

    With a p-value of at most alpha the interval of level 1 − 2 alpha of Student's t lies within the margin.

    Args:
        differences: Paired differences (n, m) of m comparisons, n of 2 or more.
        margin: Largest difference that counts as none, above 0.

    Returns:
        p-values (m,).

    Raises:
        ValueError: If the margin is not above 0.

    Example:
        >>> equivalence_p(np.array([[0.01], [-0.01], [0.02], [-0.02], [0.0]]), margin=0.02).round(3)
        array([0.024])
    """
    check_margin(margin)
    units = np.asarray(differences, dtype=float)
    mean, error = units.mean(axis=0), standard_error(units)
    room = margin - np.abs(mean)  # to the nearer end, whose test has the larger p
    never = np.where(room > 0, np.inf, -np.inf)  # t of differences that do not vary
    t = np.divide(room, error, out=never, where=error > 0)
    return np.asarray(stdtr(len(units) - 1, -t))
