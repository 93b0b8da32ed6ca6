"""Writes score.py and the files that it shares with this package so that they work without the package."""

from pathlib import Path
from types import ModuleType

from dml_lightning.data import geometry
from dml_lightning.export import score
from dml_lightning.openset import judge

# Import statement of score.py -> the module imported, and the statement that replaces it beside a copy of that module.
# The copies have names that no other project's module has.
SHARED_FILES: dict[str, tuple[ModuleType, str]] = {
    "from dml_lightning.data import geometry\n": (geometry, "import dml_geometry as geometry\n"),
    "from dml_lightning.openset import judge as judgement\n": (judge, "import dml_judge as judgement\n"),
}
BESIDE = "sys.path.insert(0, str(Path(__file__).parent))  # for the files beside this one, however it is loaded\n"


def write_reader(folder: Path) -> None:
    """Writes score.py and the files that it needs into a folder."""
    source = _source(score)
    for statement, (module, alone) in SHARED_FILES.items():
        assert source.count(statement) == 1, statement
        source = source.replace(statement, (BESIDE if BESIDE not in source else "") + alone)
        (folder / f"{alone.split()[1]}.py").write_text(_source(module), encoding="utf-8")
    assert "dml_lightning" not in source
    (folder / "score.py").write_text(source, encoding="utf-8")


def _source(module: ModuleType) -> str:
    return Path(str(module.__file__)).read_text(encoding="utf-8")
