# Generated from notebooks/01-common-utils.ipynb by `make export`; do not edit.
"""The functions that every step of the course shares: the data contract, tables, features, metrics
and the model registry.
"""

import hashlib
import io
import json
import os
import re
import secrets
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache

import numpy as np
import pandas as pd
import pyarrow as pa
from pyarrow import fs as pafs
from pyarrow import parquet as pq
from pyspark.ml import PipelineModel
from pyspark.ml.feature import StringIndexer, VectorAssembler
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import StructType, _parse_datatype_string
from pyspark.sql.window import Window


class StepError(Exception):
    """A step can't go on; the message says what is wrong, where, and what to do."""


class DataContractError(StepError):
    """The input is not what the data contract promises."""


class TableNotFoundError(StepError):
    """No run has written the table that a step needs."""


class ModelError(StepError):
    """The model registry or a stored model can't be used."""


def expected_reason(error: Exception) -> str:
    """Return what is said of an error that its reader can mend, or "" for any other error."""
    if "No space left on device" in str(error):
        return "The disk is full. Free some of it (`df -h` shows which), or name another --lake."
    google = {k.__name__ for k in type(error).__mro__} & {"GoogleAPIError", "GoogleAuthError"}
    return str(error) if google or isinstance(error, StepError) else ""


def run_program(main) -> None:
    """Run ``main``; an expected error ends the process with one line and status 1.

    CHURNLAB_DEBUG=1 in the environment shows the trace instead.
    """
    try:
        main()
    except Exception as error:
        reason = expected_reason(error)
        if not reason or os.environ.get("CHURNLAB_DEBUG"):
            raise
        if session := SparkSession.getActiveSession():
            session.stop()
        sys.exit(f"error: {' '.join(reason.split())}")


def check_parameters(names: dict) -> None:
    """Check a page's parameters, the annotated of its ``names``, against their types.

    A whole number is taken for a float. Raises StepError for any other value of another type.
    """
    for name, kind in names["__annotations__"].items():
        if kind is float and type(names[name]) is int:
            names[name] = float(names[name])
        if type(names[name]) is not kind:
            raise StepError(
                f"The parameter {name} is {names[name]!r}, which is no {kind.__name__}. Write "
                "true or false for a bool; papermill's -r hands a text over as it is."
            )


PIPELINE_ID = re.compile(r"[a-z0-9]([a-z0-9-]{0,46}[a-z0-9])?")


def new_pipeline_id() -> str:
    """Return a fresh key for a run: UTC time and a random suffix."""
    now = datetime.now(UTC)
    return f"{now:%Y%m%dt%H%M%S}-{secrets.token_hex(3)}"


def check_pipeline_id(pipeline_id: str) -> str:
    """Return the key, or raise StepError if it can't name a folder and a batch."""
    if not PIPELINE_ID.fullmatch(pipeline_id):
        raise StepError(
            f"--pipeline-id {pipeline_id!r} is not a key of a run. Use at most 48 lower-case "
            "letters, digits and inner hyphens, such as 20261123t051500-3f9c2a."
        )
    return pipeline_id


def join_uri(root: str, *parts: str) -> str:
    """Join a root (folder or URI) and relative parts; an absolute last part wins."""
    for part in parts:
        absolute = "://" in part or part.startswith("/")
        root = part if absolute else f"{root.rstrip('/')}/{part.strip('/')}"
    return root if "://" in root else os.path.abspath(root)


def filesystem(uri: str) -> tuple[pafs.FileSystem, str]:
    """Return the file system of a folder or URI and the path inside it."""
    if "://" in uri:
        return pafs.FileSystem.from_uri(uri)
    return pafs.LocalFileSystem(), os.path.abspath(uri)


def names_below(uri: str) -> list[str]:
    """Return the names of everything below a folder, relative to it, sorted; none if it is missing.

    The name of a folder ends with a slash.
    """
    files, path = filesystem(uri)
    found = files.get_file_info(pafs.FileSelector(path, allow_not_found=True, recursive=True))
    slash = {pafs.FileType.Directory: "/"}
    return sorted(i.path[len(path) :].strip("/") + slash.get(i.type, "") for i in found)


def list_folders(uri: str) -> list[str]:
    """Return the names of the folders directly below a folder, sorted; none if it is missing."""
    return sorted({name.partition("/")[0] for name in names_below(uri) if "/" in name})


def exists(uri: str) -> bool:
    """Tell whether a file or folder is there."""
    files, path = filesystem(uri)
    return files.get_file_info(path).type != pafs.FileType.NotFound


def delete_folder(uri: str) -> None:
    """Delete a folder and everything below it."""
    files, path = filesystem(uri)
    with suppress(FileNotFoundError):  # the marker of a bucket's folder, after what was in it
        files.delete_dir(path)


def open_output(uri: str):
    """Open a file for writing; the folders above it may be new."""
    files, path = filesystem(uri)
    if isinstance(files, pafs.LocalFileSystem):
        files.create_dir(os.path.dirname(path), recursive=True)
    return files.open_output_stream(path)


def write_text(uri: str, text: str) -> None:
    """Write a small file aside, then move it into place: readers see the old or the new one."""
    aside = f".{secrets.token_hex(4)}.partial"
    with open_output(uri + aside) as stream:
        stream.write(text.encode())
    files, path = filesystem(uri)
    files.move(path + aside, path)


