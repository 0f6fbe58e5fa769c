"""The exported scripts and the library's modules: the course's own code, from its notebooks."""

import importlib
import sys
from types import ModuleType

from churnlab import paths
from churnlab.errors import CourseError

PACKAGE = "churn"
ARCHIVE = paths.SCRIPTS / f"{PACKAGE}.zip"  # for --py-files


def course_module(name: str) -> ModuleType:
    """Import from scripts_generated/ by name, such as ``preprocessing`` or ``churn.tables``.

    Raises CourseError if it is missing.
    """
    file = f"{name.replace('.', '/')}.py"
    if not (paths.SCRIPTS / file).exists():
        raise CourseError(f"scripts_generated/{file} is missing.", "Run `make export`.")
    let_import_scripts()
    return importlib.import_module(name)


def let_import_scripts() -> None:
    """Let Python find the scripts and the library."""
    if str(paths.SCRIPTS) not in sys.path:
        sys.path.insert(0, str(paths.SCRIPTS))


class Library:
    """The modules of the library as attributes, each imported when it is first asked for."""

    def __getattr__(self, name: str) -> ModuleType:
        """Return a module. Raises AttributeError for a name that is none."""
        if name.startswith("_") or not (paths.SCRIPTS / PACKAGE).is_dir():
            raise AttributeError(name)
        return course_module(f"{PACKAGE}.{name}")


library = Library()
