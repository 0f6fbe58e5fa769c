"""The stand-in of Vertex AI is what the real client library takes it for."""

import time
from datetime import UTC, datetime
from pathlib import Path

import grpc
import pytest
from google.api_core import exceptions
from google.cloud import aiplatform
from google.cloud.aiplatform import pipeline_jobs
from google.cloud.aiplatform_v1 import PipelineState, PipelineTaskDetail

from churnlab.standins.api import ApiError
from churnlab.standins.clients import google_clients
from churnlab.standins.pipelines import next_run
from churnlab.standins.server import stand_ins

PLACE = {"project": "demo", "location": "us-central1"}


pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    """``wait`` of the client library sleeps for 5 seconds between two looks."""
    monkeypatch.setattr(pipeline_jobs, "_JOB_WAIT_TIME", 0.2)


def new_job(template: str, job_id: str, **parameters) -> aiplatform.PipelineJob:
    return aiplatform.PipelineJob(
        display_name=job_id,
        template_path=template,
        job_id=job_id,
        pipeline_root="gs://pipelines/root",
        parameter_values=parameters,
        **PLACE,
    )


def states_of(job: aiplatform.PipelineJob) -> dict[str, str]:
    return {detail.task_name: detail.state.name for detail in job.task_details}


def test_a_submitted_pipeline_runs_and_can_be_waited_for(cloud, compiled):
    job = new_job(compiled["greeting"], "greet-ann", name="ann", loud=True)
    job.submit()
    assert job.resource_name == "projects/demo/locations/us-central1/pipelineJobs/greet-ann"
    job.wait()
    assert job.state == PipelineState.PIPELINE_STATE_SUCCEEDED
    assert "hello ANNANNANN" in cloud.pipelines.log(job.resource_name)
    assert states_of(job) == {"greet": "SUCCEEDED", "celebrate": "SUCCEEDED"}
    found = aiplatform.PipelineJob.get("greet-ann", **PLACE)
    assert found.resource_name == job.resource_name


def test_a_task_behind_a_false_condition_does_not_run(cloud, compiled):
    job = new_job(compiled["greeting"], "greet-bob", name="bob", limit=99.5)
    job.submit()
    job.wait()
    assert states_of(job) == {"greet": "SUCCEEDED"}


def test_a_failing_task_fails_the_job_and_is_named(cloud, compiled):
    job = new_job(compiled["greeting"], "greet-nobody", name="")
    job.submit()
    with pytest.raises(RuntimeError, match="greet"):
        job.wait()
    assert job.state == PipelineState.PIPELINE_STATE_FAILED
    assert states_of(job) == {"greet": "FAILED"}
    assert "There is nobody to greet" in cloud.pipelines.log(job.resource_name)


def test_a_cancelled_job_ends_and_is_no_success(cloud, compiled):
    job = new_job(compiled["greeting"], "greet-sleeper", name="sleeper")
    job.submit()
    deadline = time.monotonic() + 600
    while not any(d.state == PipelineTaskDetail.State.RUNNING for d in job.task_details):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    job.cancel()
    ended = cloud.pipelines.wait(job.resource_name)
    assert ended.state == PipelineState.PIPELINE_STATE_CANCELLED
    assert ended.error.message


def test_a_job_id_is_taken_once(cloud, compiled):
    new_job(compiled["greeting"], "greet-twice", name="ann").submit()
    with pytest.raises(exceptions.Conflict, match="already exists"):
        new_job(compiled["greeting"], "greet-twice", name="ann").submit()


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"name": None}, "'name' is missing"),
        ({"times": 2.5}, "'times' must be NUMBER_INTEGER"),
        ({"times": True}, "'times' must be NUMBER_INTEGER"),
        ({"loud": "yes"}, "'loud' must be BOOLEAN"),
        ({"limit": "1"}, "'limit' must be NUMBER_DOUBLE"),
    ],
)
def test_parameters_are_judged_against_the_compiled_pipeline(cloud, compiled, changes, complaint):
    job = new_job(compiled["greeting"], "greet-wrong", **{"name": "ann"} | changes)
    with pytest.raises(exceptions.BadRequest, match=complaint):
        job.submit()