def read_text(uri: str) -> str:
    """Return the text of a small file."""
    files, path = filesystem(uri)
    with files.open_input_stream(path) as stream:
        return stream.read().decode()


def check_lake(lake: str) -> str:
    """Return the lake's absolute URI, or raise StepError if nothing can be written there."""
    lake = join_uri(lake)
    marker = join_uri(lake, f"_write_check-{secrets.token_hex(4)}")  # others may check as well
    try:
        write_text(marker, "")
        files, path = filesystem(marker)
        files.delete_file(path)
    except (OSError, ValueError) as error:
        reason = str(error).splitlines()[0].partition(" error_info=")[0]
        raise StepError(
            f"Can't write to the lake {lake}: {reason}. Name another by --lake."
        ) from None
    return lake


YES_NO = ("No", "Yes")

WITH_INTERNET = ("No", "No internet service", "Yes")

CATEGORIES = {
    "gender": ("Female", "Male"),
    "senior_citizen": ("0", "1"),
    "partner": YES_NO,
    "dependents": YES_NO,
    "phone_service": YES_NO,
    "multiple_lines": ("No", "No phone service", "Yes"),
    "internet_service": ("DSL", "Fiber optic", "No"),
    "online_security": WITH_INTERNET,
    "online_backup": WITH_INTERNET,
    "device_protection": WITH_INTERNET,
    "tech_support": WITH_INTERNET,
    "streaming_tv": WITH_INTERNET,
    "streaming_movies": WITH_INTERNET,
    "contract": ("Month-to-month", "One year", "Two year"),
    "paperless_billing": YES_NO,
    "payment_method": (
        "Bank transfer (automatic)",
        "Credit card (automatic)",
        "Electronic check",
        "Mailed check",
    ),
}

AMOUNTS = ("tenure", "monthly_charges", "total_charges")

RAW_COLUMNS = (
    "customerID",
    "gender",
    "SeniorCitizen",
    "Partner",
    "Dependents",
    "tenure",
    "PhoneService",
    "MultipleLines",
    "InternetService",
    "OnlineSecurity",
    "OnlineBackup",
    "DeviceProtection",
    "TechSupport",
    "StreamingTV",
    "StreamingMovies",
    "Contract",
    "PaperlessBilling",
    "PaymentMethod",
    "MonthlyCharges",
    "TotalCharges",
    "Churn",
)


