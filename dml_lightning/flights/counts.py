"""How many boxes of each species a flight shows, corrected for what the answers confuse.

Of N_r boxes of class r, the answer k is given with the chance M_rk. The corrected counts are the posterior mean of
the N_r given the answers, under a uniform prior of the classes' shares: never negative, their sum is the number of
boxes, and where M tells two classes apart badly they share what it leaves open instead of one taking all, as maximum
likelihood would have it.

M is uncertain in two ways, and each draw has its own: the mean over flights is that of resampled held-out flights, and
a new flight differs from it as those do among each other (a Dirichlet around it). The answers do not change M.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dml_lightning.flights.confusion import Confusion

Counts = NDArray[np.float64]
STEPS = 200  # of Gibbs sampling before the state that is kept
SMALLEST = 1e-9  # chance of an answer, so that no answer is impossible


@dataclass(frozen=True, eq=False)
class Corrected:
    """True counts of one flight, as draws from their posterior, which may be added up over flights."""

    draws: Counts  # (B, R) whole numbers; each row sums to the boxes

    @property
    def counts(self) -> Counts:
        """Posterior mean (R,)."""
        mean: Counts = self.draws.mean(axis=0)
        return mean

    def interval(self, level: float = 0.95) -> tuple[Counts, Counts]:
        """Limits (R,) that hold each true count with the probability `level`, one at a time."""
        low, high = np.quantile(self.draws, [(1 - level) / 2, (1 + level) / 2], axis=0)
        return low, high


def correct(
    answers: NDArray[np.int64], confusion: Confusion, draws: int = 400, seed: int = 0
) -> Corrected:
    """Corrects the answers of one flight.

    Args:
        answers: (K,) boxes by answer, in the order of the confusion's columns.
        confusion: Of held-out flights.
        draws: From the posterior.
        seed: Of the draws; the same seed resamples the same held-out flights for every flight.
    """
    shares = confusion.drawn(draws, seed)
    rng = np.random.default_rng([seed, *answers.tolist()])
    return Corrected(true_counts(answers, own_shares(shares, confusion.overdispersion, rng), rng))


def own_shares(shares: Counts, overdispersion: float, rng: np.random.Generator) -> Counts:
    """Confusions (B, R, K) of single flights around means (B, R, K); Dirichlet with that correlation."""
    if overdispersion > 0:
        shares = rng.standard_gamma(shares * (1 / overdispersion - 1))
    shares = np.maximum(shares, SMALLEST)
    own: Counts = shares / shares.sum(axis=2, keepdims=True)
    return own


def true_counts(answers: NDArray[np.int64], shares: Counts, rng: np.random.Generator) -> Counts:
    """Draws (B, R) of the true counts behind `answers` (K,), each under its own confusion (B, R, K).

    Gibbs sampling, a chain per draw: boxes of each answer go to classes in proportion to share times chance, the
    classes' shares then follow the counts.
    """
    chances = shares.transpose(0, 2, 1)  # (B, K, R)
    mixture = rng.dirichlet(np.ones(shares.shape[1]), len(shares))  # (B, R)
    counts = np.zeros_like(mixture)
    for _ in range(STEPS):
        weights = np.maximum(mixture[:, None, :] * chances, np.finfo(float).tiny)
        weights /= weights.sum(axis=2, keepdims=True)
        counts = rng.multinomial(answers, weights).sum(axis=1).astype(np.float64)
        mixture = rng.standard_gamma(counts + 1)
        mixture /= mixture.sum(axis=1, keepdims=True)
    return counts
