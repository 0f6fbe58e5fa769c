"""Features: where each value stands in the vector, hashes anybody can compute, fingerprints."""

import hashlib

import numpy as np
import pytest
from churn.contract import CATEGORIES
from churn.features import FEATURES, column_importance, feature_stages, featurise, partitions_for
from churn.folds import fold_column
from churn.registry import data_fingerprint, parameters_fingerprint
from churn.splitting import hash_bucket
from pyspark.ml import Pipeline
from pyspark.ml.functions import vector_to_array
from pyspark.sql import functions as F

from churnlab.run.library import course_module

pytestmark = pytest.mark.xdist_group("metrics")

CUSTOMER = {name: values[0] for name, values in CATEGORIES.items()} | {
    "tenure": 2,
    "monthly_charges": 29.85,
    "total_charges": 59.7,
    "churn": "no",
    "split": "train",
}


@pytest.fixture(scope="module")
def features(spark):
    """The stages as a model; a fit on any customers gives the same."""
    return Pipeline(stages=feature_stages(spark)).fit(customers(spark, {}))


def customers(spark, *changes):
    """Return cleaned customers, each with some columns changed."""
    rows = [{"customer_id": f"c-{n}"} | CUSTOMER | change for n, change in enumerate(changes)]
    types = {"tenure": "INT", "monthly_charges": "DOUBLE", "total_charges": "DOUBLE"}
    schema = ", ".join(f"{name} {types.get(name, 'STRING')}" for name in rows[0])
    return spark.createDataFrame([tuple(row.values()) for row in rows], schema).coalesce(1)


def vectors_of(features, frame):
    """Return, per customer, the positions of the vector by name."""
    vectors = features.transform(frame).orderBy("customer_id")
    rows = vectors.select(vector_to_array("features").alias("x")).collect()
    return [dict(zip(FEATURES, row["x"], strict=True)) for row in rows]


def test_every_value_of_the_contract_is_its_place_in_it(spark, features):
    longest = max(map(len, CATEGORIES.values()))
    changes = [{c: v[n % len(v)] for c, v in CATEGORIES.items()} for n in range(longest)]
    amounts = {"tenure": 2.0, "monthly_charges": 29.85, "total_charges": 59.7}
    assert vectors_of(features, customers(spark, *changes)) == [
        {name: float(CATEGORIES[name].index(value)) for name, value in change.items()} | amounts
        for change in changes
    ]


def test_an_unseen_category_is_one_past_the_known_ones_and_fails_nothing(spark, features):
    odd = [{"payment_method": value} for value in ("Barter", "", None)]
    for found in vectors_of(features, customers(spark, *odd)):
        assert found["payment_method"] == len(CATEGORIES["payment_method"])


def test_trees_are_told_which_positions_are_categories_and_of_how_many_values(spark, features):
    attributes = features.transform(customers(spark, {})).schema["features"].metadata["ml_attr"]
    nominal = {a["idx"]: len(a["vals"]) for a in attributes["attrs"]["nominal"]}
    known = [len(values) + 1 for values in CATEGORIES.values()]  # and the unknown
    assert nominal == dict(enumerate(known))
    assert [a["idx"] for a in attributes["attrs"]["numeric"]] == [16, 17, 18]


def test_the_features_learn_nothing_from_the_customers(spark, features):
    others = customers(spark, {"contract": "Two year", "tenure": 72}, {"gender": "Male"})
    again = Pipeline(stages=feature_stages(spark)).fit(others)
    frame = customers(spark, {}, {"contract": "One year"})
    assert vectors_of(again, frame) == vectors_of(features, frame)


def test_featurised_rows_come_in_the_same_order_whatever_the_input_s(spark, features):
    frame = customers(spark, *[{"churn": "yes"} if n % 2 else {} for n in range(20)])
    shuffled = frame.orderBy(F.rand(3)).repartition(4)
    once, again = (featurise(features, f, partitions=2).collect() for f in (frame, shuffled))
    assert once == again
    assert list(once[0].asDict()) == ["customer_id", "split", "churn", "label", "features"]
    assert {(row["churn"], row["label"]) for row in once} == {("no", 0.0), ("yes", 1.0)}


@pytest.mark.parametrize(
    ("asked", "made"), [({}, 3), ({"partitions": 0}, 3), ({"partitions": 2}, 2)]
)
def test_partitions_follow_from_the_customers_unless_somebody_names_them(
    spark, features, monkeypatch, asked, made
):
    monkeypatch.setitem(featurise.__globals__, "CUSTOMERS_IN_A_PARTITION", 2)
    frame = customers(spark, *[{}] * 5)
    assert featurise(features, frame, **asked).rdd.getNumPartitions() == made


