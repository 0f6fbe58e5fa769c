"""Contributions: Shapley values by their definition, on forests small enough for all subsets."""

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from churn import attribution
from churn.attribution import PathAttribution, TreeShap, explainer
from churn.forest import Forest, as_numbers
from churn.programs import StepError

from churnlab import paths
from tests.library.small_forests import COLUMNS, anybody, shapley_values, small_forest


@pytest.mark.parametrize("seed", range(6))
def test_contributions_are_the_shapley_values_of_the_definition(seed):
    nodes, forest = small_forest(seed)
    customers = anybody(seed, 8)
    by_definition = [shapley_values(nodes, x) for x in customers]
    found = TreeShap(forest).contributions(customers)
    assert np.abs(found).max() > 0.01
    np.testing.assert_allclose(found, by_definition, rtol=0, atol=1e-12)


def test_these_forests_ask_about_a_column_again_and_for_sets_of_values():
    nodes = pd.concat([small_forest(seed)[0] for seed in range(6)])
    asked = nodes[nodes["feature"] >= 0]
    assert {1, 2, 3} <= set(asked[asked["categories"] > 0]["values"].map(len))
    before, _, columns = attribution.shares_of_columns(small_forest(0)[1])
    assert columns == len(COLUMNS) and (before > 0).any()


def test_a_customer_s_contributions_do_not_depend_on_who_stands_beside(monkeypatch):
    _, forest = small_forest(1, trees=5, depth=8)
    customers = anybody(1, 50)
    together = TreeShap(forest).contributions(customers)
    monkeypatch.setattr(attribution, "ENTRIES", 1)
    np.testing.assert_array_equal(TreeShap(forest).contributions(customers), together)
    assert TreeShap(forest).contributions(customers[:0]).shape == (0, len(COLUMNS))


def test_sixteen_columns_on_one_way_are_exact_as_well():
    """A chain: whoever has all answers right churns; by symmetry all columns share alike."""
    many = 16
    rows = [(2 * d, d, [0.5], 2 * d + 1, 2 * d + 2, 2.0 ** (many - d)) for d in range(many)]
    rows += [(2 * d + 1, -1, [], -1, -1, 2.0 ** (many - d - 1)) for d in range(many)]
    rows += [(2 * many, -1, [], -1, -1, 1.0)]
    nodes = pd.DataFrame(rows, columns=["node", "feature", "values", "left", "right", "customers"])
    nodes = nodes.assign(tree=0, categories=-1, rate=0.0).sort_values("node", ignore_index=True)
    nodes.loc[nodes["node"] % 2 == 0, "rate"] = 1 / nodes["customers"]
    forest = Forest(nodes, {f"c{n}": [] for n in range(many)})
    [moves] = TreeShap(forest).contributions(np.ones((1, many)))
    np.testing.assert_allclose(moves, (1 - 2.0**-many) / many, rtol=0, atol=1e-12)


def test_of_two_columns_that_act_only_together_the_path_favours_the_one_asked_last():
    rows = [
        # node, feature, values, left, right, customers, rate
        (0, 2, [0.5], 1, 2, 4, 0.25), (1, -1, [], -1, -1, 2, 0.0), (2, 3, [0.5], 3, 4, 2, 0.5),
        (3, -1, [], -1, -1, 1, 0.0), (4, -1, [], -1, -1, 1, 1.0),
    ]  # fmt: skip
    names = ["node", "feature", "values", "left", "right", "customers", "rate"]
    forest = Forest(pd.DataFrame(rows, columns=names).assign(tree=0, categories=-1), COLUMNS)
    both = np.ones((1, len(COLUMNS)))
    assert PathAttribution(forest).contributions(both).tolist() == [[0, 0, 0.25, 0.5]]
    np.testing.assert_allclose(TreeShap(forest).contributions(both), [[0, 0, 0.375, 0.375]])


def test_a_category_is_its_number_and_an_unknown_value_the_one_past_the_last():
    row = {"plan": ["b", "z"], "region": ["n", "e"], "age": [3, 40], "bill": [0.5, 1.5]}
    found = as_numbers(pd.DataFrame(row), COLUMNS)
    assert found.tolist() == [[1, 0, 3, 0.5], [3, 3, 40, 1.5]]


def test_a_method_that_nobody_knows_is_refused_by_name():
    _, forest = small_forest(1)
    assert isinstance(explainer("shap", forest), TreeShap)
    assert isinstance(explainer("path", forest), PathAttribution)
    with pytest.raises(StepError, match=r"no method 'lime' of attribution. Use shap or path"):
        explainer("lime", forest)


def test_a_server_reads_and_explains_a_forest_without_spark():
    """pyspark is not in the serving image."""
    program = "import sys; sys.modules['pyspark'] = None; import churn.attribution, churn.forest"
    ran = subprocess.run(
        [sys.executable, "-c", program], cwd=paths.SCRIPTS, capture_output=True, text=True
    )
    assert ran.returncode == 0, ran.stderr
