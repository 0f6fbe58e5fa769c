"""Everything at once: HTTP request → function → Vertex job → batches → Spark → champion."""

import json
import time
from pathlib import Path

import pytest
import requests
from google.cloud import aiplatform

from churnlab import paths
from churnlab.run.library import library
from churnlab.run.lineage import trace
from tests.pipeline.conftest import SHA

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("pipeline")]

State = aiplatform.gapic.PipelineState


@pytest.fixture(scope="module")
def start(start_function, lake):
    """Return a function: call the pipeline function, perhaps with a key, for a job that it starts."""
    function = start_function(LAKE=str(lake), DATASET="churn", CODE_URI=str(paths.SCRIPTS))

    def start(key: str = "", **parameters) -> dict:
        headers, body = {"Idempotency-Key": key} if key else {}, {"parameters": parameters}
        answer = requests.post(function.url, json=body, headers=headers, timeout=600)
        assert answer.status_code == 202, answer.text
        return answer.json()

    return start


@pytest.fixture(scope="module")
def call(cloud, start):
    """Return a function: start a job and wait for its end."""

    def call(*key, **parameters) -> tuple[dict, aiplatform.gapic.PipelineJob]:
        started = start(*key, **parameters)
        cloud.pipelines.wait(started["job"])
        return started, cloud.pipelines.get_job(started["job"])

    return call


@pytest.fixture(scope="module")
def trained(call):
    """A run that an HTTP request has started and that has succeeded."""
    return call(min_average_precision=0.0, quick_tuning=True)


def batches_of(cloud, pipeline_id: str) -> dict[str, str]:
    found, _ = cloud.service.list_batches("projects/demo/locations/us-central1", page_size=100)
    names = {batch.name.rpartition("/")[2]: batch.state.name for batch in found}
    return {n.removesuffix(f"-{pipeline_id}"): s for n, s in names.items() if pipeline_id in n}


def test_a_request_ends_in_a_registered_model(cloud, lake, trained):
    started, job = trained
    assert job.state == State.PIPELINE_STATE_SUCCEEDED, job.error
    key = started["pipeline_id"]
    assert started["job"].endswith(f"/pipelineJobs/churn-training-{key}")
    assert batches_of(cloud, key) == dict.fromkeys(
        ["preprocessing", "training", "tuning"], "SUCCEEDED"
    )
    answer = library.review.review(
        str(lake / "warehouse" / "churn"),
        f"SELECT model_version, stage FROM model_registry WHERE pipeline_id = '{key}' ORDER BY 1, 2",
    )
    candidates = answer[answer["stage"] == "candidate"]["model_version"].tolist()
    assert candidates == [f"{key}-training", f"{key}-tuning"]
    tables = str(lake / "warehouse" / "churn")
    champion = library.registry.registered_model(tables)
    assert (
        champion["model_version"] == library.registry.best_candidate(tables, key)["model_version"]
    )
    assert library.runs.run_record(str(lake), key, "pipeline")["state"] == "SUCCEEDED"


def test_one_key_leads_from_the_run_to_every_row(lake, trained):
    key = trained[0]["pipeline_id"]
    found = {path.name for path in (lake / "runs" / key).iterdir()}
    assert found == {"preprocessing", "training", "tuning", "pipeline"}
    answer = library.review.review(
        str(lake / "warehouse" / "churn"),
        "SELECT step, data_pipeline_id FROM model_registry "
        f"WHERE pipeline_id = '{key}' ORDER BY step",
    )
    steps = ["challenge-1", "promotion-2", "training", "tuning"]
    assert answer.values.tolist() == [[step, key] for step in steps]


def test_the_model_that_is_handed_on_is_one_that_the_run_has_written(cloud, trained):
    key = trained[0]["pipeline_id"]
    root = cloud.pipelines.storage / "demo-pipelines" / "root"
    outputs = [path for path in root.rglob("executor_output.json") if key in str(path)]
    [given] = [json.loads(p.read_text()) for p in outputs if p.parent.name == "promote-model"]
    [model] = given["artifacts"]["model"]["artifacts"]
    version = given["parameterValues"]["Output"]
    assert version in (f"{key}-training", f"{key}-tuning")
    assert model["metadata"]["model_version"] == version
    assert Path(model["uri"], "stages").is_dir()


def test_its_model_can_be_traced_to_the_raw_file_and_the_scripts(lake, trained):
    lineage = trace(str(lake), "churn", trained[0]["pipeline_id"])
    [raw] = [facts for name, facts in lineage.nodes.items() if name.startswith("raw ")]
    assert raw["provenance"]["sha256"] == SHA
    code = {
        f["script"]: f["script_blob"] for n, f in lineage.nodes.items() if n.startswith("code ")
    }
    assert code == {
        name: library.runs.git_blob(str(paths.SCRIPTS / name))
        for name in ("preprocessing.py", "model_training.py", "hyperparameter_tuning.py")
    }


@pytest.fixture(scope="module")
def cancelled(cloud, start):
    """A run that was cancelled as soon as its first batch had got its name."""
    started, deadline = start("a-bad-night"), time.monotonic() + 120
    while not batches_of(cloud, started["pipeline_id"]) and time.monotonic() < deadline:
        time.sleep(0.1)
    cloud.pipelines.cancel_job(started["job"])
    assert cloud.pipelines.wait(started["job"]).state == State.PIPELINE_STATE_CANCELLED
    return started


@pytest.fixture(scope="module")
def failed(call, cancelled):
    """The same run once more, whose first step fails."""
    return call("a-bad-night", raw="raw/nowhere.csv")


def test_a_run_is_repeated_with_a_job_and_batches_of_its_own(cloud, cancelled, failed):
    started, _ = failed
    key = cancelled["pipeline_id"]
    assert started == cancelled | {"job": f"{cancelled['job']}-t2"}
    assert batches_of(cloud, key) == {
        "preprocessing": "CANCELLED",
        f"preprocessing-{key}-t2": "FAILED",
    }


def test_a_failing_spark_step_fails_the_job_and_starts_nothing_after_it(cloud, lake, failed):
    started, job = failed
    assert job.state == State.PIPELINE_STATE_FAILED
    assert job.error.message
    key = started["pipeline_id"]
    assert not [name for name in batches_of(cloud, key) if "preprocessing" not in name]
    report = library.runs.run_record(str(lake), key, "pipeline")
    assert report["state"] == "FAILED"