def test_an_unknown_parameter_is_refused_by_the_service_too(cloud, compiled):
    job = new_job(compiled["greeting"], "greet-unknown", name="ann")
    job._gca_resource.runtime_config.parameter_values["nmae"] = "ann"
    with pytest.raises(exceptions.BadRequest, match="unknown parameter 'nmae'"):
        job.submit()


def test_a_spec_that_is_no_pipeline_is_refused(cloud, compiled):
    job = new_job(compiled["greeting"], "greet-broken", name="ann")
    job._gca_resource.pipeline_spec["surprise"] = 1
    with pytest.raises(exceptions.BadRequest, match="surprise"):
        job.submit()


def test_a_job_that_nobody_submitted_is_not_found(cloud):
    with pytest.raises(exceptions.NotFound):
        aiplatform.PipelineJob.get("never", **PLACE)


def test_jobs_are_listed_and_filtered(cloud, compiled):
    for number in range(3):
        new_job(compiled["greeting"], f"greet-list-{number}", name="ann").submit()
    found = aiplatform.PipelineJob.list(filter='display_name="greet-list-1"', **PLACE)
    assert [job.display_name for job in found] == ["greet-list-1"]
    names = [job.display_name for job in aiplatform.PipelineJob.list(**PLACE)]
    assert {f"greet-list-{number}" for number in range(3)} <= set(names)


@pytest.mark.parametrize(
    ("code", "error"),
    [
        (grpc.StatusCode.RESOURCE_EXHAUSTED, exceptions.TooManyRequests),
        (grpc.StatusCode.INTERNAL, exceptions.InternalServerError),
        (grpc.StatusCode.UNAVAILABLE, exceptions.ServiceUnavailable),
        (grpc.StatusCode.PERMISSION_DENIED, exceptions.Forbidden),
    ],
)
def test_faults_reach_the_client_as_the_errors_of_the_real_service(cloud, compiled, code, error):
    cloud.pipelines.fail_next(code)
    with pytest.raises(error):
        new_job(compiled["greeting"], "greet-fault", name="ann").submit()


def test_a_schedule_is_created_paused_resumed_and_deleted(cloud, compiled):
    job = new_job(compiled["greeting"], "unused", name="ann")
    schedule = job.create_schedule(
        display_name="weekly", cron="TZ=Europe/Berlin 0 6 * * 1", max_concurrent_run_count=1
    )
    assert schedule.state.name == "ACTIVE"
    assert cloud.pipelines.get_schedule(schedule.resource_name).next_run_time.weekday() == 0
    schedule.pause()
    assert schedule.state.name == "PAUSED"
    schedule.resume(catch_up=False)
    assert schedule.state.name == "ACTIVE"
    listed = aiplatform.PipelineJobSchedule.list(filter='display_name="weekly"', **PLACE)
    assert [one.resource_name for one in listed] == [schedule.resource_name]
    schedule.delete()
    assert not aiplatform.PipelineJobSchedule.list(filter='display_name="weekly"', **PLACE)


NO_CRON = ["61 * * * *", "TZ=Mars/Base 0 6 * * *", "weekly", "0 0 31 2 *", "TZ=Europe 0 6 * * *"]


@pytest.mark.parametrize("cron", NO_CRON)
def test_a_schedule_that_never_fires_is_refused(cloud, compiled, cron):
    job = new_job(compiled["greeting"], "unused", name="ann")
    with pytest.raises(exceptions.BadRequest, match="cron"):
        job.create_schedule(display_name="wrong", cron=cron)


