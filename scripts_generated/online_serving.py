# Generated from notebooks/17-online-serving.ipynb by `make export`; do not edit.
"""The champion as one file, behind a server that answers for one customer while they wait, and
says why.
"""

import argparse
from datetime import UTC, datetime

import numpy as np
import pandas as pd
from churn.lake import (
    check_lake,
)
from churn.onnx_forest import (
    answers,
    answers_of_spark,
    check_gap,
    forest_to_onnx,
    inconvenient_customers,
)
from churn.packages import (
    MODEL,
    NODES,
    examples,
    parquet_bytes,
    serve_package,
    signature,
    write_package,
)
from churn.programs import run_program
from churn.registry import load_model, read_forest, registered_model
from churn.runs import check_pipeline_id, close_run, library_tree
from churn.tables import (
    dataset_root,
    read_table,
)
from pyspark.sql import SparkSession

KEPT = (
    "model_version", "model_uri", "metrics_uri", "threshold", "data_pipeline_id",
    "data_fingerprint",
)  # fmt: skip


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
        help="a registered version, or the champion; servers take it up (default: %(default)s)",
    )
    parser.add_argument(
        "--generated",
        type=int,
        default=2000,
        help="generated customers to check the package with (default: %(default)s)",
    )
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> None:
    """Run the steps of notebooks/17-online-serving.ipynb."""
    options = parse_arguments(arguments)
    pipeline_id = options.pipeline_id
    lake = options.lake
    dataset = options.dataset
    model_version = options.model_version
    generated = options.generated

    # Two packages are new here: onnx writes the file, onnxruntime answers from it.
    spark = SparkSession.builder.appName("package-model").getOrCreate()

    # Key and lake are checked first, as always. Then we ask the registry who the champion is, and
    # read its nodes.
    check_pipeline_id(pipeline_id)
    lake = check_lake(lake)
    tables = dataset_root(lake, dataset)
    entry = registered_model(tables, model_version)

    # Files can be missing or damaged, and then the registry's error names the version.
    nodes, columns = read_forest(entry, lake)

    # That is the whole conversion. The champion in one file:
    content = forest_to_onnx(nodes, columns).SerializeToString()

    # Real customers first, then the others:
    trained_on = read_table(spark, tables, "training_data", entry["data_pipeline_id"])
    real = trained_on.limit(100_000).toPandas()
    odd = inconvenient_customers(nodes, columns, generated)
    shown = inconvenient_customers(nodes, columns, 50, seed=1)
    shown = shown.assign(tenure=np.floor(shown["tenure"]))  # a request has whole months
    checked = pd.concat([real, odd, shown], ignore_index=True)
    spark_says = answers_of_spark(load_model(entry, lake), checked, columns)
    gap = float(np.abs(answers(content, checked, columns) - spark_says).max())

    # Here it has nothing to say:
    check_gap(gap, entry["model_version"])

    # The note repeats what the registry knows of the version, and adds the run that packages it and
    # the library's fingerprint.
    note = {name: entry[name] for name in (*KEPT, "parameters_fingerprint")}
    note |= {"pipeline_id": pipeline_id, "packaged": datetime.now(UTC).isoformat()}
    note |= {"library_tree": library_tree(), "positive_class": "yes", "columns": signature(columns)}
    note |= {"parity": {"customers": len(checked), "largest_gap": gap}}
    note |= {"examples": examples(shown, columns, spark_says[-len(shown) :])}

    # Two files beside the note:
    files = {MODEL: content, NODES: parquet_bytes(nodes)}

    # Then the package is written, and servers may take it up:
    place = write_package(lake, entry["model_version"], files, note)
    serve_package(lake, place)

    # The last line of the job's log says what the run took.
    facts = {"model_version": entry["model_version"], "package": place}
    facts |= {"checked": len(checked), "largest_gap": gap}
    print(close_run(spark, "packaging", lake, pipeline_id, **facts), flush=True)

    spark.stop()


if __name__ == "__main__":
    run_program(main)
