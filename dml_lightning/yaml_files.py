"""YAML files of bounded size: small on disk may be huge once its aliases are followed."""

from collections.abc import Collection
from pathlib import Path
from typing import Any

import yaml

MAX_NODES = 200_000  # in a file; the largest real lists of classes have a tenth of that
# The parser in C is ten times as fast, and nests no deeper than 1,000 levels.
Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
TEXT_TAG = "tag:yaml.org,2002:str"


def read_yaml(file: Path, texts: Collection[str] = (), max_nodes: int = MAX_NODES, unique: bool = False) -> Any:
    """Parses a YAML file of bounded size, counted with every alias expanded.

    Args:
        file: The YAML file.
        texts: Keys of the top level below which every value is kept as text: `NO` stays "NO" and does not become
            False.
        max_nodes: Largest number of scalars, lists and mappings, where the target of an alias counts each time.
        unique: Whether to refuse a key that a mapping has twice, of which YAML keeps the last.

    Raises:
        ValueError: The file is no valid YAML, has an alias inside of its own target, has too many nodes, or a key
            twice.
    """
    loader = None
    try:
        loader = Loader(file.read_text("utf-8-sig"))
        node = loader.get_single_node()
        if node is None:
            return None
        _check_size(file, node, max_nodes)
        if unique:
            _check_unique(file, node)
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


def _check_unique(file: Path, node: yaml.Node) -> None:
    """Refuses a key that a mapping has twice."""
    if isinstance(node, yaml.MappingNode):
        lines: dict[str, int] = {}
        for key in (key for key, _ in node.value if isinstance(key, yaml.ScalarNode)):
            line = key.start_mark.line + 1
            if key.value in lines:
                raise ValueError(f"{file} row {line} has {key.value} a second time, after row {lines[key.value]}.")
            lines[key.value] = line
    for part in _children(node):
        _check_unique(file, part)


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
