# Generated from notebooks/07-batch-scoring.ipynb by `make export`; do not edit.
"""Score customers with the registered model, and say for each what moved its probability."""

import argparse
from collections.abc import Iterator

import numpy as np
import pandas as pd
from common_utils import (
    check_lake,
    check_pipeline_id,
    check_share,
    clean,
    close_run,
    dataset_root,
    decision_column,
    feature_names,
    join_uri,
    judge,
    list_folders,
    load_model,
    own_or_newest_run,
    read_raw,
    read_table,
    registered_model,
    with_probability,
    write_table,
)
from pyspark.ml.functions import vector_to_array
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F


def forest_nodes(spark: SparkSession, model_uri: str) -> pd.DataFrame:
    """Return the nodes of a saved forest, by tree and node.

    ``value`` is the churn rate in the node; leaves have feature -1. A customer goes ``left`` if the
    feature is at most ``threshold``, or equal to it where ``indicator`` is true.
    """
    stages = join_uri(model_uri, "stages")
    forest = next(name for name in list_folders(stages) if "RandomForest" in name)
    node = F.col("nodeData")
    stats = node["impurityStats"]
    return (
        spark.read.parquet(join_uri(stages, forest, "data"))
        .select(
            F.col("treeID").alias("tree"),
            node["id"].alias("node"),
            node["split"]["featureIndex"].alias("feature"),
            node["split"]["leftCategoriesOrThreshold"][0].alias("threshold"),
            (node["split"]["numCategories"] > 0).alias("indicator"),
            node["leftChild"].alias("left"),
            node["rightChild"].alias("right"),
            (stats[1] / (stats[0] + stats[1])).alias("value"),
        )
        .orderBy("tree", "node")
        .toPandas()
    )


class Forest:
    """The trees of a saved forest as arrays, to explain many customers at once."""

    def __init__(self, nodes: pd.DataFrame):
        roots = nodes.index[nodes["node"] == 0].to_numpy()
        start = roots[nodes["tree"].rank(method="dense").astype(int).to_numpy() - 1]
        self.roots = roots
        self.feature = nodes["feature"].fillna(-1).astype(int).to_numpy()
        self.threshold = nodes["threshold"].fillna(0.0).to_numpy()
        self.indicator = nodes["indicator"].to_numpy()
        self.left = nodes["left"].to_numpy() + start
        self.right = nodes["right"].to_numpy() + start
        self.value = nodes["value"].to_numpy()
        self.base = float(self.value[roots].mean())

    def contributions(self, x: np.ndarray) -> np.ndarray:
        """Return what each feature adds to the base; x and the result are customers × features."""
        customers, result = np.arange(len(x))[:, None], np.zeros(x.shape)
        at = np.tile(self.roots, (len(x), 1))
        while (inner := self.feature[at] >= 0).any():
            asked = np.maximum(self.feature[at], 0)
            answer, limit = x[customers, asked], self.threshold[at]
            goes_left = np.where(self.indicator[at], answer == limit, answer <= limit)
            down = np.where(goes_left, self.left[at], self.right[at])
            down = np.where(inner, down, at)
            np.add.at(result, (customers, asked), self.value[down] - self.value[at])
            at = down
        return result / len(self.roots)


def explain(spark: SparkSession, scored: DataFrame, model_uri: str, count: int) -> DataFrame:
    """Return customer_id and ``reasons``, the largest contributions (feature, contribution)."""
    nodes = spark.sparkContext.broadcast(forest_nodes(spark, model_uri))
    columns = [column for column, _ in feature_names()]

    def reasons_of(batches: Iterator[pd.DataFrame]) -> Iterator[pd.DataFrame]:
        forest = Forest(nodes.value)
        for batch in batches:
            moves = forest.contributions(np.stack(batch["x"]))
            folded = pd.DataFrame(moves, columns=columns).T.groupby(level=0).sum().T
            yield batch[["customer_id"]].assign(**largest(folded, count))

    schema = "customer_id STRING, names ARRAY<STRING>, moves ARRAY<DOUBLE>"
    rows = scored.select("customer_id", vector_to_array("features").alias("x"))
    pairs = F.arrays_zip(F.col("names").alias("feature"), F.col("moves").alias("contribution"))
    return rows.mapInPandas(reasons_of, schema).select("customer_id", pairs.alias("reasons"))


