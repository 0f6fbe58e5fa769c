"""The scoring DAG run once, without a scheduler: real operators, the stand-in, real Spark."""

import shutil
import threading
import time

import pytest

from churnlab.run.alarms import alarms
from churnlab.standins.api import ApiError
from churnlab.standins.batches import State
from tests.airflow.conftest import land, published, various

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("airflow")]

PARENT = "projects/demo/locations/us-central1"


def batches(cloud) -> list:
    """Return the batches of the stand-in, the oldest first."""
    return cloud.service.list_batches(PARENT, order_by="create_time")[0]


def ids(cloud) -> list[str]:
    """Return what stands behind the run's key in the name of each batch."""
    names = [batch.name.rpartition("/")[2] for batch in batches(cloud)]
    assert all(name.startswith("score-20") for name in names)  # what failed is not watched
    return [name.rpartition("-")[2] for name in names]


def test_a_good_file_is_scored_checked_and_published(airflow, scored_lake, cloud):
    customers = land(scored_lake, "good.csv", [various(number) for number in range(60)])
    done = airflow.test_dag({"customers": customers})
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr
    batch, monitor = batches(cloud)
    pointer = published(scored_lake)
    assert pointer["predictions"] == 60 and 0 < pointer["offers"] < 60
    assert batch.name.endswith(f"score-{pointer['pipeline_id']}-t1")
    assert monitor.name.endswith(f"monitor-{pointer['pipeline_id']}-t1")
    assert alarms(str(scored_lake), "churn") == []
    assert batch.labels["pipeline-id"] == pointer["pipeline_id"]
    assert batch.environment_config.execution_config.ttl.total_seconds() == 3600
    written = scored_lake / "warehouse" / "churn" / "batch_predictions"
    assert list(written.rglob(f"*{pointer['pipeline_id']}*"))
    assert [file.name for file in (scored_lake / "published").iterdir()] == [
        "batch_predictions.json"
    ]


def test_a_failing_spark_step_fails_the_run_and_its_exit_status(airflow, scored_lake, cloud):
    customers = land(scored_lake, "good.csv", [various(number) for number in range(60)])
    done = airflow.test_dag({"customers": customers, "model_version": "no-such-model"})
    assert done.returncode == 1
    assert "DagRun failed" in done.stderr
    assert "failed with error: The driver ended with status 1" in done.stdout
    assert [batch.state for batch in batches(cloud)] == [State.FAILED, State.FAILED]
    assert ids(cloud) == ["t1", "t2"]  # a second try is a batch of its own
    assert published(scored_lake) == {}


def test_a_cancelled_batch_is_never_a_success_for_a_deferred_task(airflow, scored_lake, cloud):
    """The first try is cancelled while a trigger waits for it, and so is the second."""
    customers = land(scored_lake, "good.csv", [various(number) for number in range(60)])
    over = threading.Event()

    def cancel_all() -> None:
        while not over.is_set():
            for batch in batches(cloud):
                if batch.state == State.RUNNING:
                    try:
                        cloud.service.cancel_operation(batch.operation)
                    except ApiError:
                        continue
            time.sleep(0.1)

    colleague = threading.Thread(target=cancel_all)
    colleague.start()
    try:
        deferred = {"AIRFLOW__OPERATORS__DEFAULT_DEFERRABLE": "True"}
        done = airflow.test_dag({"customers": customers}, **deferred)
    finally:
        over.set()
        colleague.join()
    assert done.returncode == 1
    assert "was cancelled" in done.stdout and "running trigger in line" in done.stdout
    assert [batch.state for batch in batches(cloud)] == [State.CANCELLED, State.CANCELLED]
    assert ids(cloud) == ["t1", "t2"]
    assert published(scored_lake) == {}


def test_a_monitor_that_fails_holds_nothing_back_and_the_run_says_that_nobody_watched(
    airflow, scored_lake, cloud
):
    """The record that the monitor compares with is gone: scoring does not need it, monitoring does."""
    customers = land(scored_lake, "good.csv", [various(number) for number in range(60)])
    shutil.rmtree(scored_lake / "warehouse" / "churn" / "test_predictions")
    done = airflow.test_dag({"customers": customers})
    assert done.returncode == 1
    assert "Published, but nobody watched" in done.stdout
    key = published(scored_lake)["pipeline_id"]
    states = {batch.name.rpartition("/")[2]: batch.state for batch in batches(cloud)}
    assert states == {
        f"score-{key}-t1": State.SUCCEEDED,
        f"monitor-{key}-t1": State.FAILED,
        f"monitor-{key}-t2": State.FAILED,
    }
    [alarm] = alarms(str(scored_lake), "churn")
    assert (alarm.pipeline_id, alarm.verdict) == (key, "unwatched")
