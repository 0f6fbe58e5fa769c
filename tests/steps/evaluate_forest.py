"""How good is the forest that training fits when it is told nothing? Run by spark-submit.

    spark-submit --py-files churn.zip,model_training.py evaluate_forest.py RAW TARGET

A Java of its own compiles thoroughly, which the tests' does not: 26 forests take half as long. The
answer is a JSON file: means and spreads of 5×5 cross-validation, metrics and size of the test.
"""

import json
import sys
from pathlib import Path

import model_training
import pandas as pd
from pyspark.ml import PipelineModel
from pyspark.ml.classification import RandomForestClassifier
from pyspark.sql import SparkSession

from churnlab.run.library import library

REPEATS, FOLDS = 5, 5


def default_forest() -> dict:
    """Return the parameters of the forest that model_training.py fits by default."""
    options = model_training.parse_arguments(["--pipeline-id", "x", "--lake", "x"])
    return {
        "numTrees": options.num_trees,
        "maxDepth": options.max_depth,
        "minInstancesPerNode": options.min_instances,
        "featureSubsetStrategy": options.feature_subset,
        "seed": options.seed,
    }


def evaluate(spark: SparkSession, raw: str) -> dict:
    """Return what the docstring of this file promises, for a raw file of customers."""
    forest = RandomForestClassifier(**default_forest())
    customers = library.contract.clean(
        library.contract.judge(library.contract.read_raw(spark, raw))
    )
    customers = customers.withColumn("split", library.splitting.split_column()).where(
        "split != 'scoring'"
    )
    rows = library.features.featurise(
        PipelineModel(library.features.feature_stages(spark)), customers, 1
    )
    repeats = [library.folds.cross_validate(forest, rows, FOLDS, r) for r in range(1, REPEATS + 1)]
    means = pd.DataFrame([library.folds.mean_and_spread(bins)[0] for bins in repeats])
    spreads = pd.DataFrame([library.folds.mean_and_spread(bins)[1] for bins in repeats])
    model = forest.fit(rows.where("split = 'train'"))
    tested = library.metrics.with_probability(model.transform(rows.where("split = 'test'")))
    bins = library.metrics.score_bins(tested).toPandas()
    return {
        "means": means.mean().to_dict(),
        "spreads": spreads.mean().to_dict(),
        "test": library.metrics.probability_metrics(bins),
        "test_customers": int(bins["customers"].sum()),
        "folds": FOLDS,
    }


if __name__ == "__main__":
    raw_file, target = sys.argv[1:]
    found = evaluate(SparkSession.builder.appName("evaluate-forest").getOrCreate(), raw_file)
    Path(target).write_text(json.dumps(found), encoding="utf-8")
