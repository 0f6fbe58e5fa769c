"""The arms that Spark runs: `spark-submit … shared_out.py ARM LAKE TREES`.

``rows`` shares out the rows of one forest (Spark ML), ``xgboost_in_spark`` those of boosting,
``fits`` a forest's trees (scikit-learn in tasks, each of which has all rows). ``scan`` reads the
customers who wait to be scored, and nothing else; ``transform`` and ``onnx_in_spark`` score them.
"""

import json
import sys
import time
from collections.abc import Iterator
from contextlib import suppress

import numpy as np
import pandas as pd
from py4j.protocol import Py4JError
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from benchmarks import alone
from churnlab.run.library import library


def customers(spark: SparkSession, lake: str) -> DataFrame:
    """Return the training table of the only run."""
    return library.tables.read_table(spark, f"{lake}/warehouse/churn", "training_data")


def features_of(spark: SparkSession, lake: str) -> DataFrame:
    """Return customers as the course's training step sees them, cached and counted."""
    from pyspark.ml import PipelineModel

    stages = PipelineModel(library.features.feature_stages(spark))
    rows = library.features.featurise(stages, customers(spark, lake))
    rows.count()
    return rows


def fit_rows(estimator, spark: SparkSession, lake: str) -> dict:
    """Fit an estimator that shares out the rows, and test it."""
    started = time.monotonic()
    rows = features_of(spark, lake)
    loaded = time.monotonic()
    model = estimator.fit(rows.where("split = 'train'"))
    fitted = time.monotonic()
    metrics = library.metrics
    predicted = metrics.with_probability(model.transform(rows.where("split = 'test'")))
    tested = metrics.probability_metrics(metrics.score_bins(predicted).toPandas())
    return alone.fit_times(started, loaded, fitted) | {
        name: tested[name] for name in ("roc_auc", "average_precision")
    }


def share_rows(spark: SparkSession, lake: str, trees: int) -> dict:
    """Fit the course's forest with Spark ML, on its own features and partitions."""
    from pyspark.ml.classification import RandomForestClassifier

    estimator = RandomForestClassifier(
        numTrees=trees,
        maxDepth=8,
        minInstancesPerNode=10,
        featureSubsetStrategy="onethird",
        cacheNodeIds=True,
        seed=7,
    )
    return fit_rows(estimator, spark, lake)


def share_boosting(spark: SparkSession, lake: str, trees: int) -> dict:
    """Boost by XGBoost's Spark estimator: a task a core, which all have to run at once."""
    from xgboost.spark import SparkXGBClassifier

    estimator = SparkXGBClassifier(
        num_workers=spark.sparkContext.defaultParallelism,
        n_estimators=trees,
        **alone.BOOSTING,
        random_state=7,
    )
    return fit_rows(estimator, spark, lake)


def share_fits(spark: SparkSession, lake: str, trees: int) -> dict:
    """Fit scikit-learn's trees in as many tasks as there are cores; each task gets all rows."""
    started = time.monotonic()
    parts = alone.splits(lake)
    shared = spark.sparkContext.broadcast(parts)
    loaded = time.monotonic()
    tasks = min(trees, spark.sparkContext.defaultParallelism)
    shares = [len(share) for share in np.array_split(np.arange(trees), tasks)]

    def grow(task: int) -> np.ndarray:
        data, share = shared.value, shares[task]
        model = alone.forest(share, 7 + task).fit(*data["train"])
        return model.predict_proba(data["test"][0])[:, 1] * share

    answers = spark.sparkContext.parallelize(range(tasks), tasks).map(grow).collect()
    fitted = time.monotonic()
    tested = alone.quality(parts["test"][1], sum(answers) / trees)
    return alone.fit_times(started, loaded, fitted) | tested


def scan(spark: SparkSession, lake: str, trees: int) -> dict:
    """Read every value of the waiting customers and throw it away."""
    started = time.monotonic()
    rows = spark.read.parquet(f"{lake}/waiting")
    rows.write.format("noop").mode("overwrite").save()
    return {"work_seconds": round(time.monotonic() - started, 2)}


def waiting_customers(spark: SparkSession, lake: str) -> DataFrame:
    """Return the waiting customers with their types; no row is judged."""
    contract = library.contract
    raw = contract.read_raw(spark, f"{lake}/waiting", labelled=False)
    return contract.clean(raw.withColumn("reason", F.lit(None)), labelled=False)


def write_probabilities(scored: DataFrame, out: str, started: float) -> dict:
    """Write a probability for each customer into a folder and return the seconds."""
    scored.select("customer_id", "churn_probability").write.mode("overwrite").parquet(out)
    return {"work_seconds": round(time.monotonic() - started, 2)}


def transform(spark: SparkSession, lake: str, trees: int) -> dict:
    """Score the waiting customers by Spark ML's own model: probabilities, no reasons."""
    model = library.registry.load_model(alone.newest_model(lake), lake)
    started = time.monotonic()
    scored = model.transform(waiting_customers(spark, lake))
    out = f"{lake}/arm-transform/probabilities"
    return write_probabilities(library.metrics.with_probability(scored), out, started)


def share_onnx(spark: SparkSession, lake: str, trees: int) -> dict:
    """Score the waiting customers by ONNX Runtime in tasks: probabilities, no reasons."""
    content, columns = alone.onnx_of(lake)
    started = time.monotonic()
    shared = spark.sparkContext.broadcast((content, columns))

    def score(batches: Iterator[pd.DataFrame]) -> Iterator[pd.DataFrame]:
        content, columns = shared.value
        session = alone.onnx_session(content, threads=1)  # tasks share the cores already
        for batch in batches:
            x = library.forest.as_numbers(batch, columns)
            p = session.run(None, {"features": x})[0].ravel()
            yield batch[["customer_id"]].assign(churn_probability=p)

    rows = waiting_customers(spark, lake)
    scored = rows.mapInPandas(score, "customer_id STRING, churn_probability DOUBLE")
    return write_probabilities(scored, f"{lake}/arm-onnx_in_spark/probabilities", started)


ARMS = {
    "rows": share_rows,
    "fits": share_fits,
    "xgboost_in_spark": share_boosting,
    "scan": scan,
    "transform": transform,
    "onnx_in_spark": share_onnx,
}


def main(arguments: list[str]) -> None:
    """Run an arm and print its figures."""
    arm, lake, number = arguments
    spark = SparkSession.builder.appName(f"arm-{arm}").getOrCreate()
    found = ARMS[arm](spark, lake, int(number))
    print(json.dumps(found), flush=True)
    end(spark)


def end(spark: SparkSession) -> None:
    """Stop the session, and Java with it.

    After a barrier stage, such as XGBoost's, a timer of Spark 3.5 would keep Java alive for ever:
    https://github.com/apache/spark/pull/50223.
    """
    java = spark.sparkContext._jvm.java.lang.System
    spark.stop()
    with suppress(Py4JError):  # nobody answers any more
        java.exit(0)


if __name__ == "__main__":
    main(sys.argv[1:])
