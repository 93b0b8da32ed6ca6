"""Annotation files as Python objects: JSON, YAML and XML of strangers, with one sentence where that fails."""

import json
from collections.abc import Collection
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element, ParseError

import defusedxml
import yaml
from defusedxml.ElementTree import fromstring

MAX_NODES = 200_000  # of a YAML file; the largest real lists of classes have a tenth of that
TEXT_TAG = "tag:yaml.org,2002:str"


class XmlError(ValueError):
    """An XML file that is broken."""


def read_json(file: Path) -> Any:
    """Parses a JSON file.

    Raises:
        ValueError: There is no such file, or it holds no JSON.
    """
    if not file.is_file():
        raise ValueError(f"There is no annotation file {file}: name the file that the data set has.")
    try:
        return json.loads(file.read_text("utf-8-sig"))
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise ValueError(f"{file} is no valid JSON ({error}).") from error


def read_yaml(file: Path, texts: Collection[str] = (), max_nodes: int = MAX_NODES) -> Any:
    """Parses a YAML file whose size is bounded also after its aliases are followed.

    Args:
        file: The YAML file.
        texts: Keys of the top level below which every value is the text as written: `NO` stays "NO", and is not
            False.
        max_nodes: Largest number of scalars, lists and mappings; what an alias stands for counts each time.

    Raises:
        ValueError: The file is no YAML, refers to itself or is too large.
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
        ValueError: It has too many, or an alias lies within what it stands for.
    """
    sizes: dict[int, int] = {}

    def size(part: yaml.Node) -> int:
        if id(part) not in sizes:
            sizes[id(part)] = 0  # until it is known: a part inside itself finds this
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
    """Marks scalars below the keys of the top level as texts; keys of mappings stay what they are."""
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
    """A label as written: texts without outer blanks, JSON's numbers and truth values as JSON, "" for null."""
    if value is None or isinstance(value, dict | list):
        return ""
    return value.strip() if isinstance(value, str) else json.dumps(value)


def as_key(value: Any) -> str:
    """An id as text, so that 1, 1.0 and "1" are one id; "" for null."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return as_text(value)


def as_number(value: Any) -> float:
    """A number, also one written as text; NaN where there is none."""
    try:
        return float("nan") if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        return float("nan")
