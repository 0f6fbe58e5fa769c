"""One forest, read three ways: our arrays, Spark's own transform, and as prefixes of itself."""

import inspect
import subprocess
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from churn.attribution import PathAttribution, TreeShap
from churn.contract import AMOUNTS, CATEGORIES
from churn.features import FEATURES, contract_rows, feature_stages, featurise
from churn.folds import cross_validate
from churn.forest import as_numbers, forest_nodes, load_forest, model_columns
from churn.metrics import score_bins, with_probability
from churn.programs import ModelError
from churn.registry import registered_forest
from pyspark.ml import PipelineModel
from pyspark.ml.classification import RandomForestClassifier
from pyspark.sql import functions as F

from churnlab import paths

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("steps")]

CUSTOMERS = 400
DEPTH = 6


@pytest.fixture(scope="module")
def customers(spark):
    """Customers of every value, the last ten with values nobody has seen; churn follows both kinds."""
    rng = np.random.default_rng(5)
    frame = pd.DataFrame({name: rng.choice(v, CUSTOMERS) for name, v in CATEGORIES.items()})
    frame.insert(0, "customer_id", [f"c-{n:03d}" for n in range(CUSTOMERS)])
    frame["tenure"] = rng.integers(0, 72, CUSTOMERS)
    frame["monthly_charges"] = rng.uniform(18, 120, CUSTOMERS).round(2)
    frame["total_charges"] = frame["tenure"] * frame["monthly_charges"]
    risk = frame["payment_method"].isin(["Electronic check", "Mailed check"]) * 1.5
    risk += (frame["contract"] == "Month-to-month") - frame["tenure"] / 40
    frame["churn"] = np.where(rng.logistic(risk) > 0, "yes", "no")
    frame["split"] = np.where(frame.index < 300, "train", "test")
    frame.loc[frame.index[-10:], ["payment_method", "contract"]] = "Telepathy"
    schema = ", ".join(
        f"{c} {'INT' if c == 'tenure' else 'DOUBLE' if c in AMOUNTS else 'STRING'}" for c in frame
    )
    return spark.createDataFrame(frame, schema).coalesce(1)


@pytest.fixture(scope="module")
def rows(spark, customers):
    return featurise(PipelineModel(feature_stages(spark)), customers).cache()


@pytest.fixture(scope="module")
def fitted(rows):
    forest = RandomForestClassifier(numTrees=12, maxDepth=DEPTH, seed=3, cacheNodeIds=True)
    return forest.fit(rows.where("split = 'train'"))


@pytest.fixture(scope="module")
def model_uri(spark, fitted, tmp_path_factory):
    uri = str(tmp_path_factory.mktemp("model") / "m")
    PipelineModel([*feature_stages(spark), fitted]).save(uri)
    return uri


@pytest.fixture(scope="module")
def scored(customers, model_uri):
    """Our forest, every customer as numbers, and Spark's probability of each."""
    forest = load_forest(model_uri)
    x = as_numbers(customers.toPandas(), forest.columns)
    by_spark = with_probability(PipelineModel.load(model_uri).transform(customers)).toPandas()
    return forest, x, by_spark["churn_probability"].to_numpy()


def test_the_trees_of_this_test_ask_for_sets_of_values_and_for_amounts(model_uri):
    inner = forest_nodes(model_uri).query("feature >= 0")
    sets = inner[inner["categories"] > 0]["values"].map(len)
    assert {1, 2} <= set(sets) and (inner["categories"] == -1).any()


def test_an_unknown_value_goes_right_at_every_question_about_its_column(model_uri):
    nodes = forest_nodes(model_uri)
    asked = nodes[nodes["categories"] > 0]
    assert len(asked) > 50
    for node in asked.itertuples():
        unknown = node.categories - 1
        assert unknown not in node.values  # the set that goes left


def test_our_probability_is_spark_s_for_every_customer_known_values_or_not(scored):
    forest, x, spark_s = scored
    ours = forest.probability(x)
    assert len(ours) == CUSTOMERS and len(set(ours)) > 100
    np.testing.assert_allclose(ours, spark_s, rtol=0, atol=1e-12)


@pytest.mark.parametrize("method", [TreeShap, PathAttribution])
def test_base_and_contributions_add_up_to_the_probability(scored, method):
    forest, x, spark_s = scored
    contributions = method(forest).contributions(x)
    assert contributions.shape == (CUSTOMERS, len(FEATURES))
    total = forest.base + contributions.sum(axis=1)
    np.testing.assert_allclose(total, spark_s, rtol=0, atol=1e-12)


@pytest.mark.parametrize("method", [TreeShap, PathAttribution])
def test_a_tree_of_one_leaf_is_a_forest_too(spark, rows, tmp_path, method):
    stump = RandomForestClassifier(numTrees=2, maxDepth=0, seed=3).fit(rows)
    uri = str(tmp_path / "m")
    PipelineModel([*feature_stages(spark), stump]).save(uri)
    forest, anybody = load_forest(uri), np.zeros((3, len(FEATURES)))
    assert len(set(forest.probability(anybody))) == 1
    assert not method(forest).contributions(anybody).any()


