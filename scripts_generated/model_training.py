# Generated from notebooks/04-model-training.ipynb by `make export`; do not edit.
"""Train a random forest, choose its threshold by cost, test it once, and register it as a
candidate.
"""

import argparse
from concurrent.futures import ThreadPoolExecutor

from churn.features import column_importance, feature_stages, featurise
from churn.folds import check_classes, cross_validate, mean_and_spread
from churn.lake import check_lake
from churn.metrics import cheapest_threshold, score_bins, with_probability
from churn.programs import StepError, run_program
from churn.registry import Candidate, data_fingerprint, publish_candidate
from churn.runs import check_pipeline_id, close_run
from churn.tables import dataset_root, own_or_newest_run, read_table
from pyspark.ml import PipelineModel
from pyspark.ml.classification import RandomForestClassifier
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F


def balanced(rows: DataFrame) -> DataFrame:
    """Return the rows with a column ``weight`` that makes both classes weigh the same."""
    rate = rows.agg(F.avg("label")).first()[0]
    weight = F.when(F.col("label") == 1, 0.5 / rate).otherwise(0.5 / (1 - rate))
    return rows.withColumn("weight", weight)


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line; a missing or wrong option ends it with status 2."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument(
        "--pipeline-id",
        type=str,
        required=True,
        help="key of this run in every table, such as 20261123t051500-3f9c2a",
    )
    parser.add_argument(
        "--lake", type=str, required=True, help="root of the lake: a folder or gs://bucket/path"
    )
    parser.add_argument(
        "--dataset",
        type=str,
        default="churn",
        help="the tables: below the lake's warehouse, or bigquery://project.dataset (default: %(default)s)",
    )
    parser.add_argument(
        "--num-trees", type=int, default=100, help="trees in the forest (default: %(default)s)"
    )
    parser.add_argument(
        "--max-depth",
        type=int,
        default=8,
        help="questions from a tree's root to its leaf, at most (default: %(default)s)",
    )
    parser.add_argument(
        "--min-instances",
        type=int,
        default=10,
        help="customers in a leaf, at least (default: %(default)s)",
    )
    parser.add_argument(
        "--feature-subset",
        type=str,
        default="onethird",
        help="features each question chooses from, as Spark ML names it (default: %(default)s)",
    )
    parser.add_argument(
        "--class-weight",
        type=str,
        default="none",
        help="none, or balanced: weigh churners as much as the others together (default: %(default)s)",
    )
    parser.add_argument(
        "--missed-churner-cost",
        type=float,
        default=5.0,
        help="price of losing a churner we did not warn about, in offers (default: %(default)s)",
    )
    parser.add_argument(
        "--offer-cost",
        type=float,
        default=1.0,
        help="price of an offer to a customer (default: %(default)s)",
    )
    parser.add_argument(
        "--partitions",
        type=int,
        default=0,
        help="partitions of the customers; 0: one per 100,000, counted (default: %(default)s)",
    )
    parser.add_argument(
        "--parallelism",
        type=int,
        default=5,
        help="folds fitted at the same time, at most (default: %(default)s)",
    )
    parser.add_argument(
        "--seed", type=int, default=7, help="seed of the forest (default: %(default)s)"
    )
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> None:
    """Run the steps of notebooks/04-model-training.ipynb."""
    options = parse_arguments(arguments)
    pipeline_id = options.pipeline_id
    lake = options.lake
    dataset = options.dataset
    num_trees = options.num_trees
    max_depth = options.max_depth
    min_instances = options.min_instances
    feature_subset = options.feature_subset
    class_weight = options.class_weight
    missed_churner_cost = options.missed_churner_cost
    offer_cost = options.offer_cost
    partitions = options.partitions
    parallelism = options.parallelism
    seed = options.seed

    # Spark ML's forest, and a session.
    spark = SparkSession.builder.appName("model-training").getOrCreate()

    # A wrong option should fail now, not after ten minutes of fitting.
    check_pipeline_id(pipeline_id)
    lake = check_lake(lake)
    tables = dataset_root(lake, dataset)
    if class_weight not in ("none", "balanced"):
        raise StepError(
            f"--class-weight {class_weight!r} is neither none nor balanced. Choose one."
        )

    # The customers
    # Which rows do we train on? Those of our own pipeline run if it has preprocessed any, else the
    # newest ones.
    data_pipeline_id = own_or_newest_run(spark, tables, "training_data", pipeline_id)
    customers = read_table(spark, tables, "training_data", data_pipeline_id)

    # The features are computed once and cached. Everything below, cross-validation included, reads
    # the same vectors: the stages know the contract and learn nothing from a customer, so there is
    # nothing to repeat per fold.
    features = PipelineModel(feature_stages(spark))
    rows = featurise(features, customers, partitions)
    train, test = rows.where("split = 'train'"), rows.where("split = 'test'")

    # With too few customers, or none who left, the step stops here and says so.
    check_classes(rows)

    # A forest
    # A tree asks questions: is the contract month-to-month? Is the tenure below 6 months? One tree
    # of some depth learns the training customers by heart. A forest grows many, each on a sample of
    # customers and with a sample of columns for each question, and averages their answers.
    forest = RandomForestClassifier(
        numTrees=num_trees,
        maxDepth=max_depth,
        minInstancesPerNode=min_instances,
        featureSubsetStrategy=feature_subset,
        cacheNodeIds=True,
        seed=seed,
    )

    # Weights are an option
    # Three customers in four stay. Weights that make both classes equal are a common advice. We
    # offer the choice, and below the folds say what it does.
    if class_weight == "balanced":
        train, forest = balanced(train), forest.setWeightCol("weight")

    # How good is the forest?
    # The forest that is to be tested and the five of the folds do not wait for each other.
    with ThreadPoolExecutor(1) as beside:
        fitted = beside.submit(forest.fit, train)
        held_out = cross_validate(forest, train, parallelism=parallelism)
    mean, spread = mean_and_spread(held_out)

    # From probability to decision
    # A probability is not a decision. Somebody has to say what mistakes cost: here an offer to keep
    # a customer costs 1, and a churner lost without an offer costs 5. With the held-out predictions
    # of the training customers we look for the cheapest threshold. The test stays out of it.
    threshold = cheapest_threshold(held_out, missed_churner_cost, offer_cost)

    # The test, once
    # Now the forest that learned from all training customers is tested on customers that took part
    # in no choice. This number is looked at once. If we tuned until it pleased us, it would be a
    # training score. (A pipeline that asks the same customers every week has no test in this sense;
    # module 9 calls it acceptance.)
    model = fitted.result()
    predictions = with_probability(model.transform(test)).cache()
    test_bins = score_bins(predictions).toPandas()

    # Two columns that matter, and the rest in the order of the contract:
    importance = column_importance(model.featureImportances.toArray())

    # Keep everything that the answer rests on
    # The model is saved together with its features, as one pipeline: who scores must not have to
    # know how to featurise. Two fingerprints will say which data and which parameters made it.
    parameters = {
        "numTrees": num_trees,
        "maxDepth": max_depth,
        "minInstancesPerNode": min_instances,
        "featureSubsetStrategy": feature_subset,
        "classWeight": class_weight,
        "seed": seed,
    }
    candidate = Candidate(
        pipeline_id=pipeline_id,
        step="training",
        model=PipelineModel([*features.stages, model]),
        parameters=parameters,
        threshold=threshold,
        mean=mean,
        spread=spread,
        importance=importance,
        data_pipeline_id=data_pipeline_id,
        data_fingerprint=data_fingerprint(customers),
    )

    # publish_candidate writes the model, the tables and a JSON file, and the registry last, because
    # a model that is registered must be complete.
    entry = publish_candidate(candidate, predictions, test_bins, lake, tables)
    facts = {name: entry[name] for name in ("data_pipeline_id", "roc_auc", "average_precision")}
    facts |= {"model_version": candidate.version}
    print(close_run(spark, "training", lake, pipeline_id, **facts), flush=True)

    spark.stop()


if __name__ == "__main__":
    run_program(main)
