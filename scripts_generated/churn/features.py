# Generated from notebooks/04-model-training.ipynb by `make export`; do not edit.
"""The features: from a cleaned customer to the vector that a model sees, and from the vector's
positions back to columns.
"""

import numpy as np
import pandas as pd
from churn.contract import AMOUNTS, CATEGORIES
from pyspark.ml import PipelineModel
from pyspark.ml.feature import StringIndexer, VectorAssembler
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F


def contract_rows(spark: SparkSession) -> DataFrame:
    """Return a few rows that hold every category of the contract."""
    longest = max(map(len, CATEGORIES.values()))
    rows = [[values[i % len(values)] for values in CATEGORIES.values()] for i in range(longest)]
    return spark.createDataFrame(pd.DataFrame(rows, columns=list(CATEGORIES)))


FEATURES = (*CATEGORIES, *AMOUNTS)


def feature_stages(spark: SparkSession) -> list:
    """Return the Spark ML stages from a cleaned customer to the vector column ``features``.

    Its positions are FEATURES. A category is its place in CATEGORIES, or one past the last if the
    contract does not know it; Spark keeps in the column's metadata that this is a category.
    """
    indexer = StringIndexer(
        inputCols=list(CATEGORIES),
        outputCols=[f"{name}_index" for name in CATEGORIES],
        stringOrderType="alphabetAsc",
        handleInvalid="keep",
    )
    inputs = [*indexer.getOutputCols(), *AMOUNTS]
    assembler = VectorAssembler(inputCols=inputs, outputCol="features")
    return [indexer.fit(contract_rows(spark)), assembler]


CUSTOMERS_IN_A_PARTITION = 100_000


def partitions_for(customers: DataFrame) -> int:
    """Return how many partitions some customers deserve: one per 100,000, counted."""
    return 1 + max(0, customers.count() - 1) // CUSTOMERS_IN_A_PARTITION


def featurise(features: PipelineModel, customers: DataFrame, partitions: int = 0) -> DataFrame:
    """Return customer_id, split, churn, label and features, in a reproducible order, cached.

    Without a number of partitions it follows from the number of customers.
    """
    labelled = customers.withColumn("label", (F.col("churn") == "yes").cast("double"))
    return (
        features.transform(labelled)
        .select("customer_id", "split", "churn", "label", "features")
        .repartition(partitions or partitions_for(customers), "customer_id")
        .sortWithinPartitions("customer_id")
        .cache()
    )


def column_importance(importances: np.ndarray) -> dict[str, float]:
    """Return the importances of the vector's positions by column, largest first."""
    named = zip(FEATURES, map(float, importances), strict=True)
    return dict(sorted(named, key=lambda item: -item[1]))
