"""What the exporter makes of a notebook, and what it refuses."""

import runpy
import subprocess
import sys

import nbformat
import pytest
from nbconvert.exporters import get_exporter
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from churnlab import paths
from churnlab.author.exporter import (
    ExportError,
    export_all,
    export_notebook,
    exported_files,
    read_parameters,
    script_name,
)

TITLE = new_markdown_cell("# A step\n\n> Do one thing.")
PARAMETERS = 'pipeline_id: str = ""  # key of this run\nrows: int = 3  # how many'


def code(source, *tags):
    return new_code_cell(source, metadata={"tags": list(tags)})


def notebook(*cells):
    return new_notebook(cells=[TITLE, code(PARAMETERS, "parameters"), *cells])


def export(*cells):
    return export_notebook(notebook(*cells), "09-a-step")


def run(script, *arguments, tmp_path):
    path = tmp_path / "a_step.py"
    path.write_text(script)
    return subprocess.run([sys.executable, path, *arguments], capture_output=True, text=True)


def test_a_script_is_named_after_its_notebook():
    assert script_name("04-model-training") == "model_training"


def test_parameters_become_options_and_the_rest_runs_in_main(tmp_path):
    script = export(code("for row in range(rows):\n    print(pipeline_id, row)"))
    done = run(script, "--pipeline-id", "x", "--rows", "2", tmp_path=tmp_path)
    assert done.stdout == "x 0\nx 1\n"


def test_help_shows_the_promise_and_every_option(tmp_path):
    done = run(export(code("print(rows)")), "--help", tmp_path=tmp_path)
    assert done.returncode == 0
    assert "Do one thing." in done.stdout
    assert "how many (default: 3)" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ([], "--pipeline-id"),
        (["--pipeline-id", "x", "--rows", "many"], "invalid int value: 'many'"),
        (["--pipeline-id", "x", "--speed", "9"], "unrecognized arguments: --speed 9"),
        (["--pipeline", "x"], "--pipeline-id"),
    ],
)
def test_a_missing_or_wrong_option_exits_with_2_and_the_reason(tmp_path, arguments, reason):
    done = run(export(code("print(rows, pipeline_id)")), *arguments, tmp_path=tmp_path)
    assert done.returncode == 2
    assert reason in done.stderr


@pytest.mark.parametrize(("text", "value"), [("true", "True"), ("False", "False")])
def test_boolean_options_take_true_and_false(tmp_path, text, value):
    nb = new_notebook(
        cells=[TITLE, code("quick: bool = False  # less", "parameters"), code("print(quick)")]
    )
    script = export_notebook(nb, "09-a-step")
    assert run(script, "--quick", text, tmp_path=tmp_path).stdout == f"{value}\n"
    assert run(script, "--quick", "maybe", tmp_path=tmp_path).returncode == 2


FAILING = "from churn.programs import StepError\n\nif rows == 0:\n    raise StepError('no customers.\\nLand some.')"


@pytest.mark.usefixtures("as_a_program")
def test_an_expected_error_ends_a_script_in_one_line_and_main_still_raises_it(
    tmp_path, monkeypatch, library
):
    path = tmp_path / "a_step.py"
    path.write_text(export(code(FAILING), code("print(1 // rows, pipeline_id)")))
    monkeypatch.setattr(sys, "argv", ["a_step.py", "--pipeline-id", "x", "--rows", "0"])
    with pytest.raises(SystemExit) as end:
        runpy.run_path(str(path), run_name="__main__")
    assert end.value.code == "error: no customers. Land some."  # Python prints it, status 1
    main = runpy.run_path(str(path))["main"]
    with pytest.raises(library.programs.StepError, match="no customers"):
        main()
    monkeypatch.setenv("CHURNLAB_DEBUG", "1")
    with pytest.raises(library.programs.StepError, match="no customers"):
        runpy.run_path(str(path), run_name="__main__")


@pytest.mark.usefixtures("as_a_program")
def test_an_error_that_nobody_expects_keeps_its_trace(tmp_path, monkeypatch):
    path = tmp_path / "a_step.py"
    path.write_text(export(code("from churn.programs import StepError"), code("print(1 // rows)")))
    monkeypatch.setattr(sys, "argv", ["a_step.py", "--pipeline-id", "x", "--rows", "0"])
    with pytest.raises(ZeroDivisionError):
        runpy.run_path(str(path), run_name="__main__")


