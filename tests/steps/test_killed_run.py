"""A step killed while it writes harms nothing, and runs again under the same key."""

import os
import signal
import subprocess
import time
from pathlib import Path

import preprocessing
import pytest
from churn.review import review
from churn.tables import read_table
from pyspark.sql import SparkSession

from churnlab.run import spark_submit
from tests.conftest import customer, write_raw

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("library")]

TABLES = ("training_data", "scoring_input", "scoring_outcomes", "quarantined_rows")
MANY = 20_000  # writing them takes long enough to be met by the kill
PATIENCE = 300  # seconds


@pytest.fixture
def preprocess(spark, lake, monkeypatch):
    """Run the step in the session of the tests, which it must not stop."""
    monkeypatch.setattr(SparkSession, "stop", lambda session: None)

    def run(customers: int) -> None:
        write_raw(lake, [customer(number) for number in range(customers)])
        preprocessing.main(["--pipeline-id", "run-a", "--lake", str(lake)])
        spark.catalog.clearCache()

    return run


def attempts(lake: Path, table: str) -> set[Path]:
    return set((lake / "warehouse" / "churn" / table).glob("pipeline_id=*/step=*/attempt=*"))


def rows(spark, lake: Path) -> dict[str, list]:
    """Return the rows of every table, sorted."""
    dataset = str(lake / "warehouse" / "churn")
    return {name: sorted(read_table(spark, dataset, name).collect()) for name in TABLES}


def kill_while_writing(lake: Path, table: str) -> Path:
    """Start the step again, kill it in the middle of a table, and return the unfinished attempt."""
    before = attempts(lake, table)
    command = spark_submit.submit_command(
        "preprocessing", ["--pipeline-id", "run-a", "--lake", str(lake)]
    )
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    job = subprocess.Popen(
        command, env=spark_submit.submit_environment(), start_new_session=True, **quiet
    )
    try:
        deadline = time.monotonic() + PATIENCE
        while not (new := attempts(lake, table) - before):
            assert job.poll() is None, "the step ended before it wrote"
            assert time.monotonic() < deadline, "the step never wrote"
            time.sleep(0.005)
        os.killpg(job.pid, signal.SIGSTOP)  # nothing moves while we look
        [attempt] = new
        assert not (attempt / "_SUCCESS").exists(), "the write was over before the kill"
    finally:
        if job.poll() is None:
            os.killpg(job.pid, signal.SIGKILL)
    assert job.wait() == -signal.SIGKILL
    return attempt


def test_a_killed_run_leaves_the_old_rows_readable_and_runs_again(spark, lake, preprocess):
    preprocess(60)
    old = rows(spark, lake)
    assert len(old["training_data"]) + len(old["scoring_input"]) == 60

    write_raw(lake, [customer(number) for number in range(MANY)])
    unfinished = kill_while_writing(lake, "training_data")
    assert unfinished.exists()
    assert rows(spark, lake) == old
    dataset = str(lake / "warehouse" / "churn")
    counted = review(dataset, "SELECT COUNT(*) FROM training_data")
    assert counted.values.tolist() == [[len(old["training_data"])]]

    preprocess(MANY)
    sizes = [read_table(spark, dataset, name).count() for name in TABLES]
    assert sizes[0] + sizes[1] == MANY
    assert sizes[1:] == [sizes[1], sizes[1], 0]
    assert unfinished.exists(), "who looks from outside can't tell the dead from the slow"
