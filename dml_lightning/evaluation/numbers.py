"""All numbers of a test, computed from its evidence."""

from collections.abc import Callable

from dml_lightning.evaluation.active import active_values
from dml_lightning.evaluation.clutter import clutter_values
from dml_lightning.evaluation.distances import distance_values
from dml_lightning.evaluation.evidence import Evidence
from dml_lightning.evaluation.naming import accuracy_values
from dml_lightning.evaluation.ood import assumption_values, ood_values
from dml_lightning.evaluation.open_set import open_set_values
from dml_lightning.evaluation.probabilities import probability_values
from dml_lightning.evaluation.retrieval import retrieval_values
from dml_lightning.evaluation.structure import structure_values
from dml_lightning.evaluation.verification import verification_values

MEASUREMENTS: tuple[Callable[[Evidence], dict[str, float]], ...] = (
    accuracy_values,
    probability_values,
    distance_values,
    retrieval_values,
    verification_values,
    ood_values,
    clutter_values,
    open_set_values,
    active_values,
    assumption_values,
    structure_values,
)


def measure(evidence: Evidence) -> dict[str, float]:
    """Compute every number of a test with default settings.

    Args:
        evidence: Embeddings of one split.

    Returns:
        Values by name without the stage, in alphabetical order: what callbacks with default settings log.
    """
    values: dict[str, float] = {}
    for measurement in MEASUREMENTS:
        values |= measurement(evidence)
    return {key: values[key] for key in sorted(values)}
