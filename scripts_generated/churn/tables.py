# Generated from notebooks/07-tables-and-runs.ipynb by `make export`; do not edit.
"""Tables that survive a killed run, in a lake or in BigQuery, and the contract of each."""

import io
import secrets
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from functools import cache

import pyarrow as pa
from churn.contract import (
    CATEGORIES,
    RAW_COLUMNS,
    snake_case,
)
from churn.lake import (
    create_text,
    delete_folder,
    exists,
    filesystem,
    join_uri,
    names_below,
    open_output,
    read_text,
)
from churn.programs import DataContractError, TableNotFoundError
from churn.runs import check_pipeline_id
from pyarrow import parquet as pq
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import StructType, _parse_datatype_string

RUN_COLUMNS = "pipeline_id STRING, step STRING, pipeline_execution_ts TIMESTAMP"

CUSTOMER = (
    "customer_id STRING, "
    + ", ".join(f"{name} STRING" for name in CATEGORIES)
    + ", tenure INT, monthly_charges DOUBLE, total_charges DOUBLE"
)

RAW_TEXT = ", ".join(f"{snake_case(name)} STRING" for name in RAW_COLUMNS[:-1])

ANSWER = (
    "model_version STRING, customer_id STRING, churn_probability DOUBLE, prediction STRING, "
    "reasons ARRAY<STRUCT<feature: STRING, contribution: DOUBLE>>, raises ARRAY<STRING>, "
    "lowers ARRAY<STRING>, base_probability DOUBLE, attribution STRING"
)

TABLES = {
    "training_data": f"{CUSTOMER}, churn STRING, split STRING",
    "scoring_input": f"{RAW_TEXT}, raw_text STRING",
    "scoring_outcomes": "customer_id STRING, churn STRING",
    "quarantined_rows": "source STRING, reason STRING, raw_text STRING",
    "model_metrics": "model_version STRING, evaluation STRING, metric STRING, value DOUBLE, "
    "standard_deviation DOUBLE",
    "metric_curves": "model_version STRING, evaluation STRING, curve STRING, point INT, x DOUBLE, "
    "y DOUBLE, threshold DOUBLE",
    "model_feature_importance_scores": "model_version STRING, feature STRING, importance DOUBLE",
    "test_predictions": "model_version STRING, customer_id STRING, churn_probability DOUBLE, "
    "prediction STRING, churn STRING",
    "model_registry": "model_version STRING, stage STRING, algorithm STRING, model_uri STRING, "
    "metrics_uri STRING, data_pipeline_id STRING, data_fingerprint STRING, parameters STRING, "
    "parameters_fingerprint STRING, threshold DOUBLE, roc_auc DOUBLE, average_precision DOUBLE, "
    "cross_validated_average_precision DOUBLE, changed_by STRING, reason STRING, "
    "evidence STRING, decision BIGINT",
    "batch_predictions": ANSWER,
    "stream_predictions": ANSWER,
    "model_explanations": "model_version STRING, explanation STRING, feature STRING, value STRING, "
    "estimate DOUBLE, low DOUBLE, high DOUBLE",
    "drift_metrics": "model_version STRING, feature STRING, statistic STRING, value DOUBLE, "
    "threshold DOUBLE, alarm STRING",
    "crime_counts": "primary_type STRING, month INT, incidents BIGINT, arrest_rate DOUBLE",
    "tuning_trials": "search STRING, library STRING, parameters STRING, fold INT, metric STRING, "
    "value DOUBLE",
}


def table_columns(name: str) -> str:
    """Return the contract of a table as SQL column definitions, run columns last."""
    return f"{TABLES[name]}, {RUN_COLUMNS}"


def own_columns(name: str) -> list[str]:
    """Return the names of a flat table's columns, in the order of TABLES, without the run's."""
    return [column.split()[0] for column in TABLES[name].split(", ")]


def dataset_root(lake: str, dataset: str) -> str:
    """Return where tables live: below the lake's warehouse, or bigquery://project.dataset."""
    if dataset.startswith("bigquery://"):
        return dataset
    return join_uri(lake, "warehouse", dataset)


