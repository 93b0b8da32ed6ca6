"""How many boxes of each species a flight shows, corrected for what the answers confuse.

Of N_r boxes of class r, the answer k is given with the chance M_rk. The corrected counts are the posterior mean of
the N_r given the answers, under a Dirichlet prior of the classes' shares that weighs as much as R boxes: never
negative, their sum is the number of boxes, and where M tells two classes apart badly they share what it leaves open
instead of one taking all, as maximum likelihood would have it. The prior is uniform for a single flight. For several
it is centred on what all of them show together, a draw of that for each draw: R uniform boxes in each of many small
flights would add up.

M is uncertain in two ways, and each draw has its own: the mean over flights is that of resampled held-out flights, and
a new flight differs from it as those do among each other (a Dirichlet around it). The answers do not change M.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dml_lightning.flights.confusion import Confusion

Draws = NDArray[np.float64]
STEPS = 200  # of Gibbs sampling before the state that is kept
SMALLEST_CHANCE = 1e-9  # chance of an answer, so that no answer is impossible


@dataclass(frozen=True, eq=False)
class Corrected:
    """True counts of one flight, as draws from their posterior, which may be added up over flights."""

    draws: Draws  # (B, R) whole numbers; each row sums to the boxes

    @property
    def counts(self) -> Draws:
        """Posterior mean (R,)."""
        mean: Draws = self.draws.mean(axis=0)
        return mean

    def interval(self, level: float = 0.95) -> tuple[Draws, Draws]:
        """Limits (R,) that hold each true count with the probability `level`, one at a time."""
        low, high = np.quantile(self.draws, [(1 - level) / 2, (1 + level) / 2], axis=0)
        return low, high


def correct(answers: NDArray[np.int64], confusion: Confusion, draws: int = 400, seed: int = 0) -> list[Corrected]:
    """Corrects the answers of flights that were flown alike, one entry each.

    Args:
        answers: (F, K) boxes of each flight by answer, in the order of the confusion's columns.
        confusion: Of held-out flights.
        draws: From the posterior.
        seed: Of the draws. Every flight has random numbers of its own, but draw b of all flights is under the same
            resampled held-out flights, as draws are added up over flights.
    """
    shares, correlation = confusion.drawn(draws, seed), confusion.overdispersion
    classes = len(confusion.rows)
    prior: Draws = np.ones((draws, classes))  # (B, R)
    if len(answers) > 1:
        rng = np.random.default_rng([seed, 0])
        mean = own_shares(shares, correlation * _concentration(answers.sum(axis=1)), rng)
        prior = prior + true_counts(answers.sum(axis=0), mean, prior, rng)
        prior *= classes / prior.sum(axis=1, keepdims=True)
    found = []
    for number, own in enumerate(answers, start=1):
        rng = np.random.default_rng([seed, number])  # not by the answers: equal ones differ in truth
        found.append(Corrected(true_counts(own, own_shares(shares, correlation, rng), prior, rng)))
    return found


def _concentration(sizes: NDArray[np.int64]) -> float:
    """Variance of the mean over all boxes if flights of these sizes (F,) scatter, in units of one flight's."""
    return float((sizes.astype(np.float64) ** 2).sum() / max(1.0, float(sizes.sum())) ** 2)


def own_shares(shares: Draws, overdispersion: float, rng: np.random.Generator) -> Draws:
    """Confusions (B, R, K) of single flights around means (B, R, K); Dirichlet with that correlation."""
    if overdispersion > 0:
        shares = rng.standard_gamma(shares * (1 / overdispersion - 1))
    shares = np.maximum(shares, SMALLEST_CHANCE)
    own: Draws = shares / shares.sum(axis=2, keepdims=True)
    return own


def true_counts(answers: NDArray[np.int64], shares: Draws, prior: Draws, rng: np.random.Generator) -> Draws:
    """Draws (B, R) of the true counts behind `answers` (K,), each under its own confusion (B, R, K).

    `prior` (B, R) holds the Dirichlet parameters of the classes' shares, boxes that count as seen before.

    Gibbs sampling, a chain per draw: boxes of each answer go to classes in proportion to share times chance, the
    classes' shares then follow the counts.
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
