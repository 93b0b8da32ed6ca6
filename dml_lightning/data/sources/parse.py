"""Parsers of annotation files from unknown tools: JSON and XML, with one clear sentence where they fail."""

import gc
import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element, ParseError

import defusedxml
from defusedxml.ElementTree import fromstring


class XmlError(ValueError):
    """An XML file that is broken."""


@contextmanager
def uncollected() -> Iterator[None]:
    """Python looks for no cycles of dead objects: of a million living boxes there are none, and it takes a third."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


def parse_json(file: Path) -> Any:
    """Parses a JSON file.

    Raises:
        ValueError: There is no such file, or it is no valid JSON.
    """
    if not file.is_file():
        raise ValueError(f"There is no annotation file {file}: name the file that the data set has.")
    try:
        return json.loads(file.read_text("utf-8-sig"))
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise ValueError(f"{file} is no valid JSON ({error}).") from error


def read_xml(file: Path) -> Element:
    """Parses an XML file; document type definitions and entities are refused.

    Raises:
        XmlError: The XML is broken.
        ValueError: The file defines a document type or entities, which no annotation needs.
    """
    try:
        root: Element = fromstring(file.read_bytes(), forbid_dtd=True)
    except ParseError as error:
        raise XmlError(f"{file} is no valid XML ({error}).") from error
    except defusedxml.DefusedXmlException:
        raise ValueError(
            f"{file} has a document type definition, which annotations do not need and which is not read: remove it."
        ) from None
    return root


def as_text(value: Any) -> str:
    """Returns a label as text: texts without outer blanks, numbers and truth values as in JSON, "" for null.

    >>> as_text(" mallard "), as_text(3), as_text(True), as_text(None)
    ('mallard', '3', 'true', '')
    """
    if value is None or isinstance(value, dict | list):
        return ""
    return value.strip() if isinstance(value, str) else json.dumps(value)


def as_key(value: Any) -> str:
    """Returns an id as text, so that 1, 1.0 and "1" are one id; "" for null.

    >>> as_key(1), as_key(1.0), as_key("1"), as_key(None)
    ('1', '1', '1', '')
    """
    if type(value) is int:  # as most are; True is none of them
        return str(value)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return as_text(value)


def as_number(value: Any) -> float:
    """Returns a number, also one written as text; NaN for anything else.

    >>> as_number("2.5"), as_number(3), as_number(None)
    (2.5, 3.0, nan)
    """
    if value is None or isinstance(value, bool):
        return math.nan
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return math.nan


def as_size(width: Any, height: Any) -> tuple[int, int] | None:
    """Returns the size in px that an annotation states for its picture; None where a side is no number above 0.

    >>> as_size("640", 512), as_size(None, 512), as_size(0, 512)
    ((640, 512), None, None)
    """
    sides = as_number(width), as_number(height)
    return (int(sides[0]), int(sides[1])) if all(side > 0 for side in sides) else None
