"""The book's Sphinx extensions, each on a book of a page or two."""

import json
import re
from html import unescape

import contract_tables
import nbformat
import pandas
import pytest
from course_status import duration

from churnlab import facts, paths
from churnlab.author.exercises import BEGIN, END
from churnlab.cloud import costs
from tests.book.small_book import EXTENSIONS

pytestmark = pytest.mark.slow  # Sphinx builds a small book for most of these tests

SCRIPT = """\
# Generated from notebooks/01-areas.ipynb by `make export`; do not edit.
def main():
    area = 3.14159 * 2**2
    return '<area>'
"""
PIXEL = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJg"
    "gg=="
)
RECORD = {
    "started": "2026-11-23T05:15:00+00:00",
    "seconds": 725,
    "data_source": "real customers",
    "rows": 7043,
    "modules": [
        {"name": "01-areas", "title": "Areas", "seconds": 61, "headline": "ROC AUC 0.846"},
    ],
    "versions": {"python": "3.11.7", "pyspark": "3.5.9"},
    "commit": "0123456789abcdef",
}


def picture():
    """The output of a cell that draws."""
    return nbformat.v4.new_output("display_data", data={"image/png": PIXEL, "text/plain": "x"})


def test_a_page_shows_the_executed_copy(small_book):
    assert small_book.build() == ""
    assert "12.57" in small_book.page()


def test_a_page_follows_a_new_execution(small_book):
    small_book.build()
    small_book.write("_build/executed/01-areas.ipynb", small_book.notebook(result="12.566"))
    assert small_book.build() == ""
    assert "12.566" in small_book.page()


def test_a_missing_copy_is_a_warning_that_names_the_mend(small_book):
    (small_book.root / "_build/executed/01-areas.ipynb").unlink()
    warnings = small_book.build()
    assert "no executed copy at _build/executed/01-areas.ipynb" in warnings
    assert "make course" in warnings


def test_a_warning_comes_again_at_the_next_build(small_book):
    small_book.write("notebooks/01-areas.ipynb", small_book.notebook(source="area = 0"))
    small_book.build()
    assert "is stale" in small_book.build()


def test_a_stale_copy_is_a_warning_that_names_the_mend(small_book):
    small_book.write("notebooks/01-areas.ipynb", small_book.notebook(source="area = 0"))
    warnings = small_book.build()
    assert "01-areas.ipynb is stale" in warnings
    assert "make course" in warnings


def test_a_copy_that_ended_in_an_error_is_a_warning_with_the_error(small_book):
    error = nbformat.v4.new_output("error", ename="ValueError", evalue="no rows", traceback=[])
    small_book.both(result=error)
    assert "ends in an error: ValueError: no rows" in small_book.build()


def test_an_error_that_a_cell_is_there_to_show_is_no_failure(small_book):
    error = nbformat.v4.new_output("error", ename="ValueError", evalue="no rows", traceback=[])
    small_book.both(result=error, tags=["raises-exception"])
    assert small_book.build() == ""


def test_a_damaged_copy_is_a_warning(small_book):
    small_book.write("_build/executed/01-areas.ipynb", "half a noteb")
    assert "cannot be read" in small_book.build()


def test_a_page_says_how_long_it_takes_to_read_and_how_long_it_last_ran(small_book):
    for folder in ("notebooks", "_build/executed"):
        notebook = small_book.notebook(result="12.57" if folder != "notebooks" else None)
        notebook.cells[0].source += "\n\n- **Time:** 99 minutes to read, an hour to run.\n"
        small_book.write(f"{folder}/01-areas.ipynb", notebook)
    small_book.write("_build/executed/run.json", RECORD)
    assert small_book.build() == ""
    page = small_book.page()
    assert "1 minute to read, 1 min 1 s to run when this page was made." in page
    assert "99 minutes" not in page


def test_injected_parameters_make_no_copy_stale_and_are_not_shown(small_book):
    executed = small_book.notebook(result="12.57")
    injected = nbformat.v4.new_code_cell("radius = 2", metadata={"tags": ["injected-parameters"]})
    executed.cells.insert(1, injected)
    small_book.write("_build/executed/01-areas.ipynb", executed)
    assert small_book.build() == ""
    assert "radius" not in small_book.page()


