"""The first use of a term on a notebook's page leads to the glossary."""

import re

import nbformat
import pytest

pytestmark = pytest.mark.slow  # Sphinx builds a small book for most of these tests

GLOSSARY = """\
# Glossary

```{glossary}
churn
  A customer leaves.

batch
  A script that runs by itself.

batch scoring
  Scores in one {term}`batch`.

DAG
  A graph. It has no {term}`state`.

lift
  How many times more.

state
  What Terraform has written down.
```
"""


@pytest.fixture
def linked(small_book):
    """Build a book with this Markdown in its notebook; return the terms and texts of its links."""

    def build(markdown, code="area = 3"):
        small_book.write("glossary.md", GLOSSARY)
        small_book.write("index.md", "# Book\n\n```{toctree}\nnotebooks/01-areas\nglossary\n```\n")
        for place in ("notebooks", "_build/executed"):
            notebook = small_book.notebook(source=code)
            notebook.cells[0] = nbformat.v4.new_markdown_cell(markdown, id="prose")
            small_book.write(f"{place}/01-areas.ipynb", notebook)
        assert small_book.build() == ""
        found = re.findall(
            r'<a class="[^"]*course-term[^"]*" href="\.\./glossary\.html#term-([^"]*)"><span>(.*?)</span>',
            small_book.page(),
        )
        return found, small_book.page()

    return build


def test_the_first_use_is_a_link_and_the_second_is_not(linked):
    found, page = linked("# Areas\n\nWe look at churn.\n\nMore churn.")
    assert found == [("churn", "churn")]
    assert "More churn." in page


def test_a_longer_term_is_taken_before_a_shorter_one(linked):
    found, _ = linked("# Areas\n\nFirst batch scoring, then batch scoring again, then a batch.")
    assert found == [("batch-scoring", "batch scoring"), ("batch", "batch")]
    assert linked("# Areas\n\nFirst batch scoring, then batch scoring.")[0] == found[:1]


@pytest.mark.parametrize(
    ("prose", "text"),
    [("Batch after batch.", "Batch"), ("Two DAGs.", "DAGs"), ("A *batch*.", "batch")],
)
def test_plurals_beginnings_of_sentences_and_emphasis_count(linked, prose, text):
    assert [written for _, written in linked(f"# Areas\n\n{prose}")[0]] == [text]


@pytest.mark.parametrize(
    "prose",
    [
        "## About churn",
        "> The churn of a year.",
        "See `churn` there.",
        "The [churn of a year](01-areas.ipynb).",
        "The file churn-2026, and a batched read; dags are no graphs.",
        "| churn |\n| --- |\n| churn |",
        "What a lift! The state of the row is new, and columns come in batches.",
    ],
)
def test_titles_quotes_code_links_other_words_and_ordinary_words_stay(linked, prose):
    assert linked(f"# Areas\n\n{prose}")[0] == []


def test_code_cells_stay(linked):
    assert linked("# Areas", code="# churn\nchurn = 1")[0] == []


def test_a_link_by_the_author_is_the_one_of_the_page(linked):
    found, page = linked("# Areas\n\nHere is churn.\n\nHere is {term}`churn <churn>` again.")
    assert found == []
    assert page.count("glossary.html#term-churn") == 1


def test_pages_that_are_no_notebooks_stay(linked, small_book):
    linked("# Areas")
    glossary = small_book.page("glossary")
    assert "course-term" not in glossary and "#term-batch" in glossary