def test_contributions_are_those_of_the_package_shap(scored, model_uri, tmp_path):
    """shap reads no sets of values: the program beside this file makes thresholds of them."""
    python = paths.INFRA_CHECKS / "bin" / "python"
    if not python.exists():
        pytest.skip("shap is not here: `make .venv-infra/ready`")
    forest, x, _ = scored
    forest_nodes(model_uri).to_json(tmp_path / "nodes.json", orient="records", double_precision=15)
    np.save(tmp_path / "x.npy", x)
    program = Path(__file__).with_name("explain_by_shap.py")
    ran = subprocess.run([python, program, tmp_path], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    theirs = np.load(tmp_path / "shap.npy")
    assert np.abs(theirs).max() > 0.1
    np.testing.assert_allclose(TreeShap(forest).contributions(x), theirs, rtol=0, atol=1e-6)


def test_a_model_of_other_columns_is_refused(spark, fitted, tmp_path):
    indexer, assembler = feature_stages(spark)
    turned = assembler.setInputCols([*AMOUNTS, *indexer.getOutputCols()])
    PipelineModel([indexer, turned, fitted]).save(str(tmp_path / "m"))
    with pytest.raises(ModelError, match=r"saw other columns. Train again"):
        registered_forest({"model_uri": "m"}, str(tmp_path))


def test_columns_and_values_are_the_model_s_own_in_its_order(spark, model_uri):
    expected = {name: list(v) for name, v in CATEGORIES.items()} | {name: [] for name in AMOUNTS}
    assert list(model_columns(model_uri).items()) == list(expected.items())
    assert contract_rows(spark).count() == max(map(len, CATEGORIES.values()))


# What tuning takes for equal


def test_remembering_nodes_grows_the_same_trees(rows, fitted):
    walking = RandomForestClassifier(numTrees=12, maxDepth=DEPTH, seed=3, cacheNodeIds=False)
    again = walking.fit(rows.where("split = 'train'"))
    trees = [model.toDebugString.partition("\n")[2] for model in (fitted, again)]
    assert "If (" in trees[0] and trees[0] == trees[1]


def test_sizes_that_share_their_trees_get_the_bins_of_each_size_alone(rows, monkeypatch):
    import hyperparameter_tuning as tuning

    monkeypatch.setattr(tuning, "GRID_TREES", (3, 5, 8))
    train, held_out = rows.where("split = 'train'"), rows.where("split = 'test'")
    model = RandomForestClassifier(numTrees=8, maxDepth=4, seed=3).fit(train)
    judged = tuning.judge_sizes(model, held_out)
    for size in (3, 5, 8):
        alone = tuning.some_trees(model, 0, size).transform(held_out)
        expected = score_bins(with_probability(alone)).toPandas()
        found = judged[judged["numTrees"] == size].drop(columns="numTrees")
        pd.testing.assert_frame_equal(
            found.sort_values("bin", ignore_index=True)[list(expected.columns)],
            expected.sort_values("bin", ignore_index=True),
        )


def test_a_forest_s_first_trees_are_the_mean_of_those_trees(rows, fitted):
    import hyperparameter_tuning as tuning

    test = rows.where("split = 'test'")

    def probabilities(model):
        found = with_probability(model.transform(test)).orderBy("customer_id")
        return np.array([row[0] for row in found.select("churn_probability").collect()])

    by_hand = sum(probabilities(tree) for tree in fitted.trees[2:5]) / 3
    np.testing.assert_allclose(probabilities(tuning.some_trees(fitted, 2, 5)), by_hand, atol=1e-12)


def test_trials_are_the_metrics_of_each_point_and_fold():
    from hyperparameter_tuning import trials_of

    one = {"bin": [1, 9000], "customers": [2, 2], "churners": [0, 2]}
    one |= {"squared_error": [0.0, 0.1], "log_loss": [0.1, 0.1], "parameters": "{}", "fold": 1}
    found = {(p, fold, metric): v for p, fold, metric, v in trials_of(pd.DataFrame(one))}
    assert found == {("{}", 1, "roc_auc"): 1.0, ("{}", 1, "average_precision"): 1.0}


def test_a_quick_search_a_full_one_and_training_compare_the_same_folds():
    import hyperparameter_tuning as tuning

    assert inspect.signature(cross_validate).parameters["folds"].default == tuning.FOLDS
    assert "folds = " not in inspect.getsource(tuning.main)


def test_the_search_s_customers_do_not_follow_their_ids(spark, rows, monkeypatch):
    import hyperparameter_tuning as tuning

    monkeypatch.setattr(tuning, "SEARCH_ROWS", 40)
    numbered = rows.withColumn("fold", F.substring("customer_id", 3, 3).cast("int"))
    _, _, drawn = tuning.search_data(numbered)
    assert len(drawn) == 40 and max(drawn) > 300
