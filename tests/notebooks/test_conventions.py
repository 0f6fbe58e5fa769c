"""Every notebook keeps the course's conventions: `book/` explains them to authors."""

import ast
import os
import re
import symtable
import sys
from itertools import pairwise
from pathlib import Path
from statistics import median

import nbformat
import pytest

from churnlab import paths
from churnlab.author.exercises import BEGIN, END, learner_copy
from churnlab.author.exporter import (
    KNOWN_TAGS,
    LIBRARY_TAG,
    export_all,
    exported_files,
    read_parameters,
    script_name,
)
from tests.committed import NOTEBOOKS

# They write modules of the library and no script of their own.
LIBRARY = {"07-tables-and-runs", "13-scale"}
STEPS = [name for name in NOTEBOOKS if name != "07-tables-and-runs"]
# Something else runs their functions: the steps, kfp, a web server, Airflow.
IMPORTED = LIBRARY | {"09-training-pipeline", "10-pipeline-function", "12-scoring-dag"}
# Its program makes a schedule and touches no run.
WITHOUT_RUN = {"11-pipeline-schedule"}
PROGRAMS = [name for name in NOTEBOOKS if name not in IMPORTED | WITHOUT_RUN]
# What a program has to be told beside the run's key and the lake: nothing, but for the cloud's.
TOLD = {"08-serverless-batches": ["code", "service_account"]}

MORE_EXERCISES = {"13-scale": 5}

COMMON_PARAMETERS = """\
pipeline_id: str = ""  # key of this run in every table, such as 20261123t051500-3f9c2a
lake: str = ""  # root of the lake: a folder or gs://bucket/path
dataset: str = "churn"  # the tables: below the lake's warehouse, or bigquery://project.dataset
"""


def tags(cell) -> set[str]:
    return set(cell.metadata.get("tags", []))


def is_code(cell) -> bool:
    return cell.cell_type == "code"


def on_the_page(name: str) -> list:
    """Return the cells that a reader sees."""
    return [cell for cell in NOTEBOOKS[name].cells if "remove-cell" not in tags(cell)]


def code_cells(name: str) -> list:
    return [cell for cell in on_the_page(name) if cell.cell_type == "code"]


def markdown(name: str) -> list[str]:
    return [cell.source for cell in NOTEBOOKS[name].cells if cell.cell_type == "markdown"]


def headings(name: str, level: int) -> list[str]:
    """Return the headings of a level, in order; what stands in a fence is no heading."""
    text = re.sub(r"(?ms)^(`{3,}).*?^\1", "", "\n\n".join(markdown(name)))
    return re.findall(rf"(?m)^{'#' * level} +(.+?)\s*$", text)


def section(name: str, title: str) -> str:
    """Return the text of a section of the second level."""
    text = "\n\n".join(markdown(name))
    return re.split(r"(?m)^## ", text.partition(f"\n## {title}")[2])[0]


every_notebook = pytest.mark.parametrize("name", NOTEBOOKS)
every_step = pytest.mark.parametrize("name", STEPS)
every_program = pytest.mark.parametrize("name", PROGRAMS)


def test_modules_are_numbered_in_reading_order():
    numbers = [int(name.split("-")[0]) for name in NOTEBOOKS]
    assert numbers == list(range(1, len(numbers) + 1))
    assert all(re.fullmatch(r"\d\d(-[a-z]+)+", name) for name in NOTEBOOKS)


@every_notebook
def test_a_notebook_is_valid_and_its_cells_have_ids_of_their_own(name):
    nbformat.validate(NOTEBOOKS[name])
    ids = [cell["id"] for cell in NOTEBOOKS[name].cells]
    assert len(set(ids)) == len(ids)


@every_notebook
def test_a_notebook_is_committed_without_outputs(name):
    cells = [cell for cell in NOTEBOOKS[name].cells if cell.cell_type == "code"]
    assert [cell.outputs for cell in cells if cell.outputs] == []
    assert [cell.source for cell in cells if cell.execution_count is not None] == []


