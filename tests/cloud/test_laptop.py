"""The laptop is a profile like any other: both commands plan, submit and follow by the same code."""

import contextlib
import json
import sys
from dataclasses import replace

import pytest
from typer.testing import CliRunner

from churnlab import cli, paths
from churnlab.cloud.batches import plan_step
from churnlab.cloud.laptop import laptop
from churnlab.cloud.submit import run_batch
from tests.cloud.conftest import PROFILE

RUN = ["--pipeline-id", "run-a"]


@pytest.fixture
def batches(tmp_path, monkeypatch):
    """The batch service that `churnlab up` would keep in another terminal."""
    from churnlab.standins.batches_grpc import serve_grpc
    from churnlab.standins.server import BATCHES_GRPC
    from tests.cloud.quick_batches import QuickBatches

    service = QuickBatches(tmp_path)
    running, address = serve_grpc(service)
    monkeypatch.setenv(BATCHES_GRPC, address)
    yield service
    running.stop(0)
    service.close()


def shown(*arguments: str) -> dict:
    """Return the request that `churnlab submit --dry-run` shows; nothing listens meanwhile."""
    done = CliRunner().invoke(cli.app, ["submit", *arguments], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    first, rest = done.output.split("\n", 1)
    assert first.startswith("Would create ")
    return json.loads(rest) | {"name": first.removeprefix("Would create ")}


def test_the_laptop_asks_for_the_batch_that_the_cloud_gets():
    own = laptop()
    same = {"project_id": own.project_id, "region": own.region, "code_uri": own.code_uri}
    same |= {"lake_uri": own.lake_uri, "dataset": own.dataset}
    cloud = replace(PROFILE, **same, service_accounts=own.service_accounts)
    cloud = replace(cloud, subnetwork="", staging_bucket="", labels={}, batch_image="")
    assert plan_step("preprocessing", RUN, own) == plan_step("preprocessing", RUN, cloud)


def test_a_dry_run_on_the_laptop_starts_no_stand_in(monkeypatch):
    monkeypatch.setitem(sys.modules, "churnlab.standins.server", None)  # importing it would fail
    request = shown("preprocessing", "--dry-run", "--", *RUN)
    assert request["name"] == "projects/demo/locations/us-central1/batches/preprocessing-run-a"
    words = request["pysparkBatch"]["args"]
    assert words == ["--lake", paths.lake(), "--dataset", "churn", *RUN]


def test_options_change_the_profile_and_leave_the_rest_of_it():
    image = "us-central1-docker.pkg.dev/demo/churnlab/spark:1"
    options = ["--project", "other", "--container-image", image, "--dry-run"]
    request = shown("preprocessing", *options, "--", *RUN)
    assert request["name"].startswith("projects/other/locations/us-central1/")
    assert request["runtimeConfig"]["containerImage"] == image
    assert request["pysparkBatch"]["mainPythonFileUri"] == str(paths.SCRIPTS / "preprocessing.py")


def test_on_google_nothing_of_the_laptop_is_taken():
    options = ["--on", "dataproc", "--project", "p", "--code", "gs://c", "--service-account", "a@b"]
    request = shown("preprocessing", *options, "--dry-run", "--", "--lake", "gs://lake", *RUN)
    assert request["pysparkBatch"]["args"] == [*RUN, "--lake", "gs://lake"]
    assert request["environmentConfig"]["executionConfig"]["serviceAccount"] == "a@b"


@pytest.mark.slow
def test_the_stand_ins_that_run_are_taken(batches):
    profile = laptop()
    plan = plan_step("preprocessing", RUN, profile)
    states = [state for state, _ in run_batch(plan, profile)]
    assert states[-1] == "SUCCEEDED"
    assert batches.get_batch(plan.name).pyspark_batch == plan.request.pyspark_batch


@pytest.mark.slow
def test_who_stops_reading_cancels_the_batch(batches):
    profile = laptop()
    plan = plan_step("preprocessing", [*RUN, "--raw", "slow"], profile)
    with contextlib.closing(run_batch(plan, profile)) as batch:
        next(batch)
    assert batches.wait(plan.name).state.name == "CANCELLED"
