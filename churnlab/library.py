"""The course's own library, as the scripts import it."""

import importlib
import sys
from types import ModuleType

from churnlab import paths
from churnlab.errors import CourseError


def common_utils() -> ModuleType:
    """Import scripts_generated/common_utils.py, the export of notebook 01."""
    if not (paths.SCRIPTS / "common_utils.py").exists():
        raise CourseError("scripts_generated/common_utils.py is missing.", "Run `make export`.")
    if str(paths.SCRIPTS) not in sys.path:
        sys.path.insert(0, str(paths.SCRIPTS))
    return importlib.import_module("common_utils")