def test_a_solution_is_folded_after_its_stub_and_its_check(small_book):
    source = f"def pi():\n    {BEGIN}\n    return 3.14\n    {END}"
    for folder in ("notebooks", "_build/executed"):
        notebook = small_book.notebook(source=source, tags=["solution", "hide-input"])
        check = nbformat.v4.new_code_cell("assert pi() > 3", metadata={"tags": ["check"]})
        if folder != "notebooks":
            check.outputs = [nbformat.v4.new_output("stream", text="Passed.")]
        notebook.cells.append(check)
        small_book.write(f"{folder}/01-areas.ipynb", notebook)
    assert small_book.build() == ""
    page = small_book.page()
    shown = ["# Write your code here.", "Passed.", "Show the solution", "3.14"]
    assert sorted(shown, key=page.index) == shown
    assert "tag_exercise-stub" in page and "tag_hide-cell" in page and "tag_check" in page
    assert "tag_hide-input" not in page and "SOLUTION" not in page


def test_a_folded_cell_is_named_by_what_its_fold_says(small_book):
    small_book.both(result="12.57", tags=["hide-input"])
    assert small_book.build() == ""
    assert re.search(r"<summary>\s*<p[^>]*>Show code cell source", small_book.page())


def test_a_table_of_pandas_has_no_header_without_a_text(small_book):
    table = pandas.DataFrame({"contract": ["two-year"]})
    output = nbformat.v4.new_output("display_data", data={"text/html": table.to_html()})
    output.data["text/html"] += "<style scoped>td { color: red }</style>"
    small_book.both(result=output)
    assert small_book.build() == ""
    page = small_book.page()
    assert "<th>contract</th>" in page and "<th></th>" not in page and "<style scoped" not in page


def test_widgets_are_dropped_because_their_scripts_come_from_another_host(small_book):
    executed = small_book.notebook(result="12.57")
    state = {"application/vnd.jupyter.widget-state+json": {"state": {"a": {}}}}
    executed.metadata.widgets = state
    small_book.write("_build/executed/01-areas.ipynb", executed)
    assert small_book.build() == ""
    assert "widget" not in small_book.page()


def test_a_picture_in_a_notebook_without_a_text_is_a_warning(small_book):
    small_book.both(result=picture())
    assert "mystnb: {image: {alt: text}}" in small_book.build()


def test_a_picture_in_a_notebook_has_the_text_of_its_cell(small_book):
    small_book.both(result=picture(), mystnb={"image": {"alt": "Areas grow."}})
    assert small_book.build() == ""
    assert 'alt="Areas grow."' in small_book.page()


def test_a_picture_in_a_notebook_opens_alone(small_book):
    small_book.both(result=picture(), mystnb={"image": {"alt": "Areas grow."}})
    small_book.build()
    link = re.search(
        r'<a class="course-picture" href="\.\./(_images/\w+\.png)"><img ', small_book.page()
    )
    assert (small_book.root / "_build/html" / link[1]).is_file()


def test_a_picture_in_prose_without_a_text_is_a_warning(small_book):
    small_book.write("area.svg", "<svg xmlns='http://www.w3.org/2000/svg'/>")
    small_book.write_index("![](area.svg)")
    assert "area.svg has no alt text" in small_book.build()


@pytest.mark.parametrize(("line", "warns"), [("", True), ("accTitle: A to B\n", False)])
def test_a_diagram_needs_a_text(small_book, line, warns):
    small_book.write_index(f"```mermaid\nflowchart LR\n{line}A --> B\n```")
    assert ("accTitle" in small_book.build()) == warns


def test_mermaid_is_loaded_where_there_are_diagrams_and_nowhere_else(small_book):
    small_book.write_index("```mermaid\nflowchart LR\naccTitle: A to B\nA --> B\n```")
    small_book.build()
    assert "vendor/mermaid.tiny.js" in small_book.page("index")
    assert "mermaid" not in small_book.page()
    assert "mermaid" not in small_book.page("genindex")


