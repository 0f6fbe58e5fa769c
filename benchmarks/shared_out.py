"""The arms that Spark runs: `spark-submit … shared_out.py ARM LAKE TREES`.

``rows`` shares out the rows of one forest (Spark ML), ``fits`` its trees (scikit-learn in tasks,
each of which has all rows), ``scan`` reads the customers who wait to be scored, and nothing else.
"""

import json
import sys
import time

import numpy as np
from pyspark.sql import DataFrame, SparkSession

from benchmarks import alone
from churnlab.run.library import library


def customers(spark: SparkSession, lake: str) -> DataFrame:
    """Return the training table of the only run."""
    return library.tables.read_table(spark, f"{lake}/warehouse/churn", "training_data")


def share_rows(spark: SparkSession, lake: str, trees: int) -> dict:
    """Fit the course's forest with Spark ML, on its own features and partitions."""
    from pyspark.ml import PipelineModel
    from pyspark.ml.classification import RandomForestClassifier

    started = time.monotonic()
    stages = PipelineModel(library.features.feature_stages(spark))
    rows = library.features.featurise(stages, customers(spark, lake))
    rows.count()
    loaded = time.monotonic()
    estimator = RandomForestClassifier(
        numTrees=trees,
        maxDepth=8,
        minInstancesPerNode=10,
        featureSubsetStrategy="onethird",
        cacheNodeIds=True,
        seed=7,
    )
    model = estimator.fit(rows.where("split = 'train'"))
    fitted = time.monotonic()
    metrics = library.metrics
    predicted = metrics.with_probability(model.transform(rows.where("split = 'test'")))
    tested = metrics.probability_metrics(metrics.score_bins(predicted).toPandas())
    return figures(started, loaded, fitted) | {
        name: tested[name] for name in ("roc_auc", "average_precision")
    }


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
    return figures(started, loaded, fitted) | tested


def scan(spark: SparkSession, lake: str, trees: int) -> dict:
    """Read every value of the waiting customers and throw it away."""
    started = time.monotonic()
    rows = spark.read.parquet(f"{lake}/waiting")
    rows.write.format("noop").mode("overwrite").save()
    return {"work_seconds": round(time.monotonic() - started, 2)}


def figures(started: float, loaded: float, fitted: float) -> dict[str, float]:
    """Return the seconds of loading and of fitting."""
    return {
        "load_seconds": round(loaded - started, 2),
        "fit_seconds": round(fitted - loaded, 2),
    }


ARMS = {"rows": share_rows, "fits": share_fits, "scan": scan}


def main(arguments: list[str]) -> None:
    """Run an arm and print its figures."""
    arm, lake, number = arguments
    spark = SparkSession.builder.appName(f"arm-{arm}").getOrCreate()
    found = ARMS[arm](spark, lake, int(number))
    print(json.dumps(found), flush=True)
    spark.stop()


if __name__ == "__main__":
    main(sys.argv[1:])
