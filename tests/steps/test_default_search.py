"""Page 05 searches with its default parameters: every point of every search sees the same folds."""

import ast

import nbformat
import pytest

from churnlab.run.library import library

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("course")]

PAGE = "05-hyperparameter-tuning"


def test_the_default_search_judges_every_point_in_all_five_folds(course):
    executed = nbformat.read(course.executed(PAGE), as_version=4)
    [run] = [c for c in executed.cells if c.source.endswith("new_pipeline_id()\npipeline_id")]
    key = ast.literal_eval(run.outputs[0].data["text/plain"])
    rows = library.tables.read_rows(str(course.lake / "warehouse" / "churn"), "tuning_trials")
    folds: dict[tuple, dict[str, list]] = {}
    for row in rows:
        if (row["pipeline_id"], row["metric"]) == (key, "average_precision"):
            points = folds.setdefault((row["search"], row["library"]), {})
            points.setdefault(row["parameters"], []).append(row["fold"])
    sizes = {search: len(points) for search, points in folds.items()}
    assert sizes == {
        ("grid", "Spark ML"): 27,
        ("winner", "Spark ML"): 1,
        ("halving", "scikit-learn"): 27 + 9 + 3,
    }
    for points in folds.values():
        assert all(sorted(found) == list(range(5)) for found in points.values())
