"""The tuning grid, plain and as module 06 does it, side by side in one session.

Plain is what most tutorials do: the whole indexing pipeline inside Spark's CrossValidator, one
fit after the other, every size of forest fitted. Both judge the same points on as many folds. The
two take turns, and the median ratio is what may be quoted.
"""

import itertools
import os
import statistics
import sys
import time
from concurrent.futures import ThreadPoolExecutor

from pyspark.ml import Pipeline
from pyspark.ml.classification import RandomForestClassifier
from pyspark.ml.evaluation import BinaryClassificationEvaluator
from pyspark.ml.feature import OneHotEncoder, StringIndexer, VectorAssembler
from pyspark.ml.tuning import CrossValidator, ParamGridBuilder
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from churnlab import paths

sys.path.insert(0, str(paths.SCRIPTS))

import common_utils as cu
import hyperparameter_tuning as tuning

DEPTHS, BINS, FOLDS, ROUNDS, PARALLELISM = (5, 10), (32,), 3, 3, 2


def read_customers(spark: SparkSession) -> DataFrame:
    """Return the labelled training customers of CHURNLAB_RAW_CSV or of the lake, cached."""
    raw = os.environ.get("CHURNLAB_RAW_CSV") or cu.join_uri(paths.lake(), "raw/customers")
    customers = cu.clean(cu.judge(cu.read_raw(spark, raw)))
    customers = customers.withColumn("split", cu.split_column()).where("split = 'train'")
    customers = customers.withColumn("label", (F.col("churn") == "yes").cast("double")).cache()
    customers.count()
    return customers


def plain(customers: DataFrame) -> None:
    """Cross-validate the whole pipeline, point by point."""
    names = list(cu.CATEGORIES)
    indexers = [StringIndexer(inputCol=name, outputCol=f"{name}_index") for name in names]
    encoder = OneHotEncoder(
        inputCols=[f"{name}_index" for name in names],
        outputCols=[f"{name}_onehot" for name in names],
    )
    assembler = VectorAssembler(
        inputCols=[*encoder.getOutputCols(), *cu.AMOUNTS], outputCol="features"
    )
    forest = RandomForestClassifier(seed=7)
    grid = (
        ParamGridBuilder()
        .addGrid(forest.maxDepth, DEPTHS)
        .addGrid(forest.maxBins, BINS)
        .addGrid(forest.numTrees, tuning.GRID_TREES)
        .build()
    )
    CrossValidator(
        estimator=Pipeline(stages=[*indexers, encoder, assembler, forest]),
        estimatorParamMaps=grid,
        evaluator=BinaryClassificationEvaluator(metricName="areaUnderPR"),
        numFolds=FOLDS,
        seed=7,
    ).fit(customers)


def course(customers: DataFrame) -> None:
    """Featurise once, fit two at a time, read small forests off the large one."""
    spark = customers.sparkSession
    features = Pipeline(stages=cu.feature_stages(spark)).fit(customers)
    train = cu.featurise(features, customers).withColumn("fold", cu.fold_column(0, FOLDS)).cache()
    points = itertools.product(DEPTHS, BINS, range(FOLDS))
    with ThreadPoolExecutor(PARALLELISM) as pool:
        list(pool.map(lambda point: tuning.grid_trials(*point, train, 7), points))
    train.unpersist()


def main() -> None:
    """Print the seconds of each round and the ratio plain / course."""
    spark = SparkSession.builder.appName("benchmark-grid-search").getOrCreate()
    customers = read_customers(spark)
    points = len(DEPTHS) * len(BINS) * len(tuning.GRID_TREES)
    print(f"{customers.count()} customers, {points} points, {FOLDS} folds, {ROUNDS} rounds")
    ratios = []
    course(customers)  # warms up the JVM for both
    for number in range(1, ROUNDS + 1):
        seconds = {}
        for method in (plain, course):
            started = time.monotonic()
            method(customers)
            seconds[method.__name__] = time.monotonic() - started
        ratios.append(seconds["plain"] / seconds["course"])
        print(
            f"round {number}: plain {seconds['plain']:.1f} s, course {seconds['course']:.1f} s, "
            f"ratio {ratios[-1]:.1f}"
        )
    print(f"median ratio plain / course: {statistics.median(ratios):.1f}")
    spark.stop()


if __name__ == "__main__":
    main()
