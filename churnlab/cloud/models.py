"""The served champion in Vertex AI's Model Registry: its package, its evaluation, its alias.

Which model is the champion is decided in the course's own registry, and which package is served
by a pointer in the lake. Vertex AI's registry follows the pointer: a package becomes a version of
one model, once; the alias ``champion`` is moved to the version whose package is served. Its API:
https://docs.cloud.google.com/vertex-ai/docs/reference/rest/v1/projects.locations.models
"""

import json
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from google.api_core import exceptions

from churnlab.cloud.clients import CALL, CALL_TIMEOUT, Clients
from churnlab.cloud.profile import Profile, split_uri
from churnlab.cloud.refusals import explained
from churnlab.errors import CourseError
from churnlab.run.library import library

if TYPE_CHECKING:  # Vertex AI's library takes seconds
    from google.cloud import aiplatform_v1 as vertex

ALIAS = "champion"
# The server answers so unless told otherwise: infra/images/serving/server.py
ROUTES = {"predict_route": "/predict", "health_route": "/health"}
PORT = 8080
# As Google's own component names it: google_cloud_pipeline_components, import_model_evaluation.py
SCHEMA = "gs://google-cloud-aiplatform/schema/modelevaluation/classification_metrics_1.0.0.yaml"
# Whoever tries again what may have arrived makes a second version.
ONCE = {"timeout": CALL_TIMEOUT, "retry": None}
DEPLOYING = 1800.0  # seconds: a machine is made, and the container has to be healthy


@dataclass(frozen=True)
class Package:
    """A package in the lake: its folder, and what it says of itself."""

    uri: str
    note: dict

    @property
    def version(self) -> str:
        """Return the model version in the course's registry."""
        return self.note["model_version"]

    @property
    def attempt(self) -> str:
        """Return what tells this package from others of the same version."""
        return self.uri.rpartition("attempt=")[2]


def read_json(clients: Clients, uri: str, mend: str) -> dict:
    """Return a small JSON file of a bucket. Raises CourseError if it is not there."""
    bucket, name = split_uri(uri)
    with explained(f"Reading {uri}"):
        try:
            return json.loads(clients.storage.bucket(bucket).blob(name).download_as_text(**CALL))
        except exceptions.NotFound:
            raise CourseError(f"There is no {uri}.", mend) from None


def served_package(clients: Clients, profile: Profile) -> Package:
    """Return the package that the lake's pointer names. Raises CourseError if there is none."""
    packages, join = library.packages, library.lake.join_uri
    root = join(profile.lake_uri, packages.PACKAGES)
    mend = "Package the champion: `churnlab cloud submit online_serving`, in an image with onnx."
    uri = join(root, read_json(clients, join(root, packages.POINTER), mend)["package"])
    note = read_json(clients, join(uri, packages.NOTE), mend)
    if "metrics_uri" not in note:
        raise CourseError(f"The package {uri} does not say where its metrics are.", mend)
    return Package(uri, note)


def model_name(clients: Clients, profile: Profile) -> str:
    """Return the full name of the course's model, of which each package is a version."""
    return f"{clients.parent}/models/{profile.dataset_id}-churn"


def versions(clients: Clients, profile: Profile) -> list["vertex.Model"]:
    """Return what the registry has of the course's model; nothing before the first upload."""
    name = model_name(clients, profile)
    with explained("Listing model versions"):
        try:
            return list(clients.models.list_model_versions(request={"name": name}, **CALL))
        except exceptions.NotFound:
            return []


def upload_request(clients: Clients, profile: Profile, package: Package, first: bool) -> dict:
    """Return the request that makes a version of a package, the model's first or another one.

    Raises CourseError if the profile names no image of the server.
    """
    if not profile.serving_image:
        mend = "Build it, name it as `serving_image` in infra/terraform.tfvars, apply and init."
        raise CourseError("No image says how the model is served.", mend)
    name = model_name(clients, profile)
    kept = {"model_version": package.version, "package": package.attempt}
    model = {
        "display_name": name.rpartition("/")[2],
        "version_description": f"{package.version}, packaged by run {package.note['pipeline_id']}",
        "artifact_uri": package.uri,
        "container_spec": ROUTES
        | {"image_uri": profile.serving_image, "ports": [{"container_port": PORT}]},
        "labels": profile.labels | kept,
    }
    if profile.kms_key:
        model["encryption_spec"] = {"kms_key_name": profile.kms_key}
    place = {"model_id": model["display_name"]} if first else {"parent_model": name}
    return {"parent": clients.parent, "model": model} | place