@every_notebook
def test_only_known_tags_are_used(name):
    used = set().union(*map(tags, NOTEBOOKS[name].cells))
    assert {tag for tag in used if not tag.startswith(LIBRARY_TAG)} <= KNOWN_TAGS


@every_notebook
def test_a_notebook_opens_with_its_one_title_and_its_promise(name):
    assert len(headings(name, 1)) == 1
    opening = NOTEBOOKS[name].cells[0].source
    assert re.match(r"# \S.*\n\n> \S", opening)
    for item in ("- **You learn**", "- **Time:**", "- **Cost in the cloud:**"):
        assert item in opening


@every_notebook
def test_prose_comes_before_code_three_times_in_four(name):
    cells = on_the_page(name)
    code = [(a, b) for a, b in pairwise(cells) if is_code(b) and "check" not in tags(b)]
    before = [a.cell_type for a, _ in code]  # a check stands with its solution
    assert before.count("markdown") / len(before) >= 0.75


@every_notebook
def test_code_cells_are_short(name):
    shown = [
        re.sub(rf" *({BEGIN}|{END})\n?", "", c.source)
        for c in code_cells(name)
        if "check" not in tags(c)
    ]
    lengths = sorted(len(source.splitlines()) for source in shown)
    assert median(lengths) <= 8
    assert sum(length <= 20 for length in lengths) / len(lengths) >= 0.9


@every_notebook
def test_an_exercise_is_no_program(name):
    """A check is a list of cases, which may be longer than a cell of the lesson."""
    cells = [c for c in code_cells(name) if tags(c) & {"solution", "check"}]
    assert [c.source for c in cells if len(c.source.splitlines()) > 25] == []


@every_notebook
def test_no_line_of_code_is_cut_on_a_laptop_s_screen(name):
    """The book shows 100 columns at 1440 pixels; its own test holds that."""
    lines = [line for cell in code_cells(name) for line in cell.source.splitlines()]
    assert [line for line in lines if len(line) > 100] == []


@every_program
def test_a_program_has_one_cell_of_parameters_and_the_common_ones_come_first(name):
    [cell] = [cell for cell in NOTEBOOKS[name].cells if "parameters" in tags(cell)]
    assert f"{cell.source}\n".startswith(COMMON_PARAMETERS)
    required = [parameter.name for parameter in read_parameters(cell.source) if parameter.required]
    assert required == ["pipeline_id", "lake", *TOLD.get(name, [])]
    assert cell is code_cells(name)[0]


@pytest.mark.parametrize("name", sorted(IMPORTED))
def test_what_others_import_takes_no_parameters(name):
    assert not [cell for cell in NOTEBOOKS[name].cells if "parameters" in tags(cell)]


@every_notebook
def test_an_exercise_is_a_task_its_solution_and_its_check(name):
    cells = NOTEBOOKS[name].cells
    kinds = [tags(cell) & {"exercise", "solution", "check"} for cell in cells]
    places = [n for n, kind in enumerate(kinds) if kind == {"exercise"}]
    assert len(places) == MORE_EXERCISES.get(name, 3)  # book/how-to-use.md says so
    for n in places:
        assert kinds[n : n + 3] == [{"exercise"}, {"solution"}, {"check"}]
        assert [cell.cell_type for cell in cells[n : n + 3]] == ["markdown", "code", "code"]
        assert cells[n].source.startswith("## Exercise: ")
        assert BEGIN in cells[n + 1].source
    assert sum(map(bool, kinds)) == 3 * len(places)


@every_notebook
def test_nothing_ends_the_session_before_an_exercise(name):
    """A learner solves it in a notebook that has run to its end."""
    cells = NOTEBOOKS[name].cells
    last_check = max(n for n, cell in enumerate(cells) if "check" in tags(cell))
    stops = [n for n, cell in enumerate(cells) if "spark.stop()" in cell.source and is_code(cell)]
    assert all(n > last_check and "script-only" in tags(cells[n]) for n in stops)
    copy = learner_copy(NOTEBOOKS[name])
    assert [cell.source for cell in copy.cells if "script-only" in tags(cell)] == []


