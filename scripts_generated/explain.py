# Generated from notebooks/14-explain.ipynb by `make export`; do not edit.
"""Say what a registered model relies on, and what moved each single probability, and measure how
far both can be trusted.
"""

import argparse
from collections.abc import Iterator

import numpy as np
import pandas as pd
from churn.attribution import TreeShap
from churn.forest import Forest, as_numbers, stages_of
from churn.lake import check_lake, join_uri
from churn.programs import StepError, run_program
from churn.registry import registered_forest, registered_model
from churn.runs import check_pipeline_id, close_run
from churn.tables import dataset_root, read_table, write_table
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.window import Window


def impurity_by_tree(spark: SparkSession, forest_uri: str) -> DataFrame:
    """Return tree, feature (its number) and share: of the tree's decrease in impurity."""
    asked = spark.read.parquet(join_uri(forest_uri, "data")).where("nodeData.leftChild >= 0")
    weight = F.aggregate("nodeData.impurityStats", F.lit(0.0), lambda total, n: total + n)
    decrease = F.sum(F.col("nodeData.gain") * weight)
    feature = F.col("nodeData.split.featureIndex").alias("feature")
    sums = asked.groupBy(F.col("treeID").alias("tree"), feature).agg(decrease.alias("decrease"))
    share = F.col("decrease") / F.sum("decrease").over(Window.partitionBy("tree"))
    return sums.select("tree", "feature", share.alias("share"))


def interval(draws: pd.DataFrame) -> pd.DataFrame:
    """Return estimate, low and high of each row: its mean, and two standard errors around it."""
    mean, error = draws.mean(axis=1), draws.std(axis=1) / draws.shape[1] ** 0.5
    ends = {"low": mean - 2 * error, "high": mean + 2 * error}
    return pd.DataFrame({"estimate": mean} | ends).fillna({"low": mean, "high": mean})


def average_precision(probability: np.ndarray, churned: np.ndarray) -> float:
    """Return the mean precision at each churner, from the highest probability down."""
    hits = churned[np.argsort(-probability, kind="stable")]
    precision = hits.cumsum() / np.arange(1, len(hits) + 1)
    return float(precision[hits].mean())


def shuffle_drops(spark: SparkSession, model: tuple, repeats: int, seed: int) -> DataFrame:
    """Return feature, repeat and drop; ``model`` is forest, customers × features and labels."""
    shared = spark.sparkContext.broadcast(model)

    def drops(batches: Iterator[pd.DataFrame]) -> Iterator[pd.DataFrame]:
        forest, x, churned = shared.value
        whole = average_precision(forest.probability(x), churned)
        for batch in batches:
            found = []
            for feature, repeat in batch[["feature", "repeat"]].itertuples(index=False):
                shuffled, dice = x.copy(), np.random.default_rng([seed, feature, repeat])
                shuffled[:, feature] = dice.permutation(x[:, feature])
                found.append(whole - average_precision(forest.probability(shuffled), churned))
            yield batch.assign(drop=found)

    tasks = spark.range(model[1].shape[1] * repeats)
    pair = [F.expr(f"id div {repeats} AS feature"), F.expr(f"id % {repeats} AS repeat")]
    return tasks.select(*pair).mapInPandas(drops, "feature LONG, repeat LONG, drop DOUBLE")


def values_to_try(x: np.ndarray, columns: dict[str, list[str]], points: int) -> pd.DataFrame:
    """Return feature (its number), number and value (its name) for every value to try."""
    tried = []
    for feature, labels in enumerate(columns.values()):
        quantiles = np.quantile(x[:, feature], np.linspace(0, 1, points), method="nearest")
        numbers = range(len(labels)) if labels else np.unique(quantiles)
        said = labels or [f"{number:g}" for number in numbers]
        tried += [(feature, float(n), value) for n, value in zip(numbers, said, strict=True)]
    return pd.DataFrame(tried, columns=["feature", "number", "value"])


def partial_dependence(spark: SparkSession, tries: pd.DataFrame, model: tuple) -> DataFrame:
    """Return what was tried with estimate, low and high: mean and 80 % of the probabilities."""
    shared = spark.sparkContext.broadcast(model)

    def answers(batches: Iterator[pd.DataFrame]) -> Iterator[pd.DataFrame]:
        forest, x = shared.value
        for batch in batches:
            found = []
            for feature, number in batch[["feature", "number"]].itertuples(index=False):
                changed = x.copy()
                changed[:, int(feature)] = number
                p = forest.probability(changed)
                found.append((p.mean(), *np.quantile(p, [0.1, 0.9])))
            yield batch.assign(**pd.DataFrame(found, batch.index, ["estimate", "low", "high"]))

    tasks = spark.createDataFrame(tries).repartition(spark.sparkContext.defaultParallelism)
    return tasks.mapInPandas(
        answers,
        "feature LONG, number DOUBLE, value STRING, estimate DOUBLE, low DOUBLE, high DOUBLE",
    )


