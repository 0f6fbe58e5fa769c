"""The stub is generated from the solution, and a reader's work is never overwritten."""

import ast

import nbformat
import pytest
from hypothesis import given
from hypothesis import strategies as st

from churnlab.author.exercises import TASK, learner_copy, stub, write_learner_copies
from churnlab.errors import CourseError

SOLUTION = "import math\n\narea = math.pi * 2**2\narea"


def notebook_of(*cells):
    return nbformat.v4.new_notebook(cells=list(cells))


def solution_cell(source=SOLUTION):
    return nbformat.v4.new_code_cell(source, metadata={"tags": ["solution"]})


@pytest.fixture
def notebooks(tmp_path):
    """A folder with one notebook of a lesson cell and a solution."""
    folder = tmp_path / "notebooks"
    folder.mkdir()
    lesson = nbformat.v4.new_code_cell("lesson = 1")
    nbformat.write(notebook_of(lesson, solution_cell()), folder / "01-areas.ipynb")
    return folder


def change_cell(path, index, source):
    notebook = nbformat.read(path, as_version=4)
    notebook.cells[index].source = source
    nbformat.write(notebook, path)


def test_a_stub_keeps_the_imports_and_takes_out_the_rest():
    assert stub(SOLUTION) == f"import math\n\n{TASK}\n"


def test_a_stub_keeps_an_import_over_several_lines_as_it_is_written():
    source = "from pyspark.sql import (\n    DataFrame,\n    functions as F,\n)\nF.lit(1)"
    assert stub(source).startswith(source.removesuffix("\nF.lit(1)"))


def test_a_stub_keeps_signature_decorators_and_docstring_of_a_function():
    source = (
        "@cache\n"
        "def rate(\n    churned: int,  # who left\n    customers: int = 1,\n) -> float:\n"
        '    """The share\n    who left."""\n'
        "    # divide:\n    return churned / customers"
    )
    kept = source[: source.index("    # divide")]
    assert stub(source) == f"{kept}    {TASK}\n    ...\n"


def test_a_stub_tells_nothing_of_a_function_without_docstring_but_its_signature():
    source = "def rate(churned):\n    # hint: divide\n    return churned / 7043"
    assert stub(source) == f"def rate(churned):\n    {TASK}\n    ...\n"


def test_a_stub_keeps_the_methods_of_a_class_without_their_bodies():
    source = 'class Model:\n    """A model."""\n\n    def fit(self, rows):\n        return rows'
    assert stub(source) == (
        'class Model:\n    """A model."""\n\n'
        f"    def fit(self, rows):\n        {TASK}\n        ...\n"
    )


def test_what_follows_a_function_is_a_task_of_its_own():
    assert stub("def f():\n    return 1\n\nf()\nf()").count(TASK) == 2


@pytest.mark.parametrize("magic", ["%matplotlib inline", "!ls", "%%time\nx = 1", "%%sql\nSELECT 1"])
def test_magics_are_no_obstacle(magic):
    assert stub(magic) == f"{TASK}\n"


@pytest.mark.parametrize(
    "source",
    [
        "def f(x): return x",
        "def f(x): 'doc'; return x",
        "async def f():\n    return 1",
        "class A: pass",
        "class A:\n    x = 1\n\n    @property\n    def y(self): return 1",
        "def f():\n    @cache\n    def g():\n        return 1\n    return g",
        "import a; import b; a.b()",
        "if True:\n    import a\n    a.b()",
        "",
    ],
)
def test_a_stub_is_python_that_runs_the_reader_need_not_mend_it(source):
    ast.parse(stub(source))
    assert "return" not in stub(source)


names = st.from_regex(r"[a-z]{1,6}_", fullmatch=True)
statements = st.one_of(
    names.map("import {}".format),
    names.map("{} = 'secret'".format),
    names.map("print('secret', {})".format),
    names.map("def {}(x: int) -> int:\n    return 'secret'".format),
    names.map("class {}:\n    '''Doc.'''\n\n    def m(self):\n        return 'secret'".format),
    names.map("for {} in range(3):\n    print('secret')".format),
)


@given(st.lists(statements, max_size=6).map("\n".join))
def test_no_stub_gives_the_solution_away(source):
    made = stub(source)
    ast.parse(made)
    assert "secret" not in made
    assert (TASK in made) == ("secret" in source or not source)


def test_a_solution_that_is_no_python_is_an_error_that_says_where():
    with pytest.raises(CourseError, match="line 2"):
        stub("x = 1\nx = = 2")


def test_a_learner_copy_has_a_stub_before_the_folded_solution():
    copy = learner_copy(notebook_of(solution_cell()))
    before, solution = copy.cells
    assert before.source == stub(SOLUTION).strip()
    assert before.metadata.tags == ["exercise-stub"]
    assert solution.source == SOLUTION
    assert solution.metadata.jupyter.source_hidden is True
    nbformat.validate(copy)


def test_a_learner_copy_has_no_outputs_and_leaves_the_notebook_as_it_is():
    cell = solution_cell()
    cell.outputs = [nbformat.v4.new_output("stream", text="12.57")]
    notebook = notebook_of(cell)
    copy = learner_copy(notebook)
    assert all(not cell.outputs for cell in copy.cells)
    assert len(notebook.cells) == 1 and notebook.cells[0].outputs


def test_the_first_time_every_copy_is_written(notebooks, tmp_path):
    copies = write_learner_copies(notebooks, tmp_path / "lab")
    assert [path.name for path in copies.written] == ["01-areas.ipynb"]
    nbformat.validate(nbformat.read(copies.written[0], as_version=4))


def test_a_copy_the_reader_changed_is_left_alone_and_named(notebooks, tmp_path):
    [path] = write_learner_copies(notebooks, tmp_path / "lab").written
    change_cell(path, 1, "my own solution")
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
