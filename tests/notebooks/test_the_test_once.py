"""Pages 04 and 05 look at the test split once, after every choice."""

import ast

import nbformat
import pytest

from churnlab import paths

PAGES = ("04-model-training", "05-hyperparameter-tuning")
HEADING = "## The test, once"
# What fits a model, or takes one of several by what it measures.
CHOOSES = {"fit", "cross_validate", "cheapest_threshold", "mean_and_spread", "fit_one"}
CHOOSES |= {"fit_in_tasks", "successive_halving", "grid_bins", "mean_precision"}
# Both splits, or the test alone: nothing is fitted on them.
WITH_TEST = {"customers", "rows", "test"}


def code_of(cells) -> list[tuple[str, bool, ast.Module]]:
    """Return the code cells as (source, after the heading?, syntax tree)."""
    found, after = [], False
    for cell in cells:
        after = after or (cell.cell_type == "markdown" and HEADING in cell.source)
        if cell.cell_type == "code":
            found.append((cell.source, after, ast.parse(cell.source)))
    return found


def loaded(tree: ast.AST) -> set[str]:
    """Return the names that a piece of code reads."""
    nodes = [node for node in ast.walk(tree) if isinstance(node, ast.Name)]
    return {node.id for node in nodes if isinstance(node.ctx, ast.Load)}


def calls(tree: ast.AST) -> list[tuple[str, set[str]]]:
    """Return the name of each call, whether of a function or a method, and what its arguments read."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            name = getattr(node.func, "attr", getattr(node.func, "id", ""))
            arguments = [*node.args, *(keyword.value for keyword in node.keywords)]
            found.append((name, set().union(*map(loaded, arguments))))
    return found


def chosen_by(tree: ast.AST) -> set[str]:
    """Return what in a piece of code fits or compares; a function handed on counts as well."""
    attributes = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    return (loaded(tree) | attributes) & CHOOSES


def faults(cells) -> list[str]:
    """Return what is wrong with the way the cells of a page look at the test."""
    code = code_of(cells)
    readers = [(source, after) for source, after, tree in code if "test" in loaded(tree)]
    wrong = [f"reads the test before its heading:\n{s}" for s, after in readers if not after]
    if len(readers) != 1:
        wrong.append(f"{len(readers)} cells read the test")
    if sum("split = 'test'" in source for source, _, _ in code) != 1:
        wrong.append("the test is split off in one cell")
    seen = {"test"}  # what has been made of the test
    for source, _, tree in code:
        of_test = loaded(tree) & seen
        if of_test:
            stored = [n for n in ast.walk(tree) if isinstance(n, ast.Name)]
            seen |= {n.id for n in stored if isinstance(n.ctx, ast.Store)}
        if (of_test or "test" in loaded(tree)) and chosen_by(tree):
            wrong.append(f"fits or compares on the test ({chosen_by(tree)}):\n{source}")
        for name, arguments in calls(tree):
            if name in CHOOSES and arguments & WITH_TEST:
                wrong.append(f"{name} is given {arguments & WITH_TEST}:\n{source}")
    return wrong


@pytest.mark.parametrize("name", PAGES)
def test_one_cell_reads_the_test_after_its_heading_and_none_chooses_by_it(name):
    cells = nbformat.read(paths.NOTEBOOKS / f"{name}.ipynb", as_version=4).cells
    assert faults(cells) == []


SPLIT = "train, test = rows.where(\"split = 'train'\"), rows.where(\"split = 'test'\")"
LOOK = "predictions = model.transform(test)\ntest_bins = score_bins(predictions)"


def page(before: str, after: str = "") -> list:
    """Return a page that looks at the test once, with code before and after that."""
    code, prose = nbformat.v4.new_code_cell, nbformat.v4.new_markdown_cell
    return [code(SPLIT), code(before), prose(HEADING), code(LOOK), code(after)]


def test_a_page_that_looks_once_is_right():
    assert faults(page("model = forest.fit(train)", "probability_metrics(test_bins)")) == []


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", "weighted = forest.fit(train)\nscore_bins(weighted.transform(test))"),
        ("", "cheapest_threshold(test_bins, 2.0, 1.0)"),
        ("", "metrics = probability_metrics(test_bins)\nbest = cross_validate(metrics)"),
        ("", "weighted.transform(rows.where(\"split = 'test'\"))"),
        ("probabilities(three, test)", ""),
        ("encoder = Pipeline(stages=[]).fit(customers)", ""),
        ("cross_validate(few, rows)", ""),
    ],
)
def test_a_page_that_chooses_by_the_test_is_found(before, after):
    assert faults(page(before, after))
