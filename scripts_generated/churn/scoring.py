# Generated from notebooks/06-batch-scoring.ipynb by `make export`; do not edit.
"""Customers scored by a forest's nodes, as rows of the tables of predictions."""

from collections.abc import Iterator

import pandas as pd
from churn.attribution import explainer
from churn.forest import Forest, as_numbers
from churn.metrics import decision_column
from churn.reasons import reasons_of
from pyspark.sql import DataFrame, Observation, SparkSession
from pyspark.sql import functions as F

SCORED = (
    "customer_id STRING, churn_probability DOUBLE, feature ARRAY<STRING>, "
    "contribution ARRAY<DOUBLE>, raises ARRAY<STRING>, lowers ARRAY<STRING>"
)


def score(spark: SparkSession, customers: DataFrame, model: tuple, how: tuple) -> DataFrame:
    """Return customers with probability and reasons; ``how`` is method and count."""
    shared = spark.sparkContext.broadcast((*model, *how))

    def score_batches(batches: Iterator[pd.DataFrame]) -> Iterator[pd.DataFrame]:
        nodes, columns, method, count = shared.value
        forest = Forest(nodes, columns)
        explain = explainer(method, forest)
        for batch in batches:
            x = as_numbers(batch, columns)
            scored = batch[["customer_id"]].assign(churn_probability=forest.probability(x))
            moves = explain.contributions(x)
            yield scored.join(reasons_of(batch, list(columns), moves, count))

    scored = customers.mapInPandas(score_batches, SCORED)
    reasons = F.arrays_zip("feature", "contribution").alias("reasons")
    return scored.select("customer_id", "churn_probability", reasons, "raises", "lowers")


def predictions_of(
    spark: SparkSession, customers: DataFrame, entry: dict, model: tuple, how: tuple
) -> DataFrame:
    """Return clean customers as predictions of a registered model; ``model`` is what it reads."""
    scored = score(spark, customers, model, how)
    return scored.select(
        F.lit(entry["model_version"]).alias("model_version"),
        "customer_id",
        "churn_probability",
        decision_column(entry["threshold"]).alias("prediction"),
        F.lit(Forest(*model).base).alias("base_probability"),
        F.lit(how[0]).alias("attribution"),
        "reasons",
        "raises",
        "lowers",
    )


def summarised(predictions: DataFrame, summary: Observation) -> DataFrame:
    """Let Spark count predictions, offers and what is out of range while it writes them."""
    p = F.col("churn_probability")
    return predictions.observe(
        summary,
        F.count("*").alias("predictions"),
        F.count_if(F.col("prediction") == "yes").alias("offers"),
        F.avg(p).alias("mean_probability"),
        F.count_if(~F.coalesce(p.between(0, 1), F.lit(False))).alias("out_of_range"),
    )
