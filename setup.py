"""Builds the wheel with the folder `configs` inside the package; everything else is declared in pyproject.toml."""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py


class BuildWithConfigs(build_py):
    """Copies the configs, which have one place in the repository, into a built package; an editable one needs none."""

    def run(self) -> None:
        """Builds the package, then adds the configs."""
        super().run()
        if not self.editable_mode:
            target = Path(self.build_lib, "dml_lightning", "configs")
            shutil.rmtree(target, ignore_errors=True)  # of an earlier build
            shutil.copytree("configs", target)


setup(cmdclass={"build_py": BuildWithConfigs})
