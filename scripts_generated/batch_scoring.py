# Generated from notebooks/06-batch-scoring.ipynb by `make export`; do not edit.
"""Score customers with the champion of the registry, and say for each what moved its probability."""

import argparse
import json
from collections.abc import Iterator

import numpy as np
import pandas as pd
import pyarrow.dataset as ds
from churn.contract import (
    AMOUNTS,
    CATEGORIES,
    check_share,
    clean,
    judge,
    read_raw,
)
from churn.features import FEATURES
from churn.lake import (
    check_lake,
    filesystem,
    join_uri,
    list_folders,
    names_below,
    read_text,
)
from churn.metrics import decision_column
from churn.programs import ModelError, run_program
from churn.registry import registered_model, unreadable_model
from churn.runs import check_pipeline_id, close_run
from churn.tables import (
    dataset_root,
    own_or_newest_run,
    read_table,
    write_tables,
)
from pyspark.sql import DataFrame, Observation, SparkSession
from pyspark.sql import functions as F


def forest_nodes(model_uri: str) -> pd.DataFrame:
    """Return the nodes of a saved forest, by tree and node; no Spark job.

    ``rate`` is the churn rate in the node; leaves have feature -1. A customer goes ``left`` if the
    feature is at most ``values[0]``, or one of ``values`` where ``categories`` is not -1.
    """
    [forest] = [name for name in stages_of(model_uri) if "RandomForest" in name]
    table = read_parquet(join_uri(model_uri, "stages", forest, "data"))
    node = pd.DataFrame(table.column("nodeData").to_pylist())
    split = pd.DataFrame(node["split"].tolist())
    stats = np.stack(node["impurityStats"])
    frame = pd.DataFrame(
        {
            "tree": table.column("treeID").to_pandas(),
            "node": node["id"],
            "feature": split["featureIndex"].fillna(-1).astype(int),
            "values": split["leftCategoriesOrThreshold"],
            "categories": split["numCategories"].fillna(-1).astype(int),
            "left": node["leftChild"],
            "right": node["rightChild"],
            "rate": stats[:, 1] / stats.sum(axis=1),
        }
    )
    return frame.sort_values(["tree", "node"], ignore_index=True)


def stages_of(model_uri: str) -> list[str]:
    """Return the folders of a saved pipeline's stages, in order."""
    return list_folders(join_uri(model_uri, "stages"))


def read_parquet(uri: str):
    """Return a small folder of Parquet files as an Arrow table."""
    files, path = filesystem(uri)
    return ds.dataset(path, filesystem=files, format="parquet").to_table()


def model_labels(model_uri: str) -> dict[str, list[str]]:
    """Return the values of each category in the order of their numbers, as the model learned them.

    Raises ModelError if the model saw other columns than this library prepares.
    """
    indexer, assembler = (join_uri(model_uri, "stages", name) for name in stages_of(model_uri)[:2])
    labels = read_parquet(join_uri(indexer, "data")).column("labelsArray")[0].as_py()
    folder = join_uri(assembler, "metadata")
    [note] = [name for name in names_below(folder) if name.startswith("part-")]
    inputs = json.loads(read_text(join_uri(folder, note)))["paramMap"]["inputCols"]
    if [name.removesuffix("_index") for name in inputs] != list(FEATURES):
        raise ModelError(f"The model at {model_uri} saw other columns. Train again.")
    return dict(zip(CATEGORIES, labels, strict=True))


