"""Results of a split class by class."""

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from dml_lightning.evaluation.evidence import Evidence
from dml_lightning.evaluation.naming import names_of_known
from dml_lightning.evaluation.ood import reference_prototypes
from dml_lightning.evaluation.open_set import open_set_sample
from dml_lightning.evaluation.retrieval import OTHER_GROUPS
from dml_lightning.metrics.ood import auroc
from dml_lightning.metrics.ranks import QueryRanks, query_ranks
from dml_lightning.types import EvaluationSet, Floats, Role

NAN = float("nan")


def class_results(evidence: Evidence) -> pd.DataFrame:
    """Precision, recall, Recall@1 and OOD AUROC of every class of a split.

    Args:
        evidence: Embeddings of one split.

    Returns:
        A row per class with crops, known ones first, with

        - class, role (known, novel, ood or clutter) and support, its number of crops;
        - precision and recall of its name among known crops, by the arm's own rule; precision is NaN for a name that
          was never given, both are for other roles;
        - recall_at_1 and, unless `evidence.other_groups` is False, recall_at_1_other_groups of its crops, each
          searching the others of its set; NaN where none has another of its class there, and for OOD classes and
          clutter;
        - ood_auroc of the distance to the nearest prototype: of a known class against all OOD crops, of another against
          all known crops; NaN without crops of the other side.
    """
    sample, named = open_set_sample(evidence), names_of_known(evidence)
    scores: dict[Role, Floats] = {"known": sample.known, "novel": sample.novel, "ood": sample.ood}
    scores["clutter"] = np.asarray(reference_prototypes(evidence).score(evidence.sets["clutter"].vectors.cpu()))
    rows = []
    for role, own_scores in scores.items():
        labels, hits = evidence.sets[role].labels.cpu(), _hits(evidence, role)
        for label in sorted(set(labels.tolist())):
            own = labels == label
            chosen = own_scores[own.numpy()]
            row = {"class": evidence.class_names[label], "role": role, "support": int(own.sum())}
            row |= _naming(own, named.cpu() == label) if role == "known" else {"precision": NAN, "recall": NAN}
            row |= {name: _mean(values[own.numpy()]) for name, values in hits.items()}
            sides = (chosen, sample.ood) if role == "known" else (sample.known, chosen)
            rows.append(row | {"ood_auroc": auroc(*sides)})
    return pd.DataFrame(rows)


def _naming(own: Tensor, named: Tensor) -> dict[str, float]:
    """Precision and recall of a class, from whether each known crop (N,) is of it and whether it was named so."""
    right, given = int((own & named).sum()), int(named.sum())
    return {"precision": right / given if given else NAN, "recall": right / int(own.sum())}


def _hits(evidence: Evidence, name: EvaluationSet) -> dict[str, Floats]:
    """Whether each crop's nearest one is of its class, 0 or 1, and NaN where none is; by name of the number."""
    chosen = evidence.sets[name]
    groups: dict[str, Tensor | None] = {"recall_at_1": None}
    if evidence.other_groups:
        number = torch.from_numpy(np.unique(evidence.groups[name], return_inverse=True)[1])
        groups |= {f"recall_at_1{OTHER_GROUPS}": number}
    if name in ("ood", "clutter"):
        return {key: np.full(len(chosen), NAN) for key in groups}
    ranks = {key: query_ranks(chosen.vectors, chosen.labels, groups=each) for key, each in groups.items()}
    return {key: _first_hits(each) for key, each in ranks.items()}


def _first_hits(ranks: QueryRanks) -> Floats:
    """Whether the nearest reference of each query is of its class, 0 or 1; NaN where none is there."""
    return np.where(ranks.relevant.cpu().numpy() > 0, ranks.first.cpu().numpy() == 1, NAN)


def _mean(values: NDArray[np.float64]) -> float:
    """Mean of what is not NaN; NaN if nothing is."""
    told = values[~np.isnan(values)]
    return float(told.mean()) if len(told) else NAN
