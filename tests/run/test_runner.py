"""Running notebooks: parameters, failures, the record."""

import json

import nbformat
import papermill
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook
from papermill.exceptions import PapermillExecutionError

from churnlab import paths
from churnlab.errors import CourseError
from churnlab.run import runner


@pytest.fixture
def make(tmp_path):
    """Return a function that writes a notebook of code cells below a title."""

    def make(*sources, name="09-a-step"):
        parameters = new_code_cell("rows: int = 1  # how many", metadata={"tags": ["parameters"]})
        cells = [new_markdown_cell("# A step"), parameters, *map(new_code_cell, sources)]
        path = tmp_path / f"{name}.ipynb"
        kernel = {"kernelspec": {"name": "python3", "display_name": "", "language": "python"}}
        nbformat.write(new_notebook(cells=cells, metadata=kernel), path)
        return path

    return make


def execute(path, **parameters):
    output = path.parent / "executed" / path.name
    run = runner.run_notebook(path, parameters, output, str(path.parent / "lake"), progress=False)
    return run, nbformat.read(output, as_version=4)


@pytest.mark.slow
def test_a_notebook_gets_the_parameters_it_declares_and_the_lake(make):
    path = make("import os\nprint(rows, os.environ['CHURNLAB_LAKE'])")
    run, executed = execute(path, rows=7, unknown="left out")
    assert executed.cells[-1].outputs[0].text == f"7 {path.parent / 'lake'}\n"
    assert run.title == "A step" and run.seconds > 0


@pytest.mark.slow
def test_a_failing_cell_is_named_and_the_earlier_copy_stays(make):
    path = make("print('fine')")
    execute(path)
    make(r"raise ValueError('no\ncustomers\n\tat org.apache.spark.X\n\tat org.apache.spark.Y')")
    with pytest.raises(CourseError, match="ValueError: no customers\n") as failure:
        execute(path)
    assert "09-a-step.ipynb, cell " in failure.value.problem and "\n" not in failure.value.problem
    kept = nbformat.read(path.parent / "executed" / path.name, as_version=4)
    assert kept.cells[-1].outputs[0].text == "fine\n"


@pytest.mark.slow
def test_the_headline_is_what_the_notebook_glued(make, library):
    glue = "import sys; sys.path.insert(0, '{}')\nfrom churn.programs import glue\nglue('headline', 'AUC 0.8')"
    run, _ = execute(make(glue.format(paths.SCRIPTS)))
    assert run.headline == "AUC 0.8"


def test_unknown_parameters_are_refused(make):
    with pytest.raises(CourseError, match="parameter speed"):
        runner.typed_parameters([make()], {"speed": "9"})


def test_a_value_is_read_by_the_declared_type_and_not_by_its_look(make):
    path = make()
    notebook = nbformat.read(path, as_version=4)
    notebook.cells[1].source = (
        'key: str = ""  # a key\nrows: int = 1  # how many\n'
        "share: float = 0.5  # a share\nquick: bool = False  # less"
    )
    nbformat.write(notebook, path)
    texts = {"key": "20261123", "rows": "7", "share": "1", "quick": "True"}
    typed = runner.typed_parameters([path], texts)
    assert typed == {"key": "20261123", "rows": 7, "share": 1.0, "quick": True}
    assert [type(value) for value in typed.values()] == [str, int, float, bool]


def test_a_parameter_has_the_same_type_in_every_notebook():
    kinds = {}
    for path in runner.find_notebooks():
        for name, kind in runner.declared_parameters(path).items():
            assert kinds.setdefault(name, kind) == kind, (path.stem, name)


@pytest.mark.slow
def test_papermill_itself_can_not_hand_over_a_value_of_another_type(make):
    check = f"import sys; sys.path.insert(0, {str(paths.SCRIPTS)!r})\n"
    check += "from churn.programs import check_parameters\ncheck_parameters(globals())"
    path = make(check, "print('began')")
    with pytest.raises(PapermillExecutionError, match="The parameter rows is 'abc'"):
        papermill.execute_notebook(path, None, {"rows": "abc"}, progress_bar=False)


TIMES = "import time\nbegan = time.time()\ntime.sleep(1)\nprint(began, time.time())"


def run_side_by_side(tmp_path, monkeypatch, order):
    """Run the notebooks of a folder, two at a time."""
    monkeypatch.setattr(paths, "NOTEBOOKS", tmp_path)
    monkeypatch.setattr(paths, "EXECUTED", tmp_path / "executed")
    lake = str(tmp_path / "lake")
    return runner.run_course([], {}, lake, order.append, progress=False, side_by_side=2)


def times(tmp_path, name):
    executed = nbformat.read(tmp_path / "executed" / f"{name}.ipynb", as_version=4)
    return tuple(map(float, executed.cells[-1].outputs[0].text.split()))


@pytest.mark.slow
def test_notebooks_run_side_by_side_but_none_before_what_it_stands_on(make, tmp_path, monkeypatch):
    for name in ("01-spark-notebooks", "02-customer-data", "03-preprocessing"):
        make(TIMES, name=name)
    announced = []
    runs = run_side_by_side(tmp_path, monkeypatch, announced)
    assert announced[0] == "02-customer-data", "what most others wait for begins first"
    assert [run.name for run in runs] == sorted(announced)
    one, two, three = (times(tmp_path, name) for name in sorted(announced))
    assert three[0] > two[1], "a notebook began before the one it stands on had ended"
    assert one[0] < two[1] or one[0] < three[1], "nothing ran beside another"


@pytest.mark.slow
def test_a_failure_starts_nothing_more_and_is_told_with_its_mend(make, tmp_path, monkeypatch):
    make("raise ValueError('no customers')", name="02-customer-data")
    for name in ("01-spark-notebooks", "03-preprocessing"):
        make(TIMES, name=name)
    announced = []
    with pytest.raises(CourseError, match="ValueError: no customers") as failure:
        run_side_by_side(tmp_path, monkeypatch, announced)
    assert "The run up to there is in" in failure.value.mend
    assert announced == ["02-customer-data", "01-spark-notebooks"]
    assert (tmp_path / "executed" / "01-spark-notebooks.ipynb").is_file(), "it was under way"


def test_the_record_keeps_modules_that_did_not_run_this_time(tmp_path, monkeypatch):
    from datetime import UTC, datetime

    monkeypatch.setattr(paths, "EXECUTED", tmp_path)
    now = datetime.now(UTC)
    for name, seconds in (("03-preprocessing", 4.0), ("04-model-training", 5.0)):
        module = runner.ModuleRun(name, name, seconds, "")
        runner.write_record([module], now, str(tmp_path))
    record = json.loads((tmp_path / "run.json").read_text())
    assert [module["name"] for module in record["modules"]] == [
        "03-preprocessing",
        "04-model-training",
    ]
    assert record["seconds"] == 9.0
    assert record["versions"]["pyspark"].startswith("3.5")