@pytest.mark.xdist_group("pipeline")
def test_googles_own_component_registers_a_managed_dataset(cloud, compiled):
    uri = "gs://lake/raw/customers/customers.csv"
    job = new_job(compiled["registration"], "register-customers", **PLACE, uri=uri)
    job.submit()
    job.wait()
    [dataset] = aiplatform.TabularDataset.list(filter='display_name="customers"', **PLACE)
    assert dataset.gca_resource.metadata["inputConfig"]["gcsSource"]["uri"] == [uri]


def one_batch(cloud, compiled, script: str, name: str) -> aiplatform.PipelineJob:
    """Submit a pipeline of one batch that runs a script."""
    path = Path(cloud.pipelines.storage) / "code" / f"{name}.py"
    path.parent.mkdir(exist_ok=True)
    path.write_text(script)
    uri = f"gs://code/{name}.py"
    job = new_job(compiled["one-batch"], name, **PLACE, batch_id=f"batch-of-{name}", script=uri)
    job.submit()
    return job


def batch_state(cloud, name: str) -> str:
    batch = f"projects/demo/locations/us-central1/batches/batch-of-{name}"
    return cloud.service.wait(batch).state.name


@pytest.mark.xdist_group("pipeline")
def test_a_dataproc_step_goes_through_the_components_own_launcher(cloud, compiled):
    job = one_batch(cloud, compiled, "print('from the batch')", "one-batch-fine")
    job.wait()
    assert batch_state(cloud, "one-batch-fine") == "SUCCEEDED"
    batch = "projects/demo/locations/us-central1/batches/batch-of-one-batch-fine"
    submitted = aiplatform.PipelineJob.get("one-batch-fine", **PLACE)
    assert cloud.service.get_batch(batch).labels.items() <= submitted.labels.items()


@pytest.mark.xdist_group("pipeline")
def test_a_failing_batch_fails_the_job(cloud, compiled):
    job = one_batch(cloud, compiled, "raise SystemExit(3)", "one-batch-fails")
    with pytest.raises(RuntimeError):
        job.wait()
    assert batch_state(cloud, "one-batch-fails") == "FAILED"


@pytest.mark.xdist_group("pipeline")
def test_cancelling_a_job_cancels_its_batch(cloud, compiled):
    script = "import time; time.sleep(600)"
    job = one_batch(cloud, compiled, script, "one-batch-sleeps")
    batch = "projects/demo/locations/us-central1/batches/batch-of-one-batch-sleeps"
    deadline = time.monotonic() + 600
    while not cloud.service.list_batches(batch.rpartition("/batches/")[0], "state = RUNNING")[0]:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    job.cancel()
    ended = cloud.pipelines.wait(job.resource_name)
    assert ended.state == PipelineState.PIPELINE_STATE_CANCELLED
    assert batch_state(cloud, "one-batch-sleeps") == "CANCELLED"


def test_jobs_can_be_kept_without_running_them(tmp_path, compiled):
    quiet = stand_ins(tmp_path, execute_pipelines=False)
    with quiet as addresses, google_clients(addresses.variables()):
        job = new_job(compiled["greeting"], "greet-kept", name="ann")
        job.submit()
        assert job.state == PipelineState.PIPELINE_STATE_PENDING


def test_closing_the_stand_ins_ends_a_running_job(tmp_path, compiled):
    with stand_ins(tmp_path) as passing, google_clients(passing.variables()):
        job = new_job(compiled["greeting"], "greet-forever", name="sleeper")
        job.submit()
    assert passing.pipelines.wait(job.resource_name).state.name.endswith("CANCELLED")


BEYOND = {
    "before the first year": ("TZ=America/New_York 0 6 1 1 *", datetime(1, 1, 1, tzinfo=UTC)),
    "after the last": ("0 6 1 1 *", datetime(9999, 12, 31, tzinfo=UTC)),
}


@pytest.mark.parametrize("case", BEYOND)
def test_a_start_beyond_the_calendar_is_refused_and_no_fault_of_the_service(case):
    with pytest.raises(ApiError, match="cron") as refusal:
        next_run(*BEYOND[case])
    assert refusal.value.code == grpc.StatusCode.INVALID_ARGUMENT
