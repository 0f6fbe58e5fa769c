"""The exported scripts as modules: the course's own code, from its notebooks."""

import importlib
import sys
from types import ModuleType

from churnlab import paths
from churnlab.errors import CourseError


def course_module(name: str) -> ModuleType:
    """Import a script of scripts_generated/ by its name. Raises CourseError if it is missing."""
    if not (paths.SCRIPTS / f"{name}.py").exists():
        raise CourseError(f"scripts_generated/{name}.py is missing.", "Run `make export`.")
    if str(paths.SCRIPTS) not in sys.path:
        sys.path.insert(0, str(paths.SCRIPTS))
    return importlib.import_module(name)


def common_utils() -> ModuleType:
    """Import the library that all steps share, the export of notebook 01."""
    return course_module("common_utils")
