"""A forest as one file is the same forest: for sets of values, borders, and every real customer."""

from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from churn.forest import as_numbers, forest_nodes, model_columns
from churn.onnx_forest import (
    answers,
    answers_of_spark,
    check_gap,
    forest_to_onnx,
    inconvenient_customers,
)
from churn.programs import ModelError

from tests.library.small_forests import COLUMNS, anybody, small_forest

GENERATED = 100_000


def by_file(nodes: pd.DataFrame, columns: dict, x: np.ndarray) -> np.ndarray:
    """Return the probability of each row of features by the file."""
    import onnxruntime

    session = onnxruntime.InferenceSession(forest_to_onnx(nodes, columns).SerializeToString())
    return session.run(None, {"features": x})[0].ravel()


@pytest.mark.parametrize("seed", range(8))
def test_the_file_answers_like_the_forest_on_unseen_values_and_at_thresholds(seed):
    nodes, forest = small_forest(seed, trees=7, depth=6)
    x = anybody(seed, 500)
    found = by_file(nodes, COLUMNS, x)
    assert len(set(found.round(12))) > 20
    np.testing.assert_allclose(found, forest.probability(x), rtol=0, atol=1e-12)


def question(**changes) -> pd.DataFrame:
    """Return a tree of one question whose left leaf has the rate 1 and whose right one has 0."""
    asked = {"tree": 0, "node": 0, "feature": 0, "categories": -1, "values": [0.5], "rate": 0.5}
    asked |= {"left": 1, "right": 2} | changes
    leaf = {"tree": 0, "feature": -1, "categories": -1, "values": [], "left": -1, "right": -1}
    leaves = [leaf | {"node": number, "rate": rate} for number, rate in ((1, 1.0), (2, 0.0))]
    return pd.DataFrame([asked, *leaves])


def test_every_set_of_values_goes_left_and_no_other_value_does():
    for size in range(2, 7):
        for count in range(1, size):
            for chosen in combinations(range(size), count):
                nodes = question(categories=size, values=[float(v) for v in chosen])
                found = by_file(nodes, {"a": ["v"]}, np.arange(size, dtype=float)[:, None])
                assert [v for v in range(size) if found[v] == 1] == list(chosen)


@pytest.mark.parametrize("threshold", [0.1, 29.85, 1 / 3, 70.35, 1e-9, 16777217.0])
def test_a_customer_on_a_threshold_goes_left_and_one_step_above_it_right(threshold):
    """With floats of four bytes some of these would turn around."""
    x = np.array([threshold, np.nextafter(threshold, np.inf), np.nextafter(threshold, 0)])
    found = by_file(question(values=[threshold]), {"a": []}, x[:, None])
    assert found.tolist() == [1.0, 0.0, 1.0]


def test_trees_of_one_leaf_stand_beside_others():
    leaf = question().iloc[[1]].assign(node=0, rate=0.25)
    nodes = pd.concat([leaf, question().assign(tree=1), leaf.assign(tree=2)], ignore_index=True)
    found = by_file(nodes, {"a": []}, np.array([[0.0], [1.0]]))
    np.testing.assert_allclose(found, [(0.25 + 1 + 0.25) / 3, (0.25 + 0 + 0.25) / 3])
    np.testing.assert_allclose(by_file(leaf, {"a": []}, np.zeros((2, 1))), 0.25)


def test_generated_customers_are_inconvenient():
    nodes, _ = small_forest(3)
    made = inconvenient_customers(nodes, COLUMNS, 3000)
    for name, values in COLUMNS.items():
        if values:
            assert set(made[name]) == {*values, "never seen"}
    [position] = [n for n, name in enumerate(COLUMNS) if name == "age"]
    borders = {values[0] for values in nodes["values"][nodes["feature"] == position]}
    assert borders <= set(made["age"]) and (made["age"] >= 0).all()
    assert {np.nextafter(border, np.inf) for border in borders} <= set(made["age"])
    assert made.equals(inconvenient_customers(nodes, COLUMNS, 3000))
    assert not made.equals(inconvenient_customers(nodes, COLUMNS, 3000, seed=1))


@pytest.mark.parametrize("gap", [1e-5, 0.34, float("nan")])
def test_a_file_that_answers_otherwise_is_not_published(gap):
    with pytest.raises(
        ModelError, match=r"v1 answers otherwise than in Spark.*Nothing is published"
    ):
        check_gap(gap, "v1")


def test_rounding_is_no_other_answer():
    check_gap(1e-12, "v1")


@pytest.mark.slow
@pytest.mark.xdist_group("metrics")
def test_a_forest_of_spark_is_the_same_on_every_real_customer_and_a_hundred_thousand_others(
    spark, real_csv, tmp_path
):
    from churn.contract import clean, judge, read_raw
    from churn.features import feature_stages, featurise
    from pyspark.ml import PipelineModel
    from pyspark.ml.classification import RandomForestClassifier
    from pyspark.sql import functions as F

    customers = clean(judge(read_raw(spark, str(real_csv)))).withColumn("split", F.lit("train"))
    rows = featurise(PipelineModel(feature_stages(spark)), customers, 1)
    fitted = RandomForestClassifier(numTrees=5, maxDepth=8, seed=7, cacheNodeIds=True).fit(rows)
    uri = str(tmp_path / "m")
    PipelineModel([*feature_stages(spark), fitted]).save(uri)
    rows.unpersist()
    nodes, columns = forest_nodes(uri), model_columns(uri)
    real = customers.toPandas()
    assert len(real) > 7000
    everybody = pd.concat([real, inconvenient_customers(nodes, columns, GENERATED)])
    spark_says = answers_of_spark(PipelineModel.load(uri), everybody, columns)
    found = answers(forest_to_onnx(nodes, columns).SerializeToString(), everybody, columns)
    assert len(found) == len(real) + GENERATED
    np.testing.assert_allclose(found, spark_says, rtol=0, atol=1e-12)
    assert as_numbers(everybody, columns).shape == (len(found), 19)
