# Generated from notebooks/01-spark-notebooks.ipynb by `make export`; do not edit.
"""Count a year of a city's crime events by type and month, in one pass and with one shuffle."""

import argparse
import re

from churn.events import generate_events
from churn.lake import check_lake
from churn.programs import StepError, run_program
from churn.runs import check_pipeline_id, closing_line
from churn.tables import dataset_root, write_table
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F


def read_events(spark: SparkSession, events: str, rows: int, year: int) -> DataFrame:
    """Return a year of events, generated or from a BigQuery table.

    Raises StepError if ``events`` is neither, or if the year or the number of rows makes no sense.
    """
    if not 1970 <= year <= 9999:
        raise StepError(f"--year {year} is out of range. Use a year from 1970 on.")
    if events == "generated":
        if rows < 1:
            raise StepError(f"--rows {rows} generates nothing. Use at least 1.")
        return generate_events(spark, rows, year)
    if not re.fullmatch(r"[\w:.-]+\.\w+\.[\w-]+", events):
        raise StepError(f"--events {events!r} is no table. Use generated or project.dataset.table.")
    return spark.read.format("bigquery").load(events).where(F.col("year") == year)


def count_crimes(crimes: DataFrame) -> DataFrame:
    """Return incidents and the share with an arrest, by type and month."""
    return crimes.groupBy("primary_type", F.month("date").alias("month")).agg(
        F.count("*").alias("incidents"),
        F.avg(F.col("arrest").cast("int")).alias("arrest_rate"),
    )


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
        "--events",
        type=str,
        default="generated",
        help="generated, or the table bigquery-public-data.chicago_crime.crime (default: %(default)s)",
    )
    parser.add_argument(
        "--year", type=int, default=2025, help="the year to count (default: %(default)s)"
    )
    parser.add_argument(
        "--rows",
        type=int,
        default=250000,
        help="how many events to generate, where they are generated (default: %(default)s)",
    )
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> None:
    """Run the steps of notebooks/01-spark-notebooks.ipynb."""
    options = parse_arguments(arguments)
    pipeline_id = options.pipeline_id
    lake = options.lake
    dataset = options.dataset
    events = options.events
    year = options.year
    rows = options.rows

    spark = SparkSession.builder.appName("spark-notebooks").getOrCreate()

    # Before any work we make sure that its result can be kept.
    check_pipeline_id(pipeline_id)
    lake = check_lake(lake)
    tables = dataset_root(lake, dataset)

    crimes = read_events(spark, events, rows, year)

    # The table crime_counts gets the key of this run, as every table of the course does.
    write_table(count_crimes(crimes), tables, "crime_counts", pipeline_id, "spark_notebooks")

    # The job ends with the line that all jobs end with.
    print(closing_line(spark, "spark_notebooks"), flush=True)


if __name__ == "__main__":
    run_program(main)
