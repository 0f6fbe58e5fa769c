"""A cell that is exported leads to its line in the script; what stays on the page does not."""

import ast
import re

import nbformat
import production_marks
import pytest

from churnlab import paths

pytestmark = pytest.mark.slow  # Sphinx builds a small book for most of these tests

SCRIPT = '''\
# Generated from notebooks/01-areas.ipynb by `make export`; do not edit.
"""Areas."""

import math

PI = math.pi


def area(
    radius: float,
) -> float:
    """The area."""
    return PI * radius**2


def main():
    print(area(1))
    print(
        area(2)
    )
    print(area(1))
'''
LIBRARY = 'def read_table(name):\n    """Read."""\n    return name\n'


@pytest.fixture
def marked(small_book):
    """Build a book of one notebook with these cells, each (source, tags); return warnings, page."""

    def build(*cells):
        small_book.write("scripts_generated/areas.py", SCRIPT)
        small_book.write("scripts_generated/churn/tables.py", LIBRARY)
        for place in ("notebooks", "_build/executed"):
            notebook = small_book.notebook()
            notebook.cells[1:] = [
                nbformat.v4.new_code_cell(source, id=f"cell-{number}", metadata={"tags": tags})
                for number, (source, tags) in enumerate(cells)
            ]
            small_book.write(f"{place}/01-areas.ipynb", notebook)
        return small_book.build(), small_book.page()

    return build


def links(page):
    """Where the marks of a page lead."""
    return re.findall(
        r'course-production"><a class="[^"]*" href="\.\./scripts_generated/([^"]*)"', page
    )


def test_an_exported_cell_leads_to_its_line(marked):
    warnings, page = marked(("PI = math.pi", []), ("def area(radius: float) -> float: ...", []))
    assert warnings == ""
    assert links(page) == ["areas.html#L-6", "areas.html#L-9"]
    assert "runs in production: areas.py, line 9" in page


def test_a_cell_is_found_however_the_script_is_laid_out(marked):
    _, page = marked(("# Two.\nimport math\nprint(area(2))", []), ("import math", []))
    assert links(page) == ["areas.html#L-18", "areas.html#L-4"]


def test_the_same_statement_twice_leads_to_two_lines(marked):
    _, page = marked(("print(area(1))", []), ("print(area(1))", []))
    assert links(page) == ["areas.html#L-17", "areas.html#L-21"]


def test_a_cell_of_the_library_leads_to_its_module(marked):
    warnings, page = marked(("def read_table(name): ...", ["library:tables"]))
    assert warnings == ""
    assert links(page) == ["churn/tables.html#L-1"]


@pytest.mark.parametrize("tag", ["book-only", "exercise", "solution", "parameters"])
def test_what_stays_on_the_page_has_no_mark(marked, tag):
    warnings, page = marked(("### BEGIN SOLUTION\nPI = 3\n### END SOLUTION", [tag]))
    assert warnings == "" and links(page) == []
    assert f"tag_{tag}" in page


def test_a_cell_that_is_not_in_the_script_is_a_warning_that_names_the_mend(marked):
    warnings, page = marked(("print(area(3))", []))
    assert (
        "areas.py lacks the cell that begins with `print(area(3))`. Run `make export`" in warnings
    )
    assert links(page) == []


def test_a_module_that_is_not_exported_is_a_warning(marked):
    warnings, _ = marked(("def a(): ...", ["library:metrics"]))
    assert "scripts_generated/churn/metrics.py is missing" in warnings


def test_the_page_of_a_script_has_an_anchor_for_each_line(marked, small_book):
    marked(("PI = math.pi", []))
    page = small_book.page("scripts_generated/areas")
    assert re.search(r'<span id="L-6"><span class="\w+">PI</span>', page)
    assert 'id="L-3"' in small_book.page("scripts_generated/churn/tables")


def test_a_notebook_without_a_script_has_no_marks(small_book):
    assert small_book.build() == ""
    assert "course-production" not in small_book.page()


def test_imports_that_the_script_has_no_use_for_have_no_mark(marked):
    warnings, page = marked(("import json\nimport math", []), ("import json", []))
    assert warnings == ""
    assert links(page) == ["areas.html#L-4"]


def test_every_exported_cell_of_the_course_is_found_in_its_script():
    marks = 0
    for path in sorted(paths.NOTEBOOKS.glob("*.ipynb")):
        scripts = {}
        for cell in nbformat.read(path, as_version=4).cells:
            place = production_marks.script_of(cell.metadata.get("tags", []), path.stem)
            if cell.cell_type != "code" or place is None or not cell.source.strip():
                continue
            if place not in scripts:
                scripts[place] = production_marks.Script.read(paths.ROOT / place)
            signs = production_marks.signs(cell.source)
            found = scripts[place] is not None and any(map(scripts[place].line_of, signs))
            imports = isinstance(signs[0], ast.Import | ast.ImportFrom)
            assert found or imports, f"{path.name}: {cell.source}"
            marks += found
    assert marks > 100
