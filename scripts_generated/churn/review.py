# Generated from notebooks/07-tables-and-runs.ipynb by `make export`; do not edit.
"""Review SQL: one dialect, BigQuery's, answered by BigQuery or by DuckDB over the lake's tables."""

import pandas as pd
import pyarrow as pa
from churn.lake import filesystem, list_folders
from churn.programs import StepError
from churn.tables import finished_attempts


def one_query(sql: str):
    """Return the one query of a text in BigQuery's dialect. Raises StepError for anything else."""
    import sqlglot
    from sqlglot import exp

    found = [s for s in sqlglot.parse(sql, read="bigquery") if s and type(s) is not exp.Semicolon]
    if len(found) == 1 and isinstance(found[0], exp.Query):
        return found[0]
    what = f"{len(found)} statements" if found[1:] else found[0].key.upper() if found else "nothing"
    raise StepError(f"A review is one query, SELECT or WITH, and this is {what}. Ask one.")


def in_dataset(query, dataset: str):
    """Return a query with its tables named alone. Raises StepError for another dataset's table."""
    from sqlglot import exp

    name, tables = dataset.rpartition("/")[2], list(query.find_all(exp.Table))
    aliases = {table.alias for table in tables}  # an alias's array is no table
    for table in tables:
        if table.db == name:
            table.set("db", None)
            table.set("catalog", None)
        elif table.db and table.db not in aliases:
            raise StepError(f"{table.db}.{table.name} is not in the dataset {name} of this review.")
    return query


def whole_numbers(answer: pa.Table) -> pa.Table:
    """Return an answer with sums of whole numbers as INT64 and other decimals as FLOAT64."""
    kinds = [
        field.type
        if not pa.types.is_decimal(field.type)
        else pa.float64()
        if field.type.scale
        else pa.int64()
        for field in answer.schema
    ]
    return answer.cast(pa.schema(list(zip(answer.column_names, kinds, strict=True))))


def as_frame(answer: pa.Table) -> pd.DataFrame:
    """Return an answer as a pandas DataFrame in which a whole number stays one beside NULL."""
    frame = answer.to_pandas()
    for number, column in enumerate(answer.columns):
        if pa.types.is_integer(column.type) and column.null_count:
            frame.isetitem(number, pd.array(column.to_pylist(), "Int64"))
    return frame


def shared_schema(parts: list) -> pa.Schema:
    """Return the columns of all parts of a table; one that came later is NULL in earlier parts."""
    columns = pa.unify_schemas([part.schema for part in parts])
    return pa.schema([column.with_nullable(True) for column in columns])


def ask(dataset: str, sql: str) -> pa.Table:
    """Return the answer of a BigQuery SQL query over a dataset's tables. Raises StepError."""
    if dataset.startswith("bigquery://"):
        from google.cloud import bigquery

        name = dataset.removeprefix("bigquery://")
        config = bigquery.QueryJobConfig(default_dataset=name)
        answer = bigquery.Client(project=name.split(".")[0]).query(sql, job_config=config).result()
        return answer.to_arrow(create_bqstorage_client=False)
    import duckdb
    import pyarrow.dataset as ds

    query = in_dataset(one_query(sql), dataset).sql("duckdb")
    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'")
    for table in list_folders(dataset):
        folders = finished_attempts(dataset, table)
        parts = [ds.dataset(path, filesystem=files) for files, path in map(filesystem, folders)]
        if parts:
            connection.register(table, ds.dataset(parts, schema=shared_schema(parts)))
    return whole_numbers(connection.sql(query).to_arrow_table())


def review(dataset: str, sql: str) -> pd.DataFrame:
    """Return the answer of a BigQuery SQL query as a pandas DataFrame. Raises StepError."""
    return as_frame(ask(dataset, sql))
