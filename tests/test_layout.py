"""The map: packages import from floors below them alone, and every class path that was ever shipped still loads."""

import ast
from collections.abc import Iterator
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1] / "dml_lightning"
# From the lowest floor up: a room imports only from those before it, and from itself.
FLOORS = (
    *("types", "theory", "distributed", "files", "errors", "renamed"),
    *("pairs", "data", "simulate", "losses", "models", "metrics", "openset", "evaluation", "runs", "gallery"),
    *("stats", "figures", "callbacks", "flights", "export", "report", "compare", "commands"),
    *("cli", "__init__", "__main__"),
)


def room_of(module: str) -> str:
    """The package or loose module that a dotted name below dml_lightning lies in."""
    return module.split(".")[1] if "." in module else "__init__"


def imports() -> Iterator[tuple[str, str, str]]:
    """Every import inside the package, those in functions too: file with line, room that imports, room imported."""
    for path in sorted(PACKAGE.rglob("*.py")):
        relative = path.relative_to(PACKAGE)
        own = relative.parts[0].removesuffix(".py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("dml_lightning"):
                names = [f"{node.module}.{each.name}" for each in node.names] if node.module == "dml_lightning" else []
                for name in names or [node.module]:
                    yield f"{relative}:{node.lineno}", own, room_of(name)
            elif isinstance(node, ast.Import):
                for each in node.names:
                    if each.name.startswith("dml_lightning"):
                        yield f"{relative}:{node.lineno}", own, room_of(each.name)


def test_every_room_has_a_floor() -> None:
    rooms = {path.name.removesuffix(".py") for path in PACKAGE.iterdir() if path.name != "__pycache__"}
    assert rooms == set(FLOORS)


def test_imports_point_down() -> None:
    floor = {name: number for number, name in enumerate(FLOORS)}
    up = [
        f"{place}: {own} imports {other}"
        for place, own, other in imports()
        if own != other and own != "__init__" and floor[other] > floor[own]
    ]
    assert up == []
