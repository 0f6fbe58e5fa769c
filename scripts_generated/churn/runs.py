# Generated from notebooks/07-tables-and-runs.ipynb by `make export`; do not edit.
"""Runs: their keys, and the records that they leave behind."""

import hashlib
import json
import os
import re
import secrets
import sys
import time
from datetime import UTC, datetime
from importlib import resources

from churn.lake import join_uri, names_below, read_text, write_text
from churn.programs import StepError
from pyspark.sql import SparkSession

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


def git_name(kind: bytes, content: bytes) -> bytes:
    """Return the digest by which Git names an object (https://git-scm.com/book/en/v2, 10.2)."""
    return hashlib.sha1(b"%s %d\0" % (kind, len(content)) + content).digest()


def git_blob(path: str) -> str:
    """Return the name that Git gives to a file's content."""
    with open(path, "rb") as file:
        return git_name(b"blob", file.read()).hex()


def library_tree() -> str:
    """Return the name that Git gives to the library's folder."""
    modules = [file for file in resources.files("churn").iterdir() if file.name.endswith(".py")]
    entries = [
        b"100644 %s\0%s" % (file.name.encode(), git_name(b"blob", file.read_bytes()))
        for file in sorted(modules, key=lambda file: file.name)
    ]
    return git_name(b"tree", b"".join(entries)).hex()


def running_code() -> dict[str, str]:
    """Return what is known of the code that runs: Git's names and the commit; "" if unknown."""
    script = getattr(sys.modules["__main__"], "__file__", None) or ""
    script = script if os.path.isfile(script) and script.endswith(".py") else ""
    return {
        "script": os.path.basename(script),
        "script_blob": git_blob(script) if script else "",
        "library_tree": library_tree(),
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
