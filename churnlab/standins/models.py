"""Models with their versions, evaluations and endpoints, as Vertex AI keeps them, on this machine.

``ModelService`` knows nothing of transport: ``models_rest`` puts it on a port. What is deployed
answers nothing here; `churnlab serve-model` runs the same container's program. Names, aliases and
limits are those of the REST reference,
https://docs.cloud.google.com/vertex-ai/docs/reference/rest/v1/projects.locations.models
"""

import copy
import re
import threading
import uuid

import grpc
from google.cloud import aiplatform_v1 as vertex

from churnlab.standins.api import ApiError, invalid, meets, parse_filter
from churnlab.standins.batches import now
from churnlab.standins.pipelines import check_parent

MODEL_ID = re.compile(r"[a-z_][a-z0-9_-]{0,62}")
ALIAS = re.compile(r"[a-z][a-zA-Z0-9-]{0,126}[a-z0-9]")
LABEL = re.compile(r"[a-z0-9_-]{0,63}")
# https://docs.cloud.google.com/vertex-ai/docs/predictions/use-custom-container: Artifact Registry
IMAGE = re.compile(
    r"[a-z0-9-]+-docker\.pkg\.dev/[\w.:-]+/[\w-]+/[\w./-]+(:[\w.-]+|@sha256:[0-9a-f]{64})"
)
DEFAULT = "default"
DEDICATED = vertex.Model.DeploymentResourcesType.DEDICATED_RESOURCES