def snake_case(name: str) -> str:
    """Return the table's name of a raw column: ``StreamingTV`` → ``streaming_tv``."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()


def raw_files(uri: str) -> list[str]:
    """Return the files of a raw file or folder. Raises DataContractError if there are none."""
    files, path = filesystem(uri)
    if files.get_file_info(path).type == pafs.FileType.File:
        return [path]
    hidden = re.compile(r"(^|/)[._]|/$")  # names that Spark skips, and folders
    names = [f"{path.rstrip('/')}/{name}" for name in names_below(uri) if not hidden.search(name)]
    if not names:
        raise DataContractError(f"There is no raw file at {uri}. Land one with the data step.")
    return names


SIGNATURES = {
    b"\x1f\x8b": "it is compressed by gzip. Unpack it",
    b"PK\x03\x04": "it is a ZIP archive or an Excel workbook. Unpack it, or save the sheet as CSV",
    b"PAR1": "it is a Parquet file. Write it as CSV",
    b"\xff\xfe": "it is UTF-16 text. Save it as UTF-8 (`iconv -f UTF-16 -t UTF-8`)",
    b"\xfe\xff": "it is UTF-16 text. Save it as UTF-8 (`iconv -f UTF-16 -t UTF-8`)",
}

SEPARATORS = {";": "semicolons", "\t": "tabs", "|": "vertical bars"}


def other_kind(start: bytes) -> str:
    """Return what a file is by its first bytes, and the mend, or "" for text with commas."""
    for signature, kind in SIGNATURES.items():
        if start.startswith(signature):
            return kind
    line = start.partition(b"\n")[0].decode("utf-8", errors="replace")
    if "\0" in line:
        return "its header holds zero bytes: it is UTF-16, or no text at all. Save it as UTF-8"
    for separator, name in SEPARATORS.items():
        if line.count(separator) > line.count(","):
            return f"its columns are separated by {name}. Separate them by commas"
    return ""


def read_header(uri: str, columns: tuple[str, ...]) -> list[str]:
    """Return the raw columns in the order of the file.

    Raises DataContractError if the file is empty or lacks, repeats or adds columns.
    """
    files, _ = filesystem(uri)
    orders = []
    for name in raw_files(uri):
        with files.open_input_stream(name) as stream:
            start = stream.read(65536)
        if kind := other_kind(start):
            raise DataContractError(f"{name} breaks the data contract: {kind}.")
        line = start.decode("utf-8-sig", errors="replace").partition("\n")[0]
        header = [column.strip().strip('"') for column in line.strip().split(",")]
        problems = [f"lacks {c}" for c in columns if c not in header]
        problems += [f"repeats {c}" for c in sorted(set(header)) if header.count(c) > 1]
        problems += [f"has the unknown {c!r}" for c in header if c not in columns]
        if not line.strip() or problems:
            what = f"its header {', '.join(problems)}" if line.strip() else "it is empty"
            raise DataContractError(f"{name} breaks the data contract: {what}. Mend the file.")
        orders.append(header)
    if any(header != orders[0] for header in orders):
        raise DataContractError(f"The files of {uri} order their columns differently. Align them.")
    return orders[0]


AS_WRITTEN = {
    "escape": '"',
    "ignoreLeadingWhiteSpace": "false",
    "ignoreTrailingWhiteSpace": "false",
}


def read_csv_text(spark: SparkSession, uri: str, columns: tuple[str, ...]) -> DataFrame:
    """Return the rows of CSV files as text, with ``malformed``. Checks the header."""
    header = read_header(uri, columns)
    schema = ", ".join(f"`{name}` STRING" for name in [*header, "malformed"])
    return spark.read.csv(
        uri,
        schema,
        header=True,
        mode="PERMISSIVE",
        columnNameOfCorruptRecord="malformed",
        escape='"',
    )


def read_parquet_text(spark: SparkSession, uri: str, columns: tuple[str, ...]) -> DataFrame:
    """Return the rows of Parquet files as text, with ``malformed``, which is null here."""
    rows = spark.read.parquet(uri)
    if set(rows.columns) != set(columns):
        wrong = ", ".join(sorted(set(rows.columns) ^ set(columns)))
        raise DataContractError(f"{uri} breaks the data contract: lacks, or adds, {wrong}.")
    text = [F.col(name).cast("string").alias(name) for name in columns]
    return rows.select(*text, F.lit(None).cast("string").alias("malformed"))


LANDINGS = "_landings"

LANDED = "_source.json"


def newest_landing(uri: str) -> str:
    """Return the newest finished landing of a raw folder, or ``uri`` itself if there is none."""
    files, path = filesystem(uri)
    if files.get_file_info(path).type == pafs.FileType.File:
        return uri
    names = names_below(join_uri(uri, LANDINGS))
    landed = [name.rpartition("/")[0] for name in names if name.endswith(f"/{LANDED}")]
    return join_uri(uri, LANDINGS, max(landed)) if landed else uri


def read_raw(spark: SparkSession, uri: str, labelled: bool = True) -> DataFrame:
    """Read raw customers as text, one column a raw column, and ``raw_text``, the row itself.

    ``uri`` is a file or a folder, CSV or Parquet. Raises DataContractError for wrong columns.
    """
    columns, place = RAW_COLUMNS if labelled else RAW_COLUMNS[:-1], newest_landing(uri)
    parquet = all(name.endswith(".parquet") for name in raw_files(place))
    rows = (read_parquet_text if parquet else read_csv_text)(spark, place, columns)
    fields = F.to_csv(F.struct(*columns), AS_WRITTEN)
    named = [F.col(name).alias(snake_case(name)) for name in columns]
    return rows.select(*named, F.coalesce("malformed", fields).alias("raw_text"), "malformed")


def provenance(uri: str) -> dict:
    """Return the note of the data step about a raw file or folder, or {} if there is none."""
    for note in (join_uri(newest_landing(uri), LANDED), f"{uri.rstrip('/')}_source.json"):
        if exists(note):
            return json.loads(read_text(note))
    return {}


def broken_rules(labelled: bool = True, known_categories: bool = True) -> dict[str, F.Column]:
    """Return the reasons to reject a raw row, each with the condition that a bad row meets."""
    text = F.col("raw_text")
    rules = {
        "wrong number of fields": F.col("malformed").isNotNull(),
        "not UTF-8": text.contains("\ufffd"),
        "customer_id is missing": F.coalesce(F.trim("customer_id"), F.lit("")) == "",
        # The second half of a row that a newline cut in two may have all its fields.
        "customer_id is not an id": ~F.col("customer_id").rlike(r'\A[^\s",]+\z'),
        "customer_id is not unique": F.count("*").over(Window.partitionBy("customer_id")) > 1,
    }
    for name, values in CATEGORIES.items():
        if known_categories:
            rules[f"{name} is unknown"] = ~F.coalesce(F.col(name).isin(*values), F.lit(False))
        else:
            rules[f"{name} is missing"] = F.col(name).isNull()
    for name in AMOUNTS:
        rules[f"{name} is not an amount"] = ~is_amount(name)
    if labelled:
        rules["churn is unknown"] = ~F.coalesce(F.col("churn").isin(*YES_NO), F.lit(False))
    return rules


def is_amount(name: str) -> F.Column:
    """Tell whether a text column is a finite amount of at least 0, in whole months for tenure."""
    whole = r"\d{1,9}" if name == "tenure" else r"\d{1,12}(\.\d*)?"
    amount = F.coalesce(F.trim(name).rlike(rf"\A{whole}\z"), F.lit(False))
    if name != "total_charges":
        return amount
    new_customer = (F.trim("tenure") == "0") & (F.coalesce(F.trim(name), F.lit("")) == "")
    return amount | F.coalesce(new_customer, F.lit(False))


def judge(raw: DataFrame, labelled: bool = True, known_categories: bool = True) -> DataFrame:
    """Add ``reason``: why a raw row breaks the contract, or null."""
    rules = broken_rules(labelled, known_categories)
    reasons = [F.when(condition, F.lit(reason)) for reason, condition in rules.items()]
    return raw.withColumn("reason", F.coalesce(*reasons))


def clean(judged: DataFrame, labelled: bool = True) -> DataFrame:
    """Return the rows that keep the contract, with their types."""
    amounts = {
        "tenure": F.trim("tenure").cast("int"),
        "monthly_charges": F.trim("monthly_charges").cast("double"),
        "total_charges": F.coalesce(
            F.when(F.trim("total_charges") != "", F.trim("total_charges")).cast("double"),
            F.lit(0.0),
        ),
    }
    label = {"churn": F.lower("churn")} if labelled else {}
    good = judged.where("reason IS NULL").withColumns(amounts | label)
    return good.select("customer_id", *CATEGORIES, *AMOUNTS, *label)


def worst_rule(judged: DataFrame) -> str:
    """Return the rule that most rows break, how many do, and an example; one job."""
    bad = judged.where("reason IS NOT NULL")
    example = F.min_by(F.struct(*bad.columns), "raw_text").alias("example")
    rules = bad.groupBy("reason").agg(F.count("*").alias("rows"), example)
    reason, rows, row = rules.orderBy(F.desc("rows"), "reason").first()
    column = reason.partition(" ")[0]  # most rules begin with one
    value = (row[column] if column in bad.columns else row["raw_text"]) or ""
    return f"{rows} times {reason}, as in {value[:80]!r}"


def check_share(rows: int, quarantined: int, limit: float, source: str, judged=None) -> None:
    """Raise DataContractError if there are no rows, or too many bad ones.

    ``judged`` has the rows, for an example in the message.
    """
    if rows == 0:
        raise DataContractError(f"{source} holds no customers. Land the data again.")
    if quarantined / rows > limit:
        most = f", most often {worst_rule(judged)}" if judged is not None else ""
        raise DataContractError(
            f"{quarantined} of {rows} rows of {source} break the data contract, more than the "
            f"limit of {limit:.0%}{most}. Mend the file, or accept the loss by --max-quarantined."
        )


SPLIT_SALT = "churnlab"


def hash_bucket(column: str, salt: str, buckets: int) -> F.Column:
    """Return a uniform bucket in [0, buckets) from the MD5 of salt and value, as any tool can."""
    digest = F.md5(F.concat(F.lit(f"{salt}:"), F.col(column)))
    return (F.conv(F.substring(digest, 1, 8), 16, 10).cast("long") % buckets).cast("int")


def split_column() -> F.Column:
    """Return the customer's split: train (70 %), test (20 %) or scoring (10 %)."""
    bucket = hash_bucket("customer_id", SPLIT_SALT, 100)
    return F.when(bucket < 70, "train").when(bucket < 90, "test").otherwise("scoring")


