"""Writes score.py and the files that it shares with this package so that they work without the package."""

from pathlib import Path
from types import ModuleType

from dml_lightning.data import geometry, pixels
from dml_lightning.export import score
from dml_lightning.openset import judge, scores

# Import statement of score.py -> the module imported, and the statement that replaces it beside a copy of that module.
# The copies have names that no other project's module has.
SHARED_FILES: dict[str, tuple[ModuleType, str]] = {
    "from dml_lightning.data import geometry\n": (geometry, "import dml_geometry as geometry\n"),
    "from dml_lightning.data import pixels as files\n": (pixels, "import dml_pixels as files\n"),
    "from dml_lightning.openset import judge as judgement\n": (judge, "import dml_judge as judgement\n"),
    "from dml_lightning.openset import scores as scoring\n": (scores, "import dml_scores as scoring\n"),
}
BESIDE = "sys.path.insert(0, str(Path(__file__).parent))  # for the files beside this one, however it is loaded\n"


def write_reader(folder: Path) -> None:
    """Writes score.py and the files that it needs into a folder."""
    source = _source(score)
    for statement, (module, alone) in SHARED_FILES.items():
        assert source.count(statement) == 1, statement
        source = source.replace(statement, (BESIDE if BESIDE not in source else "") + alone)
        _copy(module, folder / alone.split()[1])
    assert "dml_lightning" not in source
    (folder / "score.py").write_text(source, encoding="utf-8")


def _copy(module: ModuleType, target: Path) -> None:
    """Copies a module, or the modules of a package, which import one another by relative names."""
    if not hasattr(module, "__path__"):
        target.with_suffix(".py").write_text(_source(module), encoding="utf-8")
        return
    target.mkdir()
    for path in sorted(Path(str(module.__file__)).parent.glob("*.py")):
        text = path.read_text(encoding="utf-8")
        assert "dml_lightning" not in text, path
        (target / path.name).write_text(text, encoding="utf-8")


def _source(module: ModuleType) -> str:
    return Path(str(module.__file__)).read_text(encoding="utf-8")
