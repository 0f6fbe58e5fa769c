"""`churnlab cloud submit` runs a step with everything that the profile knows."""

import json
import re
import threading
import time
from dataclasses import replace

import grpc
import pytest

from churnlab.cloud.batches import plan_step
from churnlab.standins.api import ApiError
from tests.cloud.conftest import PROFILE, churnlab

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("cloud commands")]

SLEEP = time.sleep
BATCHES = "projects/demo/locations/us-central1"


@pytest.fixture(autouse=True)
def impatience(monkeypatch):
    """Ask for the batch's state more often than the cloud is asked."""
    monkeypatch.setattr(time, "sleep", lambda seconds: SLEEP(min(seconds, 0.1)))


def test_a_step_runs_as_the_batch_account_on_the_course_s_network_and_data(cloud):
    done = churnlab("submit", "preprocessing", "--", "--pipeline-id", "run-a")
    assert done.error is None, done.error
    assert re.search(r"^SUCCEEDED preprocessing-run-a: about \d", done.text, re.MULTILINE)
    [batch], _ = cloud.batches.list_batches(BATCHES)
    execution = batch.environment_config.execution_config
    assert execution.service_account == "batch@demo.iam.gserviceaccount.com"
    assert execution.subnetwork_uri.endswith("subnetworks/churnlab")
    assert execution.staging_bucket == "demo-staging"
    assert batch.pyspark_batch.main_python_file_uri == "gs://demo-code/scripts/preprocessing.py"
    assert list(batch.pyspark_batch.args) == [
        "--lake",
        "gs://demo-lake",
        "--dataset",
        "bigquery://demo.churn",
        "--pipeline-id",
        "run-a",
    ]
    labels = {"course": "churnlab", "owner": "ada", "step": "preprocessing"}
    assert dict(batch.labels) == labels


def planned(**changes: str):
    """Return the batch that a changed profile asks for."""
    words = ["--pipeline-id", "run-a"]
    return plan_step("preprocessing", words, replace(PROFILE, **changes)).request


def test_a_history_server_that_was_made_shows_the_batch():
    history = "projects/demo/regions/us-central1/clusters/churnlab-history"
    for server in ("", history):
        request = planned(history_server=server)
        shown = request.environment_config.peripherals_config.spark_history_server_config
        assert shown.dataproc_cluster == server


def test_a_key_of_your_own_encrypts_the_batch_s_disks():
    key = "projects/demo/locations/us-central1/keyRings/course/cryptoKeys/data"
    for kms_key in ("", key):
        request = planned(kms_key=kms_key)
        assert request.environment_config.execution_config.kms_key == kms_key


def test_a_fresh_pipeline_id_is_printed_for_the_next_step(cloud):
    text = churnlab("submit", "model_training").text
    assert re.search(r"--pipeline-id \d{8}t\d{6}-[0-9a-f]{6}$", text, re.MULTILINE)


def test_the_step_s_own_options_win(cloud):
    churnlab("submit", "preprocessing", "--", "--lake", "gs://other", "--raw", "gs://x/y.csv")
    [batch], _ = cloud.batches.list_batches(BATCHES)
    words = list(batch.pyspark_batch.args)
    assert words[words.index("--lake") + 1] == "gs://other"
    assert words[words.index("--raw") + 1] == "gs://x/y.csv"


def test_a_dry_run_shows_the_request_and_creates_nothing(cloud):
    text = churnlab("submit", "preprocessing", "--dry-run", "--", "--pipeline-id", "run-a").text
    first, rest = text.split("\n", 1)
    assert first == f"Would create {BATCHES}/batches/preprocessing-run-a"
    assert json.loads(rest)["pysparkBatch"]["args"][-1] == "run-a"
    assert cloud.batches.list_batches(BATCHES) == ([], "")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["cooking"], "There is no script 'cooking'"),
        (["preprocessing", "--", "raw"], "'raw' is not an option with a value"),
        (["preprocessing", "--ttl-minutes", "5"], "ttl 0:05:00 is not between"),
    ],
)
def test_what_can_t_run_is_refused(cloud, arguments, words):
    assert words in churnlab("submit", *arguments).error.problem


def fail_once(cloud, monkeypatch, code: str, message: str = "so be it") -> None:
    """Let the batch service fail the next creation, after it has been carried out if it is away."""
    create, calls = cloud.batches.create_batch, []

    def failing(asked):
        calls.append(asked)
        if len(calls) > 1:
            return create(asked)
        if code == "UNAVAILABLE":
            create(asked)
        raise ApiError(grpc.StatusCode[code], message)

    monkeypatch.setattr(cloud.batches, "create_batch", failing)


def test_a_batch_whose_answer_was_lost_is_found_again(cloud, monkeypatch):
    fail_once(cloud, monkeypatch, "UNAVAILABLE")
    assert churnlab("submit", "preprocessing", "--", "--pipeline-id", "run-a").error is None
    assert len(cloud.batches.list_batches(BATCHES)[0]) == 1


def test_a_refusal_names_permission_and_role(cloud, monkeypatch):
    text = "Permission 'dataproc.batches.create' denied on resource '//dataproc/x'"
    fail_once(cloud, monkeypatch, "PERMISSION_DENIED", text)
    error = churnlab("submit", "preprocessing", "--", "--pipeline-id", "run-a").error
    assert error.problem == "Submitting preprocessing-run-a: you lack dataproc.batches.create."
    assert "roles/dataproc.serverlessEditor" in error.mend


def test_the_interrupted_command_cancels_its_batch(cloud, monkeypatch):
    interrupt = threading.Event()

    def pause(seconds):  # where the command waits for the batch
        if seconds == 5.0:
            interrupt.set()
            raise KeyboardInterrupt
        SLEEP(seconds)

    monkeypatch.setattr(time, "sleep", pause)
    with pytest.raises(AssertionError):  # the status of an interrupt is not 0
        churnlab("submit", "preprocessing", "--", "--pipeline-id", "run-a", "--raw", "slow")
    assert interrupt.is_set()
    assert cloud.batches.wait(f"{BATCHES}/batches/preprocessing-run-a").state.name == "CANCELLED"
