"""Look at everything that a run needs, before it costs anything; each trouble has its mend."""

import json
from collections.abc import Callable, Iterable, Iterator

from google.api_core import exceptions

from churnlab import paths
from churnlab.cloud.clients import CALL, Clients
from churnlab.cloud.profile import Profile, split_uri
from churnlab.cloud.refusals import explained, lacking
from churnlab.cloud.upload import code_items, compare, dag_folder
from churnlab.errors import CourseError
from churnlab.run.doctor import Finding

# What the commands of `churnlab cloud` and the notebooks call, by the services' IAM references, as
# https://docs.cloud.google.com/dataproc-serverless/docs/concepts/iam (accessed 2026-11-24)
PERMISSIONS = [
    "dataproc.batches.create",
    "dataproc.batches.get",
    "dataproc.batches.list",
    "dataproc.batches.cancel",
    "dataproc.operations.get",
    "dataproc.operations.cancel",
    "dataproc.sessions.list",
    "dataproc.sessions.terminate",
    "aiplatform.pipelineJobs.create",
    "aiplatform.pipelineJobs.get",
    "aiplatform.pipelineJobs.list",
    "aiplatform.pipelineJobs.cancel",
    "aiplatform.endpoints.list",
    "bigquery.jobs.create",
    "compute.regions.get",
]
COMPOSER = ["composer.environments.get"]
MODELS = [
    "aiplatform.models.upload",
    "aiplatform.models.list",
    "aiplatform.modelEvaluations.import",
]
ENDPOINT = ["aiplatform.endpoints.deploy", "aiplatform.endpoints.undeploy"]
# Only `churnlab cloud down` wants it, and can do without.
SEARCH = "cloudasset.assets.searchAllResources"
OBJECTS = ["storage.objects.create", "storage.objects.get", "storage.objects.list"]
OBJECTS += ["storage.objects.delete"]
ACT_AS = "iam.serviceAccounts.actAs"

# Batches of the standard tier count against these of Compute Engine. A driver and two executors of
# four cores are twelve; of the disks no amount is stated there, so any room will do.
# https://docs.cloud.google.com/managed-spark/quotas-serverless (accessed 2026-11-24)
QUOTAS = {"CPUS": 12, "DISKS_TOTAL_GB": 0}
MORE = "Wait until other work has ended, or ask for more: "
MORE += "https://docs.cloud.google.com/docs/quotas/view-manage"
APPLY = "`terraform -chdir=infra apply` makes it what infra/ says."
SERVICES_A_CALL = 30  # of Service Usage


def examine(clients: Clients, profile: Profile) -> Iterator[Finding]:
    """Yield every finding. A check that can't be made is a finding itself."""
    checks: list[tuple[str, Callable[[Clients, Profile], Iterable[Finding]]]] = [
        ("APIs", check_apis),
        ("Permissions", check_permissions),
        ("Accounts", check_accounts),
        ("Buckets", check_buckets),
        ("Tables", check_tables),
        ("Code", check_code),
        ("Quotas", check_quotas),
    ]
    yield Finding("Login", "ok", login(clients))
    for name, check in checks:
        try:
            yield from check(clients, profile)
        except CourseError as error:
            yield Finding(name, "trouble", error.problem, error.mend)


def login(clients: Clients) -> str:
    """Return who is logged in, as far as the login says. Raises CourseError for nobody."""
    found = clients.credentials
    account = getattr(found, "service_account_email", "") or getattr(found, "account", "")
    return account or type(found).__name__


