"""A changed page and the script that is exported from it, run on the same few customers."""

# ruff: noqa: F821
import inspect

import nbformat
import pytest
from pyspark.sql import functions as F

from churnlab import paths
from churnlab.author.page_and_job import changed, differences

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("steps")]
AFTER = "customers = judge("


def never_before(customers):
    """Judge otherwise each time: neither page nor job can be trusted."""
    __builtins__.setdefault("CALLS", []).append(1)
    bad = F.col("customer_id").startswith("0001") & F.lit(len(__builtins__["CALLS"]) > 1)
    return customers.withColumn("reason", F.coalesce("reason", F.when(bad, F.lit("bad luck"))))


def as_it_is(customers):
    """Change nothing."""
    return customers


def of_the_notebook(customers):
    """Use a name that only the notebook of the learner has."""
    return customers.where(F.col("tenure") < my_limit)


def test_a_page_with_a_step_more_and_its_script_write_the_same_rows(spark):
    assert differences("preprocessing", as_it_is, AFTER, paths.NOTEBOOKS) == []


def test_rows_that_differ_are_noticed_with_their_table(spark):
    found = differences("preprocessing", never_before, AFTER, paths.NOTEBOOKS)
    assert "quarantined_rows: 0 and 1 rows" in found


def test_a_function_that_can_t_travel_is_named(spark):
    [refused] = differences("preprocessing", of_the_notebook, AFTER, paths.NOTEBOOKS)
    assert "my_limit" in refused and "pass it as an argument" in refused


def test_the_step_stands_behind_the_cell_that_was_named_and_exercises_are_left_out():
    [path] = paths.NOTEBOOKS.glob("*-preprocessing.ipynb")
    sources = [c.source for c in changed(nbformat.read(path, as_version=4), as_it_is, AFTER).cells]
    [place] = [n for n, source in enumerate(sources) if AFTER in source]
    assert sources[place + 2] == inspect.getsource(as_it_is)
    assert sources[place + 3] == "customers = as_it_is(customers)"
    assert not [source for source in sources if source.startswith("## Exercise")]
