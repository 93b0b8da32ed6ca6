"""Galleries and evidence as `dml count` reads them: arrays, without PyTorch."""

from dataclasses import fields

from dml_lightning.evaluation.evidence import Evidence
from dml_lightning.evaluation.split import Rows, Split
from dml_lightning.gallery.decisions import DecidingGallery
from dml_lightning.gallery.gallery import Gallery
from dml_lightning.gallery.summary import GallerySummary
from dml_lightning.types import Embeddings


def deciding(gallery: Gallery) -> DecidingGallery:
    own = {field.name: getattr(gallery, field.name) for field in fields(GallerySummary)}
    return DecidingGallery(**own, points=gallery.prototypes.prototypes, score_arrays=gallery.score_arrays)


def rows_of(part: Embeddings) -> Rows:
    columns = (part.vectors, part.labels, part.index, part.logits, part.features)
    return Rows(*(None if column is None else column.numpy() for column in columns))  # type: ignore[arg-type]


def split_of(evidence: Evidence) -> Split:
    sets = {name: rows_of(part) for name, part in evidence.sets.items()}
    return Split(sets, evidence.class_names, evidence.num_classes, evidence.groups, {}, evidence.encoder)