RUN_COLUMNS = "pipeline_id STRING, step STRING, pipeline_execution_ts TIMESTAMP"

CUSTOMER = (
    "customer_id STRING, "
    + ", ".join(f"{name} STRING" for name in CATEGORIES)
    + ", tenure INT, monthly_charges DOUBLE, total_charges DOUBLE"
)

RAW_TEXT = ", ".join(f"{snake_case(name)} STRING" for name in RAW_COLUMNS[:-1])

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
    "cross_validated_average_precision DOUBLE, changed_by STRING, reason STRING",
    "batch_predictions": "model_version STRING, customer_id STRING, churn_probability DOUBLE, "
    "prediction STRING, reasons ARRAY<STRUCT<feature: STRING, contribution: DOUBLE>>",
    "crime_counts": "primary_type STRING, month INT, incidents BIGINT, arrest_rate DOUBLE",
    "tuning_trials": "search STRING, library STRING, parameters STRING, fold INT, metric STRING, value DOUBLE",
}


def table_columns(name: str) -> str:
    """Return the contract of a table as SQL column definitions, run columns last."""
    return f"{TABLES[name]}, {RUN_COLUMNS}"


def own_columns(name: str) -> list[str]:
    """Return the names of a flat table's columns, in the order of TABLES, without the run's."""
    return [column.split()[0] for column in TABLES[name].split(", ")]


def dataset_root(lake: str, dataset: str) -> str:
    """Return where tables live: a folder below the lake's warehouse, or bigquery://project.dataset."""
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
    with open_output(join_uri(attempt, "part-0.parquet")) as stream:
        pq.write_table(rows, stream)
    mark_finished(attempt)


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
    """Return a fresh folder below one that keeps the last successful attempt; names sort by time."""
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
    from google.api_core.retry import Retry
    from google.cloud import bigquery

    columns = ", ".join(f"`{field.name}`" for field in table.schema)
    swap = f"""
        BEGIN TRANSACTION;
        DELETE FROM `{table.reference}` WHERE pipeline_id = @pipeline_id AND step = @step;
        INSERT INTO `{table.reference}` ({columns}) SELECT {columns} FROM `{staging}`;
        COMMIT TRANSACTION;
    """
    run = {"pipeline_id": pipeline_id, "step": step}
    values = [bigquery.ScalarQueryParameter(key, "STRING", value) for key, value in run.items()]
    config = bigquery.QueryJobConfig(query_parameters=values)

    def lost_the_race(error: Exception) -> bool:
        return "due to concurrent update" in str(error)

    @Retry(predicate=lost_the_race, initial=1, maximum=30, timeout=600)
    def ask() -> None:
        client.query(swap, job_config=config, location=table.location).result()

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


def newest_run_in_bigquery(
    spark: SparkSession, dataset: str, name: str, pipeline_id: str
) -> str | None:
    """Return ``pipeline_id`` if it has rows in the table, else the run of the newest row, or None."""
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
            connection.register(table, ds.dataset(parts))
    return whole_numbers(connection.sql(query).to_arrow_table())


def review(dataset: str, sql: str) -> pd.DataFrame:
    """Return the answer of a BigQuery SQL query as a pandas DataFrame. Raises StepError."""
    return as_frame(ask(dataset, sql))