def check_apis(clients: Clients, profile: Profile) -> Iterator[Finding]:
    """The APIs that Terraform enabled are enabled."""
    parent, disabled = f"projects/{profile.project_id}", []
    names = [f"{parent}/services/{api}" for api in profile.apis]
    with explained("Reading the enabled APIs"):
        for start in range(0, len(names), SERVICES_A_CALL):
            request = {"parent": parent, "names": names[start : start + SERVICES_A_CALL]}
            answer = clients.services.batch_get_services(request=request, **CALL)
            states = {s.name.rpartition("/")[2]: s.state.name for s in answer.services}
            wanted = [name.rpartition("/")[2] for name in request["names"]]
            disabled += [api for api in wanted if states.get(api) != "ENABLED"]
    if disabled:
        mend = f"Run `gcloud services enable {' '.join(disabled)}`, then wait a few minutes."
        yield Finding("APIs", "trouble", f"disabled: {', '.join(disabled)}", mend)
    else:
        yield Finding("APIs", "ok", f"{len(names)} enabled")


def check_permissions(clients: Clients, profile: Profile) -> Iterator[Finding]:
    """You may do in the project what the commands do."""
    wanted = PERMISSIONS + (COMPOSER if profile.composer_environment else [])
    wanted += MODELS if profile.serving_image else []
    wanted += ENDPOINT if profile.serving_endpoint else []
    resource = f"projects/{profile.project_id}"
    with explained("Testing your permissions"):
        answer = clients.projects.test_iam_permissions(
            resource=resource, permissions=[*wanted, SEARCH], **CALL
        )
    granted = set(answer.permissions)
    yield permission_finding("Permissions", wanted, granted)
    if SEARCH not in granted:
        detail = f"you lack {SEARCH}: `churnlab cloud down` will ask service by service"
        yield Finding("Search", "warning", detail, lacking(SEARCH))


def permission_finding(check: str, wanted: list[str], granted: Iterable[str]) -> Finding:
    """Return the finding about permissions."""
    missing = [permission for permission in wanted if permission not in set(granted)]
    if missing:
        return Finding(check, "trouble", f"you lack {', '.join(missing)}", lacking(missing[0]))
    return Finding(check, "ok", f"{len(wanted)} granted")


def check_accounts(clients: Clients, profile: Profile) -> Iterator[Finding]:
    """You may let batches and pipelines run as their accounts."""
    for name in ("batch", "pipeline"):
        account = profile.service_accounts[name]
        with explained(f"Testing your permissions on {account}"):
            answer = clients.accounts.test_iam_permissions(
                resource=f"projects/{profile.project_id}/serviceAccounts/{account}",
                permissions=[ACT_AS],
                **CALL,
            )
        yield permission_finding(f"Account {name}", [ACT_AS], answer.permissions)


def check_buckets(clients: Clients, profile: Profile) -> Iterator[Finding]:
    """The buckets are there, in the region, closed to the public, and open to you."""
    uris = (profile.lake_uri, profile.code_uri, profile.pipeline_root, profile.staging_bucket)
    for name in dict.fromkeys(split_uri(uri)[0] for uri in uris if uri):
        check = f"gs://{name}"
        try:
            yield check_bucket(clients, name, profile.region)
        except CourseError as error:
            yield Finding(check, "trouble", error.problem, error.mend)


def check_bucket(clients: Clients, name: str, region: str) -> Finding:
    """Return the finding about a bucket. Raises CourseError if it can't be asked for.

    Who works with objects need not be allowed to read a bucket's settings.
    """
    check = f"gs://{name}"
    with explained(f"Reading {check}"):
        granted = clients.storage.bucket(name).test_iam_permissions(OBJECTS, **CALL)
        try:
            bucket = clients.storage.get_bucket(name, **CALL)
        except exceptions.Forbidden:
            bucket = None
    finding = permission_finding(check, OBJECTS, granted)
    if finding.state != "ok":
        return finding
    if bucket is None:
        return Finding(check, "ok", f"{finding.detail}; its settings are not for you to read")
    faults = bucket_faults(bucket, region)
    return Finding(check, "trouble", "; ".join(faults), APPLY) if faults else finding


def bucket_faults(bucket, region: str) -> list[str]:
    """Return what is wrong with a bucket."""
    access = bucket.iam_configuration
    faults = {
        f"is in {bucket.location.lower()}, not {region}": bucket.location.lower() != region,
        "public access is not prevented": access.public_access_prevention != "enforced",
        "its objects may have access lists of their own": (
            not access.uniform_bucket_level_access_enabled
        ),
    }
    return [text for text, wrong in faults.items() if wrong]