def test_every_program_of_the_course_runs_by_that_guard():
    programs = [p for p in paths.SCRIPTS.glob("*.py") if "def main(" in p.read_text()]
    assert programs and all("    run_program(main)\n" in p.read_text() for p in programs)


@pytest.mark.parametrize(
    "tag", ["book-only", "solution", "exercise", "check", "injected-parameters"]
)
def test_cells_of_the_page_stay_on_the_page(tag):
    assert "print(42)" not in export(code("print(42)", tag), code("print(rows)"))


def test_functions_classes_constants_and_imports_go_to_module_level():
    script = export(
        code("import math\nLIMIT = 3\n\ndef f(x):\n    return math.sqrt(x)\n\nprint(f(LIMIT))")
    )
    head, main = script.split("def main(")
    assert "import math" in head and "LIMIT = 3" in head and "def f(x):" in head
    assert "print(f(LIMIT))" in main


def test_strings_of_several_lines_keep_their_inside(tmp_path):
    script = export(code('text = """one\n  two\nthree"""\nprint(text)'))
    assert run(script, "--pipeline-id", "x", tmp_path=tmp_path).stdout == "one\n  two\nthree\n"


def test_prose_becomes_comments_without_numbers_of_a_run():
    script = export(
        new_markdown_cell(
            "Of these, {glue:text}`n` are bad.\n\n## Count\n\nWe *count* `rows`.\n\n- a list"
        ),
        code("print(rows)"),
    )
    assert "# Count\n    # We count rows.\n    print(rows)" in script
    assert "glue" not in script and "a list" not in script


def test_the_export_is_deterministic():
    cells = [code("b = {'x', 'y'}\nprint(b, rows)"), new_markdown_cell("Text.")]
    assert export(*cells) == export(*cells)


@pytest.mark.parametrize(
    ("cell", "reason"),
    [
        (code("rows"), "`rows` only displays a value"),
        (code("%matplotlib inline"), "the magic or shell line `%matplotlib inline`"),
        (code("!ls"), "`!ls`"),
        (code("print(1)", "bookonly"), "unknown tag bookonly"),
        (code("x: int = 1  # again", "parameters"), "a second parameters cell"),
        (code("a = 1; print(a)"), "two statements in line 1"),
        (code("print(undefined_name)"), "Undefined name `undefined_name`"),
        (code("def f():\n    return rows"), "Undefined name `rows`"),
        (code("print("), "was never closed"),
    ],
)
def test_what_can_not_be_a_script_is_refused_with_the_cell(cell, reason):
    with pytest.raises(ExportError) as refusal:
        export(code("print(rows)"), cell)
    assert reason in refusal.value.problem
    assert "notebooks/09-a-step.ipynb, cell 4" in refusal.value.problem
    assert refusal.value.mend


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("x = 1  # no type", "not a parameter"),
        ("x: list = []  # type", "has the type list"),
        ("x: int = 1 + 1  # computed", "is computed"),
        ("x: int = 'a'  # wrong", "is not a int"),
        ("x: bool = 1  # wrong", "is not a bool"),
        ("x: int = 1", "has no help"),
    ],
)
def test_a_parameter_needs_name_type_literal_and_help(line, reason):
    with pytest.raises(ExportError, match=reason):
        read_parameters(line)


def test_a_whole_number_may_be_the_default_of_a_float():
    assert read_parameters("x: float = 1  # one")[0].default == 1.0


SECTION = new_markdown_cell("## Tables\n\n> Tables that survive.\n\nText.")


def test_without_parameters_a_script_holds_definitions_only():
    nb = new_notebook(cells=[TITLE, code("def f():\n    return 1"), code("print(f())")])
    with pytest.raises(ExportError, match="runs when the script is imported"):
        export_notebook(nb, "01-library")
    nb.cells.pop()
    assert "argparse" not in export_notebook(nb, "01-library")