@cache
def schema_of(columns: str) -> StructType:
    """Return SQL column definitions as Spark's schema; the same text is parsed once."""
    return _parse_datatype_string(columns)


def contract_schema(name: str) -> StructType:
    """Return the contract of a table as Spark's schema."""
    return schema_of(table_columns(name))


WIDENING = {("int", "bigint"), ("int", "double"), ("bigint", "double"), ("float", "double")}


def fit_to_contract(rows: DataFrame, name: str) -> DataFrame:
    """Return the columns of a table's contract, in its order and types.

    Raises DataContractError for missing columns and for values of another kind.
    """
    contract = contract_schema(name)
    given = {field.name: field.dataType for field in rows.schema}
    missing = [field.name for field in contract if field.name not in given]
    problems = [f"lack {', '.join(missing)}"] if missing else []
    for field in contract:
        have = given.get(field.name, field.dataType)
        change = (have.simpleString(), field.dataType.simpleString())
        if len(set(change)) > 1 and change not in WIDENING and change[0] != "void":
            problems.append(f"have {field.name} as {have.simpleString()}")
    if problems:
        raise DataContractError(f"Rows for {name} {', '.join(problems)}: see TABLES.")
    return rows.select([F.col(field.name).cast(field.dataType) for field in contract])


def stamped(rows: DataFrame, name: str, pipeline_id: str, step: str) -> DataFrame:
    """Return rows with their run columns, as the table's contract wants them."""
    run = {"pipeline_id": F.lit(pipeline_id), "step": F.lit(step)}
    return fit_to_contract(
        rows.withColumns(run | {"pipeline_execution_ts": F.current_timestamp()}), name
    )


def save_by_spark(rows: DataFrame, attempt: str) -> None:
    """Write rows to a fresh folder; Spark puts the marker last."""
    rows.write.parquet(attempt)


ARROW_TYPES = {
    "STRING": pa.string(),
    "INT": pa.int32(),
    "BIGINT": pa.int64(),
    "DOUBLE": pa.float64(),
    "TIMESTAMP": pa.timestamp("us", "UTC"),
}


def arrow_rows(rows: list[tuple], name: str, pipeline_id: str, step: str) -> pa.Table:
    """Return tuples in the order of TABLES as an Arrow table with the run columns.

    Raises DataContractError for a value that its column can't hold.
    """
    columns = [column.split() for column in table_columns(name).split(", ")]
    schema = pa.schema([(column, ARROW_TYPES[kind]) for column, kind in columns])
    run = (pipeline_id, step, datetime.now(UTC))
    try:
        records = [dict(zip(schema.names, (*row, *run), strict=True)) for row in rows]
        return pa.Table.from_pylist(records, schema)
    except (pa.ArrowException, TypeError, ValueError) as error:
        raise DataContractError(f"Rows for {name} do not fit TABLES: {error}") from None


def save_parquet(rows: pa.Table, attempt: str) -> None:
    """Write an Arrow table to a fresh folder, and then Spark's marker."""
    save_rows(rows, attempt)
    mark_finished(attempt)


def save_rows(rows: pa.Table, attempt: str) -> None:
    """Write an Arrow table to a fresh folder, which does not count yet."""
    with open_output(join_uri(attempt, "part-0.parquet")) as stream:
        pq.write_table(rows, stream)


def mark_finished(attempt: str) -> None:
    """Put the marker into an attempt: from now on readers take it."""
    with open_output(join_uri(attempt, "_SUCCESS")):
        pass


def write_table(rows: DataFrame | list, dataset: str, name: str, pipeline_id: str, step: str):
    """Write a step's rows of a table; they replace what the same run and step wrote before.

    ``rows`` is a DataFrame, or a list of few tuples in the order of TABLES.
    Raises DataContractError if the rows do not fit the table's contract.
    """
    check_pipeline_id(pipeline_id)
    if isinstance(rows, list):
        fitted, save = arrow_rows(rows, name, pipeline_id, step), save_parquet
    else:
        fitted, save = stamped(rows, name, pipeline_id, step), save_by_spark
    if dataset.startswith("bigquery://"):
        write_bigquery(fitted, dataset, name, pipeline_id, step)
        return
    run = join_uri(dataset, name, f"pipeline_id={pipeline_id}", f"step={step}")
    attempt = new_attempt(run)
    save(fitted, attempt)
    for outdated in outdated_attempts(run):
        delete_folder(outdated)


