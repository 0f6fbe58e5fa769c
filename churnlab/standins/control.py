"""A project of Google Cloud on loopback, as far as `churnlab cloud` asks for it.

Sessions, quotas, permissions, the inventory, Composer and Airflow: what the stand-ins of batches
and pipelines do not know. The messages are the services' own; what is in the project is for a page
or a test to say. Each server notes the calls, and fails those that a test wants to fail.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field

import grpc
import requests
from flask import Flask, Response, jsonify, request
from google.cloud import asset_v1 as asset
from google.cloud import dataproc_v1 as dataproc
from google.cloud import service_usage_v1 as service_usage
from google.cloud.orchestration.airflow import service_v1 as composer
from google.iam.v1 import iam_policy_pb2
from google.longrunning import operations_pb2
from google.protobuf import any_pb2
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from churnlab.standins.batches_grpc import ALONE
from churnlab.standins.rest import HTTP_STATUS, serve_app


@dataclass
class Fault:
    """An error that a call gets instead of an answer."""

    code: grpc.StatusCode
    message: str
    reason: str = ""
    facts: dict[str, str] = field(default_factory=dict)

    def detail(self) -> error_details_pb2.ErrorInfo:
        """Return what the error says beside its message."""
        return error_details_pb2.ErrorInfo(reason=self.reason, metadata=self.facts)


@dataclass
class Project:
    """What a project holds, what its caller may do, and what was asked of it."""

    disabled: set[str] = field(default_factory=set)
    denied: set[str] = field(default_factory=set)
    sessions: dict[str, dataproc.Session] = field(default_factory=dict)
    assets: list[list] = field(default_factory=list)  # one list a search, the last for all later
    environments: list[composer.Environment] = field(default_factory=list)
    quotas: dict[str, tuple[float, float]] = field(default_factory=dict)  # limit, usage
    datasets: dict[str, dict] = field(default_factory=dict)  # id -> resource
    tables: dict[str, dict] = field(default_factory=dict)  # id -> resource
    machines: dict[str, list[dict]] = field(default_factory=dict)  # instances, disks, addresses
    dag: dict | None = None
    runs: dict[str, dict] = field(default_factory=dict)
    buckets: dict[str, dict] = field(default_factory=dict)  # what differs from a good bucket
    faults: list[tuple[str, Fault]] = field(default_factory=list)
    calls: list[str] = field(default_factory=list)
    changes: list[str] = field(default_factory=list)

    def fail(self, part: str, code: str, message: str = "so be it", times: int = 1, **info) -> None:
        """Fail the next calls in whose name a part occurs, at the end if it ends with a dollar.

        ``info`` is reason and facts.
        """
        self.faults += [(part, Fault(grpc.StatusCode[code], message, **info))] * times

    def fault(self, name: str, change: bool = False) -> Fault | None:
        """Note a call; return the error that it gets instead of an answer."""
        self.calls.append(name)
        for entry in self.faults:
            if entry[0] in f"{name}$":
                self.faults.remove(entry)
                return entry[1]
        if change:
            self.changes.append(name)
        return None


# gRPC


def batch_get_services(project: Project, asked):
    """The state of each service; more than 30 names at a time are too many."""
    assert 0 < len(asked.names) <= 30
    states = {True: "DISABLED", False: "ENABLED"}
    return service_usage.BatchGetServicesResponse(
        services=[
            {"name": name, "state": states[name.rpartition("/")[2] in project.disabled]}
            for name in asked.names
        ]
    )


def test_iam_permissions(project: Project, asked):
    """Those of the asked permissions that are granted."""
    granted = [permission for permission in asked.permissions if permission not in project.denied]
    return iam_policy_pb2.TestIamPermissionsResponse(permissions=granted)


def search_all_resources(project: Project, asked):
    """A page of assets, two at most, of the search that is under way."""
    start = int(asked.page_token or 0)
    found = project.assets[0] if project.assets else []
    last = start + 2 >= len(found)
    if last and len(project.assets) > 1:
        project.assets.pop(0)
    token = "" if last else str(start + 2)
    return asset.SearchAllResourcesResponse(results=found[start : start + 2], next_page_token=token)


def list_sessions(project: Project, asked):
    """The sessions, whatever their state."""
    return dataproc.ListSessionsResponse(sessions=list(project.sessions.values()))


def terminate_session(project: Project, asked):
    """End a session at once."""
    project.sessions[asked.name].state = dataproc.Session.State.TERMINATED
    return operations_pb2.Operation(name="operations/terminate", done=True)


def get_environment(project: Project, asked):
    """One of the Composer environments."""
    found = [each for each in project.environments if each.name == asked.name]
    if not found:
        raise LookupError(f"Not found: {asked.name}")
    return found[0]


def list_environments(project: Project, asked):
    """All Composer environments."""
    return composer.ListEnvironmentsResponse(environments=project.environments)


IAM = iam_policy_pb2.TestIamPermissionsRequest
METHODS: dict[str, tuple[type, Callable]] = {
    "google.api.serviceusage.v1.ServiceUsage/BatchGetServices": (
        service_usage.BatchGetServicesRequest,
        batch_get_services,
    ),
    "google.cloud.resourcemanager.v3.Projects/TestIamPermissions": (IAM, test_iam_permissions),
    "google.iam.admin.v1.IAM/TestIamPermissions": (IAM, test_iam_permissions),
    "google.cloud.asset.v1.AssetService/SearchAllResources": (
        asset.SearchAllResourcesRequest,
        search_all_resources,
    ),
    "google.cloud.dataproc.v1.SessionController/ListSessions": (
        dataproc.ListSessionsRequest,
        list_sessions,
    ),
    "google.cloud.dataproc.v1.SessionController/TerminateSession": (
        dataproc.TerminateSessionRequest,
        terminate_session,
    ),
    "google.cloud.orchestration.airflow.service.v1.Environments/GetEnvironment": (
        composer.GetEnvironmentRequest,
        get_environment,
    ),
    "google.cloud.orchestration.airflow.service.v1.Environments/ListEnvironments": (
        composer.ListEnvironmentsRequest,
        list_environments,
    ),
}
CHANGES = ("TerminateSession",)


def to_bytes(message) -> bytes:
    """Return a message on the wire, whichever of the two kinds of message it is."""
    kind = type(message)
    return kind.serialize(message) if hasattr(kind, "serialize") else message.SerializeToString()


class _Handler(grpc.GenericRpcHandler):
    def __init__(self, project: Project):
        self._project = project

    def service(self, details):
        known = METHODS.get(details.method.removeprefix("/"))
        if known is None:
            return None  # UNIMPLEMENTED
        kind, function = known
        read = getattr(kind, "deserialize", None) or kind.FromString
        name = details.method.rpartition(".")[2]

        def answer(asked, context):
            if fault := self._project.fault(name, name.endswith(CHANGES)):
                status = status_pb2.Status(code=fault.code.value[0], message=fault.message)
                detail = any_pb2.Any()
                detail.Pack(fault.detail())
                status.details.append(detail)
                context.abort_with_status(rpc_status.to_status(status))
            try:
                return function(self._project, asked)
            except LookupError as error:
                context.abort(grpc.StatusCode.NOT_FOUND, str(error))

        return grpc.unary_unary_rpc_method_handler(answer, read, to_bytes)


@contextmanager
def serve_grpc(project: Project) -> Iterator[str]:
    """Serve the gRPC faces of a project; yield host:port."""
    server = grpc.server(ThreadPoolExecutor(4), handlers=[_Handler(project)], options=ALONE)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.stop(0)


# REST


def refused(fault: Fault) -> tuple[Response, int]:
    """Return an error as Google's REST APIs write it, with its details."""
    status = HTTP_STATUS[fault.code]
    kind = "type.googleapis.com/google.rpc.ErrorInfo"
    details = [{"@type": kind, "reason": fault.reason, "metadata": fault.facts}]
    error = {"code": status, "status": fault.code.name, "message": fault.message}
    error["errors"] = [{"reason": fault.reason or fault.code.name, "message": fault.message}]
    return jsonify({"error": error | {"details": details}}), status


