"""What a learner starts from and gets checked by, and that a reader's work is never overwritten."""

import nbformat
import pytest

from churnlab import paths
from churnlab.author.exercises import (
    BEGIN,
    END,
    TASK,
    YOUR_TURN,
    learner_copy,
    stub,
    without_markers,
    write_learner_copies,
)
from churnlab.errors import CourseError

SOLUTION = f'''\
import math


def area(radius: float) -> float:
    """Return the area of a circle."""
    {BEGIN}
    return math.pi * radius**2
    {END}'''
CHECK = 'assert round(area(2)) == 13, "the area of a circle of radius 2 is wrong"'


def notebook_of(*cells):
    return nbformat.v4.new_notebook(cells=list(cells))


def exercise_cells(source=SOLUTION):
    task = nbformat.v4.new_markdown_cell("## Exercise: areas\n\nWrite `area`.")
    solution, check = (nbformat.v4.new_code_cell(text) for text in (source, CHECK))
    for cell, tag in ((task, "exercise"), (solution, "solution"), (check, "check")):
        cell.metadata.tags = [tag]
    return [task, solution, check]


@pytest.fixture
def notebooks(tmp_path):
    """A folder with one notebook of a lesson cell and an exercise."""
    folder = tmp_path / "notebooks"
    folder.mkdir()
    lesson = nbformat.v4.new_code_cell("lesson = 1")
    nbformat.write(notebook_of(lesson, *exercise_cells()), folder / "01-areas.ipynb")
    return folder


def change_cell(path, index, source):
    notebook = nbformat.read(path, as_version=4)
    notebook.cells[index].source = source
    nbformat.write(notebook, path)


def test_a_stub_has_the_task_in_the_solution_s_place_and_keeps_the_rest():
    given = SOLUTION[: SOLUTION.index(f"    {BEGIN}")]
    assert stub(SOLUTION) == f"{given}    {TASK}\n    {YOUR_TURN}"


def test_each_part_between_markers_is_a_task_of_its_own():
    made = stub(f"{SOLUTION}\n\n\n{BEGIN}\narea(2)\n{END}\nlast = 1")
    assert made.count(TASK) == 2 and made.endswith(f"{TASK}\nlast = 1")
    assert made.count(YOUR_TURN) == 1  # only a function needs a body


def test_a_reader_of_the_solution_sees_no_markers():
    assert without_markers(SOLUTION) == "\n".join(
        line for line in SOLUTION.splitlines() if "###" not in line
    )


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        ("area = 1", "no `### BEGIN"),
        (f"{BEGIN}\narea = 1", "no `### END"),
        (f"area = 1\n{END}", "without the other"),
        (f"{BEGIN}\n{BEGIN}\narea = 1\n{END}", "without the other"),
    ],
)
def test_a_solution_that_is_not_marked_is_an_error_that_says_how(source, problem):
    with pytest.raises(CourseError, match=problem) as error:
        stub(source)
    assert BEGIN in error.value.mend


def test_in_a_learner_s_copy_the_solution_comes_after_the_check_and_is_not_run():
    lesson = nbformat.v4.new_code_cell("lesson = 1")
    copy = learner_copy(notebook_of(*exercise_cells(), lesson))
    task, work, check, solution, last = copy.cells
    assert task.source.startswith("## Exercise")
    assert work.source == stub(SOLUTION) and work.metadata.tags == ["exercise-stub"]
    assert check.source == CHECK and last.source == "lesson = 1"
    assert solution.cell_type == "markdown" and "<details>" in solution.source
    assert f"```python\n{without_markers(SOLUTION)}\n```" in solution.source
    nbformat.validate(copy)


def test_two_exercises_in_a_row_keep_their_solutions_apart():
    kinds = [
        cell.cell_type
        for cell in learner_copy(notebook_of(*exercise_cells(), *exercise_cells())).cells
    ]
    assert kinds == 2 * ["markdown", "code", "code", "markdown"]


def test_run_all_goes_on_after_a_check_that_fails():
    check = learner_copy(notebook_of(*exercise_cells())).cells[2]
    assert check.metadata.tags == ["check", "raises-exception"]


def test_a_learner_copy_holds_nothing_that_is_for_the_script_only():
    stop = nbformat.v4.new_code_cell("spark.stop()", metadata={"tags": ["script-only"]})
    assert learner_copy(notebook_of(stop)).cells == []