def check_tables(clients: Clients, profile: Profile) -> Iterator[Finding]:
    """The dataset is there and its tables have the columns of the contracts."""
    contracts = json.loads((paths.INFRA / "bigquery_tables.json").read_text(encoding="utf-8"))
    dataset = f"{profile.project_id}.{profile.dataset_id}"
    with explained(f"Reading the dataset {dataset}"):
        found = clients.bigquery.get_dataset(dataset, **CALL)
        there = {table.table_id for table in clients.bigquery.list_tables(found, **CALL)}
        faults = [f"{name} is missing" for name in contracts if name not in there]
        for name in (name for name in contracts if name in there):
            table = clients.bigquery.get_table(f"{dataset}.{name}", **CALL)
            faults += column_faults(name, contracts[name]["schema"], table.schema)
    if found.location.lower() != profile.region:
        faults.insert(0, f"the dataset is in {found.location}, not {profile.region}")
    if faults:
        more = f" and {len(faults) - 3} more" if len(faults) > 3 else ""
        yield Finding("Tables", "trouble", "; ".join(faults[:3]) + more, APPLY)
    else:
        yield Finding("Tables", "ok", f"{len(contracts)} as their contracts say")


def column_faults(table: str, contract: list[dict], schema) -> list[str]:
    """Return how a table's columns differ from its contract."""
    wanted = {field["name"]: shape(field) for field in contract}
    found = {field.name: shape(field.to_api_repr()) for field in schema}
    faults = [f"{table} lacks {name}" for name in wanted if name not in found]
    faults += [f"{table} has the unknown {name}" for name in found if name not in wanted]
    both = [name for name in wanted if name in found and wanted[name] != found[name]]
    return faults + [f"{table}.{name} has another type" for name in both]


# Two names each, both of which the service may answer.
TYPES = {"INT64": "INTEGER", "FLOAT64": "FLOAT", "BOOL": "BOOLEAN", "STRUCT": "RECORD"}


def shape(field: dict) -> tuple:
    """Return what counts of a column: type, mode, and the fields of a record."""
    kind, mode = field["type"], field.get("mode") or "NULLABLE"
    inner = tuple((part["name"], shape(part)) for part in field.get("fields", []))
    return TYPES.get(kind, kind), mode, inner


def check_code(clients: Clients, profile: Profile) -> Iterator[Finding]:
    """The scripts, the compiled pipeline and the DAG in the cloud are those of the checkout."""
    items = compare(clients, code_items(profile, dag_folder(clients, profile)))
    stale = [f"{item.path.name} is {item.state}" for item in items if item.state != "same"]
    if stale:
        more = f" and {len(stale) - 3} more" if len(stale) > 3 else ""
        detail = ", ".join(stale[:3]) + more
        yield Finding("Code", "trouble", detail, "Run `churnlab cloud upload`.")
    else:
        yield Finding("Code", "ok", f"{len(items)} files as in the checkout")


def check_quotas(clients: Clients, profile: Profile) -> Iterator[Finding]:
    """The region has room for a batch of the default size."""
    with explained(f"Reading the quotas of {profile.region}"):
        region = clients.compute("Regions").get(
            project=profile.project_id, region=profile.region, **CALL
        )
    quotas = {quota.metric: quota for quota in region.quotas}
    for name, need in QUOTAS.items():
        if name not in quotas:
            detail = f"{profile.region} names no quota {name}"
            yield Finding(f"Quota {name}", "warning", detail, MORE)
            continue
        free = quotas[name].limit - quotas[name].usage
        detail = f"{free:.0f} of {quotas[name].limit:.0f} free"
        detail += f", a batch begins with {need}" if need else ""
        state = "ok" if free >= max(need, 1) else "trouble"
        yield Finding(f"Quota {name}", state, detail, MORE if state != "ok" else "")
