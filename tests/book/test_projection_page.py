"""The page of the projection: its table, and a calculator that says what Python says."""

import json
import re
from dataclasses import replace

import projection_tables
import pytest

from churnlab import paths
from churnlab.cloud import costs, projection

PAGE = (paths.ROOT / "book" / "projection.md").read_text(encoding="utf-8").split("\n", 1)[1]
GROWTH = {
    "sizes": [
        {
            "rows": rows,
            "steps": {
                name: {"core_seconds": seconds * rows / 1e6 + 10}
                for name, seconds in (
                    ("preprocessing", 40.0),
                    ("training", 900.0),
                    ("scoring", 60.0),
                )
            },
        }
        for rows in (100_000, 1_000_000)
    ]
}


@pytest.fixture
def build(small_book, monkeypatch):
    """A function that builds the page on a growth, or on none; returns warnings and file."""

    def build(growth=GROWTH):
        file = small_book.root / "growth.json"
        if growth:
            file.write_text(json.dumps(growth), encoding="utf-8")
        monkeypatch.setattr(projection, "GROWTH", file)
        small_book.write_index(re.sub(r"\]\((?:costs\.md|\.\./notebooks/[^)]*)\)", "](#)", PAGE))
        warnings = [line for line in small_book.build().splitlines() if "toctree" not in line]
        return warnings, small_book.root / "_build" / "html" / "index.html"

    return build


def test_the_table_has_a_range_for_each_step(build):
    _, file = build()
    text = re.sub(r"<[^>]*>", "", file.read_text(encoding="utf-8"))
    low, high = projection.project_range(60.0, projection.Assumptions())
    assert f"{low.dcu_hours:,.0f} to {high.dcu_hours:,.0f}" in text
    assert f"{low.cost().total.usd:,.2f} to {high.cost().total.usd:,.2f}" in text


def test_a_book_without_a_growth_says_that_nothing_was_measured(build):
    _, file = build(growth=None)
    html = file.read_text(encoding="utf-8")
    assert html.count("Nothing has been measured") == 2 and 'id="projection"' not in html


@pytest.mark.slow
@pytest.mark.xdist_group("book")
class TestCalculator:
    """The calculator in a browser, from a file: nothing of it needs a server or another host."""

    @pytest.fixture
    def opened(self, build, page):
        _, file = build()
        page.goto(file.as_uri())
        return page

    def test_it_begins_with_the_projection_of_python(self, opened):
        found = projection.project(100.0, projection.Assumptions())
        said = opened.text_content("#projection output")
        assert f"{found.seconds / 60:,.1f} minutes, {found.dcu_hours:,.1f} DCU-hours" in said
        assert f"{found.cost().total.usd:,.2f} USD." in said and "real batch" not in said

    def test_it_follows_the_keyboard(self, opened):
        opened.focus("#projection [name=executors]")
        opened.keyboard.press("Control+A")
        opened.keyboard.type("200")
        opened.keyboard.press("Tab")
        assert opened.evaluate("document.activeElement.name") == "cores"
        found = projection.project(100.0, replace(projection.Assumptions(), executors=200))
        assert f"{found.dcu_hours:,.1f} DCU-hours" in opened.text_content("#projection output")

    def test_an_impossible_number_is_named(self, opened):
        opened.fill("#projection [name=efficiency]", "2000000")
        opened.fill("#projection [name=customers]", "0")
        assert opened.text_content("#projection output").startswith("customers: ")

    def test_a_real_batch_is_reconciled(self, opened):
        found = projection.project(100.0, projection.Assumptions())
        used = {"milli_dcu_seconds": round(found.milli_dcu_seconds), "shuffle_gb_seconds": 0}
        for name, value in used.items():
            opened.fill(f"#projection [name={name}]", str(value))
        real = found.dcu_hours * costs.load_prices()["spark-dcu"].usd(1)
        said = opened.text_content("#projection output")
        assert f"The real batch cost {real:,.2f} USD" in said

    def test_every_field_has_a_label(self, opened):
        inputs = opened.locator("#projection input")
        named = inputs.evaluate_all("fields => fields.map(f => f.labels[0].textContent.trim())")
        assert len(named) == len(projection_tables.FIELDS) and all(named)