def write_tables(frames: dict, dataset: str, pipeline_id: str, step: str) -> None:
    """Write several tables of a step, rows by name, side by side; each is all or nothing."""
    with ThreadPoolExecutor(len(frames)) as pool:
        writes = [
            pool.submit(write_table, rows, dataset, name, pipeline_id, step)
            for name, rows in frames.items()
        ]
    for write in writes:
        write.result()


def new_attempt(folder: str) -> str:
    """Return a fresh folder for an attempt, below those of its kind; names sort by time."""
    return join_uri(folder, f"attempt={time.time_ns()}-{secrets.token_hex(3)}")


DAY = 24 * 3600 * 10**9  # nanoseconds


def outdated_attempts(folder: str, marker: str = "_SUCCESS") -> list[str]:
    """Return the attempts below a folder that nobody can be reading or writing any more."""
    below = names_below(folder)
    finished = {name.removesuffix(f"/{marker}") for name in below if name.endswith(f"/{marker}")}
    names = {name.partition("/")[0] for name in below if name.startswith("attempt=")}
    old = sorted(name for name in names if name < f"attempt={time.time_ns() - DAY}")
    kept = max(finished.intersection(old), default="")
    return [join_uri(folder, name) for name in old if name < kept or name not in finished]


def bigquery_table(dataset: str, name: str, columns: list[str]):
    """Return a client of BigQuery and what it knows of a table.

    Raises TableNotFoundError if it is not there, DataContractError if it lacks a column.
    """
    from google.api_core.exceptions import NotFound
    from google.cloud import bigquery  # part of the cloud's runtime, not needed elsewhere

    name = f"{dataset.removeprefix('bigquery://')}.{name}"
    client = bigquery.Client(project=name.split(".")[0])
    try:
        table = client.get_table(name)
    except NotFound:
        raise TableNotFoundError(f"BigQuery has no table {name}. Apply infra/ first.") from None
    known = {field.name for field in table.schema}
    if missing := [column for column in columns if column not in known]:
        mend = "Export the notebooks and apply infra/ again."
        raise DataContractError(f"The table {name} lacks {', '.join(missing)}. {mend}")
    return client, table


def save_to_bigquery(rows: DataFrame, table: str) -> None:
    """Append rows to a table (project.dataset.table) by Spark's connector."""
    options = {"writeMethod": "direct", "parentProject": table.split(".")[0]}
    rows.write.format("bigquery").mode("append").options(**options).save(table)


def load_few(client, rows: pa.Table, table: str) -> None:
    """Append an Arrow table to a table (project.dataset.table) by a load job."""
    from google.cloud import bigquery

    content = io.BytesIO()
    pq.write_table(rows, content)
    config = bigquery.LoadJobConfig(source_format="PARQUET", write_disposition="WRITE_APPEND")
    client.load_table_from_file(content, table, rewind=True, job_config=config).result()


def load_from_bigquery(spark: SparkSession, table: str) -> DataFrame:
    """Return the rows of a table (project.dataset.table) by Spark's connector."""
    options = {"enableReadSessionCaching": "false", "parentProject": table.split(".")[0]}
    return spark.read.format("bigquery").options(**options).load(table)


def new_staging_table(client, table, pipeline_id: str, step: str) -> str:
    """Create an empty table for one attempt to write to and return its name; it lives for a day."""
    from google.cloud import bigquery

    run = f"{pipeline_id}_{step}_{secrets.token_hex(3)}".replace("-", "_")
    staging = bigquery.Table(f"{table.reference}__{run}", schema=table.schema)
    staging.expires = datetime.now(UTC) + timedelta(days=1)
    client.create_table(staging)
    return str(staging.reference)