def test_a_learner_copy_has_no_outputs_and_leaves_the_notebook_as_it_is():
    cells = exercise_cells()
    cells[2].outputs = [nbformat.v4.new_output("stream", text="12.57")]
    notebook = notebook_of(*cells)
    copy = learner_copy(notebook)
    assert [cell.outputs for cell in copy.cells if cell.cell_type == "code"] == [[], []]
    assert notebook.cells[2].outputs and notebook.cells[2].metadata.tags == ["check"]
    assert BEGIN in notebook.cells[1].source


def test_the_first_time_every_copy_is_written(notebooks, tmp_path):
    copies = write_learner_copies(notebooks, tmp_path / "lab")
    assert [path.name for path in copies.written] == ["01-areas.ipynb"]
    nbformat.validate(nbformat.read(copies.written[0], as_version=4))


def test_a_copy_the_reader_changed_is_left_alone_and_named(notebooks, tmp_path):
    [path] = write_learner_copies(notebooks, tmp_path / "lab").written
    change_cell(path, 2, "my own solution")
    change_cell(notebooks / path.name, 0, "lesson = 2")
    before = path.read_bytes()
    copies = write_learner_copies(notebooks, tmp_path / "lab")
    assert path.read_bytes() == before
    assert copies.kept == [path] and not copies.written


def test_a_copy_that_was_only_run_is_kept_with_its_outputs(notebooks, tmp_path):
    [path] = write_learner_copies(notebooks, tmp_path / "lab").written
    notebook = nbformat.read(path, as_version=4)
    notebook.cells[0].outputs = [nbformat.v4.new_output("stream", text="ran")]
    nbformat.write(notebook, path)
    before = path.read_bytes()
    assert write_learner_copies(notebooks, tmp_path / "lab").current == [path]
    assert path.read_bytes() == before


def test_an_untouched_copy_follows_its_notebook(notebooks, tmp_path):
    [path] = write_learner_copies(notebooks, tmp_path / "lab").written
    change_cell(notebooks / path.name, 0, "lesson = 2")
    assert write_learner_copies(notebooks, tmp_path / "lab").written == [path]
    assert nbformat.read(path, as_version=4).cells[0].source == "lesson = 2"


def test_a_copy_quotes_the_last_run_and_a_later_run_alone_replaces_no_copy(notebooks, tmp_path):
    source = nbformat.read(notebooks / "01-areas.ipynb", as_version=4)
    source.cells.append(nbformat.v4.new_markdown_cell("It took {glue:text}`seconds` s."))
    nbformat.write(source, notebooks / "01-areas.ipynb")
    for seconds in (5, 7):
        executed(source, seconds, tmp_path / "executed")
        [path] = vars(
            copies := write_learner_copies(notebooks, tmp_path / "lab", tmp_path / "executed")
        )["written" if seconds == 5 else "current"]
        assert nbformat.read(path, as_version=4).cells[-1].source == "It took 5 s.", copies


def executed(notebook, seconds, folder):
    """Write an executed copy that stored a value for its text."""
    run = nbformat.from_dict(notebook)
    prefix = "application/papermill.record/"
    run.cells[0].outputs = [
        nbformat.v4.new_output(
            "display_data",
            data={f"{prefix}text/plain": repr(seconds)},
            metadata={"scrapbook": {"name": "seconds", "mime_prefix": prefix}},
        )
    ]
    folder.mkdir(exist_ok=True)
    nbformat.write(run, folder / "01-areas.ipynb")


@pytest.mark.parametrize("content", ["", "not a notebook", '{"cells": 1}'])
def test_a_file_that_is_no_notebook_is_left_alone(notebooks, tmp_path, content):
    lab = tmp_path / "lab"
    lab.mkdir()
    (lab / "01-areas.ipynb").write_text(content)
    assert write_learner_copies(notebooks, lab).kept == [lab / "01-areas.ipynb"]
    assert (lab / "01-areas.ipynb").read_text() == content


def test_a_folder_without_notebooks_is_an_error(tmp_path):
    with pytest.raises(CourseError, match="no notebooks"):
        write_learner_copies(tmp_path, tmp_path / "lab")


def test_no_learner_s_copy_shows_a_directive_or_a_role_that_jupyterlab_can_t():
    copies = [learner_copy(nbformat.read(p, as_version=4)) for p in paths.NOTEBOOKS.glob("*.ipynb")]
    cells = [cell for copy in copies for cell in copy.cells if cell.cell_type == "markdown"]
    myst = ("```{", ":::{", "{glue", "{term", "{doc", "{ref")
    assert [cell.source for cell in cells if any(mark in cell.source for mark in myst)] == []
    assert sum("<summary>Answer</summary>" in cell.source for cell in cells) >= len(copies)
