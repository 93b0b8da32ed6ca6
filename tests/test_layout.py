"""The map: packages import from floors below them alone, and tests lie where their modules lie."""

import ast
from collections.abc import Iterator
from pathlib import Path

TESTS = Path(__file__).resolve().parent
PACKAGE = TESTS.parent / "dml_lightning"
# From the lowest floor up: a room imports only from those before it, and from itself.
FLOORS = (
    *("types", "theory", "distributed", "errors", "locks", "files", "yaml_files", "printing", "processes", "lazy"),
    *("renamed", "shipped", "trust", "arguments"),
    *("pairs", "data", "simulate", "losses", "models", "metrics", "openset", "evaluation", "runs", "gallery"),
    *("stats", "figures", "callbacks", "flights", "export", "report", "compare", "commands"),
    *("cli", "__init__", "__main__"),
)
NO_ROOMS = {"__pycache__", "py.typed"}
# Modules without a test file of their own name, each with the reason.
NO_TEST_FILE = {
    "__main__": "calls cli.main and drops what it returns",
    "data/frames": "re-exports data.pixels and holds one constant",
}
# Folders of tests that mirror no package, because they test what lies beside it or all of it.
NOT_MIRRORED = {"benchmarks", "end_to_end", "old_files"}


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
    rooms = {path.name.removesuffix(".py") for path in PACKAGE.iterdir() if path.name not in NO_ROOMS}
    assert rooms == set(FLOORS)


def test_imports_point_down() -> None:
    floor = {name: number for number, name in enumerate(FLOORS)}
    up = [
        f"{place}: {own} imports {other}"
        for place, own, other in imports()
        if own != other and own != "__init__" and floor[other] > floor[own]
    ]
    assert up == []


def modules() -> Iterator[str]:
    """Modules with logic, as paths below the package without their ending."""
    for path in sorted(PACKAGE.rglob("*.py")):
        name = path.relative_to(PACKAGE).with_suffix("").as_posix()
        if path.name != "__init__.py":
            yield name


def test_every_module_has_a_test_file_of_its_name_in_the_mirrored_folder() -> None:
    expected = {
        name: TESTS / Path(name).parent / f"test_{Path(name).name}.py" for name in modules() if name not in NO_TEST_FILE
    }
    assert [name for name, path in expected.items() if not path.is_file()] == []
    assert [name for name, path in expected.items() if "def test_" not in path.read_text(encoding="utf-8")] == []


def test_exceptions_are_modules_that_need_one() -> None:
    names = set(modules())
    for name in NO_TEST_FILE:
        assert name in names
        assert not (TESTS / Path(name).parent / f"test_{Path(name).name}.py").exists()


def test_every_folder_of_tests_is_a_package_that_mirrors_one() -> None:
    folders = {path.parent for path in TESTS.rglob("test_*.py")} - {TESTS}
    assert [folder.name for folder in folders if not (folder / "__init__.py").is_file()] == []
    mirrored = {folder.relative_to(TESTS).as_posix() for folder in folders} - NOT_MIRRORED
    assert [name for name in sorted(mirrored) if not (PACKAGE / name / "__init__.py").is_file()] == []