def rest_app(project: Project, storage: str) -> Flask:
    """Return the REST faces of a project: Compute Engine, BigQuery, Airflow, and Cloud Storage.

    The latter is the storage server at a URL; here it learns what it does not know: who may do
    what, and the settings of a bucket.
    """
    app = Flask("project")

    @app.before_request
    def note():
        name = f"{request.method} {request.path}"
        if fault := project.fault(name, request.method != "GET"):
            return refused(fault)
        return None

    def found(kept: dict, key: str):
        if key in kept:
            return jsonify(kept[key])
        return refused(Fault(grpc.StatusCode.NOT_FOUND, f"Not found: {key}"))

    @app.get("/compute/v1/projects/<name>/regions/<region>")
    def get_region(name, region):
        quotas = [
            {"metric": metric, "limit": limit, "usage": usage}
            for metric, (limit, usage) in project.quotas.items()
        ]
        return jsonify({"name": region, "quotas": quotas})

    @app.get("/compute/v1/projects/<name>/aggregated/<kind>")
    def list_machines(name, kind):
        items = {"zones/us-central1-a": {kind: project.machines.get(kind, [])}}
        return jsonify({"items": items})

    @app.get("/bigquery/v2/projects/<name>/datasets")
    def list_datasets(name):
        return jsonify({"datasets": list(project.datasets.values())})

    @app.get("/bigquery/v2/projects/<name>/datasets/<dataset>")
    def get_dataset(name, dataset):
        return found(project.datasets, dataset)

    @app.get("/bigquery/v2/projects/<name>/datasets/<dataset>/tables")
    def list_tables(name, dataset):
        return jsonify({"tables": list(project.tables.values())})

    @app.get("/bigquery/v2/projects/<name>/datasets/<dataset>/tables/<table>")
    def get_table(name, dataset, table):
        return found(project.tables, table)

    @app.get("/airflow/api/v2/dags/<dag>")
    def get_dag(dag):
        if not project.dag:
            return jsonify({"detail": f"The Dag with ID: `{dag}` was not found"}), 404
        return jsonify(project.dag)

    @app.patch("/airflow/api/v2/dags/<dag>")
    def patch_dag(dag):
        project.dag |= request.get_json()
        return jsonify(project.dag)

    @app.post("/airflow/api/v2/dags/<dag>/dagRuns")
    def post_run(dag):
        asked = request.get_json()
        assert "logical_date" in asked  # Airflow 3 insists
        key = asked["dag_run_id"]
        if key in project.runs:
            return jsonify({"detail": f"A run with id {key} exists"}), 409
        project.runs[key] = asked | {"state": "queued"}
        return jsonify(project.runs[key])

    @app.get("/airflow/api/v2/dags/<dag>/dagRuns/<path:key>")
    def get_run(dag, key):
        run = project.runs[key]
        states = run.get("states")
        return jsonify(run | ({"state": states.pop(0)} if states else {}))

    @app.get("/storage/v1/b/<bucket>")
    def get_bucket(bucket):
        answer = forwarded(storage)
        if answer.status_code != 200:
            return answer
        good = {
            "location": "US-CENTRAL1",
            "iamConfiguration": {
                "publicAccessPrevention": "enforced",
                "uniformBucketLevelAccess": {"enabled": True},
            },
        }
        return jsonify(answer.get_json() | good | project.buckets.get(bucket, {}))

    @app.get("/storage/v1/b/<bucket>/iam/testPermissions")
    def test_permissions(bucket):
        asked = request.args.getlist("permissions")
        return jsonify({"permissions": [name for name in asked if name not in project.denied]})

    @app.route("/", defaults={"path": ""}, methods=["GET", "POST", "PUT", "DELETE"])
    @app.route("/<path:path>", methods=["GET", "POST", "PUT", "DELETE"])
    def forward(path):
        return forwarded(storage)

    return app


def forwarded(storage: str) -> Response:
    """Return the storage server's answer to the request that is being served."""
    path = request.environ["RAW_URI"]  # as it was sent: a name may hold a quoted slash
    path = path.replace("versions=True", "versions=true")  # the library's, the server's spelling
    headers = {k: v for k, v in request.headers if k not in ("Host", "Content-Length")}
    answer = requests.request(
        request.method, f"{storage}{path}", data=request.get_data(), headers=headers, timeout=60
    )
    kept = {k: v for k, v in answer.headers.items() if k in ("Content-Type", "Location", "Range")}
    return Response(answer.content, answer.status_code, kept)


@contextmanager
def serve_rest(project: Project, storage: str) -> Iterator[str]:
    """Serve the REST faces of a project; yield their URL."""
    server, url = serve_app(rest_app(project, storage))
    try:
        yield url
    finally:
        server.shutdown()
