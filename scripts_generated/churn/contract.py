# Generated from notebooks/02-customer-data.ipynb by `make export`; do not edit.
"""The data contract: which columns a raw customer has, what each may hold, how raw rows are read
by it, and what becomes of those that break it.
"""

import json
import re

from churn.lake import exists, filesystem, join_uri, names_below, read_text
from churn.programs import DataContractError
from pyarrow import fs as pafs
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

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
        "Bank transfer (automatic)", "Credit card (automatic)",
        "Electronic check", "Mailed check",
    ),
}  # fmt: skip

AMOUNTS = ("tenure", "monthly_charges", "total_charges")

RAW_COLUMNS = (
    "customerID", "gender", "SeniorCitizen", "Partner", "Dependents",
    "tenure", "PhoneService", "MultipleLines", "InternetService",
    "OnlineSecurity", "OnlineBackup", "DeviceProtection", "TechSupport",
    "StreamingTV", "StreamingMovies", "Contract", "PaperlessBilling",
    "PaymentMethod", "MonthlyCharges", "TotalCharges", "Churn",
)  # fmt: skip


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
    """Return the reasons to reject a raw row, each with the condition that a bad row meets.

    ``repeated`` is not null where other rows have the same customer_id.
    """
    text = F.col("raw_text")
    rules = {
        "wrong number of fields": F.col("malformed").isNotNull(),
        "not UTF-8": text.contains("\ufffd"),
        "customer_id is missing": F.coalesce(F.trim("customer_id"), F.lit("")) == "",
        # The second half of a row that a newline cut in two may have all its fields.
        "customer_id is not an id": ~F.col("customer_id").rlike(r'\A[^\s",]+\z'),
        "customer_id is not unique": F.col("repeated").isNotNull(),
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


def repeated_ids(raw: DataFrame, key: list[str]) -> DataFrame:
    """Return the keys that several rows have, cached and counted: Spark broadcasts few of them."""
    several = raw.groupBy(key).count().where("count > 1")
    repeated = several.select(*key, F.lit(True).alias("repeated")).cache()
    repeated.count()
    return repeated


def judge(raw: DataFrame, labelled=True, known_categories=True, key=("customer_id",)) -> DataFrame:
    """Add ``reason``: why a raw row breaks the contract, or null. One job finds repeated keys."""
    rules = broken_rules(labelled, known_categories)
    reasons = [F.when(condition, F.lit(reason)) for reason, condition in rules.items()]
    marked = raw.join(repeated_ids(raw, list(key)), list(key), "left")
    return marked.withColumn("reason", F.coalesce(*reasons)).drop("repeated")


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