def test_the_script_of_thebe_is_dropped(small_book):
    options = ["sphinx_thebe", *EXTENSIONS]
    small_book.build(options)
    assert "unpkg.com" not in small_book.page()
    without_us = [name for name in options if name != "page_scripts"]
    (small_book.root / "_build/html/notebooks/01-areas.html").unlink()
    small_book.build(without_us)
    assert "unpkg.com" in small_book.page(), "sphinx-thebe adds nothing; page_scripts can go"


def test_a_link_to_a_script_opens_its_page_which_leads_back(small_book):
    small_book.write("scripts_generated/areas.py", SCRIPT)
    small_book.write_index("[the script](scripts_generated/areas.py)")
    assert small_book.build() == ""
    assert 'href="scripts_generated/areas.html"' in small_book.page("index")
    page = small_book.page("scripts_generated/areas")
    assert 'href="../notebooks/01-areas.html">Areas</a>' in page
    assert "&lt;area&gt;" in page and "<area>" not in page


def test_a_link_from_a_notebook_to_a_script_opens_its_page(small_book):
    small_book.write("scripts_generated/areas.py", SCRIPT)
    for name in ("notebooks", "_build/executed"):
        notebook = small_book.notebook(result="12.57")
        notebook.cells[0].source += "\n\n[the script](../scripts_generated/areas.py)"
        small_book.write(f"{name}/01-areas.ipynb", notebook)
    assert small_book.build() == ""
    assert 'href="../scripts_generated/areas.html"' in small_book.page()


def test_a_link_to_a_script_that_is_not_exported_is_a_warning(small_book):
    small_book.write_index("[the script](scripts_generated/areas.py)")
    assert "scripts_generated/areas.py" in small_book.build()


def test_the_status_shows_the_last_run(small_book):
    small_book.write("_build/executed/run.json", RECORD)
    small_book.write_index("```{course-status}\n```")
    assert small_book.build() == ""
    page = re.sub(r"<[^>]*>", "", small_book.page("index"))
    for text in (
        "23 November 2026, 05:15 UTC",
        "12 min 5 s",
        "7,043 rows",
        "ROC AUC 0.846",
        "3.5.9",
    ):
        assert text in page
    assert 'href="notebooks/01-areas.html"' in small_book.page("index")


def test_the_status_without_a_commit_leaves_it_out(small_book):
    small_book.write("_build/executed/run.json", {**RECORD, "commit": None})
    small_book.write_index("```{course-status}\n```")
    assert small_book.build() == ""
    assert "Commit" not in small_book.page("index")


def test_a_missing_record_of_the_run_is_a_warning_that_names_the_mend(small_book):
    small_book.write_index("```{course-status}\n```")
    warnings = small_book.build()
    assert "no record of a run" in warnings and "make course" in warnings


@pytest.mark.parametrize("content", ["{half", "{}", '{"started": 3}', "[]"])
def test_a_damaged_record_of_the_run_is_a_warning(small_book, content):
    small_book.write("_build/executed/run.json", content)
    small_book.write_index("```{course-status}\n```")
    assert "is damaged" in small_book.build()


def test_the_tables_page_shows_every_contract_with_its_columns(small_book):
    small_book.write_index("```{contract-tables}\n```")
    assert small_book.build() == ""
    page = re.sub(r"<[^>]*>", "", small_book.page("index"))
    for name, contract in json.loads(contract_tables.DEFINITIONS.read_text()).items():
        assert f'id="table-{name.replace("_", "-")}"' in small_book.page("index")
        assert contract["description"] in page
    assert "list of RECORD (feature STRING, contribution FLOAT)" in page


def test_the_costs_page_shows_every_module_with_its_sums_and_every_price(small_book):
    text = (paths.ROOT / "book/costs.md").read_text().split("\n", 1)[1]
    text = re.sub(
        r"\]\(\.\./notebooks/[^)]*\)", "](index.md)", text
    )  # the small book has no modules
    small_book.write_index(text)
    assert small_book.build() == ""
    page = small_book.page("index")
    for module in costs.module_costs():
        assert f'id="cost-{module.id}"' in page and module.title in page
        assert {str(module.hour), str(module.run), str(module.week)} <= set(cells(page))
    for price in costs.load_prices().entries.values():
        assert price.rate in cells(page) and f'href="{price.citation.source}"' in page


