"""How good is the forest that the tuning step chose? Cross-validation, apart from its choice.

    spark-submit … timed_step.py RESULT.json cross_validated_winner --lake LAKE --run PIPELINE_ID

The registry names the winner's files. Its features come from its own pipeline, its parameters from
its own forest, and metrics from scikit-learn, so that nothing here depends on how the step works;
the library only finds its files.
All labelled customers take part, those of the test as well: every choice has been made.
"""

import argparse
import os
from concurrent.futures import ThreadPoolExecutor

import pandas as pd
from churn.tables import finished_attempts
from pyspark.ml import PipelineModel
from pyspark.ml.classification import RandomForestClassifier
from pyspark.ml.functions import vector_to_array
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from sklearn.metrics import average_precision_score, roc_auc_score

PARAMETERS = (
    "numTrees",
    "maxDepth",
    "maxBins",
    "minInstancesPerNode",
    "minInfoGain",
    "featureSubsetStrategy",
    "subsamplingRate",
    "impurity",
    "seed",
)


def read_run(spark: SparkSession, lake: str, table: str, run: str) -> DataFrame:
    """Return the rows that a run of the course wrote to a table: each step's newest attempt."""
    return spark.read.parquet(*finished_attempts(f"{lake}/warehouse/churn", table, run))


def winner(spark: SparkSession, lake: str, run: str) -> tuple[PipelineModel, str]:
    """Return the model that a tuning run registered, and the run whose data it was fitted on."""
    entry = read_run(spark, lake, "model_registry", run).first()
    model = PipelineModel.load(os.path.join(lake, entry["model_uri"]))
    return model, entry["data_pipeline_id"]


def same_forest(model) -> RandomForestClassifier:
    """Return an unfitted forest with the parameters of a fitted one."""
    return RandomForestClassifier(**{name: model.getOrDefault(name) for name in PARAMETERS})


def fold(repeat: int, folds: int) -> F.Column:
    """Return the customer's fold; another ``repeat`` sorts the customers anew."""
    salted = F.concat(F.lit(f"benchmark-{repeat}:"), "customer_id")
    return F.pmod(F.xxhash64(salted), F.lit(folds))


def held_out_metrics(forest, rows: DataFrame, repeat: int, number: int, folds: int) -> dict:
    """Fit a forest without a fold and return its metrics on that fold."""
    inside = fold(repeat, folds) == number
    model = forest.fit(rows.where(~inside))
    score = vector_to_array("probability")[1].alias("score")
    held_out = model.transform(rows.where(inside)).select("label", score).toPandas()
    return {
        "roc_auc": roc_auc_score(held_out["label"], held_out["score"]),
        "average_precision": average_precision_score(held_out["label"], held_out["score"]),
    }


def main(arguments: list[str] | None = None) -> dict:
    """Cross-validate a tuning run's winner; return means, standard deviations and parameters."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("--lake", required=True)
    parser.add_argument("--run", required=True, help="pipeline id of the tuning run")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--folds", type=int, default=5)
    options = parser.parse_args(arguments)
    spark = SparkSession.builder.appName("cross-validated-winner").getOrCreate()
    model, data_run = winner(spark, options.lake, options.run)
    *features, fitted = model.stages
    customers = read_run(spark, options.lake, "training_data", data_run)
    labelled = customers.withColumn("label", (F.col("churn") == "yes").cast("double"))
    columns = ["customer_id", "label", "features"]
    rows = PipelineModel(features).transform(labelled).select(columns)
    rows = rows.repartition(1).sortWithinPartitions("customer_id").cache()
    forest = same_forest(fitted)
    turns = [(r, n) for r in range(options.repeats) for n in range(options.folds)]
    with ThreadPoolExecutor(2) as pool:
        found = pd.DataFrame(
            pool.map(lambda turn: held_out_metrics(forest, rows, *turn, options.folds), turns)
        )
    facts = {
        "evaluation": f"{options.repeats}x{options.folds} cross-validation",
        "customers": rows.count(),
        "mean": found.mean().round(6).to_dict(),
        "standard_deviation": found.std().round(6).to_dict(),
        "parameters": {name: fitted.getOrDefault(name) for name in PARAMETERS},
    }
    spark.stop()
    return facts