def find_version(known: list["vertex.Model"], package: Package) -> "vertex.Model | None":
    """Return the version that was made of a package: where its files are never changes."""
    made = [model for model in known if model.artifact_uri == package.uri]
    return made[0] if made else None


def upload(clients: Clients, profile: Profile, package: Package, first: bool) -> str:
    """Make a version of a package; return its full name, with the version. Raises CourseError."""
    request = upload_request(clients, profile, package, first)
    with explained(f"Uploading {package.version}"):
        made = clients.models.upload_model(request=request, **ONCE).result(timeout=DEPLOYING)
    return f"{made.model}@{made.model_version_id}"


def evaluation_of(evidence: dict, package: Package) -> dict:
    """Return what training found on the test split, in the words of Vertex AI's schema.

    https://docs.cloud.google.com/vertex-ai/docs/reference/rest/v1/ModelEvaluation
    """
    test, curves = evidence["test"], evidence["curves"]
    rows = [["true_negatives", "false_positives"], ["false_negatives", "true_positives"]]
    metrics = {
        "auPrc": test["average_precision"],
        "auRoc": test["roc_auc"],
        "logLoss": test["log_loss"],
        "confusionMatrix": {
            "annotationSpecs": [{"displayName": name} for name in ("stays", "churns")],
            "rows": [[round(test[name]) for name in row] for row in rows],
        },
        "confidenceMetrics": [
            {"confidenceThreshold": at, "recall": recall, "precision": precision}
            for recall, precision, at in curves["pr"]
        ],
    }
    return {
        "display_name": f"{package.version}: test split",
        "metrics_schema_uri": SCHEMA,
        "metrics": metrics,
        "metadata": {name: package.note[name] for name in ("pipeline_id", "data_fingerprint")},
    }


def add_evaluation(clients: Clients, profile: Profile, package: Package, name: str) -> bool:
    """Give a version its evaluation; return False if it has one. Raises CourseError."""
    with explained("Listing evaluations"):
        if list(clients.models.list_model_evaluations(parent=name, **CALL)):
            return False
    uri = library.lake.join_uri(profile.lake_uri, package.note["metrics_uri"])
    evidence = read_json(clients, uri, "Train again: a model without metrics is not registered.")
    request = {"parent": name, "model_evaluation": evaluation_of(evidence, package)}
    with explained("Importing the evaluation"):
        clients.models.import_model_evaluation(request=request, **ONCE)
    return True


def holder(known: list["vertex.Model"]) -> str:
    """Return the full name of the version with the alias, or ""."""
    return next((model.name for model in known if ALIAS in model.version_aliases), "")


def move_alias(clients: Clients, name: str) -> None:
    """Make a version the champion and the default; both aliases leave the version before.

    https://docs.cloud.google.com/vertex-ai/docs/model-registry/model-alias. Raises CourseError.
    """
    request = {"name": name, "version_aliases": [ALIAS, "default"]}
    with explained(f"Moving the alias {ALIAS}"):
        clients.models.merge_version_aliases(request=request, **CALL)


def deploy(clients: Clients, profile: Profile, name: str) -> bool:
    """Let the endpoint answer by a version and by no other; return False if it does already.

    The former version answers until the new one is healthy. Raises CourseError.
    """
    endpoint, (model, _, version) = profile.serving_endpoint, name.partition("@")
    with explained(f"Reading the endpoint {endpoint}"):
        found = list(clients.online_endpoints.get_endpoint(name=endpoint, **CALL).deployed_models)
    ours = [d for d in found if (d.model.partition("@")[0], d.model_version_id) == (model, version)]
    if not ours:
        machine = {"machine_type": profile.serving_machine}
        deployed = {
            "model": name,
            "display_name": name.rpartition("/")[2],
            "dedicated_resources": {
                "machine_spec": machine,
                "min_replica_count": 1,
                "max_replica_count": 1,
            },
        }
        request = {"endpoint": endpoint, "deployed_model": deployed, "traffic_split": {"0": 100}}
        with explained(f"Deploying {name}"):
            clients.online_endpoints.deploy_model(request=request, **ONCE).result(timeout=DEPLOYING)
    others = [d.id for d in found if d not in ours]
    for deployed_model_id in others:
        undeploy(clients, endpoint, deployed_model_id)
    return not ours or bool(others)


def undeploy(clients: Clients, endpoint: str, deployed_model_id: str) -> None:
    """Take a model from an endpoint, if it is there: its machine ends. Raises CourseError."""
    request = {"endpoint": endpoint, "deployed_model_id": deployed_model_id}
    with explained(f"Undeploying {deployed_model_id}"), suppress(exceptions.NotFound):
        clients.online_endpoints.undeploy_model(request=request, **CALL).result(timeout=DEPLOYING)
