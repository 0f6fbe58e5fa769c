"""`churnlab cloud check` finds each trouble before a run does, and says how to mend it."""

import pytest
from google.auth.exceptions import DefaultCredentialsError

from churnlab.cloud.checks import PERMISSIONS, examine
from churnlab.cloud.profile import write_profile
from tests.cloud.conftest import PROFILE, changed, churnlab

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("cloud commands")]


def findings(cloud, profile=PROFILE) -> dict:
    """Return the findings by the names of their checks."""
    return {finding.check: finding for finding in examine(cloud.clients(), profile)}


def test_a_project_as_it_should_be_is_all_ok(uploaded):
    done = churnlab("check")
    assert done.error is None, done.text
    assert {finding.state for finding in findings(uploaded).values()} == {"ok"}
    assert uploaded.project.changes == []


def spoil_api(project):
    project.disabled = {"aiplatform.googleapis.com"}


def spoil_permission(project):
    project.denied = {"dataproc.batches.create", "dataproc.batches.get"}


def spoil_account(project):
    project.denied = {"iam.serviceAccounts.actAs"}


def spoil_objects(project):
    project.denied = {"storage.objects.create"}


def spoil_bucket(project):
    project.buckets = {"demo-lake": {"iamConfiguration": {"publicAccessPrevention": "inherited"}}}


def spoil_region(project):
    project.buckets = {"demo-lake": {"location": "EU"}}


def spoil_table(project):
    del project.tables["model_metrics"]


def spoil_column(project):
    schema = project.tables["model_registry"]["schema"]
    schema["fields"] = [dict(field) for field in schema["fields"]]
    schema["fields"][0]["type"] = "BYTES"
    schema["fields"].append({"name": "surprise", "type": "STRING"})


def spoil_dataset(project):
    project.datasets["churn"]["location"] = "EU"


def spoil_quota(project):
    project.quotas["CPUS"] = (8, 0)


def spoil_disk(project):
    project.quotas["DISKS_TOTAL_GB"] = (2048, 2048)


def spoil_nothing_of_quotas(project):
    project.quotas = {}


@pytest.mark.parametrize(
    ("spoil", "check", "state", "found", "mend"),
    [
        (spoil_api, "APIs", "trouble", "disabled: aiplatform", "gcloud services enable aiplatform"),
        (
            spoil_permission,
            "Permissions",
            "trouble",
            "you lack dataproc.batches.create, dataproc.batches.get",
            "roles/dataproc.serverlessEditor",
        ),
        (spoil_account, "Account batch", "trouble", "actAs", "roles/iam.serviceAccountUser"),
        (spoil_account, "Account pipeline", "trouble", "actAs", "author"),
        (spoil_objects, "gs://demo-code", "trouble", "objects.create", "roles/storage.objectUser"),
        (
            spoil_bucket,
            "gs://demo-lake",
            "trouble",
            "public access is not prevented; its objects may have access lists",
            "apply",
        ),
        (spoil_region, "gs://demo-lake", "trouble", "is in eu, not us-central1", "apply"),
        (spoil_table, "Tables", "trouble", "model_metrics is missing", "apply"),
        (spoil_column, "Tables", "trouble", "model_registry has the unknown surprise", "apply"),
        (spoil_column, "Tables", "trouble", "has another type", "apply"),
        (spoil_dataset, "Tables", "trouble", "the dataset is in EU, not us-central1", "apply"),
        (spoil_quota, "Quota CPUS", "trouble", "8 of 8 free, a batch begins with 12", "quotas"),
        (spoil_disk, "Quota DISKS_TOTAL_GB", "trouble", "0 of 2048 free", "quotas"),
        (spoil_nothing_of_quotas, "Quota CPUS", "warning", "names no quota CPUS", "quotas"),
    ],
)
def test_each_trouble_is_found_with_its_mend(uploaded, spoil, check, state, found, mend):
    spoil(uploaded.project)
    finding = findings(uploaded)[check]
    assert finding.state == state
    assert found in finding.detail
    assert mend in finding.mend


def test_a_trouble_is_in_the_table_and_the_command_fails(cloud):
    done = churnlab("check")
    assert "Run `churnlab cloud upload`." in done.text
    assert "check(s) failed: Code" in done.error.problem