def bound(cells: list) -> set[str]:
    """Return the names that cells give a value or define; imports are nobody's own."""
    tables = [symtable.symtable(cell.source, "cell", "exec") for cell in cells]
    symbols = [symbol for table in tables for symbol in table.get_symbols()]
    own = [s for s in symbols if (s.is_assigned() or s.is_namespace()) and not s.is_imported()]
    return {symbol.get_name() for symbol in own} - {"spark"}


@every_notebook
def test_an_exercise_needs_no_cell_of_the_page_and_changes_none_of_its_names(name):
    """A learner may begin with it, and go back to the page afterwards."""
    cells = [cell for cell in NOTEBOOKS[name].cells if is_code(cell)]
    exercise = [cell for cell in cells if tags(cell) & {"solution", "check"}]
    assert bound(exercise) & bound([cell for cell in cells if cell not in exercise]) == set()


def picture_texts(name: str) -> list[str]:
    cells = code_cells(name)
    return [
        c.metadata["mystnb"]["image"]["alt"]
        for c in cells
        if "image" in c.metadata.get("mystnb", {})
    ]


@every_step
def test_a_step_shows_at_least_two_pictures_and_says_what_is_on_them(name):
    texts = picture_texts(name)
    assert len(texts) >= 2
    assert all(len(text.split()) >= 5 for text in texts)


@every_notebook
def test_every_picture_has_a_text_for_those_who_do_not_see_it(name):
    drawn = [
        cell
        for cell in code_cells(name)
        if re.search(r"\bplt\.|\.plot\b|draw_graph\(", cell.source)
    ]
    assert [c.source for c in drawn if "image" not in c.metadata.get("mystnb", {})] == []


@every_notebook
def test_a_notebook_ends_with_exercise_quiz_take_away_and_production(name):
    last = headings(name, 2)[-4:]
    assert last[0].startswith("Exercise: ")
    assert last[1:] == ["Quiz", "Take-away", "What runs in production"]


@every_notebook
def test_the_quiz_hides_its_answers(name):
    assert "```{dropdown} Answer" in section(name, "Quiz")


@every_notebook
def test_the_last_section_links_all_that_the_page_exports(name):
    exported = exported_files(NOTEBOOKS[name], name)
    assert exported and (f"{script_name(name)}.py" in exported) == (name not in LIBRARY)
    for file in exported:
        assert f"](../scripts_generated/{file})" in section(name, "What runs in production")
        assert (paths.SCRIPTS / file).is_file()


def test_the_scripts_are_what_the_notebooks_export_whatever_the_working_folder(monkeypatch):
    monkeypatch.chdir(paths.SCRIPTS)
    assert export_all(paths.NOTEBOOKS, paths.SCRIPTS, check=True) == []


SETUP = {
    name: next(c.source for c in NOTEBOOKS[name].cells if '"../scripts_generated"' in c.source)
    for name in NOTEBOOKS
    if any('"../scripts_generated"' in cell.source for cell in NOTEBOOKS[name].cells)
}


@pytest.mark.parametrize("name", SETUP)
def test_a_notebook_in_another_folder_says_so_at_once(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("CHURNLAB_CODE", raising=False)
    before = {"os": os, "sys": sys, "Path": Path, "code": "", "lake": "", "dataset": ""}
    with pytest.raises(FileNotFoundError, match="open this page in the course's notebooks folder"):
        exec(SETUP[name], before)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", [*PROGRAMS, *WITHOUT_RUN])
def test_a_notebook_checks_the_types_of_its_parameters_before_it_uses_them(name):
    sources = [c.source for c in NOTEBOOKS[name].cells if c.cell_type == "code"]
    [checked] = [n for n, source in enumerate(sources) if "check_parameters(globals())" in source]
    [cell] = [c.source for c in NOTEBOOKS[name].cells if "parameters" in tags(c)]
    names = {parameter.name for parameter in read_parameters(cell)} - {"code"}  # leads to the check
    before = ast.parse("\n".join(sources[sources.index(cell) + 1 : checked]))
    assert names & {node.id for node in ast.walk(before) if isinstance(node, ast.Name)} == set()
