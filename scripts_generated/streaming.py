# Generated from notebooks/18-streaming.ipynb by `make export`; do not edit.
"""Customers who arrive in small files all day, each scored once, whatever dies on the way."""

import argparse

from churn.attribution import check_method
from churn.lake import (
    check_lake,
    join_uri,
)
from churn.programs import run_program
from churn.registry import registered_model
from churn.runs import check_pipeline_id, close_run
from churn.streams import KAFKA, Stream, check_refused, run_stream
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
        "--arrivals",
        type=str,
        default="arrivals",
        help="where customers arrive: a folder in the lake, kafka://host:port/topic (default: %(default)s)",
    )
    parser.add_argument(
        "--per-batch",
        type=int,
        default=4,
        help="files (or messages of Kafka) that a batch takes at most (default: %(default)s)",
    )
    parser.add_argument(
        "--trigger",
        type=int,
        default=0,
        help="seconds between two looks at the arrivals; 0 takes what is there and ends (default: %(default)s)",
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
        default=0.2,
        help="share of bad rows above which a file is refused as a whole (default: %(default)s)",
    )
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> None:
    """Run the steps of notebooks/18-streaming.ipynb."""
    options = parse_arguments(arguments)
    pipeline_id = options.pipeline_id
    lake = options.lake
    dataset = options.dataset
    arrivals = options.arrivals
    per_batch = options.per_batch
    trigger = options.trigger
    model_version = options.model_version
    reasons = options.reasons
    method = options.method
    max_quarantined = options.max_quarantined

    # Streams are part of Spark; nothing new is installed for files.
    spark = SparkSession.builder.appName("streaming").getOrCreate()

    # Key and lake are checked first, as always. One thing is new: the key is that of the stream.
    # Who starts it again tomorrow gives the same key, and the stream goes on where it was.
    check_pipeline_id(pipeline_id)
    check_method(method)
    lake = check_lake(lake)
    tables = dataset_root(lake, dataset)

    # Ours:
    place = arrivals if arrivals.startswith(KAFKA) else join_uri(lake, arrivals)
    how = (method, reasons)
    stream = Stream(pipeline_id, lake, tables, place, model_version, how, max_quarantined)
    registered_model(tables, model_version)  # if there is none, nobody has to arrive

    # Run it
    taken, progress = run_stream(spark, stream, per_batch, trigger)

    # The last line of the job's log says what the run took; the record says which batches it was.
    # And if files were refused, the job ends here, with an error.
    counts = ("rows", "quarantined", "predictions", "offers")
    facts = {name: sum(done[name] for done in taken) for name in counts}
    facts |= {"arrivals": place, "batches": [done["batch"] for done in taken]}
    facts |= {"refused": [name for done in taken for name in done["refused"]]}
    print(close_run(spark, "streaming", lake, pipeline_id, **facts), flush=True)
    check_refused(stream)

    spark.stop()


if __name__ == "__main__":
    run_program(main)