def contract_rows(spark: SparkSession) -> DataFrame:
    """Return a few rows that hold every category of the contract."""
    longest = max(map(len, CATEGORIES.values()))
    rows = [[values[i % len(values)] for values in CATEGORIES.values()] for i in range(longest)]
    return spark.createDataFrame(pd.DataFrame(rows, columns=list(CATEGORIES)))


FEATURES = (*CATEGORIES, *AMOUNTS)


def feature_stages(spark: SparkSession) -> list:
    """Return the Spark ML stages from a cleaned customer to the vector column ``features``.

    Its positions are FEATURES. A category is its place in CATEGORIES, or one past the last if the
    contract does not know it; Spark keeps in the column's metadata that this is a category.
    """
    indexer = StringIndexer(
        inputCols=list(CATEGORIES),
        outputCols=[f"{name}_index" for name in CATEGORIES],
        stringOrderType="alphabetAsc",
        handleInvalid="keep",
    )
    inputs = [*indexer.getOutputCols(), *AMOUNTS]
    assembler = VectorAssembler(inputCols=inputs, outputCol="features")
    return [indexer.fit(contract_rows(spark)), assembler]


CUSTOMERS_IN_A_PARTITION = 100_000


def partitions_for(customers: DataFrame) -> int:
    """Return how many partitions some customers deserve: one per 100,000, counted."""
    return 1 + max(0, customers.count() - 1) // CUSTOMERS_IN_A_PARTITION


def featurise(features: PipelineModel, customers: DataFrame, partitions: int = 0) -> DataFrame:
    """Return customer_id, split, churn, label and features, in a reproducible order, cached.

    Without a number of partitions it follows from the number of customers.
    """
    labelled = customers.withColumn("label", (F.col("churn") == "yes").cast("double"))
    return (
        features.transform(labelled)
        .select("customer_id", "split", "churn", "label", "features")
        .repartition(partitions or partitions_for(customers), "customer_id")
        .sortWithinPartitions("customer_id")
        .cache()
    )


def column_importance(importances: np.ndarray) -> dict[str, float]:
    """Return the importances of the vector's positions by column, largest first."""
    named = zip(FEATURES, map(float, importances), strict=True)
    return dict(sorted(named, key=lambda item: -item[1]))


BINS = 10_000


def with_probability(predictions: DataFrame) -> DataFrame:
    """Add ``churn_probability``, taken from the vector column ``probability`` of a model."""
    from pyspark.ml.functions import vector_to_array

    return predictions.withColumn("churn_probability", vector_to_array("probability")[1])


def score_bins(predictions: DataFrame, *groups: str) -> DataFrame:
    """Aggregate ``churn_probability`` and ``label`` (0.0 or 1.0) into bins, per group.

    A row of the result: groups, bin, customers, churners, squared_error, log_loss (sums).
    """
    p, label = F.col("churn_probability"), F.col("label")
    safe = F.greatest(F.least(p, F.lit(1 - 1e-15)), F.lit(1e-15))
    bin_number = F.least(F.floor(p * BINS), F.lit(BINS - 1)).alias("bin")
    return predictions.groupBy(*groups, bin_number).agg(
        F.count("*").alias("customers"),
        F.sum("label").alias("churners"),
        F.sum((p - label) ** 2).alias("squared_error"),
        F.sum(-label * F.log(safe) - (1 - label) * F.log(1 - safe)).alias("log_loss"),
    )


def ranking(bins) -> dict[str, np.ndarray]:
    """Return, from the highest bin down: threshold, true and false positives, bin sizes.

    ``bins`` is the pandas DataFrame of ``score_bins`` for one group.
    """
    ordered = bins.sort_values("bin", ascending=False)
    churners = ordered["churners"].to_numpy(float)
    others = ordered["customers"].to_numpy(float) - churners
    return {
        "threshold": ordered["bin"].to_numpy(float) / BINS,
        "true_positives": churners.cumsum(),
        "false_positives": others.cumsum(),
    }


def probability_metrics(bins) -> dict[str, float]:
    """Return roc_auc, average_precision, log_loss and brier of one group of bins.

    Customers of one bin count as tied. Formulas: scikit-learn's user guide, section 3.4.4.
    Raises StepError if the bins hold only churners or none.
    """
    rank = ranking(bins)
    tp, fp, n = rank["true_positives"], rank["false_positives"], bins["customers"].sum()
    if len(tp) == 0 or tp[-1] == 0 or fp[-1] == 0:
        raise StepError("Ranking metrics need churners and others: this evaluation has one kind.")
    recall, fall_out = tp / tp[-1], fp / fp[-1]
    precision = tp / (tp + fp)
    return {
        "roc_auc": float(np.trapezoid(np.r_[0, recall], np.r_[0, fall_out])),
        "average_precision": float(np.sum(np.diff(recall, prepend=0) * precision)),
        "log_loss": float(bins["log_loss"].sum() / n),
        "brier": float(bins["squared_error"].sum() / n),
    }