def mean_sizes(customers: DataFrame, shared) -> DataFrame:
    """Return feature (its number) and size: the mean of its contributions without their sign."""

    def explained(batches: Iterator[pd.DataFrame]) -> Iterator[pd.DataFrame]:
        forest = shared.value
        shap = TreeShap(forest)
        for batch in batches:
            moves = shap.contributions(as_numbers(batch, forest.columns))
            yield pd.DataFrame({"moves": list(moves)})

    each = customers.mapInPandas(explained, "moves ARRAY<DOUBLE>")
    each = each.select(F.posexplode("moves").alias("feature", "move"))
    return each.groupBy("feature").agg(F.avg(F.abs("move")).alias("size"))


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
        "--model-version",
        type=str,
        default="champion",
        help="a registered version, or the champion (default: %(default)s)",
    )
    parser.add_argument(
        "--sample-size",
        type=int,
        default=2000,
        help="test customers to explain with, at most (default: %(default)s)",
    )
    parser.add_argument(
        "--repeats", type=int, default=10, help="shuffles of each column (default: %(default)s)"
    )
    parser.add_argument(
        "--points",
        type=int,
        default=9,
        help="values of an amount at which partial dependence is computed (default: %(default)s)",
    )
    parser.add_argument(
        "--seed", type=int, default=7, help="of the shuffles (default: %(default)s)"
    )
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> None:
    """Run the steps of notebooks/14-explain.ipynb."""
    options = parse_arguments(arguments)
    pipeline_id = options.pipeline_id
    lake = options.lake
    dataset = options.dataset
    model_version = options.model_version
    sample_size = options.sample_size
    repeats = options.repeats
    points = options.points
    seed = options.seed

    # What we need beside the library:
    spark = SparkSession.builder.appName("explain").getOrCreate()

    # Which model, which customers?
    # We explain the champion with customers it has never seen, as they were when it was trained: an
    # explanation on the training data would praise what the forest learned by heart.
    check_pipeline_id(pipeline_id)
    lake = check_lake(lake)
    tables = dataset_root(lake, dataset)
    entry = registered_model(tables, model_version)
    nodes, columns = registered_forest(entry, lake)
    forest = Forest(nodes, columns)

    # The sample is bounded by sample_size, so it fits into a task however large the table is. The
    # order is that of a hash, the same in every run.
    known = read_table(spark, tables, "training_data", entry["data_pipeline_id"])
    unseen = known.where("split = 'test'")
    sample = unseen.orderBy(F.xxhash64("customer_id"), "customer_id").limit(sample_size).toPandas()
    x, churned = as_numbers(sample, columns), (sample["churn"] == "yes").to_numpy()
    if churned.all() or not churned.any():
        raise StepError(f"Explaining needs churners and others: {len(sample)} customers are alike.")

    # The query returns a row a tree and column, a few hundred.
    names, forest_uri = list(columns), stages_of(join_uri(lake, entry["model_uri"]))[-1]
    shares = impurity_by_tree(spark, forest_uri).toPandas()
    shares = shares.pivot(index="feature", columns="tree", values="share")
    shares = shares.reindex(index=range(len(names)), columns=range(len(forest.roots))).fillna(0)
    impurity = interval(shares.set_axis(names))

    # The seed of a shuffle is its column and its repeat, so it does not matter which task draws it.
    drops = shuffle_drops(spark, (forest, x, churned), repeats, seed).toPandas()
    drops = drops.pivot(index="feature", columns="repeat", values="drop").set_axis(names)
    permutation = interval(drops)

    tries = values_to_try(x, columns, points)
    dependence = partial_dependence(spark, tries, (forest, x)).toPandas()
    dependence = dependence.sort_values(["feature", "number"], ignore_index=True)

    sizes = mean_sizes(unseen, spark.sparkContext.broadcast(forest)).toPandas()
    sizes = sizes.set_index("feature")["size"].sort_index().set_axis(names)

    # Write
    # One table holds what the model relies on: impurity, shuffling, partial dependence, and the
    # mean size of contributions.
    parts = {"impurity": impurity, "permutation": permutation}
    explained = [
        (kind, name, None, *map(float, found.loc[name]))
        for kind, found in parts.items()
        for name in names
    ]
    explained += [
        ("mean contribution", name, None, float(sizes[name]), None, None) for name in names
    ]
    explained += [
        ("partial dependence", names[row.feature], row.value, row.estimate, row.low, row.high)
        for row in dependence.itertuples()
    ]

    version = entry["model_version"]
    rows = [(version, *row) for row in explained]
    write_table(rows, tables, "model_explanations", pipeline_id, "explain")

    # The last line of the job's log says what the run took.
    facts = {"model_version": version, "customers": len(sample), "repeats": repeats}
    print(close_run(spark, "explain", lake, pipeline_id, **facts), flush=True)

    spark.stop()


if __name__ == "__main__":
    run_program(main)
