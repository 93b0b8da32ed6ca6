"""Annotation files of strangers: with entities, and broken."""

import gc
from pathlib import Path
from typing import Any

import pytest

from dml_lightning.data.sources.parse import XmlError, as_key, as_number, as_text, parse_json, read_xml, uncollected
from tests.data.sources.making import text


@pytest.mark.parametrize(
    "declaration",
    [
        '<!DOCTYPE a [<!ENTITY e "x">]>',
        '<!DOCTYPE a SYSTEM "other.dtd">',
        '<!DOCTYPE a [<!ENTITY e SYSTEM "other.txt">]>',
        "<!DOCTYPE a>",
    ],
)
def test_document_types_and_entities_are_refused(tmp_path: Path, declaration: str) -> None:
    file = text(tmp_path / "a.xml", f"{declaration}<a></a>")
    with pytest.raises(ValueError, match=r"a\.xml has a document type definition") as error:
        read_xml(file)
    assert not isinstance(error.value, XmlError)


def test_broken_xml_and_json(tmp_path: Path) -> None:
    with pytest.raises(XmlError, match=r"a\.xml is no valid XML"):
        read_xml(text(tmp_path / "a.xml", "<a>"))
    with pytest.raises(ValueError, match=r"a\.json is no valid JSON"):
        parse_json(text(tmp_path / "a.json", "{"))
    with pytest.raises(ValueError, match=r"There is no annotation file .*no\.json"):
        parse_json(tmp_path / "no.json")


def test_the_collector_is_afterwards_as_it_was() -> None:
    @uncollected()
    def fail() -> None:
        assert not gc.isenabled()
        raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert gc.isenabled()
    gc.disable()
    try:
        with uncollected():
            assert not gc.isenabled()
        assert not gc.isenabled()
    finally:
        gc.enable()


@pytest.mark.parametrize(
    ("value", "expected"),
    [(" duck ", "duck"), ("NA", "NA"), (None, ""), (True, "true"), (10, "10"), (1.5, "1.5"), ([1], ""), ({}, "")],
)
def test_labels_as_text(value: Any, expected: str) -> None:
    assert as_text(value) == expected


@pytest.mark.parametrize(("value", "key"), [(1, "1"), (1.0, "1"), ("1", "1"), (1.5, "1.5"), (None, ""), ("a", "a")])
def test_ids_as_text(value: Any, key: str) -> None:
    assert as_key(value) == key


def test_numbers() -> None:
    assert as_number("1.5") == 1.5
    assert all(as_number(value) != as_number(value) for value in (None, "x", [], True, {}))