def decision_metrics(bins, threshold: float) -> dict[str, float]:
    """Return the confusion matrix and the metrics of deciding "churns" from a threshold on."""
    chosen = bins[bins["bin"] >= round(threshold * BINS)]
    tp = float(chosen["churners"].sum())
    fp = float(chosen["customers"].sum()) - tp
    churners, n = float(bins["churners"].sum()), float(bins["customers"].sum())
    fn, tn = churners - tp, n - churners - fp
    return {
        "true_positives": tp, "false_positives": fp, "false_negatives": fn, "true_negatives": tn,
        "precision": tp / (tp + fp) if tp + fp else 0.0,
        "recall": tp / churners,
        "f1": 2 * tp / (2 * tp + fp + fn),
        "accuracy": (tp + tn) / n,
        "always_no_accuracy": (n - churners) / n,
    }  # fmt: skip


def decision_column(threshold: float) -> F.Column:
    """Return "yes" for a ``churn_probability`` from the threshold's bin on, else "no"."""
    bin_number = F.least(F.floor(F.col("churn_probability") * BINS), F.lit(BINS - 1))
    return F.when(bin_number >= round(threshold * BINS), "yes").otherwise("no")


def cheapest_threshold(bins, missed_churner: float, offer: float) -> float:
    """Return the threshold with the least total cost, of all folds together.

    Every customer above it gets an offer at the price ``offer``; every churner below it is lost
    at the price ``missed_churner``. Threshold 1 means that nobody gets an offer.
    """
    rank = ranking(bins.groupby("bin", as_index=False)[["customers", "churners"]].sum())
    threshold = np.r_[1.0, rank["threshold"]]
    tp, fp = np.r_[0, rank["true_positives"]], np.r_[0, rank["false_positives"]]
    cost = (tp[-1] - tp) * missed_churner + (tp + fp) * offer
    return float(threshold[cost.argmin()])


def curve_points(bins, points: int = 200) -> list[tuple[str, int, float, float, float]]:
    """Return (curve, point, x, y, threshold) of the roc, pr and calibration curves of one group."""
    rank = ranking(bins)
    tp, fp = rank["true_positives"], rank["false_positives"]
    keep = np.unique(np.linspace(0, len(tp) - 1, points).round().astype(int))
    recall, fall_out = tp[keep] / tp[-1], fp[keep] / fp[-1]
    precision, threshold = tp[keep] / (tp + fp)[keep], rank["threshold"][keep]
    roc = zip(np.r_[0, fall_out], np.r_[0, recall], np.r_[1, threshold], strict=True)
    pr = zip(recall, precision, threshold, strict=True)
    curves = {"roc": roc, "pr": pr, "calibration": calibration(bins)}
    return [
        (curve, number, float(x), float(y), float(at))
        for curve, values in curves.items()
        for number, (x, y, at) in enumerate(values)
    ]


