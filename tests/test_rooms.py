"""The rooms of churnlab/, each of which imports only from those below it."""

import ast
from pathlib import Path

import pytest

from churnlab import paths

PACKAGE = paths.ROOT / "churnlab"
# From the ground up; "" is the ground: paths, environment, errors, facts, pictures, screen.
FLOORS = [{""}, {"run"}, {"author", "standins"}, {"cloud"}, {"cli"}]


def room_of(name: str) -> str:
    """Return the room of a module such as churnlab.run.book; that of the ground floor is ""."""
    first = name.removeprefix("churnlab").strip(".").partition(".")[0]
    return first if any(first in floor for floor in FLOORS) else ""


def imported(path: Path) -> set[str]:
    """Return the modules of the package that a file imports, also inside functions."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return {name for name in found if name.startswith("churnlab.")}


def floor(room: str) -> int:
    """Return a room's floor, 0 for the ground."""
    return next(number for number, rooms in enumerate(FLOORS) if room in rooms)


MODULES = sorted(path.relative_to(PACKAGE) for path in PACKAGE.rglob("*.py"))


def test_every_module_is_in_a_room():
    ground = {path.stem for path in MODULES if len(path.parts) == 1}
    assert ground == {
        "__init__",
        "cli",
        "environment",
        "errors",
        "facts",
        "paths",
        "pictures",
        "screen",
    }
    rooms = {path.parts[0] for path in MODULES if len(path.parts) > 1}
    assert rooms == {"author", "cloud", "run", "standins"}


@pytest.mark.parametrize("module", MODULES, ids=str)
def test_a_module_imports_from_its_own_room_and_from_those_below(module):
    own = room_of(".".join(module.with_suffix("").parts))
    for name in imported(PACKAGE / module):
        other = room_of(name)
        assert other == own or floor(other) < floor(own), f"{module} imports {name}"
