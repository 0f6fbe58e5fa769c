"""`churnlab cloud down` ends, destroys and then looks again; it never does so unasked."""

import pytest
from google.cloud import aiplatform_v1 as vertex
from google.cloud import asset_v1 as asset
from google.cloud import dataproc_v1 as dataproc

from churnlab import paths
from churnlab.cloud.leftovers import wait_until_gone
from tests.cloud.conftest import PROFILE, churnlab

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("cloud commands")]

PLACE = "projects/demo/locations/us-central1"
OURS = {"execution_config": {"service_account": PROFILE.service_accounts["batch"]}}


def state(given_up: bool = False, protected: bool = False) -> dict:
    """Return what ``terraform show -json`` says of a lake, and of a table in a module."""
    bucket = {"type": "google_storage_bucket", "address": "google_storage_bucket.lake"}
    bucket["values"] = {"name": "demo-lake", "force_destroy": given_up}
    table = {"type": "google_bigquery_table", "address": "module.x.google_bigquery_table.t"}
    table["values"] = {"deletion_protection": protected}
    modules = [{"resources": [table]}]
    return {"values": {"root_module": {"resources": [bucket], "child_modules": modules}}}


def asset_of(kind: str, name: str, **fields) -> asset.ResourceSearchResult:
    """Return a thing as the inventory finds it."""
    return asset.ResourceSearchResult(name=f"//x/{name}", asset_type=kind, **fields)


BUCKET = asset_of("storage.googleapis.com/Bucket", "dataproc-staging-1", location="us-central1")
ACCOUNT = asset_of("iam.googleapis.com/ServiceAccount", "batch@demo")
ENDED = asset_of("dataproc.googleapis.com/Batch", "old", state="SUCCEEDED")
ALIVE = asset_of("dataproc.googleapis.com/Batch", "new", state="RUNNING")
MINE = asset_of("compute.googleapis.com/Disk", "data", labels={"course": "churnlab"})


@pytest.fixture
def busy(cloud, monkeypatch):
    """A project in which something of every kind runs: the course's, and somebody else's."""
    monkeypatch.setattr("churnlab.cloud.teardown.time.sleep", lambda seconds: None)
    for name, config in (("mine", OURS), ("theirs", {})):
        job = {"main_python_file_uri": "gs://x/y.py", "args": ["slow"]}
        batch = dataproc.Batch(pyspark_batch=job, environment_config=config)
        asked = dataproc.CreateBatchRequest(parent=PLACE, batch_id=f"{name}-batch", batch=batch)
        cloud.batches.create_batch(asked)
        session = dataproc.Session(name=f"{PLACE}/sessions/{name}", environment_config=config)
        session.state = dataproc.Session.State.ACTIVE
        cloud.project.sessions[session.name] = session
    ended = dataproc.Session(name=f"{PLACE}/sessions/ended", environment_config=OURS)
    ended.state = dataproc.Session.State.TERMINATED
    cloud.project.sessions[ended.name] = ended
    spec = {"pipelineInfo": {"name": "x"}, "root": {}, "schemaVersion": "2.1.0"}
    for name, account in (("mine", PROFILE.service_accounts["pipeline"]), ("theirs", "them@x.y")):
        job = vertex.PipelineJob(name=f"{PLACE}/pipelineJobs/{name}", service_account=account)
        job.pipeline_spec, job.state = spec, vertex.PipelineState.PIPELINE_STATE_PENDING
        cloud.pipelines._jobs[job.name] = job
        asked = vertex.CreatePipelineJobRequest(parent=PLACE, pipeline_job=job)
        schedule = vertex.Schedule(display_name=name, create_pipeline_job_request=asked)
        schedule.name, schedule.state = f"{PLACE}/schedules/{name}", vertex.Schedule.State.ACTIVE
        cloud.pipelines._schedules[schedule.name] = schedule
    return cloud


def still_running(cloud) -> set[str]:
    """Return what runs, by its last name."""
    over = ("CANCELLED", "CANCELLING", "TERMINATED", "PIPELINE_STATE_CANCELLED")
    found = [
        *cloud.batches._batches.values(),
        *cloud.project.sessions.values(),
        *cloud.pipelines._jobs.values(),
        *cloud.pipelines._schedules.values(),
    ]
    names = (each.name.split("/", 4)[4] for each in found if each.state.name not in over)
    return {name.removesuffix("-batch") for name in names}


THEIRS = {"batches/theirs", "sessions/theirs", "pipelineJobs/theirs", "schedules/theirs"}
ALL = THEIRS | {name.replace("theirs", "mine") for name in THEIRS}


def test_what_runs_is_ended_before_terraform_destroys_and_nothing_of_others(busy, terraform):
    notes = terraform(show=state())
    done = churnlab("down", "--patience", "0", answer="demo\n")
    assert done.error is None, done.error
    assert "Nothing is left that bills." in done.text
    assert still_running(busy) == THEIRS
    folder = f"-chdir={paths.INFRA}"
    assert notes.read_text().splitlines() == [
        f"{folder} show -json -no-color",
        f"{folder} destroy -auto-approve -input=false",
    ]


