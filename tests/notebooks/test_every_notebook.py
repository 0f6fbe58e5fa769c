"""Every notebook runs from a fresh kernel with its default parameters, as a reader opens it."""

import nbformat
import pytest

from churnlab.run.runner import STANDS_ON
from tests.course import NAMES

# One worker runs a chain in order; what stands on little runs beside it.
GROUPS = dict.fromkeys(("01", "07", "08", "10", "11", "13"), "basics") | {
    "09": "cloud",
    "12": "cloud",
    "14": "cloud",
    "17": "cloud",
}


def in_its_group(name: str):
    """Return a notebook's name as the parameter of a test in the notebook's group."""
    return pytest.param(name, marks=pytest.mark.xdist_group(GROUPS.get(name[:2], "course")))


every_notebook = pytest.mark.parametrize("name", [in_its_group(name) for name in NAMES])


@pytest.mark.slow
@every_notebook
def test_a_notebook_runs_to_its_end(course, name):
    assert course.executed(name).is_file()


# Quick, and so at the end of each group: a worker gets its next group when it has two tests left.
@pytest.mark.slow
@every_notebook
def test_every_cell_of_a_notebook_was_run_and_some_show_something(course, name):
    executed = nbformat.read(course.executed(name), as_version=4)
    code = [cell for cell in executed.cells if cell.cell_type == "code"]
    assert all(cell.execution_count for cell in code if cell.source.strip())
    assert any(cell.outputs for cell in code)


def test_what_a_notebook_stands_on_comes_before_it():
    assert set(STANDS_ON) | set(STANDS_ON.values()) <= set(NAMES)
    assert all(before < name for name, before in STANDS_ON.items())
