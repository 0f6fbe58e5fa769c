# Generated from notebooks/07-tables-and-runs.ipynb by `make export`; do not edit.
"""Landing raw customers: the search for a source, a copy that is checked before it counts, and the
facts about it.
"""

import hashlib
import http.client
import json
import os
import time
import urllib.request
from contextlib import suppress

from churn.contract import (
    LANDED,
    LANDINGS,
    newest_landing,
    provenance,
    raw_files,
    read_raw,
)
from churn.generator import generate_customers
from churn.lake import (
    delete_folder,
    exists,
    filesystem,
    join_uri,
    names_below,
    open_output,
    write_text,
)
from churn.programs import DataContractError, StepError
from churn.runs import check_pipeline_id
from churn.tables import new_attempt, outdated_attempts
from pyspark.sql import SparkSession


def open_source(uri: str, seconds: float):
    """Open a path, a URI or a web address for reading."""
    if uri.startswith(("http://", "https://")):
        return urllib.request.urlopen(uri, timeout=seconds)
    files, path = filesystem(uri)
    return files.open_input_stream(path, compression=None)


def copy_file(uri: str, target: str, seconds: float) -> str:
    """Copy a file byte for byte and return its SHA-256. Raises StepError, also after the time."""
    digest, deadline = hashlib.sha256(), time.monotonic() + seconds
    try:
        with open_source(uri, seconds) as original, open_output(target) as copy:
            while piece := original.read1(1 << 16):
                if time.monotonic() > deadline:
                    raise TimeoutError(f"it takes longer than {seconds:.0f} s")
                digest.update(piece)
                copy.write(piece)
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise StepError(f"Can't read {uri}: {error}. Is the name right, and open to us?") from None
    return digest.hexdigest()


def count_customers(spark: SparkSession, folder: str, uri: str, expected: int = 0) -> int:
    """Return how many customers a raw folder holds; ``uri`` is where they come from.

    Raises DataContractError for a wrong header, no customer, or not as many as expected.
    """
    try:
        count = read_raw(spark, folder).count()
    except DataContractError as error:
        raise DataContractError(f"{uri} is refused. {error}") from None
    if count == 0 or (expected and count != expected):
        wanted = f"{expected:,}" if expected else "at least one"
        raise DataContractError(f"{uri} is refused: it has {count:,} customers, not {wanted}.")
    return count


def finish(attempt: str, facts: dict) -> dict:
    """Let an attempt count: put the facts about it into it. Returns the facts."""
    write_text(join_uri(attempt, LANDED), json.dumps(facts, indent=2))
    return facts


def landed(spark: SparkSession, folder: str) -> dict | None:
    """Return the facts about what a raw folder holds, or None if it holds nothing."""
    place = newest_landing(folder)
    if exists(join_uri(place, LANDED)):
        return provenance(place)
    try:
        raw_files(folder)
    except DataContractError:
        return None
    count = count_customers(spark, folder, folder)
    return source_facts("lake", "customers of a file that was put into the lake by hand", count)


def source_facts(
    source: str, label: str, rows: int, sha256: str | None = None, seed: int | None = None
) -> dict:
    """Return what we write down about landed data."""
    label = f"{rows:,} {label}"
    return {"source": source, "label": label, "rows": rows, "sha256": sha256, "seed": seed}


def land_file(
    spark: SparkSession, uri: str, attempt: str, source: str, label: str,
    expected: int = 0, seconds: float = 3600,
) -> dict:  # fmt: skip
    """Land a CSV file. Returns the facts about it."""
    sha256 = copy_file(uri, join_uri(attempt, "customers.csv"), seconds)
    count = count_customers(spark, attempt, uri, expected)
    return finish(attempt, source_facts(source, label, count, sha256))


def land_generated(
    spark: SparkSession, attempt: str, rows: int, seed: int, output_format: str
) -> dict:
    """Land generated customers, as CSV with a header or as Parquet. Returns the facts."""
    writer = generate_customers(spark, rows, seed).write.mode("overwrite")
    writer.format(output_format).option("header", True).save(attempt)
    label = f"GENERATED customers (seed {seed}), no real person among them"
    return finish(attempt, source_facts("generator", label, rows, seed=seed))