class Forest:
    """The trees of a saved forest as arrays, to score and explain many customers at once."""

    def __init__(self, nodes: pd.DataFrame):
        first = nodes.groupby("tree")["node"].transform("size").where(nodes["node"] == 0)
        self.roots = np.flatnonzero(first.notna())
        start = np.repeat(self.roots, first[self.roots].astype(int))
        own, inner = np.arange(len(nodes)), (nodes["feature"] >= 0).to_numpy()
        self.feature = np.where(inner, nodes["feature"], 0)
        self.left = np.where(inner, nodes["left"] + start, own)
        self.right = np.where(inner, nodes["right"] + start, own)
        self.rate = nodes["rate"].to_numpy()
        self.base = float(self.rate[self.roots].mean())
        self.is_category = (nodes["categories"] > 0).to_numpy()
        self.threshold, self.member = split_values(nodes)
        self.moves, self.depth = self.moves_by_leaf(inner)

    def moves_by_leaf(self, inner: np.ndarray) -> tuple[np.ndarray, int]:
        """Return what each feature adds on the way to each node, and the depth of the forest."""
        moves, depth = np.zeros((len(self.feature), len(FEATURES))), 0
        level = self.roots[inner[self.roots]]
        while len(level):
            for child in (self.left[level], self.right[level]):
                moves[child] = moves[level]
                moves[child, self.feature[level]] += self.rate[child] - self.rate[level]
            children = np.concatenate([self.left[level], self.right[level]])
            level, depth = children[inner[children]], depth + 1
        return moves, depth

    def leaves(self, x: np.ndarray, root: int) -> np.ndarray:
        """Return the leaf of one tree that each customer comes to; x is customers × features."""
        customers, at = np.arange(len(x)), np.full(len(x), root)
        for _ in range(self.depth):
            answer = x[customers, self.feature[at]]
            value = np.clip(answer, 0, self.member.shape[1] - 1).astype(int)
            chosen = np.where(
                self.is_category[at], self.member[at, value], answer <= self.threshold[at]
            )
            at = np.where(chosen, self.left[at], self.right[at])
        return at

    def score(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the probability of churn of each customer, and customers × contributions."""
        probability, contributions = np.zeros(len(x)), np.zeros((len(x), len(FEATURES)))
        for root in self.roots:
            leaf = self.leaves(x, root)
            probability += self.rate[leaf]
            contributions += self.moves[leaf]
        return probability / len(self.roots), contributions / len(self.roots)


def split_values(nodes: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Return each node's threshold, and nodes × values: does a category's value go left?"""
    amounts, categories = nodes["categories"] == -1, nodes["categories"].clip(lower=0)
    threshold, member = np.zeros(len(nodes)), np.zeros((len(nodes), max(1, categories.max())), bool)
    for node in np.flatnonzero(nodes["feature"] >= 0):
        values = nodes["values"].iat[node]
        if amounts.iat[node]:
            threshold[node] = values[0]
        else:
            member[node, np.asarray(values, int)] = True
    return threshold, member


def as_numbers(customers: pd.DataFrame, labels: dict[str, list[str]]) -> np.ndarray:
    """Return customers × features: the number of each category's value, then the amounts."""
    x = np.empty((len(customers), len(FEATURES)))
    for position, (name, values) in enumerate(labels.items()):
        number = pd.Index(values).get_indexer(customers[name])
        x[:, position] = np.where(number < 0, len(values), number)
    x[:, len(labels) :] = customers[list(AMOUNTS)].to_numpy(float)
    return x


def read_forest(entry: dict, lake: str) -> tuple[pd.DataFrame, dict[str, list[str]]]:
    """Return nodes and labels of a registered model. Raises ModelError if they can't be read."""
    uri = join_uri(lake, entry["model_uri"])
    try:
        return forest_nodes(uri), model_labels(uri)
    except (OSError, ValueError, KeyError) as error:
        raise unreadable_model(entry, lake, error) from None


def largest(contributions: np.ndarray, count: int) -> dict[str, list]:
    """Return names and values of the ``count`` largest contributions of each row, by size."""
    order = np.argsort(-np.abs(contributions), axis=1, kind="stable")[:, :count]
    values = np.take_along_axis(contributions, order, axis=1)
    return {"names": np.array(FEATURES)[order].tolist(), "moves": values.tolist()}


SCORED = "customer_id STRING, churn_probability DOUBLE, names ARRAY<STRING>, moves ARRAY<DOUBLE>"


def score(spark: SparkSession, customers: DataFrame, model: tuple, count: int) -> DataFrame:
    """Return customer_id, churn_probability, ``reasons`` (feature, contribution): one pass."""
    shared = spark.sparkContext.broadcast(model)

    def score_batches(batches: Iterator[pd.DataFrame]) -> Iterator[pd.DataFrame]:
        nodes, labels = shared.value
        forest = Forest(nodes)
        for batch in batches:
            probability, contributions = forest.score(as_numbers(batch, labels))
            scored = batch[["customer_id"]].assign(churn_probability=probability)
            yield scored.assign(**largest(contributions, count))

    pairs = F.arrays_zip(F.col("names").alias("feature"), F.col("moves").alias("contribution"))
    scored = customers.mapInPandas(score_batches, SCORED)
    return scored.select("customer_id", "churn_probability", pairs.alias("reasons"))


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
        default="champion",
        help="a registered version, or the champion (default: %(default)s)",
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
    """Run the steps of notebooks/06-batch-scoring.ipynb."""
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

    # The job asks the registry, not a folder: its row names the files, the threshold that was
    # chosen with them, and where the evidence is. If there is no champion, it stops and says how to
    # choose one.
    entry = registered_model(tables, model_version)

    # Which customers?
    # The waiting customers are a table of raw text, or any CSV file with the raw columns except
    # Churn. Both are judged by the rules of the contract.
    if customers == "scoring_input":
        waiting_run = own_or_newest_run(spark, tables, "scoring_input", pipeline_id)
        raw = read_table(spark, tables, "scoring_input", waiting_run)
        raw = raw.withColumn("malformed", F.lit(None).cast("string"))
    else:
        waiting_run = ""
        raw = read_raw(spark, join_uri(lake, customers), labelled=False)

    # One rule is left out. A category that the contract does not know is an error in training,
    # where somebody can mend it. In scoring the customer is real and waits: an unknown payment
    # method gets a number of its own, and a probability from everything else we know.
    judged = judge(raw, labelled=False, known_categories=False).cache()
    totals = judged.agg(F.count("*").alias("rows"), F.count("reason").alias("quarantined")).first()
    check_share(totals["rows"], totals["quarantined"], max_quarantined, customers, judged)

    nodes, labels = read_forest(entry, lake)

    # Probability, decision and reasons of each customer stand in one row, with the version that
    # answered:
    scored = score(spark, clean(judged, labelled=False), (nodes, labels), reasons)
    predictions = scored.select(
        F.lit(entry["model_version"]).alias("model_version"),
        "customer_id",
        "churn_probability",
        decision_column(entry["threshold"]).alias("prediction"),
        "reasons",
    )

    # Write
    # Whoever checks the run before its predictions are used will want a few numbers: how many
    # predictions, how many offers, any probability out of range (module 12)? Spark counts them
    # while it writes; reading the table back would be another pass.
    p = F.col("churn_probability")
    summary = Observation("summary")
    observed = predictions.observe(
        summary,
        F.count("*").alias("predictions"),
        F.count_if(F.col("prediction") == "yes").alias("offers"),
        F.avg(p).alias("mean_probability"),
        F.count_if(~F.coalesce(p.between(0, 1), F.lit(False))).alias("out_of_range"),
    )

    # Predictions and quarantine go out side by side. A retry of this run replaces them, another run
    # adds its own.
    quarantined = judged.where("reason IS NOT NULL").select(
        F.lit(customers).alias("source"), "reason", "raw_text"
    )
    frames = {"batch_predictions": observed, "quarantined_rows": quarantined}
    write_tables(frames, tables, pipeline_id, "scoring")

    # The last line of the job's log says what the run took.
    facts = {"source": customers, "customers_run": waiting_run}
    facts |= {"model_version": entry["model_version"]}
    facts |= totals.asDict() | summary.get
    print(close_run(spark, "scoring", lake, pipeline_id, **facts), flush=True)

    spark.stop()


if __name__ == "__main__":
    run_program(main)
