"""The tables' contracts as Terraform and BigQuery take them, from ``TABLES`` of notebook 07."""

import json
from pathlib import Path

import sqlglot
from sqlglot import exp

from churnlab.author.exporter import ExportError
from churnlab.errors import CourseError
from churnlab.run.library import library

NAME = "bigquery_tables.json"

ONE_ROW = {
    "training_data": "a cleaned, labelled customer with its split",
    "scoring_input": "a raw customer to score, without a label",
    "scoring_outcomes": "whether a scored customer left, known only later",
    "quarantined_rows": "a rejected input row and the reason",
    "model_metrics": "one metric of one evaluation of a model",
    "metric_curves": "a point of the ROC, precision-recall or calibration curve of a model",
    "model_feature_importance_scores": "the importance of one original column in a model",
    "test_predictions": "a test customer with label, probability and decision",
    "model_registry": "a change of a model version: stage, who, why, its files, what it rests on",
    "batch_predictions": "a scored customer: probability, decision, reasons, model version",
    "stream_predictions": "a customer scored by a stream: as in batch_predictions, a step a batch",
    "model_explanations": "what a model makes of a column, or of one value of it",
    "drift_metrics": "one statistic of one column of a scored batch, or of its outcomes",
    "crime_counts": "incidents of one kind in one month, the example of module 1",
    "tuning_trials": "one metric of one trial of a search in one fold",
}

# The names of BigQuery's REST API, which Terraform compares with what it reads back:
# https://docs.cloud.google.com/bigquery/docs/reference/rest/v2/tables#TableFieldSchema
TYPES = {
    exp.DataType.Type.TEXT: "STRING",
    exp.DataType.Type.INT: "INTEGER",
    exp.DataType.Type.BIGINT: "INTEGER",
    exp.DataType.Type.DOUBLE: "FLOAT",
    exp.DataType.Type.BOOLEAN: "BOOLEAN",
    exp.DataType.Type.TIMESTAMP: "TIMESTAMP",
    exp.DataType.Type.TIMESTAMPTZ: "TIMESTAMP",
}


def table_definitions() -> dict[str, dict]:
    """Return description, schema and clustering of each table, in the order of ``TABLES``."""
    return {
        name: table_definition(name, library.tables.table_columns(name))
        for name in library.tables.TABLES
    }


def table_definition(name: str, columns: str) -> dict:
    """Return a table's definition from its contract, such as ``churn STRING, month INT``.

    Raises CourseError for a table without a description and for a type BigQuery is not told of.
    """
    if name not in ONE_ROW:
        mend = "Say what one row is in ONE_ROW of churnlab/author/bigquery_tables.py."
        raise CourseError(f"The table {name} has no description.", mend)
    parsed = sqlglot.parse_one(f"CREATE TABLE t ({columns})", read="spark")
    schema = [field(column.name, column.kind) for column in parsed.this.expressions]
    names = [column["name"] for column in schema]
    keys = [key for key in ("pipeline_id", "step", "model_version") if key in names]
    return {"description": f"One row is {ONE_ROW[name]}.", "schema": schema, "clustering": keys}


def field(name: str, kind: exp.DataType) -> dict:
    """Return a column as BigQuery's JSON: name, type, mode, and the fields of a record."""
    if kind.this == exp.DataType.Type.ARRAY:
        return field(name, kind.expressions[0]) | {"mode": "REPEATED"}
    if kind.this == exp.DataType.Type.STRUCT:
        fields = [field(part.name, part.args["kind"]) for part in kind.expressions]
        return {"name": name, "type": "RECORD", "mode": "NULLABLE", "fields": fields}
    if kind.this not in TYPES:
        mend = "Add it to TYPES of churnlab/author/bigquery_tables.py."
        raise CourseError(f"The column {name} is {kind.sql()}, unknown to BigQuery's export.", mend)
    return {"name": name, "type": TYPES[kind.this], "mode": "NULLABLE"}


def export_tables(folder: Path, check: bool = False) -> list[str]:
    """Write the definitions for Terraform; with ``check`` only compare.

    Returns the name of the file if it differed. With ``check`` a difference raises ExportError.
    """
    target = folder / NAME
    text = json.dumps(table_definitions(), indent=2) + "\n"
    if target.exists() and target.read_text(encoding="utf-8") == text:
        return []
    if check:
        raise ExportError(
            f"{folder.name}/{NAME}: not what TABLES of notebooks/07-tables-and-runs.ipynb says.",
            "Change the notebook, not the file, then run `make export`.",
        )
    folder.mkdir(exist_ok=True)
    partial = target.with_suffix(".partial")
    partial.write_text(text, encoding="utf-8")
    partial.replace(target)
    return [NAME]
