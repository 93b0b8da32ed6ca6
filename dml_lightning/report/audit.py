"""Tables of an audit: every number of a test from a file of embeddings, as CSV."""

import pandas as pd

from dml_lightning.evaluation.classes import class_results
from dml_lightning.evaluation.detectors import detector_table
from dml_lightning.evaluation.ood import assumptions
from dml_lightning.evaluation.open_set import open_set_sample
from dml_lightning.evaluation.structure import class_table
from dml_lightning.metrics.open_set import oscr_curve, risk_coverage_curve
from dml_lightning.report.inputs import RunResult
from dml_lightning.report.numbers import coverage
from dml_lightning.stats.results import plain_name
from dml_lightning.stats.tables import Table


def reranked_table(table: pd.DataFrame) -> Table:
    """Retrieval by method, for the terminal."""
    heads = [*table.columns[:2], *(plain_name(name) for name in table.columns[2:])]
    return Table("Retrieval after re-ranking", heads, table.to_numpy(object).tolist(), "Larger is better.")


def audit_files(result: RunResult) -> dict[str, str]:
    """Tables as CSV, by file name."""
    evidence = result.evidence
    texts = {
        "detectors.csv": detector_table(evidence).to_csv(),
        "classes.csv": class_results(evidence).to_csv(index=False, float_format="%.6g"),
        "class_distances.csv": class_table(evidence).to_csv(float_format="%.6g"),
        "assumptions.csv": pd.Series(assumptions(evidence).values(), name="value").rename_axis("condition").to_csv(),
    }
    sample = open_set_sample(evidence)
    risks = risk_coverage_curve(sample.known, ~sample.right)
    texts["risk_coverage.csv"] = pd.DataFrame(risks._asdict()).to_csv(index=False)
    if len(sample.ood):
        curve = oscr_curve(sample.known, sample.right, sample.ood)
        texts["oscr.csv"] = pd.DataFrame(curve._asdict()).to_csv(index=False)
    rule = coverage(evidence, result.thresholds.get("C"), result.gallery)
    if rule is not None:
        overall = [["all", alpha, share, ""] for alpha, share in rule.refused.items()]
        flights = [[name, rule.alpha, share, n] for name, (share, n) in rule.by_flight.items()]
        table = Table("", ["flight", "asked for", "refused", "crops"], overall + flights)
        texts["coverage.csv"] = table.csv()
    return texts
