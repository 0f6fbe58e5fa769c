"""`churnlab cloud pipeline` starts the compiled pipeline as the function does."""

from dataclasses import replace

import grpc
import pytest
from google.cloud import aiplatform_v1 as vertex

from churnlab.cloud.pipeline import settings_of
from churnlab.run.library import course_module
from tests.cloud.conftest import PROFILE, churnlab
from tests.local_cloud import plan_of

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("cloud commands")]

PLACE = "projects/demo/locations/us-central1"
RUN = "20261124t060000-0abcde"


def test_a_run_has_the_profile_s_parameters_and_account(uploaded):
    done = churnlab("pipeline", "run", "--pipeline-id", RUN, "-p", "quick_tuning=true")
    assert done.error is None, done.error
    [job] = uploaded.pipelines.list_jobs(PLACE)
    assert job.name == f"{PLACE}/pipelineJobs/churn-training-{RUN}"
    assert job.service_account == PROFILE.service_accounts["pipeline"]
    values = dict(job.runtime_config.parameter_values)
    assert values == {
        "project": "demo",
        "location": "us-central1",
        "pipeline_id": RUN,
        "attempt": 1,
        "lake": "gs://demo-lake",
        "code_uri": "gs://demo-code/scripts",
        "dataset": "bigquery://demo.churn",
        "service_account": PROFILE.service_accounts["batch"],
        "subnetwork_uri": PROFILE.subnetwork,
        "quick_tuning": True,
    }
    assert plan_of(job).table == "bq://demo.churn.training_data"
    assert f"pipelines/runs/churn-training-{RUN}?project=demo" in done.text


def test_a_key_of_your_own_goes_with_a_run():
    key = "projects/demo/locations/us-central1/keyRings/course/cryptoKeys/data"
    settings = settings_of(replace(PROFILE, kms_key=key))
    deployed = course_module("pipeline_function").deployed_parameters(settings, RUN)
    assert settings.kms_key == deployed["kms_key"] == key


def test_the_same_id_again_finds_the_first_run(uploaded):
    for words in (f"Started: {RUN}", f"Was started before: {RUN}"):
        assert words in churnlab("pipeline", "run", "--pipeline-id", RUN).text
    assert len(uploaded.pipelines.list_jobs(PLACE)) == 1


def test_the_same_id_after_a_failure_repeats_the_run_and_status_shows_its_newest_attempt(uploaded):
    churnlab("pipeline", "run", "--pipeline-id", RUN)
    job = uploaded.pipelines._jobs[f"{PLACE}/pipelineJobs/churn-training-{RUN}"]
    job.state = vertex.PipelineState.PIPELINE_STATE_FAILED
    done = churnlab("pipeline", "run", "--pipeline-id", RUN)
    assert f"Started: {RUN}" in done.text and f"churn-training-{RUN}-t2?project" in done.text
    assert f"churn-training-{RUN}-t2 PENDING" in churnlab("pipeline", "status", RUN).text
    assert f"{RUN} FAILED" in churnlab("pipeline", "status", f"churn-training-{RUN}").text
    assert f"Was started before: {RUN}" in churnlab("pipeline", "run", "--pipeline-id", RUN).text


def test_a_dry_run_shows_the_parameters_and_starts_nothing(uploaded):
    text = churnlab("pipeline", "run", "--dry-run", "-p", "min_average_precision=0.7").text
    assert "Would start" in text and '"min_average_precision": 0.7' in text
    assert uploaded.pipelines.list_jobs(PLACE) == []


@pytest.mark.parametrize(
    ("parameter", "words"),
    [
        ("quick_tuning", "'quick_tuning' is not a parameter"),
        ("speed=9", "The pipeline has no parameter speed"),
        ("quick_tuning=maybe", "quick_tuning=maybe is not true or false"),
        ("min_average_precision=high", "min_average_precision=high is not a number"),
        ("min_average_precision=nan", "min_average_precision must be a number"),
        ("lake=gs://mine", "lake is set by the deployment"),
        ("dataset=bigquery://my.own", "dataset is set by the deployment"),
        ("raw=gs://other/customers.csv", "raw must be a path below the lake"),
    ],
)
def test_a_parameter_that_the_pipeline_does_not_take_is_refused(uploaded, parameter, words):
    assert words in churnlab("pipeline", "run", "-p", parameter).error.problem
    assert uploaded.pipelines.list_jobs(PLACE) == []


def test_before_the_upload_the_mend_is_to_upload(cloud):
    error = churnlab("pipeline", "run").error
    assert "training_pipeline.yaml" in error.problem and "churnlab cloud upload" in error.mend


def test_a_service_that_is_away_for_a_moment_is_asked_again(uploaded):
    uploaded.pipelines.fail_next(grpc.StatusCode.UNAVAILABLE)
    assert churnlab("pipeline", "run", "--pipeline-id", RUN).error is None
    uploaded.pipelines.fail_next(grpc.StatusCode.UNAVAILABLE)
    assert f"churn-training-{RUN}" in churnlab("pipeline", "list").text


def test_a_refusal_names_permission_and_role(uploaded):
    uploaded.pipelines.fail_next(grpc.StatusCode.PERMISSION_DENIED)
    assert "permission denied" in churnlab("pipeline", "run").error.problem


def test_list_and_status_show_where_runs_are(uploaded):
    churnlab("pipeline", "run", "--pipeline-id", RUN)
    assert "PENDING" in churnlab("pipeline", "list").text
    assert "PENDING" in churnlab("pipeline", "status", RUN).text
    assert "not found" in churnlab("pipeline", "status", "nobody").error.problem


@pytest.mark.parametrize(("state", "fails"), [("SUCCEEDED", False), ("FAILED", True)])
def test_waiting_ends_with_the_run_s_fate(uploaded, state, fails):
    churnlab("pipeline", "run", "--pipeline-id", RUN)
    job = uploaded.pipelines._jobs[f"{PLACE}/pipelineJobs/churn-training-{RUN}"]
    job.state = vertex.PipelineState[f"PIPELINE_STATE_{state}"]
    done = churnlab("pipeline", "status", RUN, "--wait")
    assert done.text == f"{state}\n"
    assert bool(done.error) == fails
