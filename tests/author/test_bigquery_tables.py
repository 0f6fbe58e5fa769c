"""One definition of every table: notebook 07's, which Spark, Terraform and the book share."""

import json

import pytest

from churnlab import paths
from churnlab.author import bigquery_tables
from churnlab.author.exporter import ExportError
from churnlab.errors import CourseError

# https://github.com/GoogleCloudDataproc/spark-bigquery-connector#data-types
IN_SPARK = {
    "STRING": "string",
    "INTEGER": "bigint",
    "FLOAT": "double",
    "BOOLEAN": "boolean",
    "TIMESTAMP": "timestamp",
}


def in_spark(column: dict) -> str:
    """Return the type that Spark reads from a BigQuery column."""
    if column["type"] == "RECORD":
        fields = ",".join(f"{part['name']}:{in_spark(part)}" for part in column["fields"])
        kind = f"struct<{fields}>"
    else:
        kind = IN_SPARK[column["type"]]
    return f"array<{kind}>" if column["mode"] == "REPEATED" else kind


@pytest.mark.parametrize("name", bigquery_tables.ONE_ROW)
def test_terraform_gives_a_table_the_columns_that_spark_writes(spark, library, name):
    written = json.loads((paths.INFRA / bigquery_tables.NAME).read_text())[name]["schema"]
    contract = spark.createDataFrame([], library.tables.table_columns(name)).schema
    wide = {"int": "bigint"}  # BigQuery has one integer type, of 64 bits
    expected = [
        (f.name, wide.get(f.dataType.simpleString(), f.dataType.simpleString())) for f in contract
    ]
    assert [(column["name"], in_spark(column)) for column in written] == expected


def test_every_table_of_the_contract_is_exported(library):
    assert list(bigquery_tables.ONE_ROW) == list(library.tables.TABLES)
    assert list(json.loads((paths.INFRA / bigquery_tables.NAME).read_text())) == list(
        library.tables.TABLES
    )


def test_a_changed_contract_is_a_difference_until_it_is_exported(tmp_path, library, monkeypatch):
    assert bigquery_tables.export_tables(tmp_path) == [bigquery_tables.NAME]
    bigquery_tables.export_tables(tmp_path, check=True)
    monkeypatch.setitem(
        library.tables.TABLES, "scoring_outcomes", "customer_id STRING, churn STRING, seen INT"
    )
    with pytest.raises(ExportError, match="TABLES of notebooks/07"):
        bigquery_tables.export_tables(tmp_path, check=True)
    bigquery_tables.export_tables(tmp_path)
    columns = json.loads((tmp_path / bigquery_tables.NAME).read_text())["scoring_outcomes"][
        "schema"
    ]
    assert {"name": "seen", "type": "INTEGER", "mode": "NULLABLE"} in columns


def test_a_table_is_clustered_by_what_its_runs_are_looked_up_by():
    table = bigquery_tables.table_definition(
        "model_metrics", "metric STRING, model_version STRING, step STRING, pipeline_id STRING"
    )
    assert table["clustering"] == ["pipeline_id", "step", "model_version"]


def test_a_table_that_nobody_described_is_refused():
    with pytest.raises(CourseError, match="no_such_table has no description"):
        bigquery_tables.table_definition("no_such_table", "a STRING")


def test_a_type_that_bigquery_was_not_told_of_is_refused():
    with pytest.raises(CourseError, match="amount is DECIMAL"):
        bigquery_tables.table_definition("model_metrics", "amount DECIMAL(10, 2)")