def calibration(bins, groups: int = 10) -> list[tuple[float, float, float]]:
    """Return (mean prediction, observed churn rate, lower edge) of equal-width groups."""
    group = (bins["bin"] * groups // BINS).clip(upper=groups - 1)
    middle = (bins["bin"] + 0.5) / BINS * bins["customers"]
    sums = (
        bins.assign(predicted=middle).groupby(group)[["predicted", "churners", "customers"]].sum()
    )
    rates = sums[["predicted", "churners"]].div(sums["customers"], axis=0)
    return [(r.predicted, r.churners, g / groups) for g, r in rates.iterrows()]


def fold_column(repeat: int = 0, folds: int = 5) -> F.Column:
    """Return the customer's fold in [0, folds); another ``repeat`` sorts the customers anew."""
    return hash_bucket("customer_id", f"fold-{repeat}", folds)


def check_classes(rows: DataFrame, folds: int = 5) -> None:
    """Raise DataContractError if the test or a fold of the training has not both classes; one job.

    ``rows`` has customer_id, split and label, and should be cached.
    """
    place = F.when(F.col("split") == "train", fold_column(0, folds)).otherwise(F.col("split"))
    found = F.collect_set(F.struct(place, "label"))
    groups, customers, churners = rows.agg(found, F.count("*"), F.sum("label")).first()
    if len(groups) < 2 * (folds + 1):
        raise DataContractError(
            f"{customers} customers, {churners or 0:.0f} of them churners, are too few to train "
            f"on: each of {folds} folds and the test need some of both. Preprocess more customers."
        )


def cross_validate(
    estimator, rows: DataFrame, folds: int = 5, repeat: int = 0, parallelism: int = 5
):
    """Return the score bins of held-out predictions, a pandas DataFrame with a column ``fold``.

    ``rows`` has customer_id, features and label, and should be cached.
    """
    folded = rows.withColumn("fold", fold_column(repeat, folds))

    def one_fold(fold: int):
        model = estimator.fit(folded.where(F.col("fold") != fold))
        held_out = model.transform(folded.where(F.col("fold") == fold))
        return score_bins(with_probability(held_out)).toPandas().assign(fold=fold)

    with ThreadPoolExecutor(parallelism) as pool:
        return pd.concat(pool.map(one_fold, range(folds)), ignore_index=True)


def mean_and_spread(bins) -> tuple[dict[str, float], dict[str, float]]:
    """Return the mean and the standard deviation over folds of each probability metric."""
    folds = pd.DataFrame([probability_metrics(rows) for _, rows in bins.groupby("fold")])
    return folds.mean().to_dict(), folds.std().to_dict()


def data_fingerprint(rows: DataFrame) -> str:
    """Return a fingerprint of rows that ignores their order and partitioning; one job.

    It covers every column but those of the run that wrote the rows.
    """
    seen = sorted(set(rows.columns) - set(schema_of(RUN_COLUMNS).names))
    hashes = F.xxhash64(*seen).cast("decimal(38,0)")
    total, count = rows.agg(F.sum(hashes), F.count("*")).first()
    return f"{count}-{int(total or 0) % 2**64:016x}"


def parameters_fingerprint(parameters: dict) -> str:
    """Return a fingerprint of a model's parameters."""
    return hashlib.sha256(json.dumps(parameters, sort_keys=True).encode()).hexdigest()[:16]


def save_model(model: PipelineModel, lake: str, model_version: str) -> str:
    """Save a model and return its place below the lake; earlier attempts stay readable."""
    uri = new_attempt(join_uri(lake, "models", model_version))
    model.save(uri)
    return uri.removeprefix(join_uri(lake)).lstrip("/")


def sweep_models(lake: str, model_version: str, dataset: str) -> None:
    """Delete the outdated attempts at a model, but those that a row of the registry names."""
    if outdated := outdated_attempts(join_uri(lake, "models", model_version)):
        rows = read_rows(dataset, "model_registry")
        named = {row["model_uri"].rpartition("/")[2] for row in rows}
        for uri in outdated:
            if uri.rpartition("/")[2] not in named:
                delete_folder(uri)


@dataclass(frozen=True)
class Candidate:
    """A fitted model and what it rests on.

    ``mean`` and ``spread`` are those of cross-validation, ``importance`` is by column.
    """

    pipeline_id: str
    step: str
    model: PipelineModel
    parameters: dict
    threshold: float
    mean: dict[str, float]
    spread: dict[str, float]
    importance: dict[str, float]
    data_pipeline_id: str
    data_fingerprint: str

    @property
    def version(self) -> str:
        """Return the model version: the run and the step that made it."""
        return f"{self.pipeline_id}-{self.step}"


def about(candidate: Candidate, rows: list[tuple]) -> list[tuple]:
    """Return rows of a table that begins with the model version."""
    return [(candidate.version, *row) for row in rows]


def write_evidence(candidate: Candidate, predictions: DataFrame, bins, dataset: str) -> dict:
    """Write the tables about a candidate; return the test's metrics and curves.

    ``predictions`` has customer_id, churn and churn_probability, ``bins`` are theirs. A curve is a
    list of points (x, y, threshold).
    """
    test = probability_metrics(bins) | decision_metrics(bins, candidate.threshold)
    metrics = [("cross-validation", k, v, candidate.spread[k]) for k, v in candidate.mean.items()]
    metrics += [("test", name, value, None) for name, value in test.items()]
    points = curve_points(bins)
    curves: dict[str, list] = {}
    for curve, _, *point in points:
        curves.setdefault(curve, []).append(point)
    tested = predictions.withColumns(
        {
            "model_version": F.lit(candidate.version),
            "prediction": decision_column(candidate.threshold),
        }
    )
    frames = {
        "test_predictions": tested,
        "model_metrics": about(candidate, metrics),
        "metric_curves": about(candidate, [("test", *point) for point in points]),
        "model_feature_importance_scores": about(candidate, list(candidate.importance.items())),
    }
    write_tables(frames, dataset, candidate.pipeline_id, candidate.step)
    return {"test": test, "curves": curves}


def publish_candidate(
    candidate: Candidate, predictions: DataFrame, bins, lake: str, dataset: str
) -> dict:
    """Save a candidate with its evidence and register it; return its row of the registry."""
    model_uri = save_model(candidate.model, lake, candidate.version)
    evidence = write_evidence(candidate, predictions, bins, dataset)
    test = evidence["test"]
    metrics_uri = f"metrics/{candidate.pipeline_id}/{candidate.step}.json"
    known = {"model_version": candidate.version, "model_uri": model_uri}
    known |= {"threshold": candidate.threshold, "positive_class": "yes"}
    evaluations = {"cross_validation": candidate.mean, "spread": candidate.spread}
    write_text(join_uri(lake, metrics_uri), json.dumps(known | evidence | evaluations, indent=2))
    entry = {
        "stage": "candidate",
        "algorithm": "random forest",
        "model_uri": model_uri,
        "metrics_uri": metrics_uri,
        "data_pipeline_id": candidate.data_pipeline_id,
        "data_fingerprint": candidate.data_fingerprint,
        "parameters": json.dumps(candidate.parameters, sort_keys=True),
        "parameters_fingerprint": parameters_fingerprint(candidate.parameters),
        "threshold": candidate.threshold,
        "roc_auc": test["roc_auc"],
        "average_precision": test["average_precision"],
        "cross_validated_average_precision": candidate.mean["average_precision"],
        "changed_by": candidate.step,
        "reason": "fitted",
    }
    row = about(candidate, [tuple(entry.values())])
    write_table(row, dataset, "model_registry", candidate.pipeline_id, candidate.step)
    mark_finished(join_uri(lake, model_uri))
    sweep_models(lake, candidate.version, dataset)
    return entry


def registered_model(dataset: str, model_version: str = "champion") -> dict:
    """Return the last row of the registry about a version, or that of the champion.

    Raises ModelError if there is none.
    """
    try:
        rows = read_rows(dataset, "model_registry")
    except TableNotFoundError:
        raise ModelError(f"No model is registered in {dataset}. Run the training step.") from None
    if model_version == "champion":
        able = [row for row in rows if row["stage"] == "champion"]
        mend = "No model is the champion yet. Choose one: `churnlab promote VERSION --reason …`."
    else:
        able = [row for row in rows if row["model_version"] == model_version]
        known = ", ".join(dict.fromkeys(row["model_version"] for row in rows))
        mend = f"The registry of {dataset} has no model {model_version!r}, only {known}."
    if not able:
        raise ModelError(mend)
    return able[-1]


def best_candidate(dataset: str, pipeline_id: str = "") -> dict:
    """Return a run's candidate with the best cross-validated average precision.

    Without ``pipeline_id`` the run is the one that registered last. Raises ModelError if there is
    no candidate.
    """
    try:
        rows = read_rows(dataset, "model_registry")
    except TableNotFoundError:
        rows = []
    candidates = [row for row in rows if row["stage"] == "candidate"]
    run = pipeline_id or (candidates[-1]["pipeline_id"] if candidates else "")
    own = [row for row in candidates if row["pipeline_id"] == run]
    if not own:
        raise ModelError(f"No candidate of run {run or 'any'} is registered in {dataset}: train.")
    return max(own, key=lambda row: row["cross_validated_average_precision"])


def promote(entry: dict, dataset: str, pipeline_id: str, changed_by: str, reason: str) -> dict:
    """Make a version of the registry the champion; return the row that says so.

    ``pipeline_id`` is the run that decides. Raises StepError without a name or a reason.
    """
    if not changed_by.strip() or not reason.strip():
        raise StepError("A promotion needs who decided and a reason: somebody will ask.")
    decision = {"stage": "champion", "changed_by": changed_by, "reason": reason}
    row = entry | decision
    values = tuple(row[name] for name in own_columns("model_registry"))
    write_table([values], dataset, "model_registry", pipeline_id, "promotion")
    return row


def unreadable_model(entry: dict, lake: str, error: Exception) -> ModelError:
    """Return the error of a registered model whose files are missing or damaged."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    named = len(lines) > 1 and lines[0].startswith("An error occurred while calling")
    reason = lines[1].lstrip(": ") if named else lines[0]
    return ModelError(
        f"Can't read the model {entry['model_version']} at {join_uri(lake, entry['model_uri'])}: "
        f"{reason} "
        "Train again, or name another version by --model-version."
    )


def load_model(entry: dict, lake: str) -> PipelineModel:
    """Load a registered model. Raises ModelError if its files are missing or damaged."""
    try:
        return PipelineModel.load(join_uri(lake, entry["model_uri"]))
    except Exception as error:  # Spark's own errors differ by what is damaged
        raise unreadable_model(entry, lake, error) from None


def spent(spark: SparkSession) -> dict[str, float]:
    """Return seconds since the session started, Spark jobs and stages so far."""
    context = spark.sparkContext
    scheduler = context._jsc.sc().dagScheduler()
    return {
        "seconds": round(time.time() - context.startTime / 1000, 1),
        "jobs": scheduler.numTotalJobs(),
        "stages": scheduler.nextStageId(),
    }


def closing_line(spark: SparkSession, step: str, took: dict | None = None) -> str:
    """Return a job's last log line: wall time since the session started, Spark jobs and stages."""
    took = took or spent(spark)
    return (
        f"{step}: done in {took['seconds']:.1f} s, {took['jobs']} Spark jobs, "
        f"{took['stages']} stages"
    )


def git_blob(path: str) -> str:
    """Return the name that Git gives to a file's content (https://git-scm.com/book/en/v2, 10.2)."""
    with open(path, "rb") as file:
        content = file.read()
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def running_code() -> dict[str, str]:
    """Return what is known of the code that runs: script, Git blobs and commit; "" if unknown."""
    script = getattr(sys.modules["__main__"], "__file__", None) or ""
    script = script if os.path.isfile(script) and script.endswith(".py") else ""
    library = globals().get("__file__") or ""
    return {
        "script": os.path.basename(script),
        "script_blob": git_blob(script) if script else "",
        "library_blob": git_blob(library) if os.path.isfile(library) else "",
        "commit": os.environ.get("CHURNLAB_COMMIT", ""),
    }


def close_run(spark: SparkSession, step: str, lake: str, pipeline_id: str, **facts) -> str:
    """Write the record of a finished step and return its last log line.

    ``facts`` are JSON values; they land under the key "facts".
    """
    now, took = datetime.now(UTC), spent(spark)
    record = {"pipeline_id": pipeline_id, "step": step, "spark": spark.version}
    record |= {"finished": now.isoformat(timespec="microseconds")}
    record |= took | running_code() | {"facts": facts}
    name = f"{now:%Y%m%dt%H%M%S%f}.json"  # names sort by time
    write_text(join_uri(lake, "runs", pipeline_id, step, name), json.dumps(record, indent=2))
    return closing_line(spark, step, took)


def run_record(lake: str, pipeline_id: str, step: str, until: datetime | None = None) -> dict:
    """Return the last record of a step, of those finished until a time, or {} if there is none."""
    folder = join_uri(lake, "runs", pipeline_id, step)
    for name in reversed([name for name in names_below(folder) if name.endswith(".json")]):
        record = json.loads(read_text(join_uri(folder, name)))
        if until is None or datetime.fromisoformat(record["finished"]) <= until:
            return record
    return {}


def glue(name: str, value) -> None:
    """Store a value under a name in the notebook's outputs, for the text of the page to quote."""
    from IPython.display import display

    prefix = "application/papermill.record/"
    metadata = {"scrapbook": {"name": name, "mime_prefix": prefix}}
    display({f"{prefix}text/plain": repr(value)}, raw=True, metadata=metadata)
