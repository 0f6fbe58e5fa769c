"""What the tests of `churnlab cloud` share: a project on loopback and a profile of it.

Every call that a test makes is checked at its end: one without a time limit fails it.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
import pytest
import requests
from typer.testing import CliRunner

from churnlab import paths
from churnlab.cloud import clients as clients_module
from churnlab.cloud.clients import VARIABLE, Clients
from churnlab.cloud.commands import app
from churnlab.cloud.profile import Profile, write_profile
from churnlab.errors import CourseError
from churnlab.standins.clients import VERTEX, google_clients
from churnlab.standins.storage import storage_server

if TYPE_CHECKING:  # Google's libraries take seconds, which only who needs the servers shall wait
    from churnlab.standins.control import Project
    from churnlab.standins.models import ModelService
    from churnlab.standins.pipelines import PipelineService
    from tests.cloud.quick_batches import QuickBatches

PROFILE = Profile(
    project_id="demo",
    region="us-central1",
    zone="us-central1-a",
    lake_uri="gs://demo-lake",
    code_uri="gs://demo-code/scripts",
    pipeline_root="gs://demo-pipelines/root",
    staging_bucket="demo-staging",
    dataset="bigquery://demo.churn",
    dataset_id="churn",
    network="projects/demo/global/networks/churnlab",
    subnetwork="projects/demo/regions/us-central1/subnetworks/churnlab",
    service_accounts={
        "author": "author@demo.iam.gserviceaccount.com",
        "batch": "batch@demo.iam.gserviceaccount.com",
        "pipeline": "pipeline@demo.iam.gserviceaccount.com",
    },
    session_template="",
    history_server="",
    artifact_registry="us-central1-docker.pkg.dev/demo/churnlab",
    workbench_instance="",
    workbench_url="",
    function_name="",
    function_url="",
    scheduler_job="",
    composer_environment="churnlab",
    template_uri="gs://demo-code/pipelines/training_pipeline.yaml",
    kms_key="",
    labels={"course": "churnlab", "managed-by": "terraform", "owner": "ada"},
    batch_image="",
    serving_image="us-central1-docker.pkg.dev/demo/churnlab/serving:1",
    serving_machine="",
    serving_endpoint="",
    serving_url="",
    apis=["dataproc.googleapis.com", "aiplatform.googleapis.com", "bigquery.googleapis.com"],
    toggles={"create_workbench": False, "create_composer": True},
)
BUCKETS = ("demo-lake", "demo-code", "demo-pipelines", "demo-staging", "demo-composer")


@dataclass(frozen=True)
class Cloud:
    """The servers of a project, and where they listen."""

    project: Project
    batches: QuickBatches
    pipelines: PipelineService
    models: ModelService
    endpoints: dict[str, str]

    def clients(self) -> Clients:
        """Return clients that talk to the servers."""
        return Clients("demo", "us-central1", self.endpoints)


@pytest.fixture(scope="session")
def servers(tmp_path_factory) -> Iterator[Cloud]:
    """The servers, once for all tests; ``cloud`` empties them for each."""
    from churnlab.standins.batches_grpc import serve_grpc as serve_batches
    from churnlab.standins.control import Project, serve_grpc, serve_rest
    from churnlab.standins.models import ModelService
    from churnlab.standins.models_rest import add_models
    from churnlab.standins.pipelines import PipelineService
    from churnlab.standins.pipelines_rest import rest_app as pipelines_app
    from churnlab.standins.rest import serve_app
    from tests.cloud.quick_batches import QuickBatches

    storage = tmp_path_factory.mktemp("storage")
    with ExitStack() as ends:
        try:
            bucket_url = ends.enter_context(storage_server())
        except CourseError as error:
            pytest.skip(f"no storage server: {error}")
        project = Project()
        batches = QuickBatches(storage)
        ends.callback(batches.close)
        server, dataproc_address = serve_batches(batches)
        ends.callback(server.stop, 0)
        pipelines = PipelineService(storage, batches, execute=False)
        models = ModelService()
        vertex_app = pipelines_app(pipelines)
        add_models(vertex_app, models)
        vertex, vertex_url = serve_app(vertex_app)
        ends.callback(vertex.shutdown)
        control = ends.enter_context(serve_grpc(project))
        rest = ends.enter_context(serve_rest(project, bucket_url))
        names = ("sessions", "serviceusage", "cloudresourcemanager", "iam", "cloudasset")
        endpoints = dict.fromkeys((*names, "composer"), control)
        endpoints |= dict.fromkeys(("compute", "bigquery", "storage"), rest)
        endpoints |= {"dataproc": dataproc_address, "aiplatform": vertex_url}
        yield Cloud(project, batches, pipelines, models, endpoints)


@pytest.fixture
def profile(tmp_path, monkeypatch) -> Profile:
    """The profile of the project, written where the commands look for it."""
    path = tmp_path / "cloud.toml"
    monkeypatch.setenv("CHURNLAB_PROFILE", str(path))
    write_profile(PROFILE, path)
    return PROFILE


@pytest.fixture
def cloud(servers, profile, monkeypatch) -> Iterator[Cloud]:
    """A project in which all is as it should be: a test spoils what it is about."""
    servers.project.__init__()
    healthy(servers)
    monkeypatch.setenv(VARIABLE, json.dumps(servers.endpoints))
    monkeypatch.setenv("COLUMNS", "240")
    quick = replace_delays(clients_module.RETRY)
    monkeypatch.setattr(clients_module.RETRY, "_initial", quick)
    with google_clients({VERTEX: servers.endpoints["aiplatform"]}):
        yield servers
    clear(servers)


def replace_delays(retry) -> float:
    """Return the first delay of a retry for tests, in seconds; that of the cloud is known."""
    assert retry._initial == 0.5
    return 0.01


def healthy(cloud: Cloud) -> None:
    """Fill a project with what `churnlab cloud check` looks for."""
    from google.cloud.orchestration.airflow import service_v1 as composer

    project, storage = cloud.project, cloud.clients().storage
    project.quotas = {"CPUS": (24, 2), "DISKS_TOTAL_GB": (4096, 100)}
    place = {"projectId": "demo", "datasetId": "churn"}
    project.datasets = {"churn": {"datasetReference": place, "location": "us-central1"}}
    contracts = json.loads((paths.INFRA / "bigquery_tables.json").read_text())
    for name, contract in contracts.items():
        reference = place | {"tableId": name}
        schema = {"fields": contract["schema"]}
        project.tables[name] = {"tableReference": reference, "schema": schema}
    config = {
        "airflow_uri": f"{cloud.endpoints['storage']}/airflow",
        "dag_gcs_prefix": "gs://demo-composer/dags",
    }
    name = "projects/demo/locations/us-central1/environments/churnlab"
    project.environments = [composer.Environment(name=name, config=config, state="RUNNING")]
    project.dag = {"dag_id": "churn_scoring", "is_paused": False}
    known = {bucket.name for bucket in storage.list_buckets()}
    for bucket in BUCKETS:
        if bucket not in known:
            storage.create_bucket(bucket)
    project.calls.clear()
    project.changes.clear()


def clear(cloud: Cloud) -> None:
    """Forget what a test has left in the storage, the batches and the pipelines."""
    cloud.project.faults.clear()
    storage = cloud.clients().storage
    for bucket in storage.list_buckets():
        for blob in storage.list_blobs(bucket.name):
            blob.delete()
        if bucket.name not in BUCKETS:
            bucket.delete()
    for batch in list(cloud.batches._batches.values()):
        cloud.batches.cancel_operation(batch.operation)
        cloud.batches.wait(batch.name)
        cloud.batches.delete_batch(batch.name)
    cloud.pipelines._jobs.clear()
    cloud.pipelines._schedules.clear()
    cloud.models.__init__()
    shutil.rmtree(cloud.pipelines.storage, ignore_errors=True)
    cloud.pipelines.storage.mkdir()


@pytest.fixture
def uploaded(cloud) -> Cloud:
    """The same project, with the code of the checkout in its buckets."""
    assert churnlab("upload").error is None
    # The stand-in of Vertex AI keeps its buckets in a folder; the function's code reads there.
    template = cloud.pipelines.storage / PROFILE.template_uri.removeprefix("gs://")
    template.parent.mkdir(parents=True)
    shutil.copy(paths.SCRIPTS / "training_pipeline.yaml", template)
    cloud.project.changes.clear()
    return cloud


@dataclass(frozen=True)
class Outcome:
    """What a command printed, and the error that its caller is told."""

    text: str
    error: CourseError | None


def churnlab(*arguments: str, answer: str = "") -> Outcome:
    """Run a command of `churnlab cloud` here; another error than CourseError is not expected."""
    done = CliRunner().invoke(app, list(arguments), input=answer)
    if isinstance(done.exception, CourseError):
        return Outcome(done.output, done.exception)
    if done.exception and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert done.exit_code == 0, done.output
    return Outcome(done.output, None)


@pytest.fixture(autouse=True)
def calls_end(monkeypatch) -> Iterator[list[tuple[str, float | None]]]:
    """Note how long every call of a Google client may take, and fail the test if one may for ever.

    What the servers themselves send, to the storage server, counts as well.
    """
    noted: list[tuple[str, float | None]] = []
    send, open_channel = requests.adapters.HTTPAdapter.send, grpc.insecure_channel

    def noting(adapter, sent, *arguments, **options):
        noted.append((f"{sent.method} {sent.url}", options.get("timeout")))
        return send(adapter, sent, *arguments, **options)

    class Noting(grpc.UnaryUnaryClientInterceptor):
        def intercept_unary_unary(self, continuation, details, asked):
            noted.append((details.method, details.timeout))
            return continuation(details, asked)

    def noted_channel(*arguments, **options):
        return grpc.intercept_channel(open_channel(*arguments, **options), Noting())

    monkeypatch.setattr(requests.adapters.HTTPAdapter, "send", noting)
    monkeypatch.setattr(grpc, "insecure_channel", noted_channel)
    yield noted
    assert [name for name, timeout in noted if not timeout] == []


@pytest.fixture
def terraform(tmp_path, monkeypatch) -> Callable[..., Path]:
    """Put a program named terraform on the PATH; it answers from files and notes its arguments.

    ``terraform(output=…, show=…, destroy=status)`` returns the file of the notes.
    """
    folder = tmp_path / "bin"
    folder.mkdir()
    notes = tmp_path / "terraform.txt"

    def install(output: object = None, show: object = None, destroy: int = 0, fails: str = ""):
        (folder / "output.json").write_text(json.dumps({} if output is None else output))
        (folder / "show.json").write_text(json.dumps({} if show is None else show))
        program = folder / "terraform"
        program.write_text(
            f"""#!/bin/sh
echo "$@" >> {notes}
case "$2" in
  {fails or "none"}) echo "Error: so be it" >&2; exit 1 ;;
  output) cat {folder}/output.json ;;
  show) cat {folder}/show.json ;;
  destroy) exit {destroy} ;;
esac
"""
        )
        program.chmod(0o755)
        monkeypatch.setenv("PATH", str(folder), prepend=":")
        return notes

    return install


def changed(**changes) -> Profile:
    """Return the profile with changes."""
    return replace(PROFILE, **changes)
