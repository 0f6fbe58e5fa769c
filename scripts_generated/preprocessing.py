# Generated from notebooks/03-preprocessing.ipynb by `make export`; do not edit.
"""Clean the raw customers, set aside what breaks the contract, and split by customer."""

import argparse

from churn.contract import (
    AS_WRITTEN,
    RAW_COLUMNS,
    check_share,
    clean,
    judge,
    newest_landing,
    provenance,
    read_raw,
    snake_case,
)
from churn.lake import check_lake, join_uri
from churn.programs import run_program
from churn.runs import check_pipeline_id, close_run
from churn.splitting import split_column
from churn.tables import dataset_root, write_tables
from pyspark.sql import SparkSession
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
        "--raw",
        type=str,
        default="raw/customers",
        help="the raw file or folder, CSV or Parquet: below the lake, or a full URI (default: %(default)s)",
    )
    parser.add_argument(
        "--max-quarantined",
        type=float,
        default=0.05,
        help="share of bad rows above which the step stops (default: %(default)s)",
    )
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> None:
    """Run the steps of notebooks/03-preprocessing.ipynb."""
    options = parse_arguments(arguments)
    pipeline_id = options.pipeline_id
    lake = options.lake
    dataset = options.dataset
    raw = options.raw
    max_quarantined = options.max_quarantined

    # We start a session, or take the one that is there.
    spark = SparkSession.builder.appName("preprocessing").getOrCreate()

    # Before any work we make sure that its result can be kept: the run's key is valid and the lake
    # can be written.
    check_pipeline_id(pipeline_id)
    lake = check_lake(lake)
    tables = dataset_root(lake, dataset)

    # Read by contract
    # What does a raw row look like? Every value arrives as text, with the row's own text beside it.
    # Nothing has been thrown away or turned into a null yet. We ask once where the newest landing
    # is: should another land while we work, rows and facts are still of the same one.
    raw_uri = newest_landing(join_uri(lake, raw))
    customers = judge(read_raw(spark, raw_uri)).withColumn("split", split_column()).cache()

    # When is too much too much?
    # A few bad rows are normal and go to quarantine. Many bad rows mean that somebody changed the
    # file, and training on the rest would hide it. One pass counts all that we need to decide.
    split_sizes = [
        F.count_if((F.col("split") == s) & F.col("reason").isNull()).alias(s)
        for s in ("train", "test", "scoring")
    ]
    totals = customers.agg(
        F.count("*").alias("rows"), F.count("reason").alias("quarantined"), *split_sizes
    ).first()

    # The step stops here, before it has written anything, if the file holds nobody or too many rows
    # are bad. The message names the file and what to do.
    check_share(totals["rows"], totals["quarantined"], max_quarantined, raw_uri, customers)

    # The tables
    # Training data first: the rows that keep the contract, typed, with the split as a column.
    # Scoring customers are not among them.
    training_data = clean(customers).withColumn("split", split_column()).where("split != 'scoring'")

    # The scoring customers play tomorrow's customers. What we know of them today goes into one
    # table, raw and without the label; what they will have done goes into another, which nobody
    # reads before monitoring does (module 16).
    future = customers.where("reason IS NULL AND split = 'scoring'")
    known_today = [snake_case(name) for name in RAW_COLUMNS[:-1]]
    scoring_input = future.select(
        *known_today, F.to_csv(F.struct(*known_today), AS_WRITTEN).alias("raw_text")
    )
    outcomes = future.select("customer_id", F.lower("churn").alias("churn"))

    # The quarantine comes last. It may be empty, and is written all the same: an empty table says
    # "none", a missing one says nothing.
    quarantined = customers.where("reason IS NOT NULL").select(
        F.lit(raw_uri).alias("source"), "reason", "raw_text"
    )

    # Nothing has been written yet. The four tables do not wait for each other, so they are written
    # side by side.
    frames = {
        "training_data": training_data,
        "scoring_input": scoring_input,
        "scoring_outcomes": outcomes,
        "quarantined_rows": quarantined,
    }
    write_tables(frames, tables, pipeline_id, "preprocessing")

    # The record of the run keeps the counts and where the raw file came from. The last line of the
    # job's log says what the run took.
    facts = {"raw": raw_uri, "provenance": provenance(raw_uri)} | totals.asDict()
    print(close_run(spark, "preprocessing", lake, pipeline_id, **facts), flush=True)

    spark.stop()


if __name__ == "__main__":
    run_program(main)
