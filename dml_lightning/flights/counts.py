"""Number of boxes of each species in a flight, corrected by the confusion matrix.

A box of class r gets the answer k with probability M_rk. The corrected counts are the posterior means of the numbers
N_r of boxes of each class, given the answers, under a Dirichlet prior of the classes' shares with the weight of R
boxes. They are never negative and sum to the number of boxes. Two classes that M hardly separates share the boxes in
doubt, where maximum likelihood would give them all to one. The prior is uniform for a single flight. For several
flights it is centred on their joint counts, drawn anew for each draw, because a uniform prior of R boxes in each of
many small flights would add up.

M is uncertain in two ways, and each draw has its own M: its mean over flights is that of resampled held-out flights,
and each new flight differs from the mean as those do among each other (a Dirichlet around it). The answers do not
update M.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dml_lightning.flights.confusion import Confusion

Draws = NDArray[np.float64]
STEPS = 200  # steps of Gibbs sampling, of which the last state is kept
SMALLEST_CHANCE = 1e-9  # smallest probability of an answer, so that none is impossible


@dataclass(frozen=True, eq=False)
class Corrected:
    """True counts of one flight, as draws from their posterior, which may be added up over flights.

    Example:
        >>> flight = Corrected(np.array([[4.0, 6.0], [2.0, 8.0]]))
        >>> flight.counts
        array([3., 7.])
    """

    draws: Draws  # (B, R) whole numbers; each row sums to the number of boxes

    @property
    def counts(self) -> Draws:
        """Posterior mean (R,)."""
        mean: Draws = self.draws.mean(axis=0)
        return mean

    def interval(self, level: float = 0.95) -> tuple[Draws, Draws]:
        """Lower and upper limits (R,) between which each single true count lies with probability `level`."""
        low, high = np.quantile(self.draws, [(1 - level) / 2, (1 + level) / 2], axis=0)
        return low, high


def correct(answers: NDArray[np.int64], confusion: Confusion, draws: int = 400, seed: int = 0) -> list[Corrected]:
    """Correct the counts of comparable flights, one entry each.

    Args:
        answers: Number (F, K) of boxes of each flight by answer, in the order of the confusion's columns.
        confusion: Answers to the crops of held-out flights.
        draws: Number B of draws from the posterior.
        seed: Seed of the draws. Every flight has random numbers of its own, but draw b of all flights uses the same
            resampled held-out flights, so that draws can be added up over flights.
    """
    shares, correlation = confusion.drawn(draws, seed), confusion.overdispersion
    classes = len(confusion.rows)
    prior: Draws = np.ones((draws, classes))  # (B, R)
    if len(answers) > 1:
        rng = np.random.default_rng([seed, 0])
        mean = own_shares(shares, correlation * _concentration(answers.sum(axis=1)), rng)
        prior = prior + true_counts(answers.sum(axis=0), mean, prior, rng)
        prior *= classes / prior.sum(axis=1, keepdims=True)
    corrected = []
    for number, own in enumerate(answers, start=1):
        rng = np.random.default_rng([seed, number])  # flights with equal answers may differ in their true counts
        corrected.append(Corrected(true_counts(own, own_shares(shares, correlation, rng), prior, rng)))
    return corrected


def _concentration(sizes: NDArray[np.int64]) -> float:
    """Variance of the mean over all boxes of flights of these sizes (F,), relative to that of a single flight."""
    return float((sizes.astype(np.float64) ** 2).sum() / max(1.0, float(sizes.sum())) ** 2)


def own_shares(shares: Draws, overdispersion: float, rng: np.random.Generator) -> Draws:
    """Draw the confusion of a new flight around each mean, from a Dirichlet distribution.

    Args:
        shares: Mean confusions (B, R, K).
        overdispersion: Intra-flight correlation from 0, which gives the means themselves, to below 1.
        rng: Random generator.

    Returns:
        Confusions (B, R, K) whose rows sum to 1.
    """
    if overdispersion > 0:
        shares = rng.standard_gamma(shares * (1 / overdispersion - 1))
    shares = np.maximum(shares, SMALLEST_CHANCE)
    own: Draws = shares / shares.sum(axis=2, keepdims=True)
    return own


def true_counts(answers: NDArray[np.int64], shares: Draws, prior: Draws, rng: np.random.Generator) -> Draws:
    """Draw the true counts behind the answers by Gibbs sampling, with one chain per draw.

    A step distributes the boxes of each answer over the classes in proportion to the class's share times the
    probability of the answer, then draws the classes' shares given the counts.

    Args:
        answers: Number (K,) of boxes by answer.
        shares: Confusions (B, R, K), one for each draw.
        prior: Dirichlet parameters (B, R) of the classes' shares, in boxes.
        rng: Random generator.

    Returns:
        Counts (B, R), whole numbers.

    Example:
        >>> exact, prior = np.array([[[1.0, 0.0], [0.0, 1.0]]]), np.ones((1, 2))
        >>> true_counts(np.array([3, 7]), exact, prior, np.random.default_rng(0))
        array([[3., 7.]])
    """
    chances = shares.transpose(0, 2, 1)  # (B, K, R)
    mixture = prior / prior.sum(axis=1, keepdims=True)  # (B, R)
    counts: Draws = np.zeros_like(mixture)
    for _ in range(STEPS):
        weights = np.maximum(mixture[:, None, :] * chances, np.finfo(float).tiny)
        weights /= weights.sum(axis=2, keepdims=True)
        counts = rng.multinomial(answers, weights).sum(axis=1).astype(np.float64)
        mixture = rng.standard_gamma(counts + prior)
        mixture /= mixture.sum(axis=1, keepdims=True)
    return counts