def swap_rows(client, table, staging: str, pipeline_id: str, step: str) -> None:
    """Replace the rows of a run and step by those of a staging table: all of it or nothing."""
    columns = ", ".join(f"`{field.name}`" for field in table.schema)
    swap = f"""
        BEGIN TRANSACTION;
        DELETE FROM `{table.reference}` WHERE pipeline_id = @pipeline_id AND step = @step;
        INSERT INTO `{table.reference}` ({columns}) SELECT {columns} FROM `{staging}`;
        COMMIT TRANSACTION;
    """
    run = {"pipeline_id": pipeline_id, "step": step}
    ask_until_won(client, swap, run, table.location)


def ask_until_won(client, sql: str, values: dict, location: str) -> None:
    """Run statements with named values; once more if another transaction has cancelled ours."""
    from google.api_core.retry import Retry
    from google.cloud import bigquery

    kinds = {str: "STRING", int: "INT64"}
    given = [bigquery.ScalarQueryParameter(k, kinds[type(v)], v) for k, v in values.items()]
    config = bigquery.QueryJobConfig(query_parameters=given)

    def lost_the_race(error: Exception) -> bool:
        return "due to concurrent update" in str(error)

    @Retry(predicate=lost_the_race, initial=1, maximum=30, timeout=600)
    def ask() -> None:
        client.query(sql, job_config=config, location=location).result()

    ask()


def write_bigquery(rows, dataset: str, name: str, pipeline_id: str, step: str) -> None:
    """Write rows that fit the contract to a staging table, then swap them in."""
    few = isinstance(rows, pa.Table)
    client, table = bigquery_table(dataset, name, rows.schema.names)
    staging = new_staging_table(client, table, pipeline_id, step)
    try:
        load_few(client, rows, staging) if few else save_to_bigquery(rows, staging)
        swap_rows(client, table, staging, pipeline_id, step)
    finally:
        client.delete_table(staging, not_found_ok=True)


def finished_attempts(dataset: str, name: str, pipeline_id: str | None = None) -> list[str]:
    """Return the folders that hold a table's rows: per run and step the newest finished attempt.

    With ``pipeline_id`` only those of that run: no other run's folders are listed.
    """
    table, newest = join_uri(dataset, name), {}
    below = table if pipeline_id is None else join_uri(table, f"pipeline_id={pipeline_id}")
    for found in names_below(below):  # of one run and step the newest comes last
        if found.endswith("/_SUCCESS"):
            attempt = join_uri(below, found.removesuffix("/_SUCCESS"))
            newest[attempt.rpartition("/")[0]] = attempt
    return list(newest.values())


def read_table(
    spark: SparkSession, dataset: str, name: str, pipeline_id: str | None = None
) -> DataFrame:
    """Return a table's rows, of one run if ``pipeline_id`` is given.

    Raises TableNotFoundError if no run has written the table, or nobody has made it in BigQuery.
    """
    contract = contract_schema(name)
    if dataset.startswith("bigquery://"):
        _, table = bigquery_table(dataset, name, contract.names)
        rows = load_from_bigquery(spark, str(table.reference))
        rows = rows.select([F.col(field.name).cast(field.dataType) for field in contract])
        return rows if pipeline_id is None else rows.where(F.col("pipeline_id") == pipeline_id)
    folders = finished_attempts(dataset, name, pipeline_id)
    if folders:
        return spark.read.schema(contract).parquet(*folders)
    if pipeline_id is None or not finished_attempts(dataset, name):
        raise TableNotFoundError(f"No run has written {name} in {dataset}. Run its step first.")
    return spark.createDataFrame([], contract)


def read_rows(dataset: str, name: str) -> list[dict]:
    """Return the rows of a small table, oldest first, without Spark.

    Raises TableNotFoundError if no run has written the table, or nobody has made it in BigQuery.
    """
    if dataset.startswith("bigquery://"):
        client, table = bigquery_table(dataset, name, [])
        found = client.list_rows(table).to_arrow(create_bqstorage_client=False)
    else:
        places = map(filesystem, finished_attempts(dataset, name))
        tables = [pq.read_table(path, filesystem=files) for files, path in places]
        if not tables:
            raise TableNotFoundError(f"No run has written {name} in {dataset}. Run its step first.")
        found = pa.concat_tables(tables, promote_options="default")
    return sorted(found.to_pylist(), key=lambda row: row["pipeline_execution_ts"])


