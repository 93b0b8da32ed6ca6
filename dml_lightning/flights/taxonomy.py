"""Taxonomy, such as species, genus and group: the lowest node that holds a set of species, and counts by node."""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import pandas as pd

from dml_lightning.yaml_files import read_yaml

SPECIES = "species"  # the narrowest level
ROOT = ("all", "any known species")  # level and node that hold every set
SUFFIX = ".nodes.csv"
NODE_COLUMNS = ["group", "level", "node", "boxes"]


@dataclass(frozen=True)
class Taxonomy:
    """Nodes of each species by level, from narrow to wide.

    Example:
        >>> taxonomy = Taxonomy(("genus",), {"mallard": ("Anas",), "teal": ("Anas",), "coot": ("Fulica",)})
        >>> taxonomy.lowest(["teal"]), taxonomy.lowest(["teal", "mallard"]), taxonomy.lowest(["teal", "coot"])
        (('species', 'teal'), ('genus', 'Anas'), ('all', 'any known species'))
    """

    levels: tuple[str, ...]  # above the species
    nodes: dict[str, tuple[str, ...]]  # by species, its node at each of these levels

    def lowest(self, names: Sequence[str]) -> tuple[str, str]:
        """Level and name of the lowest node that holds these species, of which there is at least one."""
        if len(names) == 1:
            return SPECIES, names[0]
        for level, at in zip(self.levels, zip(*(self.nodes[name] for name in names), strict=True), strict=True):
            if len(set(at)) == 1:
                return level, at[0]
        return ROOT

    def holds(self, level: str, node: str, species: str) -> bool:
        """Whether a node holds a species.

        Example:
            >>> Taxonomy(("genus",), {"mallard": ("Anas",)}).holds("genus", "Anas", "mallard")
            True
        """
        if level == SPECIES:
            return node == species
        return (level, node) == ROOT or (level, node) in zip(self.levels, self.nodes[species], strict=True)


def read_taxonomy(path: Path, names: Sequence[str]) -> Taxonomy:
    """Read a taxonomy that has every species of a run.

    A .csv file has the column `species`, and one for each level above it from narrow to wide, as in
    `species,genus,group`. A .yaml file has the same as `mallard: {genus: Anas, group: dabbling duck}` for each species.

    Args:
        path: The file.
        names: Species that it must have; it may have more.

    Raises:
        ValueError: If it cannot be read, lacks a species or a node, or its levels are not nested; names the file
            and row.
    """
    check_taxonomy(path)
    rows = _csv_rows(path) if path.suffix == ".csv" else _yaml_rows(path)
    levels = tuple(next(iter(rows.values())))
    _check_levels(path, levels)
    for species, row in rows.items():
        if tuple(row) != levels or not all(isinstance(node, str) and node for node in row.values()):
            raise ValueError(f"{path}: {species} must have a name for each of {', '.join(levels)}, and has {row}.")
    lost = [name for name in names if name not in rows]
    if lost:
        raise ValueError(f"{path} lacks {', '.join(lost)}, which the run names: add each with its {', '.join(levels)}.")
    _check_nested(path, levels, rows)
    return Taxonomy(levels, {species: tuple(row.values()) for species, row in rows.items()})


def _check_levels(path: Path, levels: tuple[Any, ...]) -> None:
    """Refuses a level without a name, and one called like the species or the root, whose boxes would count together."""
    wrong = [level for level in levels if not isinstance(level, str) or level in ("", SPECIES, ROOT[0])]
    if wrong:
        raise ValueError(
            f"{path} has a level {wrong[0]!r} above the species: levels have names, other than {SPECIES} and {ROOT[0]}."
        )


def _csv_rows(path: Path) -> dict[str, dict[str, Any]]:
    try:
        text = path.read_text("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} must be in UTF-8 ({error}).") from None
    with io.StringIO(text, newline="") as file:
        reader = csv.DictReader(file, restkey="", skipinitialspace=True)
        heads = list(reader.fieldnames or [])
        if len(heads) < 2 or heads[0] != SPECIES or len(set(heads)) < len(heads):
            raise ValueError(
                f"{path} must have the columns species,genus,group or the like, and has {','.join(heads)}."
            )
        rows: dict[str, dict[str, Any]] = {}
        for row in reader:
            species = row.pop(SPECIES)
            if not species or species in rows:
                what = f"{species} a second time" if species else "no species"
                raise ValueError(f"{path} row {reader.line_num} has {what}: each species has one row.")
            rows[species] = row
    return _some(path, rows)