def test_a_partition_holds_as_many_customers_as_the_course_has_and_there_is_always_one(spark):
    assert [partitions_for(spark.range(n)) for n in (0, 1, 7043, 100_000, 100_001)] == [
        1,
        1,
        1,
        1,
        2,
    ]


def test_counting_the_customers_reads_no_column(spark, tmp_path):
    customers(spark, *[{}] * 5).write.parquet(str(tmp_path / "customers"))
    counted = spark.read.parquet(str(tmp_path / "customers")).groupBy().count()
    assert "ReadSchema: struct<>" in counted._jdf.queryExecution().executedPlan().toString()


@pytest.mark.parametrize("script", ["model_training", "hyperparameter_tuning"])
def test_a_step_that_is_told_nothing_counts_which_is_how_the_pipeline_runs_it(script):
    options = course_module(script).parse_arguments(["--pipeline-id", "run-a", "--lake", "lake"])
    assert options.partitions == 0


# Importance


def test_importance_is_told_by_column_largest_first():
    shares = dict.fromkeys(FEATURES, 0.0) | {"contract": 0.5, "tenure": 0.375, "gender": 0.125}
    told = column_importance(np.array(list(shares.values())))
    assert list(told.items())[:4] == [
        ("contract", 0.5),
        ("tenure", 0.375),
        ("gender", 0.125),
        ("senior_citizen", 0.0),
    ]
    assert set(told) == set(FEATURES)


def test_importances_of_another_vector_are_refused():
    with pytest.raises(ValueError, match="shorter"):
        column_importance(np.zeros(len(FEATURES) - 1))


# Hashes


def test_a_bucket_can_be_computed_by_any_tool(spark):
    values, salts = ["7590-VHVEG", "", "ä 雪", "x" * 1000], {"churnlab": 100, "fold-0": 5, "": 7}
    frame = spark.createDataFrame([(value,) for value in values], "customer_id STRING")
    buckets = [hash_bucket("customer_id", salt, count) for salt, count in salts.items()]
    for value, *found in frame.select("customer_id", *buckets).collect():
        digests = [hashlib.md5(f"{salt}:{value}".encode()).hexdigest() for salt in salts]
        by_hand = [int(d[:8], 16) % n for d, n in zip(digests, salts.values(), strict=True)]
        assert found == by_hand


def test_another_repeat_sorts_the_customers_into_other_folds_of_about_the_same_size(spark):
    ids = spark.range(5000).select(F.col("id").cast("string").alias("customer_id"))
    folds = ids.select(fold_column(0).alias("a"), fold_column(1).alias("b")).toPandas()
    assert sorted(folds["a"].unique()) == [0, 1, 2, 3, 4]
    assert folds["a"].value_counts().between(900, 1100).all()
    assert (folds["a"] == folds["b"]).mean() == pytest.approx(0.2, abs=0.03)


# Fingerprints


def test_a_data_fingerprint_ignores_order_partitions_and_column_order(spark):
    frame = customers(spark, *[{"tenure": n} for n in range(20)])
    shuffled = frame.orderBy(F.rand(5)).repartition(4).select(*reversed(frame.columns))
    assert data_fingerprint(shuffled) == data_fingerprint(frame)


@pytest.mark.parametrize(
    "changes",
    [[{}], [{}, {"tenure": 3}], [{}, {"churn": "yes"}]],
    ids=["a row less", "another amount", "another label"],
)
def test_a_data_fingerprint_sees_every_change(spark, changes):
    before = data_fingerprint(customers(spark, {}, {}))
    assert data_fingerprint(customers(spark, *changes)) != before


def test_a_fingerprint_of_no_rows_can_be_told(spark):
    assert data_fingerprint(customers(spark, {}).limit(0)) == "0-0000000000000000"


def test_a_parameters_fingerprint_ignores_their_order_and_sees_their_values():
    fingerprint = parameters_fingerprint({"numTrees": 100, "maxDepth": 8})
    assert parameters_fingerprint({"maxDepth": 8, "numTrees": 100}) == fingerprint
    assert parameters_fingerprint({"maxDepth": 9, "numTrees": 100}) != fingerprint
    assert len(fingerprint) == 16
