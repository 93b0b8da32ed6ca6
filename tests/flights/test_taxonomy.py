"""Taxonomies: files in both forms, the lowest node of a set, and counts by node."""

from itertools import combinations
from pathlib import Path

import pandas as pd
import pytest

from dml_lightning.flights.taxonomy import ROOT, Taxonomy, joined_counts, node_counts, read_taxonomy
from dml_lightning.simulate.species import SPECIES, TAXONOMY, TAXONOMY_LEVELS

CSV = """species,genus,group
mallard,Anas,dabbling duck
teal,Anas,dabbling duck
wigeon,Mareca,dabbling duck
coot,Fulica,rail
"""
YAML = """
mallard: {genus: Anas, group: dabbling duck}
teal: {genus: Anas, group: dabbling duck}
wigeon: {genus: Mareca, group: dabbling duck}
coot: {genus: Fulica, group: rail}
"""
NAMES = ["coot", "mallard", "teal", "wigeon"]


def written(folder: Path, name: str, text: str) -> Path:
    (folder / name).write_text(text, encoding="utf-8")
    return folder / name


@pytest.fixture
def taxonomy(tmp_path: Path) -> Taxonomy:
    return read_taxonomy(written(tmp_path, "taxonomy.csv", CSV), NAMES)


def test_both_forms_say_the_same(tmp_path: Path, taxonomy: Taxonomy) -> None:
    for name in ("taxonomy.yaml", "taxonomy.yml"):
        assert read_taxonomy(written(tmp_path, name, YAML), NAMES) == taxonomy
    assert read_taxonomy(written(tmp_path, "bom.csv", "\ufeff" + CSV), NAMES) == taxonomy
    assert taxonomy.levels == ("genus", "group")


def test_teal_or_wigeon_is_a_dabbling_duck(taxonomy: Taxonomy) -> None:
    assert taxonomy.lowest(["teal", "wigeon"]) == ("group", "dabbling duck")
    assert taxonomy.lowest(["teal", "mallard"]) == ("genus", "Anas")
    assert taxonomy.lowest(["coot"]) == ("species", "coot")
    assert taxonomy.lowest(["coot", "teal"]) == ROOT


def test_the_lowest_node_holds_the_set_and_no_lower_one_does() -> None:
    """Of all sets of up to three simulated species; so a node is right wherever its set is."""
    taxonomy = Taxonomy(TAXONOMY_LEVELS[1:], {row[0]: row[1:] for row in TAXONOMY})
    nodes = [("species", name) for name in SPECIES]
    nodes += [(level, row[i]) for i, level in enumerate(TAXONOMY_LEVELS) for row in TAXONOMY if i] + [ROOT]
    width = {level: number for number, level in enumerate([*TAXONOMY_LEVELS, ROOT[0]])}
    for size in (1, 2, 3):
        for names in combinations(SPECIES, size):
            level, node = taxonomy.lowest(names)
            assert all(taxonomy.holds(level, node, name) for name in names)
            holding = [each for each in nodes if all(taxonomy.holds(*each, name) for name in names)]
            assert width[level] == min(width[each[0]] for each in holding)


def test_simulated_species_have_a_taxonomy(tmp_path: Path) -> None:
    rows = "\n".join(",".join(row) for row in (TAXONOMY_LEVELS, *TAXONOMY))
    read_taxonomy(written(tmp_path, "taxonomy.csv", rows), list(SPECIES))  # nested, and complete
    assert [row[0] for row in TAXONOMY] == list(SPECIES)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        (
            "t.csv",
            "name,genus\nteal,Anas\n",
            "must have the columns species,genus,group or the like, and has name,genus",
        ),
        ("t.csv", "species\nteal\n", "species,genus,group or the like, and has species"),
        ("t.csv", "species,genus\n", "has no species"),
        ("t.csv", CSV + "teal,Anas,dabbling duck\n", "row 6 has teal a second time: each species has one row"),
        ("t.csv", CSV + ",Anas,dabbling duck\n", "row 6 has no species"),
        ("t.csv", CSV + "gadwall,Mareca\n", "gadwall must have a name for each of genus, group, and has"),
        ("t.csv", CSV + "gadwall,Mareca,duck,dabbling\n", "gadwall must have a name for each of genus, group"),
        ("t.csv", CSV.replace("coot", "rail"), "lacks coot, which the run names: add each with its genus, group"),
        (
            "t.csv",
            CSV.replace("teal,Anas,dabbling duck", "teal,Anas,duck"),
            "mallard and teal share the genus Anas, but have the group dabbling duck and duck; levels go from narrow",
        ),
        ("t.yaml", "- teal\n", "must hold a mapping such as"),
        ("t.yaml", "teal: Anas\n", "must hold a mapping such as"),
        ("t.yaml", YAML + "gadwall: {genus: 3, group: duck}\n", "gadwall must have a name for each"),
        ("t.yaml", YAML + "gadwall: {group: dabbling duck, genus: Mareca}\n", "gadwall must have a name for each"),
        ("t.yaml", "teal: [", "is no valid YAML"),
        ("t.yaml", YAML + "teal: {genus: Anser, group: goose}\n", r"t\.yaml row 6 has teal a second time, after row 3"),
        ("t.yaml", "teal: {genus: Anas, genus: Anser}\n", "row 1 has genus a second time"),
        ("t.yaml", "teal: {1: Anas}\n", "has a level 1 above the species: levels have names, other than species"),
        ("t.yaml", "teal: {species: Anas}\n", "has a level 'species' above the species"),
        ("t.csv", "species,all\nteal,Anas\n", "has a level 'all' above the species"),
        ("t.csv", "species,genus,\nteal,Anas,\n", "has a level '' above the species"),
        ("t.txt", CSV, r"give a \.csv or \.yaml file with species and levels such as genus and group"),
    ],
)
def test_a_file_that_is_no_taxonomy_gets_one_sentence(tmp_path: Path, name: str, text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_taxonomy(written(tmp_path, name, text), NAMES)


def test_a_file_in_another_encoding_is_named(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes("species,genus\nteal,Sarcelle d'\u00e9t\u00e9\n".encode("latin-1"))
    with pytest.raises(ValueError, match=r"t\.csv must be in UTF-8"):
        read_taxonomy(tmp_path / "t.csv", ["teal"])


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"--taxonomy .*none\.csv: give"):
        read_taxonomy(tmp_path / "none.csv", NAMES)


def test_each_box_counts_once_at_its_lowest_node() -> None:
    rows = [
        ("dawn", "known", "genus", "Anas"),
        ("dawn", "known", "genus", "Anas"),
        ("dawn", "known", "species", "coot"),
        ("dawn", "unknown", "species", "coot"),
        ("dusk", "unknown", "genus", "Anas"),
        ("dusk", "known", *ROOT),
    ]
    table = pd.DataFrame(rows, columns=["group", "decision", "set_level", "set_node"])
    counts = node_counts(table)
    assert counts.to_numpy().tolist() == [
        ["dawn", "", "unknown", 1],
        ["dawn", "genus", "Anas", 2],
        ["dawn", "species", "coot", 1],
        ["dusk", "", "unknown", 1],
        ["dusk", "all", "any known species", 1],
    ]
    parts = [node_counts(table.iloc[:2]), node_counts(table.iloc[2:2]), node_counts(table.iloc[2:])]
    pd.testing.assert_frame_equal(joined_counts(parts), counts, check_dtype=False)