def test_the_picture_of_the_forgotten_week_says_in_words_what_it_draws(small_book):
    small_book.write_index("```{forgotten-week}\n```")
    assert small_book.build() == ""
    page = small_book.page("index")
    text = re.search(r'<desc id="forgotten-week-text">(.*?)</desc>', page)[1]
    assert 'role="img" aria-labelledby="forgotten-week-title forgotten-week-text"' in page
    assert all(f"{module.title}: " in text for module in costs.module_costs())
    server = next(module for module in costs.module_costs() if module.id == "history-server")
    assert f"{server.title}: {server.week}" in text and "USD, reported" in text


def test_an_unpublished_price_is_no_zero_on_the_page(small_book):
    small_book.write_index("```{cost-tables}\n```")
    assert small_book.build() == ""
    page = small_book.page("index")
    fee = next(row for row in rows(page) if row[0].startswith("management fee: "))
    assert fee[2:] == ["see source"] * 3


def test_a_resource_of_a_module_shows_its_list_price_with_its_page_and_day(small_book):
    small_book.write_index("```{cost-tables}\n```")
    assert small_book.build() == ""
    page = small_book.page("index")
    price = costs.load_prices()["nat-address"]
    address = next(row for row in rows(page) if row[0].startswith("address: "))
    assert address[1] == f"{price.rate}, {price.citation.accessed}"
    assert f'href="{price.citation.source}"' in page


def test_the_status_page_shows_every_product_and_fact_with_its_link(small_book):
    small_book.write("_build/executed/run.json", RECORD)
    small_book.write_index((paths.ROOT / "book/status.md").read_text().split("\n", 1)[1])
    assert small_book.build() == ""
    page = small_book.page("index")
    loaded = facts.load_facts()
    for product in loaded.products.values():
        end = str(product.end_of_support or "not published")
        read = product.citation.accessed.isoformat()
        assert [product.name, product.version, end, read] in rows(page)
        assert f'href="{product.citation.source}"' in page
    for fact in loaded.facts.values():
        assert f'href="{fact.citation.source}"' in page


@pytest.mark.parametrize(
    "module, name, directive",
    [
        (costs, "MODEL", "cost-tables"),
        (facts, "FACTS", "price-table"),
        (facts, "FACTS", "versions-table"),
    ],
)
def test_a_damaged_file_behind_a_table_is_an_error_that_names_it(
    small_book, monkeypatch, module, name, directive
):
    broken = small_book.root / "broken.yaml"
    broken.write_text("prices: [")
    monkeypatch.setattr(module, name, broken)
    small_book.write_index(f"```{{{directive}}}\n```")
    assert "broken.yaml" in small_book.build()


def cells(page):
    """The texts of a page's table cells."""
    return [cell for row in rows(page) for cell in row]


def rows(page):
    """The texts of the cells of each row of a page's tables."""
    return [
        [unescape(re.sub(r"<.*?>", "", cell)).strip() for cell in cells]
        for cells in (
            re.findall(r"<td>(.*?)</td>", row, flags=re.DOTALL)
            for row in re.findall(r"<tr.*?</tr>", page, flags=re.DOTALL)
        )
        if cells
    ]


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.4, "0 s"),
        (59.4, "59 s"),
        (59.6, "1 min"),
        (65, "1 min 5 s"),
        (3600, "1 h"),
        (3725, "1 h 2 min"),
    ],
)
def test_a_duration_is_in_the_words_of_a_reader(seconds, words):
    assert duration(seconds) == words


@pytest.mark.parametrize("name", EXTENSIONS)
def test_pages_can_be_built_in_parallel(small_book, name):
    small_book.build()
    extension = small_book.app.extensions[name]
    assert extension.parallel_read_safe and extension.parallel_write_safe