def largest(folded: pd.DataFrame, count: int) -> dict[str, list]:
    """Return the names and the values of the ``count`` largest entries of each row, by size."""
    order = np.argsort(-folded.abs().to_numpy(), axis=1, kind="stable")[:, :count]
    values = np.take_along_axis(folded.to_numpy(), order, axis=1)
    return {"names": folded.columns.to_numpy()[order].tolist(), "moves": values.tolist()}


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
        "--customers",
        type=str,
        default="scoring_input",
        help="the waiting table, or a CSV file without the column Churn (default: %(default)s)",
    )
    parser.add_argument(
        "--model-version",
        type=str,
        default="best",
        help="a registered version; best: the champion, else the newest (default: %(default)s)",
    )
    parser.add_argument(
        "--reasons",
        type=int,
        default=3,
        help="reasons to give for each customer (default: %(default)s)",
    )
    parser.add_argument(
        "--max-quarantined",
        type=float,
        default=0.05,
        help="share of bad rows above which the step stops (default: %(default)s)",
    )
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> None:
    """Run the steps of notebooks/07-batch-scoring.ipynb."""
    options = parse_arguments(arguments)
    pipeline_id = options.pipeline_id
    lake = options.lake
    dataset = options.dataset
    customers = options.customers
    model_version = options.model_version
    reasons = options.reasons
    max_quarantined = options.max_quarantined

    # Scoring needs less of Spark ML than training did.
    spark = SparkSession.builder.appName("batch-scoring").getOrCreate()

    # Key and lake are checked first, as always.
    check_pipeline_id(pipeline_id)
    lake = check_lake(lake)
    tables = dataset_root(lake, dataset)

    # Which model?
    # We ask the registry, not a folder: its row names the files, the threshold that was chosen with
    # them, and where the evidence is.
    entry = registered_model(spark, tables, model_version)
    model = load_model(entry)

    # Which customers?
    # The waiting customers are a table of raw text, or any CSV file with the raw columns except
    # Churn. Both are judged by the rules of the contract.
    if customers == "scoring_input":
        waiting_run = own_or_newest_run(spark, tables, "scoring_input", pipeline_id)
        raw = read_table(spark, tables, "scoring_input", waiting_run)
        raw = raw.withColumn("malformed", F.lit(None).cast("string"))
    else:
        raw = read_raw(spark, join_uri(lake, customers), labelled=False)

    # One rule is left out. A category that the contract does not know is an error in training,
    # where somebody can mend it. In scoring the customer is real and waits: an unknown payment
    # method gets the indicator "unknown", and a probability from everything else we know.
    judged = judge(raw, labelled=False, known_categories=False).cache()
    totals = judged.agg(F.count("*").alias("rows"), F.count("reason").alias("quarantined")).first()
    check_share(totals["rows"], totals["quarantined"], max_quarantined, customers)

    # Score
    scored = with_probability(model.transform(clean(judged, labelled=False)))
    scored = scored.withColumn("prediction", decision_column(entry["threshold"]))

    # Probability, decision and reasons of each customer stand in one row:
    explained = explain(spark, scored, entry["model_uri"], reasons)
    predictions = scored.join(explained, "customer_id").select(
        F.lit(entry["model_version"]).alias("model_version"),
        "customer_id",
        "churn_probability",
        "prediction",
        "reasons",
    )

    # Write
    # Predictions and quarantine, each in one write. A retry of this run replaces them, another run
    # adds its own.
    write_table(predictions, tables, "batch_predictions", pipeline_id, "scoring")
    quarantined = judged.where("reason IS NOT NULL").select(
        F.lit(customers).alias("source"), "reason", "raw_text"
    )
    write_table(quarantined, tables, "quarantined_rows", pipeline_id, "scoring")

    # What was written? We read it back and summarise it in one pass: whoever checks the run before
    # its predictions are used will want these numbers (module 12).
    written = read_table(spark, tables, "batch_predictions", pipeline_id)
    p = F.col("churn_probability")
    summary = written.agg(
        F.count("*").alias("predictions"),
        F.count_if(F.col("prediction") == "yes").alias("offers"),
        F.avg(p).alias("mean_probability"),
        F.count_if(~F.coalesce(p.between(0, 1), F.lit(False))).alias("out_of_range"),
    ).first()

    # The last line of the job's log says what the run took.
    facts = {"source": customers, "model_version": entry["model_version"]}
    facts |= totals.asDict() | summary.asDict()
    print(close_run(spark, "scoring", lake, pipeline_id, **facts), flush=True)

    spark.stop()


if __name__ == "__main__":
    main()
