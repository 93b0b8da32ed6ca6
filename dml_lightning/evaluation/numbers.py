"""Every number of a test as a function of its evidence."""

from collections.abc import Callable

from dml_lightning.evaluation.active import active_values
from dml_lightning.evaluation.distances import distance_values
from dml_lightning.evaluation.evidence import Evidence
from dml_lightning.evaluation.naming import accuracy_values
from dml_lightning.evaluation.ood import assumption_values, ood_values
from dml_lightning.evaluation.retrieval import retrieval_values
from dml_lightning.evaluation.structure import structure_values

MEASUREMENTS: tuple[Callable[[Evidence], dict[str, float]], ...] = (
    accuracy_values,
    distance_values,
    retrieval_values,
    ood_values,
    active_values,
    assumption_values,
    structure_values,
)


def measure(evidence: Evidence) -> dict[str, float]:
    """Every number of a test, by its name without the stage, with default settings.

    Args:
        evidence: Of one split.

    Returns:
        The names and values that callbacks with their default settings log, in alphabetical order.
    """
    found: dict[str, float] = {}
    for measurement in MEASUREMENTS:
        found |= measurement(evidence)
    return {key: found[key] for key in sorted(found)}
