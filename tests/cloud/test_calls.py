"""Calls end, are repeated where that helps, and are explained where it does not."""

import time

import pytest
import requests
from google.api_core import exceptions
from google.auth.credentials import AnonymousCredentials
from google.auth.exceptions import RefreshError

from churnlab.cloud import bills, checks, leftovers, upload
from churnlab.cloud.clients import CALL, Clients
from churnlab.cloud.refusals import explain, explained, role_of
from churnlab.errors import CourseError
from tests.cloud.conftest import PROFILE

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("cloud commands")]

READS = {
    "BatchGetServices": lambda clients: list(checks.check_apis(clients, PROFILE)),
    "Projects/TestIam": lambda clients: list(checks.check_permissions(clients, PROFILE)),
    "IAM/TestIam": lambda clients: list(checks.check_accounts(clients, PROFILE)),
    "/b/demo-lake": lambda clients: list(checks.check_buckets(clients, PROFILE)),
    "/testPermissions": lambda clients: list(checks.check_buckets(clients, PROFILE)),
    "/datasets/churn": lambda clients: list(checks.check_tables(clients, PROFILE)),
    "/churn/tables/": lambda clients: list(checks.check_tables(clients, PROFILE)),
    "/regions/": lambda clients: list(checks.check_quotas(clients, PROFILE)),
    "GetEnvironment": lambda clients: upload.dag_folder(clients, PROFILE),
    "SearchAllResources": leftovers.search,
    "ListSessions": lambda clients: list(leftovers._sessions(clients)),
    "/aggregated/": lambda clients: list(leftovers._machines(clients)),
    "GET /storage/v1/b": lambda clients: list(leftovers._buckets(clients)),
}


@pytest.mark.parametrize("part", READS)
def test_a_service_that_is_away_for_a_moment_is_asked_again(cloud, part):
    cloud.project.fail(part, "UNAVAILABLE", times=2)
    READS[part](cloud.clients())
    assert not cloud.project.faults
    assert sum(part in call for call in cloud.project.calls) >= 3


def test_a_write_is_repeated_as_well(cloud, tmp_path):
    file = tmp_path / "x.py"
    file.write_text("x = 1\n")
    cloud.project.fail("POST /upload", "UNAVAILABLE")
    clients = cloud.clients()
    item = upload.Item(file, "gs://demo-code/x.py")
    assert list(upload.upload(clients, [item])) == [item]
    assert clients.storage.bucket("demo-code").blob("x.py").download_as_bytes() == b"x = 1\n"


def test_every_call_carries_its_time_limit(cloud, calls_end):
    calls_end.clear()
    for read in READS.values():
        read(cloud.clients())
    list(bills.course_batches(cloud.clients(), 5))
    limits = [limit for name, limit in calls_end if "/testing" not in name]
    assert len(limits) > 20
    assert all(limit and limit <= CALL["timeout"] for limit in limits)


def test_a_service_that_never_answers_is_given_up(cloud, monkeypatch):
    monkeypatch.setitem(CALL, "timeout", 0.2)
    monkeypatch.setitem(CALL, "retry", CALL["retry"].with_timeout(0.2))
    cloud.project.fail("BatchGetServices", "UNAVAILABLE", times=50)
    begin = time.monotonic()
    with pytest.raises(CourseError, match="Reading the enabled APIs: no answer"):
        list(checks.check_apis(cloud.clients(), PROFILE))
    assert time.monotonic() - begin < 10


DISABLED = "Cloud Dataproc API has not been used in project 7 before or it is disabled. Enable it "
DISABLED += "by visiting https://console.developers.google.com/apis/api/dataproc.googleapis.com/x"


