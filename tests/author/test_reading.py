"""How long the pages take to read, and that the first model comes soon."""

import re

import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from churnlab.author.reading import (
    SECONDS_A_LINE,
    WORDS_A_MINUTE,
    minutes_to_the_first_model,
    reading_minutes,
)
from tests.committed import NOTEBOOKS


def code(source, *tags):
    return new_code_cell(source, metadata={"tags": list(tags)})


def test_words_and_lines_count_but_no_targets_of_links_and_no_empty_lines():
    words = new_markdown_cell("one [two](https://example.com/three) " * WORDS_A_MINUTE)
    assert reading_minutes([words]) == 2
    assert reading_minutes([code("a = 1\n\n\nb = 2")]) == pytest.approx(2 * SECONDS_A_LINE / 60)


@pytest.mark.parametrize("tag", ["hide-input", "remove-cell", "solution", "check"])
def test_what_is_folded_does_not_count(tag):
    assert reading_minutes([code("a = 1", tag)]) == 0


def test_a_quiz_does_not_count_and_what_follows_it_does():
    text = "## Quiz\n\nWhy? a) b) c)\n\n## Take-away\n\n" + "word " * (WORDS_A_MINUTE - 2)
    assert reading_minutes([new_markdown_cell(text)]) == 1


def test_reading_ends_with_the_cell_that_fits_a_model_to_customers():
    before = new_notebook(
        cells=[code("indexer.fit(contract_rows(spark))"), code("model.fit(train)")]
    )
    after = new_notebook(cells=[code("a = 1\n" * 60)])
    assert minutes_to_the_first_model([before, after]) == pytest.approx(2 * SECONDS_A_LINE / 60)
    assert minutes_to_the_first_model([after]) is None


def test_the_first_model_comes_within_45_minutes_of_reading():
    assert minutes_to_the_first_model(NOTEBOOKS.values()) <= 45


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_a_notebook_says_how_long_it_takes_to_read(name):
    said = re.search(r"\*\*Time:\*\* (\d+) minutes to read", NOTEBOOKS[name].cells[0].source)
    assert abs(int(said[1]) - reading_minutes(NOTEBOOKS[name].cells)) <= 5
