"""What `dml fit`, `dml validate` and `dml test` print at their end; all numbers are in metrics/."""

from collections.abc import Mapping

from dml_lightning.stats.results import COLUMNS

WIDTH = max(map(len, COLUMNS.values())) + 2


def summary(values: Mapping[str, float], stage: str) -> str:
    """A row for each main number that was logged, narrower than 80 columns.

    Args:
        values: Logged values by key.
        stage: "val" or "test".

    Example:
        >>> for line in summary({"test/recall_at_1": 0.91, "val/map_at_r": 0.4}, "test").splitlines():
        ...     line.split()
        ['test', 'split', 'value']
        ['Recall@1', '0.910']
    """
    rows = [(title, values[f"{stage}/{key}"]) for key, title in COLUMNS.items() if f"{stage}/{key}" in values]
    if f"{stage}/balanced_accuracy_softmax" not in values:  # an arm that names by the nearest prototype has one number
        rows = [row for row in rows if row[0] != COLUMNS["balanced_accuracy_prototype"]]
    head = f"{'validation' if stage == 'val' else 'test'} split"
    return "\n".join([f"{head:<{WIDTH}}{'value':>8}", *(f"{title:<{WIDTH}}{value:>8.3f}" for title, value in rows)])


def outcome(accuracy: float, floor: float) -> str:
    """What a fit has come to, as a sentence, and a warning where that is no more than raw pixels have.

    Args:
        accuracy: Balanced accuracy on the validation split.
        floor: The same of raw pixels.

    Example:
        >>> print(outcome(0.9, floor=0.6))
        Balanced accuracy on validation: 0.900; of raw pixels, which learn nothing: 0.600.
    """
    told = f"Balanced accuracy on validation: {accuracy:.3f}; of raw pixels, which learn nothing: {floor:.3f}."
    if accuracy > floor:
        return told
    return (
        f"{told}\nWarning: the run is no better than raw pixels. Look at crops and names (dml check), then try more "
        "steps (--data.batches_per_epoch) or another crop (--data.min_side, --data.context)."
    )
