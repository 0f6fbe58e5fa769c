# Generated from notebooks/02-customer-data.ipynb by `make export`; do not edit.
"""Land the raw customers in the lake, look at them, and write down what a customer is."""

import argparse

from churn.lake import check_lake, join_uri
from churn.landing import land_customers
from churn.programs import run_program
from churn.runs import closing_line
from churn.tables import dataset_root
from pyspark.sql import SparkSession


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
        "--source",
        type=str,
        default="auto",
        help="auto, real, synthetic, or the path or URI of a CSV file (default: %(default)s)",
    )
    parser.add_argument(
        "--rows",
        type=int,
        default=7043,
        help="how many customers to generate, where the generator is the source (default: %(default)s)",
    )
    parser.add_argument(
        "--seed",
        type=int,
        default=2026,
        help="the generator gives the same customers for the same rows and seed (default: %(default)s)",
    )
    parser.add_argument(
        "--output-format",
        type=str,
        default="csv",
        help="csv, or parquet for big generated data (default: %(default)s)",
    )
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> None:
    """Run the steps of notebooks/02-customer-data.ipynb."""
    options = parse_arguments(arguments)
    pipeline_id = options.pipeline_id
    lake = options.lake
    dataset = options.dataset
    source = options.source
    rows = options.rows
    seed = options.seed
    output_format = options.output_format

    # We start a session, or take the one that is there.
    spark = SparkSession.builder.appName("customer-data").getOrCreate()

    # Before any work we make sure that its result can be kept.
    lake = check_lake(lake)

    # Land the customers
    # A landing brings raw data into the lake and changes nothing in it. Each landing goes to a
    # folder of its own, is checked there, and counts from the moment that its last file is written.
    # If it fails, yesterday's data is still there. How this is done is the subject of module 7;
    # here one call is enough.
    facts = land_customers(spark, lake, pipeline_id, source, rows, seed, output_format)
    print(f"Raw data: {facts['label']}.", flush=True)

    # The next step, preprocessing, makes tables of it.
    print(
        f"Landed in {join_uri(lake, 'raw/customers')}; "
        f"the tables will be in {dataset_root(lake, dataset)}."
    )
    print(closing_line(spark, "customer-data"), flush=True)

    spark.stop()


if __name__ == "__main__":
    run_program(main)