DECISIONS = "_decisions"


def finish_decision(dataset: str, name: str) -> None:
    """Let readers see the last decision about a table, if its writer was killed before it could."""
    if dataset.startswith("bigquery://"):
        return
    folder = join_uri(dataset, name, DECISIONS)
    if numbers := [number for number in names_below(folder) if number.isdigit()]:
        attempt = join_uri(dataset, name, read_text(join_uri(folder, numbers[-1])))
        if not exists(join_uri(attempt, "_SUCCESS")):
            mark_finished(attempt)


def write_decision(
    rows: list[tuple], dataset: str, name: str, pipeline_id: str, step: str, number: int
) -> bool:
    """Write rows as decision ``number`` about a table; return False if that one is taken.

    The rows hold the number in the column ``decision``. Raises DataContractError as write_table.
    """
    check_pipeline_id(pipeline_id)
    step = f"{step}-{number}"
    fitted = arrow_rows(rows, name, pipeline_id, step)
    if dataset.startswith("bigquery://"):
        return insert_decision(fitted, dataset, name, step, number)
    attempt = new_attempt(join_uri(dataset, name, f"pipeline_id={pipeline_id}", f"step={step}"))
    save_rows(fitted, attempt)
    claim = join_uri(dataset, name, DECISIONS, f"{number:08d}")
    if not create_text(claim, attempt.removeprefix(join_uri(dataset, name)).lstrip("/")):
        delete_folder(attempt)
        return False
    mark_finished(attempt)
    return True


def insert_decision(rows: pa.Table, dataset: str, name: str, step: str, number: int) -> bool:
    """Insert rows as decision ``number`` in one transaction; return False if it is taken."""
    client, table = bigquery_table(dataset, name, rows.schema.names)
    columns = ", ".join(f"`{field.name}`" for field in table.schema)
    run = rows.column("pipeline_id")[0].as_py()
    staging = new_staging_table(client, table, run, step)
    decide = f"""
        BEGIN TRANSACTION;
        UPDATE `{table.reference}` SET step = step WHERE COALESCE(decision, 0) = @before;
        INSERT INTO `{table.reference}` ({columns}) SELECT {columns} FROM `{staging}`
        WHERE NOT EXISTS (SELECT 1 FROM `{table.reference}` WHERE decision >= @number);
        COMMIT TRANSACTION;
    """
    try:
        load_few(client, rows, staging)
        ask_until_won(client, decide, {"number": number, "before": number - 1}, table.location)
    finally:
        client.delete_table(staging, not_found_ok=True)
    taken = [row for row in read_rows(dataset, name) if row["decision"] == number]
    return {(row["pipeline_id"], row["step"]) for row in taken} == {(run, step)}


def newest_run_in_bigquery(
    spark: SparkSession, dataset: str, name: str, pipeline_id: str
) -> str | None:
    """Return ``pipeline_id`` if it has rows in the table, else the newest row's run, or None."""
    own = F.col("pipeline_id") == pipeline_id
    last = read_table(spark, dataset, name).agg(
        F.max(own).alias("own"), F.max_by("pipeline_id", "pipeline_execution_ts").alias("newest")
    )
    row = last.first()
    return pipeline_id if row["own"] else row["newest"]


def own_or_newest_run(spark: SparkSession, dataset: str, name: str, pipeline_id: str) -> str:
    """Return ``pipeline_id`` if that run has written the table, else the run that wrote it last."""
    if dataset.startswith("bigquery://"):
        run = newest_run_in_bigquery(spark, dataset, name, pipeline_id)
    elif finished_attempts(dataset, name, pipeline_id):
        run = pipeline_id
    else:
        attempts = finished_attempts(dataset, name)
        last = max(attempts, key=lambda path: path.rpartition("/attempt=")[2], default="")
        run = last.rpartition("/pipeline_id=")[2].partition("/")[0]
    if not run:
        raise TableNotFoundError(
            f"No run has written {name} in {dataset}: it has no rows. Run its step first."
        )
    return run
