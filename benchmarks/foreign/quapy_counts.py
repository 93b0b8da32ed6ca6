"""quapy on the flights of `count_width.py`: coverage and width of its intervals for the commonest species."""

import json
import sys
from pathlib import Path

import numpy as np
from quapy.method.aggregative import ACC, EMQ
from quapy.method.confidence import AggregativeBootstrap
from sklearn.base import BaseEstimator

CLASSES = np.arange(10)
DRAWS = 100


class Given(BaseEstimator):
    """A classifier that answers what it is given."""

    def __init__(self):
        self.classes_ = CLASSES

    def fit(self, *_):
        """Nothing is left to learn."""
        return self

    def predict(self, answers):
        """The answers."""
        return answers

    predict_proba = predict


def crops(counts):
    """Answers and true classes, a row per crop, of counts (R, K)."""
    truth, answers = np.nonzero(counts)
    times = counts[truth, answers].astype(int)
    return np.repeat(answers, times), np.repeat(truth, times)


def posteriors(counts):
    """Probability (K, R) of each class given each answer, in the held-out crops."""
    smoothed = counts + 0.05
    return (smoothed / smoothed.sum(axis=0)).T


def interval(region):
    """Lower and upper limits (R,)."""
    return np.asarray(region.I_low), np.asarray(region.I_high)


def bootstrap(quantifier, predictions):
    """The region of its AggregativeBootstrap, of which 0.2.3 cannot run the draws in one process."""
    rng = np.random.default_rng(0)
    drawn = [quantifier.aggregate(rng.choice(predictions, len(predictions))) for _ in range(DRAWS)]
    return AggregativeBootstrap.construct_region(np.array(drawn), 0.95, method="intervals")


def methods(counts):
    """Prediction of a region for given answers, by name."""
    answers, truth = crops(counts)
    table = posteriors(counts)
    adjusted = ACC(Given(), fit_classifier=False)
    adjusted.aggregation_fit(answers, truth)
    em = EMQ(Given(), fit_classifier=False)
    em.train_prevalence = np.bincount(truth, minlength=len(CLASSES)) / len(truth)
    return {
        "quapy ACC": lambda own: bootstrap(adjusted, own),
        "quapy EMQ": lambda own: bootstrap(em, table[own]),
    }


def main(source, target):
    """Reads worlds, writes coverage and width by setting and method."""
    result = []
    for number, worlds in enumerate(json.loads(Path(source).read_text())):
        found = {}
        for world in worlds:
            counts = np.array(world["held_out"]).sum(axis=0)
            for name, predict in methods(counts).items():
                for truth, answers in zip(world["truth"], world["answers"], strict=True):
                    low, high = interval(predict(np.repeat(CLASSES, answers)))
                    top, boxes = int(np.argmax(truth)), sum(truth)
                    inside = low[top] * boxes - 0.5 <= truth[top] <= high[top] * boxes + 0.5
                    found.setdefault(name, []).append((inside, (high[top] - low[top]) * boxes))
        result.append({name: np.mean(rows, axis=0).tolist() for name, rows in found.items()})
        print(number, result[-1], file=sys.stderr, flush=True)
    Path(target).write_text(json.dumps(result))


main(*sys.argv[1:])