class ModelService:
    """Keeps models, each with its versions in the order in which they came, and endpoints."""

    def __init__(self):
        self._models: dict[str, list[vertex.Model]] = {}
        self._evaluations: dict[str, list[vertex.ModelEvaluation]] = {}
        self._endpoints: dict[str, vertex.Endpoint] = {}
        self._lock = threading.RLock()

    # Models

    def upload(self, parent: str, asked: vertex.UploadModelRequest) -> vertex.UploadModelResponse:
        """Take a model, or another version of one. Raises ApiError."""
        check_parent(parent)
        check_model(asked.model)
        with self._lock:
            name = asked.parent_model or f"{parent}/models/{asked.model_id or uuid.uuid4().int}"
            if asked.parent_model:
                self._versions(name)
            elif not MODEL_ID.fullmatch(asked.model_id or "m"):
                raise invalid(f"modelId {asked.model_id!r}: use at most 63 of a-z, 0-9, _ and -.")
            elif name in self._models:
                message = f"The Model {name} already exists. Name it as parentModel."
                raise ApiError(grpc.StatusCode.ALREADY_EXISTS, message)
            versions = self._models.setdefault(name, [])
            model = copy.deepcopy(asked.model)
            model.name, model.version_id = name, str(len(versions) + 1)
            model.version_create_time = model.version_update_time = now()
            model.supported_deployment_resources_types = [DEDICATED]
            wanted, model.version_aliases = list(model.version_aliases), []
            versions.append(model)
            self._move(versions, model, wanted if len(versions) > 1 else [DEFAULT, *wanted])
            return vertex.UploadModelResponse(model=name, model_version_id=model.version_id)

    def get_model(self, name: str) -> vertex.Model:
        """Return a version by ``@`` and its id or alias, else the default one. Raises ApiError."""
        with self._lock:
            return copy.deepcopy(self._version(name))

    def list_models(self, parent: str, filter_: str = "") -> list[vertex.Model]:
        """Return the default version of each model of a place. Raises ApiError."""
        conditions = parse_filter(filter_, "display_name")
        with self._lock:
            names = [name for name in self._models if name.startswith(f"{parent}/models/")]
            found = [self._version(name) for name in names]
            return copy.deepcopy([m for m in found if all(meets(m, *c) for c in conditions)])

    def list_versions(self, name: str, filter_: str = "") -> list[vertex.Model]:
        """Return the versions of a model, named with their ids, oldest first. Raises ApiError."""
        conditions = parse_filter(filter_)
        with self._lock:
            found = copy.deepcopy(self._versions(name.partition("@")[0]))
        for model in found:
            model.name = f"{model.name}@{model.version_id}"
        return [model for model in found if all(meets(model, *c) for c in conditions)]

    def merge_aliases(self, name: str, aliases: list[str]) -> vertex.Model:
        """Give a version aliases, or take them away by a hyphen before. Raises ApiError."""
        for alias in aliases:
            if not ALIAS.fullmatch(alias.removeprefix("-")):
                raise invalid(f"The alias {alias!r} must match {ALIAS.pattern}.")
        if f"-{DEFAULT}" in aliases:
            raise invalid("Exactly one version has the alias default. Give it to another one.")
        with self._lock:
            model = self._version(name)
            versions = self._versions(model.name)
            self._move(versions, model, [alias for alias in aliases if not alias.startswith("-")])
            gone = {alias[1:] for alias in aliases if alias.startswith("-")}
            model.version_aliases = [a for a in model.version_aliases if a not in gone]
            return copy.deepcopy(model)

    def import_evaluation(
        self, parent: str, evaluation: vertex.ModelEvaluation
    ) -> vertex.ModelEvaluation:
        """Keep an evaluation of a version that was made elsewhere. Raises ApiError."""
        if not evaluation.metrics_schema_uri.startswith("gs://"):
            raise invalid("The evaluation has no metricsSchemaUri.")
        with self._lock:
            model = self._version(parent)
            key = f"{model.name}@{model.version_id}"
            evaluation = copy.deepcopy(evaluation)
            evaluation.name = f"{key}/evaluations/{uuid.uuid4().int % 10**18}"
            evaluation.create_time = now()
            self._evaluations.setdefault(key, []).append(evaluation)
            return copy.deepcopy(evaluation)

    def list_evaluations(self, parent: str) -> list[vertex.ModelEvaluation]:
        """Return the evaluations of a version. Raises ApiError."""
        with self._lock:
            model = self._version(parent)
            found = self._evaluations.get(f"{model.name}@{model.version_id}", [])
            return copy.deepcopy(found)

    # Endpoints

    def create_endpoint(
        self, parent: str, endpoint: vertex.Endpoint, endpoint_id: str = ""
    ) -> vertex.Endpoint:
        """Make an endpoint, which answers once a model is deployed to it. Raises ApiError."""
        check_parent(parent)
        if not endpoint.display_name:
            raise invalid("The endpoint has no displayName.")
        with self._lock:
            endpoint = copy.deepcopy(endpoint)
            endpoint.name = f"{parent}/endpoints/{endpoint_id or uuid.uuid4().int % 10**10}"
            endpoint.create_time = endpoint.update_time = now()
            self._endpoints[endpoint.name] = endpoint
            return copy.deepcopy(endpoint)

    def get_endpoint(self, name: str) -> vertex.Endpoint:
        """Return an endpoint with what is deployed to it. Raises ApiError."""
        with self._lock:
            return copy.deepcopy(self._endpoint(name))

    def list_endpoints(self, parent: str) -> list[vertex.Endpoint]:
        """Return the endpoints of a place."""
        with self._lock:
            found = [e for name, e in self._endpoints.items() if name.startswith(f"{parent}/")]
            return copy.deepcopy(found)

    def deploy(self, name: str, asked: vertex.DeployModelRequest) -> vertex.DeployedModel:
        """Deploy a version; the traffic of "0" is the new one's. Raises ApiError."""
        resources = asked.deployed_model.dedicated_resources
        if not resources.machine_spec.machine_type or resources.min_replica_count < 1:
            raise invalid("dedicatedResources needs a machineType and a minReplicaCount above 0.")
        traffic = dict(asked.traffic_split)
        if traffic and sum(traffic.values()) != 100:
            raise invalid("The values of trafficSplit must add up to 100.")
        with self._lock:
            endpoint = self._endpoint(name)
            model = self._version(asked.deployed_model.model)
            deployed = copy.deepcopy(asked.deployed_model)
            deployed.id = deployed.id or str(uuid.uuid4().int % 10**18)
            deployed.model, deployed.model_version_id = model.name, model.version_id
            deployed.create_time = now()
            endpoint.deployed_models.append(deployed)
            endpoint.traffic_split = {
                deployed.id if to == "0" else to: share for to, share in traffic.items()
            }
            return copy.deepcopy(deployed)

    def undeploy(self, name: str, deployed_model_id: str) -> None:
        """Take a model from an endpoint, once no traffic goes to it. Raises ApiError."""
        with self._lock:
            endpoint = self._endpoint(name)
            kept = [model for model in endpoint.deployed_models if model.id != deployed_model_id]
            if len(kept) == len(endpoint.deployed_models):
                raise ApiError(grpc.StatusCode.NOT_FOUND, f"{deployed_model_id} is not deployed.")
            if kept and endpoint.traffic_split.get(deployed_model_id):
                message = f"{deployed_model_id} gets traffic. Lead it elsewhere first."
                raise ApiError(grpc.StatusCode.FAILED_PRECONDITION, message)
            endpoint.deployed_models = kept
            endpoint.traffic_split = {
                to: n for to, n in endpoint.traffic_split.items() if to != deployed_model_id
            }

    # Inside

    def _versions(self, name: str) -> list[vertex.Model]:
        if name not in self._models:
            raise ApiError(grpc.StatusCode.NOT_FOUND, f"Not found: {name}")
        return self._models[name]

    def _version(self, name: str) -> vertex.Model:
        name, _, version = name.partition("@")
        for model in self._versions(name):
            if (version or DEFAULT) in (model.version_id, *model.version_aliases):
                return model
        raise ApiError(grpc.StatusCode.NOT_FOUND, f"Not found: {name}@{version}")

    def _endpoint(self, name: str) -> vertex.Endpoint:
        if name not in self._endpoints:
            raise ApiError(grpc.StatusCode.NOT_FOUND, f"Not found: {name}")
        return self._endpoints[name]

    @staticmethod
    def _move(versions: list[vertex.Model], to: vertex.Model, aliases: list[str]) -> None:
        """Give a version aliases; each is on one version of a model only."""
        for model in versions:
            model.version_aliases = [a for a in model.version_aliases if a not in aliases]
        to.version_aliases = [*to.version_aliases, *dict.fromkeys(aliases)]


def check_model(model: vertex.Model) -> None:
    """Raise ApiError for a model that the service would refuse."""
    container = model.container_spec
    routes = [container.predict_route, container.health_route]
    problems = [
        (not model.display_name, "displayName is missing"),
        (not IMAGE.fullmatch(container.image_uri), f"imageUri is {container.image_uri!r}"),
        (not model.artifact_uri.startswith("gs://"), f"artifactUri is {model.artifact_uri!r}"),
        (not all(map(ALIAS.fullmatch, model.version_aliases)), "an alias is none"),
        (not all(map(LABEL.fullmatch, [*model.labels, *model.labels.values()])), "a label is none"),
        (not all(route.startswith("/") for route in routes), "a route does not begin with /"),
    ]
    if wrong := [text for is_wrong, text in problems if is_wrong]:
        raise invalid(f"The model is wrong: {'; '.join(wrong)}.")