def test_a_cell_of_the_library_goes_into_its_module_and_the_script_imports_it():
    files = exported_files(
        notebook(
            code("import math"),
            SECTION,
            code("ROOT = 2\n\n\ndef root(x):\n    return math.isqrt(x)", "library:tables"),
            code("def fourth(x):\n    return root(root(x))", "library:runs"),
            code("print(fourth(rows), ROOT, pipeline_id)"),
        ),
        "09-a-step",
    )
    assert set(files) == {"churn/tables.py", "churn/runs.py", "a_step.py"}
    assert '"""Tables that survive."""' in files["churn/tables.py"]
    assert "import math" in files["churn/tables.py"] and "import math" not in files["a_step.py"]
    assert "from churn.tables import root\n" in files["churn/runs.py"]
    assert "from churn.tables import ROOT\n" in files["a_step.py"]
    assert "from churn.runs import fourth\n" in files["a_step.py"]
    assert "def root" not in files["a_step.py"]


@pytest.mark.parametrize(
    ("cells", "reason"),
    [
        ([SECTION, code("print(1)", "library:tables")], "runs when the library is imported"),
        ([code("A = 1", "library:tables")], "nothing says what the module tables is for"),
        ([SECTION, code("A = 1", "library:my tables")], "'my tables' is no name of a module"),
    ],
)
def test_what_can_not_be_in_the_library_is_refused_with_the_cell(cells, reason):
    with pytest.raises(ExportError, match=reason) as refusal:
        export(*cells)
    assert "notebooks/09-a-step.ipynb, cell" in refusal.value.problem and refusal.value.mend


def library_notebook(folder, name):
    folder.mkdir(exist_ok=True)
    nb = new_notebook(cells=[TITLE, SECTION, code("A = 1", "library:tables")])
    nbformat.write(nb, folder / f"{name}.ipynb")


def test_a_module_is_written_by_one_notebook(tmp_path):
    library_notebook(tmp_path / "notebooks", "01-a")
    library_notebook(tmp_path / "notebooks", "02-b")
    with pytest.raises(ExportError, match=r"02-b\.ipynb and 01-a\.ipynb both export churn/tables"):
        export_all(tmp_path / "notebooks", tmp_path / "scripts")


def test_the_library_travels_as_one_archive_that_python_imports_and_that_is_always_the_same(
    tmp_path,
):
    notebooks, scripts = tmp_path / "notebooks", tmp_path / "scripts"
    library_notebook(notebooks, "01-a")
    export_all(notebooks, scripts)
    archive = scripts / "churn.zip"
    asked = [sys.executable, "-c", "from churn.tables import A; print(A)"]
    done = subprocess.run(asked, env={"PYTHONPATH": str(archive)}, capture_output=True, text=True)
    assert done.stdout == "1\n", done.stderr
    before = archive.read_bytes()
    archive.write_bytes(before[:-1])
    with pytest.raises(ExportError, match=r"churn\.zip: not what the notebooks export"):
        export_all(notebooks, scripts, check=True)
    assert export_all(notebooks, scripts) == ["churn.zip"] and archive.read_bytes() == before


def test_check_names_the_script_that_differs_and_writes_nothing(tmp_path):
    notebooks, scripts = tmp_path / "notebooks", tmp_path / "scripts"
    notebooks.mkdir()
    nbformat.write(notebook(code("print(rows, pipeline_id)")), notebooks / "09-a-step.ipynb")
    assert export_all(notebooks, scripts) == ["a_step.py"]
    assert export_all(notebooks, scripts, check=True) == []
    edited = (scripts / "a_step.py").read_text().replace("print(rows", "print(2 * rows")
    (scripts / "a_step.py").write_text(edited)
    with pytest.raises(ExportError, match=r"a_step\.py: not what the notebooks export"):
        export_all(notebooks, scripts, check=True)
    assert (scripts / "a_step.py").read_text() == edited


def test_the_script_of_a_deleted_notebook_goes_too(tmp_path):
    (tmp_path / "scripts").mkdir()
    (tmp_path / "scripts" / "gone.py").write_text("# Generated")
    (tmp_path / "notebooks").mkdir()
    assert export_all(tmp_path / "notebooks", tmp_path / "scripts") == ["gone.py"]
    assert not (tmp_path / "scripts" / "gone.py").exists()


def test_nbconvert_knows_the_exporter_by_name():
    exporter = get_exporter("pyspark_script")()  # as `jupyter nbconvert --to` looks it up
    exported, resources = exporter.from_filename(str(paths.NOTEBOOKS / "03-preprocessing.ipynb"))
    assert exported == (paths.SCRIPTS / "preprocessing.py").read_text()
    assert resources["output_extension"] == ".py"