@pytest.mark.parametrize(
    ("part", "check"),
    [
        ("BatchGetServices", "APIs"),
        ("Projects/TestIam", "Permissions"),
        ("IAM/TestIam", "Accounts"),
        ("/b/demo-lake/iam", "gs://demo-lake"),
        ("/datasets/churn", "Tables"),
        ("GetEnvironment", "Code"),
        ("/regions/", "Quotas"),
    ],
)
def test_a_check_that_is_refused_is_a_finding_and_the_others_go_on(uploaded, part, check):
    uploaded.project.fail(part, "PERMISSION_DENIED", "Permission 'compute.regions.get' denied")
    found = findings(uploaded)
    assert found[check].state == "trouble" and "roles/compute.viewer" in found[check].mend
    assert "Quota CPUS" in found or check == "Quotas"


def test_a_bucket_that_is_not_there_is_named(uploaded):
    profile = changed(lake_uri="gs://demo-nowhere/lake")
    finding = findings(uploaded, profile)["gs://demo-nowhere"]
    assert finding.state == "trouble" and "terraform -chdir=infra plan" in finding.mend


def test_who_may_use_the_objects_need_not_read_the_bucket_s_settings(uploaded):
    # More than once: the storage library also looks for itself, in the background.
    uploaded.project.fail("/b/demo-code$", "PERMISSION_DENIED", times=5)
    finding = findings(uploaded)["gs://demo-code"]
    assert (finding.state, finding.detail.split("; ")[1]) == (
        "ok",
        "its settings are not for you to read",
    )


def test_a_missing_dataset_is_named(uploaded):
    uploaded.project.datasets.clear()
    assert "dataset demo.churn: not found" in findings(uploaded)["Tables"].detail


def test_code_that_differs_from_the_checkout_is_named(uploaded):
    bucket = uploaded.clients().storage.bucket("demo-code")
    bucket.blob("scripts/preprocessing.py").upload_from_string("print('old')")
    bucket.blob("scripts/churn.zip").delete()
    detail = findings(uploaded)["Code"].detail
    assert detail == "preprocessing.py is changed, churn.zip is new"


def test_who_can_t_search_the_project_is_warned_but_may_run(uploaded):
    uploaded.project.denied = {"cloudasset.assets.searchAllResources"}
    found = findings(uploaded)
    assert found["Search"].state == "warning" and "roles/cloudasset.viewer" in found["Search"].mend
    assert churnlab("check").error is None


@pytest.mark.parametrize(
    "permission",
    ["composer.environments.get", "aiplatform.models.upload", "aiplatform.endpoints.deploy"],
)
def test_a_permission_for_what_is_switched_on_counts_only_then(uploaded, permission):
    uploaded.project.denied = {permission}
    assert findings(uploaded, changed(serving_endpoint="e"))["Permissions"].state == "trouble"
    off = changed(composer_environment="", serving_image="", serving_endpoint="")
    found = findings(uploaded, off)["Permissions"]
    assert (found.state, found.detail) == ("ok", f"{len(PERMISSIONS)} granted")


def test_more_apis_than_a_call_takes_are_all_looked_at(uploaded):
    apis = [f"number{n}.googleapis.com" for n in range(65)]
    uploaded.project.disabled = {apis[0], apis[64]}
    detail = findings(uploaded, changed(apis=apis))["APIs"].detail
    assert detail == "disabled: number0.googleapis.com, number64.googleapis.com"


def test_a_dry_run_asks_nobody(cloud):
    assert "Would look at demo" in churnlab("check", "--dry-run").text
    assert cloud.project.calls == []


def test_without_a_login_the_mend_is_to_log_in(cloud, monkeypatch):
    monkeypatch.delenv("CHURNLAB_ENDPOINTS")

    def nobody(**options):
        raise DefaultCredentialsError("nobody")

    monkeypatch.setattr("google.auth.default", nobody)
    for command in (["check"], ["upload"], ["costs"], ["pipeline", "list"], ["dag", "trigger"]):
        error = churnlab(*command).error
        assert error.problem == "Nobody is logged in to Google Cloud."
        assert "gcloud auth application-default login" in error.mend


def test_half_a_list_of_other_addresses_never_falls_back_on_google(cloud, profile, monkeypatch):
    monkeypatch.setenv("CHURNLAB_ENDPOINTS", '{"dataproc": "127.0.0.1:1"}')
    write_profile(changed(composer_environment=""), profile_path())
    assert "names no address for storage" in churnlab("upload").error.problem


def profile_path():
    from churnlab.cloud.profile import profile_path as path

    return path()
