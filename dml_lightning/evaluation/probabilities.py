"""Probabilities of an arm that names by softmax: likelihood and calibration, before and after temperature scaling."""

from dml_lightning.evaluation.evidence import Evidence
from dml_lightning.metrics.calibration import (
    BINS,
    calibration_error,
    classwise_calibration_error,
    fit_temperature,
    negative_log_likelihood,
    probabilities,
)


def temperature_on(validation: Evidence) -> float | None:
    """Temperature fitted on the known validation crops; None for an arm that does not name by softmax.

    Args:
        validation: Embeddings of the validation split.
    """
    known = validation.sets["known"]
    if validation.prediction_rule != "softmax" or known.logits is None or not len(known):
        return None
    return fit_temperature(known.logits, known.labels)


def probability_values(evidence: Evidence, bins: int = BINS) -> dict[str, float]:
    """Negative log-likelihood and calibration errors of the known crops' probabilities.

    `nll`, `calibration_error` and `classwise_calibration_error` are of the logits as they are; with `_scaled` behind,
    of the logits divided by `temperature`. These are there if the evidence has one, which is fitted on validation.

    Args:
        evidence: Embeddings of one split; other arms than those that name by softmax have none of these numbers.
        bins: Number of bins of equal width.
    """
    known = evidence.sets["known"]
    if evidence.prediction_rule != "softmax" or known.logits is None:
        return {}
    values = {} if evidence.temperature is None else {"temperature": evidence.temperature}
    for suffix, temperature in (("", 1.0), ("_scaled", evidence.temperature)):
        if temperature is not None:
            shares = probabilities(known.logits, temperature)
            values |= {
                f"nll{suffix}": negative_log_likelihood(known.logits, known.labels, temperature),
                f"calibration_error{suffix}": calibration_error(shares, known.labels, bins),
                f"classwise_calibration_error{suffix}": classwise_calibration_error(shares, known.labels, bins),
            }
    return values