def _yaml_rows(path: Path) -> dict[str, dict[str, Any]]:
    content = read_yaml(path, unique=True)
    if not isinstance(content, dict) or not all(isinstance(row, dict) and row for row in content.values()):
        raise ValueError(f"{path} must hold a mapping such as `mallard: {{genus: Anas, group: dabbling duck}}`.")
    return _some(path, {str(species): dict(row) for species, row in content.items()})


def _some(path: Path, rows: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    if not rows:
        raise ValueError(f"{path} has no species.")
    return rows


def _check_nested(path: Path, levels: tuple[str, ...], rows: dict[str, dict[str, Any]]) -> None:
    """Refuses a node that lies in two nodes of the next level, such as a genus in two groups."""
    for narrow, wide in pairwise(levels):
        above: dict[str, tuple[str, str]] = {}
        for species, row in rows.items():
            first, node = above.setdefault(row[narrow], (species, row[wide]))
            if node != row[wide]:
                raise ValueError(
                    f"{path}: {first} and {species} share the {narrow} {row[narrow]}, but have the {wide} {node} and "
                    f"{row[wide]}; levels go from narrow to wide."
                )


def nodes_path(predictions: Path) -> Path:
    """Path of the table of nodes that belongs to a table of predictions.

    Example:
        >>> nodes_path(Path("night/predictions.csv")).as_posix()
        'night/predictions.nodes.csv'
    """
    return predictions.with_name(predictions.stem + SUFFIX)


def node_counts(table: pd.DataFrame) -> pd.DataFrame:
    """Number of boxes by flight and lowest node, as they were named: nothing is corrected.

    Args:
        table: Predictions with the columns group, decision, set_level and set_node.

    Returns:
        The columns `NODE_COLUMNS`; a box counts once, at its lowest node, and a refused one at the node "unknown"
        without a level. The boxes of a node with all below it are the sum over its species, genera and so on.

    Example:
        >>> table = pd.DataFrame({"group": ["a", "a"], "decision": ["known", "unknown"]})
        >>> node_counts(table.assign(set_level="genus", set_node="Anas")).to_dict("records")[0]
        {'group': 'a', 'level': '', 'node': 'unknown', 'boxes': 1}
    """
    known = table["decision"] == "known"
    level, node = table["set_level"].where(known, ""), table["set_node"].where(known, "unknown")
    named = table[["group"]].assign(level=level, node=node)
    return named.groupby(NODE_COLUMNS[:3]).size().rename("boxes").reset_index()


def joined_counts(parts: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Sum of the tables of `node_counts` of parts of a table.

    Example:
        >>> part = pd.DataFrame([("a", "genus", "Anas", 2)], columns=NODE_COLUMNS)
        >>> joined_counts([part, part])["boxes"].tolist()
        [4]
    """
    every = pd.concat(parts, ignore_index=True)
    return every.groupby(NODE_COLUMNS[:3])["boxes"].sum().reset_index()


def check_taxonomy(path: Path) -> None:
    """Refuse what is no file of a taxonomy, before it is read.

    Raises:
        ValueError: If there is no such file, or it has another ending.
    """
    if not path.is_file() or path.suffix not in (".csv", ".yaml", ".yml"):
        raise ValueError(
            f"--taxonomy {path}: give a .csv or .yaml file with species and levels such as genus and group."
        )


def boxes_by_level(counts: pd.DataFrame, taxonomy: Taxonomy) -> str:
    """Number of boxes by the level of their lowest node, narrow levels first, as text."""
    levels = {SPECIES: SPECIES, **dict.fromkeys(taxonomy.levels, ""), ROOT[0]: ROOT[1], "": "unknown"}
    by_level = counts.groupby("level")["boxes"].sum()
    return ", ".join(f"{by_level.get(level, 0)} {name or level}" for level, name in levels.items())
