# Generated from notebooks/06-batch-scoring.ipynb by `make export`; do not edit.
"""Score customers with the champion of the registry, and say for each what moved its probability."""

import argparse

from churn.attribution import check_method
from churn.contract import (
    check_share,
    clean,
    judge,
    read_raw,
)
from churn.lake import (
    check_lake,
    join_uri,
)
from churn.programs import run_program
from churn.registry import registered_forest, registered_model
from churn.runs import check_pipeline_id, close_run
from churn.scoring import predictions_of, summarised
from churn.tables import (
    dataset_root,
    own_or_newest_run,
    read_table,
    write_tables,
)
from pyspark.sql import Observation, SparkSession
from pyspark.sql import functions as F


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
        "--method",
        type=str,
        default="shap",
        help="how reasons are found: shap (exact Shapley values) or path (faster, biased) (default: %(default)s)",
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
    method = options.method
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

    # Which forest is the champion's?
    nodes, columns = registered_forest(entry, lake)

    # Why this customer?
    # "You are at risk, says the computer" is no reason to call anybody. A reason is a column with
    # what it contributes: how far it moves this customer's probability away from the average. The
    # contributions of all columns add up to the difference. There are two ways to find them, and
    # module 14 opens both: Shapley values, which treat all columns alike, and the moves along each
    # tree's path, which are faster and have a bias.
    check_method(method)

    # The champion, asked about everybody who waits:
    waiting_customers = clean(judged, labelled=False)
    predictions = predictions_of(
        spark, waiting_customers, entry, (nodes, columns), (method, reasons)
    )

    # Predictions and quarantine go out side by side. A retry of this run replaces them, another run
    # adds its own. Customers who arrive in small files all day (module 18) are scored by the same
    # three functions.
    summary = Observation("summary")
    quarantined = judged.where("reason IS NOT NULL").select(
        F.lit(customers).alias("source"), "reason", "raw_text"
    )
    observed = summarised(predictions, summary)
    frames = {"batch_predictions": observed, "quarantined_rows": quarantined}
    write_tables(frames, tables, pipeline_id, "scoring")

    # The last line of the job's log says what the run took.
    facts = {"source": customers, "customers_run": waiting_run}
    facts |= {"model_version": entry["model_version"], "attribution": method}
    facts |= totals.asDict() | summary.get
    print(close_run(spark, "scoring", lake, pipeline_id, **facts), flush=True)

    spark.stop()


if __name__ == "__main__":
    run_program(main)