def test_a_dry_run_lists_it_all_and_ends_nothing(busy, terraform):
    notes = terraform(show=state(protected=True))
    busy.clients().storage.bucket("demo-lake").blob("x").upload_from_string("data")
    busy.project.changes.clear()
    busy.project.assets = [[BUCKET]]
    text = churnlab("down", "--dry-run").text
    for words in (
        "Would end the schedule mine",
        "Would end the pipeline job mine",
        "Would end the batch mine-batch",
        "Would end the session mine",
        "Would destroy 2 resources",
        "In the way: gs://demo-lake",
        "In the way: module.x.google_bigquery_table.t",
        "dataproc-staging-1",
    ):
        assert words in text
    assert "theirs" not in text and "ended" not in text
    assert busy.project.changes == [] and still_running(busy) == ALL
    assert "destroy" not in notes.read_text()


@pytest.mark.parametrize("answer", ["other\n", "yes\n", "\ndem\n"])
def test_another_word_than_the_project_s_id_destroys_nothing(busy, terraform, answer):
    notes = terraform(show=state())
    assert "nothing is destroyed" in churnlab("down", answer=answer).error.problem
    assert still_running(busy) == ALL
    assert "destroy" not in notes.read_text()


def test_data_that_nobody_gave_up_stops_everything_before_it_begins(busy, terraform):
    notes = terraform(show=state())
    busy.clients().storage.bucket("demo-lake").blob("x").upload_from_string("data")
    error = churnlab("down", "--yes").error
    assert "Data is in gs://demo-lake" in error.problem and "allow_data_deletion" in error.mend
    assert still_running(busy) == ALL and "destroy" not in notes.read_text()


def test_data_that_was_given_up_goes(cloud, terraform):
    notes = terraform(show=state(given_up=True))
    cloud.clients().storage.bucket("demo-lake").blob("x").upload_from_string("data")
    assert churnlab("down", "--yes").error is None
    assert "destroy" in notes.read_text()


def test_an_old_version_of_an_object_is_data_too(cloud, terraform):
    storage = cloud.clients().storage
    bucket = storage.bucket("demo-versions")
    bucket.versioning_enabled = True
    bucket.create()
    bucket.blob("x").upload_from_string("data")
    bucket.blob("x").delete()
    assert not list(storage.list_blobs("demo-versions"))
    kept = state()
    kept["values"]["root_module"]["resources"][0]["values"]["name"] = "demo-versions"
    terraform(show=kept)
    assert "Data is in gs://demo-versions" in churnlab("down", "--yes").error.problem


def test_a_protected_table_counts_as_data(cloud, terraform):
    terraform(show=state(protected=True))
    assert "google_bigquery_table.t" in churnlab("down", "--yes").error.problem


def test_a_destroy_that_fails_is_a_failure(cloud, terraform):
    terraform(show=state(), destroy=1)
    error = churnlab("down", "--yes").error
    assert "did not finish" in error.problem and "Repeating" in error.mend


def test_a_state_that_can_t_be_read_stops_it(cloud, terraform):
    terraform(fails="show")
    error = churnlab("down", "--yes").error
    assert "terraform show failed: Error: so be it" in error.problem and "init" in error.mend


def test_what_is_left_over_is_listed_and_the_command_fails(cloud, terraform):
    terraform(show=state())
    cloud.project.assets = [[BUCKET, ACCOUNT, ENDED, ALIVE, MINE]]  # more than a page
    done = churnlab("down", "--yes", "--patience", "0")
    assert "3 thing(s) that bill are left" in done.error.problem
    for name in ("dataproc-staging-1", "new", "data"):
        assert name in done.text
    assert "batch@demo" not in done.text and "old" not in done.text
    [line] = [line for line in done.text.splitlines() if "compute Disk" in line]
    assert "yes" in line


def test_an_inventory_that_lags_is_asked_again(cloud, terraform, monkeypatch):
    monkeypatch.setattr("churnlab.cloud.leftovers.time.sleep", lambda seconds: None)
    terraform(show=state())
    cloud.project.assets = [[BUCKET, MINE], [MINE], []]
    assert churnlab("down", "--yes").error is None
    assert cloud.project.assets == [[]]


def test_patience_ends():
    looks = []
    found, _ = wait_until_gone(lambda: looks.append(1) or ([MINE], ""), 0.05, 0.02)
    assert found == [MINE] and 2 <= len(looks) <= 4


@pytest.mark.parametrize("reason", ["SERVICE_DISABLED", "IAM_PERMISSION_DENIED"])
def test_without_the_inventory_the_services_are_asked_one_by_one(cloud, terraform, reason):
    terraform(show=state())
    project = cloud.project
    project.fail("SearchAllResources", "PERMISSION_DENIED", reason=reason)
    project.machines = {"disks": [{"name": "data", "labels": {"course": "churnlab"}}]}
    done = churnlab("down", "--yes", "--patience", "0")
    assert "These services were asked one by one" in done.text
    for name in ("demo-lake", "churn", "data", "composer Environment"):
        assert name in done.text
    assert "thing(s) that bill are left" in done.error.problem


def test_a_service_that_is_off_holds_nothing_and_one_that_refuses_stops_the_list(cloud, terraform):
    terraform(show=state())
    project = cloud.project
    project.fail("SearchAllResources", "PERMISSION_DENIED")
    project.fail("ListEnvironments", "PERMISSION_DENIED", reason="SERVICE_DISABLED")
    done = churnlab("down", "--yes", "--patience", "0")
    assert "composer Environment" not in done.text and "demo-lake" in done.text
    project.fail("SearchAllResources", "PERMISSION_DENIED")
    project.fail("aggregated/disks", "PERMISSION_DENIED", "Permission compute.disks.list denied")
    error = churnlab("down", "--yes", "--patience", "0").error
    assert "Listing machines" in error.problem and "roles/compute.viewer" in error.mend
