"""Parsers of annotation files from unknown tools: JSON, YAML and XML, with one clear sentence where they fail."""

import json
from collections.abc import Collection
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element, ParseError

import defusedxml
import yaml
from defusedxml.ElementTree import fromstring

MAX_NODES = 200_000  # in a YAML file; the largest real lists of classes have a tenth of that
TEXT_TAG = "tag:yaml.org,2002:str"


class XmlError(ValueError):
    """An XML file that is broken."""


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


def read_yaml(file: Path, texts: Collection[str] = (), max_nodes: int = MAX_NODES) -> Any:
    """Parses a YAML file of bounded size, counted with every alias expanded.

    Args:
        file: The YAML file.
        texts: Keys of the top level below which every value is kept as text: `NO` stays "NO" and does not become
            False.
        max_nodes: Largest number of scalars, lists and mappings, where the target of an alias counts each time.

    Raises:
        ValueError: The file is no valid YAML, has an alias inside of its own target, or has too many nodes.
    """
    loader: yaml.SafeLoader | None = None
    try:
        loader = yaml.SafeLoader(file.read_text("utf-8-sig"))
        node = loader.get_single_node()
        if node is None:
            return None
        _check_size(file, node, max_nodes)
        _keep_texts(node, texts)
        return loader.construct_document(node)
    except (UnicodeDecodeError, yaml.YAMLError, RecursionError) as error:
        raise ValueError(f"{file} is no valid YAML ({' '.join(str(error).split())}).") from error
    finally:
        if loader is not None:
            loader.dispose()


def _check_size(file: Path, node: yaml.Node, max_nodes: int) -> None:
    """Refuses a document with too many nodes.

    Raises:
        ValueError: It has too many, or an alias lies inside of its own target.
    """
    sizes: dict[int, int] = {}

    def size(part: yaml.Node) -> int:
        if id(part) not in sizes:
            sizes[id(part)] = 0  # until its size is known; met again only by a part that contains itself
            sizes[id(part)] = 1 + sum(size(child) for child in _children(part))
        elif not sizes[id(part)]:
            raise ValueError(f"{file} has an alias inside of what it stands for: write the value out.")
        return sizes[id(part)]

    if size(node) > max_nodes:
        raise ValueError(f"{file} has more than {max_nodes} nodes once its aliases are followed: shorten it.")


def _children(node: yaml.Node) -> list[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        return [part for pair in node.value for part in pair]
    return list(node.value) if isinstance(node, yaml.SequenceNode) else []


def _keep_texts(node: yaml.Node, keys: Collection[str]) -> None:
    """Marks scalar values below these keys of the top level as texts; keys of mappings keep their types."""
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if key.value in keys:
                _mark(value)


def _mark(node: yaml.Node) -> None:
    if isinstance(node, yaml.ScalarNode):
        node.tag = TEXT_TAG
    elif isinstance(node, yaml.MappingNode):
        for _, value in node.value:
            _mark(value)
    else:
        for part in node.value:
            _mark(part)


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
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return as_text(value)


def as_number(value: Any) -> float:
    """Returns a number, also one written as text; NaN for anything else.

    >>> as_number("2.5"), as_number(3), as_number(None)
    (2.5, 3.0, nan)
    """
    try:
        return float("nan") if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        return float("nan")


def as_size(width: Any, height: Any) -> tuple[int, int] | None:
    """Returns the size in px that an annotation states for its picture; None where a side is no number above 0.

    >>> as_size("640", 512), as_size(None, 512), as_size(0, 512)
    ((640, 512), None, None)
    """
    sides = as_number(width), as_number(height)
    return (int(sides[0]), int(sides[1])) if all(side > 0 for side in sides) else None
