"""Where names of before are now: one table for saved recipes, checkpoints and other people's imports.

A module of the table can still be imported by its old name; what is taken from it comes from its new places, with a
`DeprecationWarning`. Old names of classes in `class_path` settings load this way, too.
"""

import importlib
import warnings
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

PACKAGE = "dml_lightning"
# old module -> modules that hold its names now, searched in this order; all below the package
MODULES: dict[str, tuple[str, ...]] = {
    "callbacks.accuracy": (
        "callbacks.measurements",
        "evaluation.naming",
    ),
    "callbacks.assumptions": (
        "callbacks.measurements",
        "evaluation.ood",
    ),
    "callbacks.distances": (
        "callbacks.measurements",
        "evaluation.distances",
    ),
    "callbacks.ood": (
        "callbacks.measurements",
        "evaluation.ood",
    ),
    "callbacks.retrieval": (
        "callbacks.measurements",
        "evaluation.retrieval",
    ),
    "callbacks.structure": (
        "callbacks.measurements",
        "evaluation.structure",
    ),
    "checkpoints": (
        "runs.checkpoints",
        "data.loaders",
    ),
    "compare.command": ("commands.compare",),
    "compare.fairness": ("runs.fairness",),
    "compare.intervals": ("stats.intervals",),
    "compare.paired": ("stats.paired",),
    "compare.planning": ("stats.planning",),
    "compare.results": ("stats.results",),
    "compare.statistics": ("stats.arms",),
    "compare.units": ("stats.units",),
    "data.decoding": ("data.pixels",),
    "data.simulate": ("simulate",),
    "data.simulate.camera": ("simulate.camera",),
    "data.simulate.flight": ("simulate.flight",),
    "data.simulate.lookalikes": ("simulate.lookalikes",),
    "data.simulate.render": ("simulate.render",),
    "data.simulate.scene": ("simulate.scene",),
    "data.simulate.shapes": ("simulate.shapes",),
    "data.simulate.species": ("simulate.species",),
    "data.simulate.write": ("simulate.write",),
    "enroll": ("commands.enroll",),
    "evidence": ("evaluation.evidence",),
    "export.command": ("commands.export",),
    "flights.commands": ("commands.flights",),
    "inference": ("gallery.trained", "data.sources.recognise", "runs.recipes"),
    "launch": ("runs.launch",),
    "losses.distances": (
        "losses.gradient",
        "pairs.blocks",
        "pairs.distances",
    ),
    "losses.layout": ("pairs.order",),
    "losses.pairs": ("losses.contrastive",),
    "metrics.blocks": (
        "pairs.blocks",
        "pairs.distances",
        "pairs.order",
    ),
    "metrics.neighbours": ("pairs.neighbours",),
    "metrics.ranking": ("pairs.keys",),
    "metrics.shares": ("pairs.shares",),
    "openset.answer": ("gallery.answer",),
    "openset.changes": ("gallery.changes",),
    "openset.gallery": ("gallery.gallery",),
    "openset.naming": ("evaluation.naming",),
    "openset.overlap": ("gallery.overlap",),
    "openset.radius": ("gallery.radius",),
    "openset.records": ("gallery.records",),
    "openset.resampling": ("metrics.bootstrap",),
    "openset.suite": ("evaluation.detectors",),
    "pictures": ("figures.frames",),
    "predict": ("commands.predict",),
    "report.command": ("commands.report",),
    "report.projection": ("figures.projection",),
    "report.tables": ("stats.tables",),
    "signals": ("runs.signals",),
    "theory_command": ("commands.theory",),
    "training": (
        "commands.train",
        "runs.recipes",
    ),
    "wandb_logger": ("runs.tracker",),
}


def moved_name(module: str, name: str, places: tuple[str, ...]) -> Any:
    """What `name` of a module is now: the first of these places that has it, with a `DeprecationWarning`."""
    for place in () if name.startswith("__") else places:
        new = importlib.import_module(f"{PACKAGE}.{place}")
        if hasattr(new, name):
            warnings.warn(
                f"{module}.{name} is {new.__name__}.{name} now; the old name goes with the next release.",
                DeprecationWarning,
                stacklevel=3,
            )
            return getattr(new, name)
    raise AttributeError(f"module {module!r} has no attribute {name!r}")


class MovedModule(ModuleType):
    """Stands for a module whose names have moved."""

    def __getattr__(self, name: str) -> Any:
        return moved_name(self.__name__, name, MODULES[self.__name__.removeprefix(f"{PACKAGE}.")])


class OldNames:
    """Finds the modules of the table, and no other: part of `sys.meta_path`."""

    def find_spec(self, name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        """The spec of an old module, None for any other."""
        old = name.removeprefix(f"{PACKAGE}.")
        if old not in MODULES:
            return None
        has_modules = any(other.startswith(f"{old}.") for other in MODULES)
        return ModuleSpec(name, self, is_package=has_modules)  # type: ignore[arg-type]

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """The module that stands for it."""
        return MovedModule(spec.name, f"Names of {spec.name}, which have moved.")

    def exec_module(self, module: ModuleType) -> None:
        """Nothing to run: names are looked up when they are asked for."""