@pytest.mark.parametrize(
    ("error", "problem", "mend"),
    [
        (exceptions.Forbidden(DISABLED), "the API dataproc.googleapis.com is disabled", "apply"),
        (
            exceptions.PermissionDenied(
                "Permission 'dataproc.batches.create' denied on resource '//x/projects/demo'"
            ),
            "you lack dataproc.batches.create",
            "roles/dataproc.serverlessEditor",
        ),
        (
            exceptions.Forbidden(
                "ada@example.com does not have storage.objects.list access to the bucket."
            ),
            "you lack storage.objects.list",
            "roles/storage.objectUser",
        ),
        (exceptions.Forbidden("No."), "permission denied. No.", "churnlab cloud check"),
        (RefreshError("expired"), "your login is not valid any more", "application-default login"),
        (exceptions.Unauthenticated("who?"), "does not know you", "application-default login"),
        (exceptions.NotFound("bucket"), "not found. bucket", "terraform -chdir=infra plan"),
        (exceptions.ResourceExhausted("CPUS"), "a quota is used up. CPUS", "Wait"),
        (exceptions.ServiceUnavailable("away"), "no answer within 60 s", "connection"),
        (exceptions.RetryError("late", None), "no answer within 60 s", "connection"),
        (requests.ConnectionError("off"), "no answer within 60 s. off", "connection"),
        (exceptions.BadRequest("ttl"), "Doing it: ttl", "churnlab cloud check"),
    ],
)
def test_a_refusal_says_what_is_wrong_and_how_to_mend_it(error, problem, mend):
    found = explain(error, "Doing it")
    assert found.problem.startswith("Doing it: ")
    assert problem in found.problem and mend in found.mend


def test_the_facts_of_an_error_count_more_than_its_words(cloud):
    project = cloud.project
    project.fail(
        "BatchGetServices",
        "PERMISSION_DENIED",
        reason="SERVICE_DISABLED",
        facts={"service": "serviceusage.googleapis.com"},
    )
    facts = {"permission": "compute.regions.get"}
    project.fail("/regions/", "PERMISSION_DENIED", reason="IAM_PERMISSION_DENIED", facts=facts)
    clients = cloud.clients()
    with pytest.raises(CourseError, match=r"the API serviceusage\.googleapis\.com is disabled"):
        list(checks.check_apis(clients, PROFILE))
    with pytest.raises(CourseError, match=r"you lack compute\.regions\.get"):
        list(checks.check_quotas(clients, PROFILE))


def test_our_own_mistakes_are_not_explained_away():
    with pytest.raises(ZeroDivisionError), explained("Doing it"):
        1 / 0  # noqa: B018


def test_the_most_particular_role_is_named():
    assert role_of("bigquery.jobs.create") == "roles/bigquery.jobUser"
    assert role_of("bigquery.tables.get") == "roles/bigquery.dataEditor"
    assert role_of("spanner.databases.get") == ""


def test_without_other_addresses_the_clients_go_to_google_and_bill_the_project(monkeypatch):
    asked = {}

    def default(**options):
        asked.update(options)
        return AnonymousCredentials(), "another"

    monkeypatch.setattr("google.auth.default", default)
    clients = Clients("demo", "europe-west1", endpoints={})
    addresses = {
        clients.batches: "europe-west1-dataproc.googleapis.com",
        clients.sessions: "europe-west1-dataproc.googleapis.com",
        clients.services: "serviceusage.googleapis.com",
        clients.projects: "cloudresourcemanager.googleapis.com",
        clients.accounts: "iam.googleapis.com",
        clients.assets: "cloudasset.googleapis.com",
        clients.environments: "composer.googleapis.com",
        clients.compute("Regions"): "compute.googleapis.com",
        clients.pipelines: "europe-west1-aiplatform.googleapis.com",
        clients.schedules: "europe-west1-aiplatform.googleapis.com",
        clients.models: "europe-west1-aiplatform.googleapis.com",
        clients.online_endpoints: "europe-west1-aiplatform.googleapis.com",
    }
    for client, address in addresses.items():
        assert client.transport.host.removeprefix("https://").removesuffix(":443") == address
    monkeypatch.delenv("STORAGE_EMULATOR_HOST", raising=False)
    assert clients.storage.api_endpoint == "https://storage.googleapis.com"
    assert clients.bigquery._connection.API_BASE_URL == "https://bigquery.googleapis.com"
    assert asked["quota_project_id"] == "demo"