def named_file(source: str) -> tuple[str, str, str]:
    """Return the URI, the kind and the description of the file that is asked for, or blanks."""
    variable = os.environ.get("CHURNLAB_RAW_CSV", "")
    if source not in ("auto", "real", "synthetic"):
        return source, source, f"customers of the file {source.rpartition('/')[2]}"
    if source == "synthetic" or not variable:
        return "", "", ""
    name = variable.rpartition("/")[2]
    return (
        variable,
        "CHURNLAB_RAW_CSV",
        f"customers of {name}, the file that CHURNLAB_RAW_CSV names",
    )


def is_answer(current: dict | None, source: str, rows: int, seed: int) -> bool:
    """Tell whether what the lake holds is what the parameters ask for."""
    if current is None or source == "synthetic":
        return False
    if source == "real":
        return current["source"] in ("CHURNLAB_RAW_CSV", "download")
    return current["source"] != "generator" or (current["rows"], current["seed"]) == (rows, seed)


DOWNLOAD_URL = (
    "https://raw.githubusercontent.com/IBM/telco-customer-churn-on-icp4d/master/data/"
    "Telco-Customer-Churn.csv"
)

DOWNLOAD_SECONDS = 10

REAL_ROWS = 7043


def download(spark: SparkSession, attempt: str) -> dict:
    """Land the public file; CHURNLAB_DOWNLOAD_URL may name a mirror. Returns the facts."""
    url = os.environ.get("CHURNLAB_DOWNLOAD_URL", DOWNLOAD_URL)
    label = f"real customers, downloaded from {url.split('/')[2]}"
    return land_file(spark, url, attempt, "download", label, REAL_ROWS, DOWNLOAD_SECONDS)


def search(
    spark: SparkSession, source: str, attempt: str, folder: str, rows: int, seed: int,
    output_format: str,
) -> dict:  # fmt: skip
    """Land the customers of the first source that answers. Returns the facts about them."""
    uri, kind, label = named_file(source)
    if uri:
        return land_file(spark, uri, attempt, kind, label)
    current = landed(spark, folder)
    if is_answer(current, source, rows, seed):
        return current
    if source == "real" or (source == "auto" and current is None):
        try:
            return download(spark, attempt)
        except StepError as error:
            if source == "real":
                mend = "Set CHURNLAB_RAW_CSV to the path of the file, or take --source synthetic."
                raise StepError(f"There is no real data. {error} {mend}") from None
            print(f"No download, so we generate. {error}", flush=True)
    return land_generated(spark, attempt, rows, seed, output_format)


def check_format(output_format: str, source: str) -> None:
    """Raise StepError for an unknown format, and for one that the source does not have."""
    if output_format not in ("csv", "parquet"):
        raise StepError(f"--output-format {output_format!r} is unknown. Take csv or parquet.")
    if output_format == "parquet" and source != "synthetic":
        raise StepError(
            "Only generated data lands as parquet: add --source synthetic, or take csv."
        )


def keep_house(folder: str) -> None:
    """Delete the outdated landings of a raw folder, and name files that no step reads."""
    for outdated in outdated_attempts(join_uri(folder, LANDINGS), LANDED):
        delete_folder(outdated)
    if newest_landing(folder) != folder:
        with suppress(DataContractError):
            names = ", ".join(name.rpartition("/")[2] for name in raw_files(folder)[:3])
            print(f"No step reads {names} in {folder}: something landed. Land it by --source.")


def land_customers(
    spark: SparkSession, lake: str, pipeline_id: str, source: str, rows: int, seed: int,
    output_format: str = "csv",
) -> dict:  # fmt: skip
    """Land raw customers; what the lake held counts until the new data is complete.

    Returns the facts about them. Raises StepError for a source that can't be used.
    """
    check_pipeline_id(pipeline_id)
    check_format(output_format, source)
    folder = join_uri(lake, "raw", "customers")
    attempt = new_attempt(join_uri(folder, LANDINGS))
    try:
        facts = search(spark, source, attempt, folder, rows, seed, output_format)
    finally:
        if names_below(attempt) and not exists(join_uri(attempt, LANDED)):
            delete_folder(attempt)
    write_text(f"{folder}_source.json", json.dumps(facts, indent=2))
    keep_house(folder)
    return facts
