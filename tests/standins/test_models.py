"""The stand-in of Vertex AI's models is what Google's own library takes it for."""

import pytest
from google.api_core import exceptions
from google.cloud import aiplatform
from google.cloud.aiplatform_v1 import UploadModelRequest

from churnlab.standins.api import ApiError
from churnlab.standins.clients import VERTEX, google_clients
from churnlab.standins.models import ModelService
from churnlab.standins.models_rest import add_models
from churnlab.standins.pipelines import PipelineService
from churnlab.standins.pipelines_rest import rest_app
from churnlab.standins.rest import serve_app

IMAGE = "us-central1-docker.pkg.dev/demo/churnlab/serving:1"
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("batches")]


@pytest.fixture
def service(tmp_path):
    """The services of pipelines and models on a port, with this process's library pointed there."""
    models = ModelService()
    app = rest_app(PipelineService(tmp_path, execute=False))
    add_models(app, models)
    server, url = serve_app(app)
    with google_clients({VERTEX: url}):
        aiplatform.init(project="demo", location="us-central1")
        yield models
    server.shutdown()


def upload(**changes) -> aiplatform.Model:
    known = {"display_name": "churn", "artifact_uri": "gs://lake/packages/a"}
    known |= {"serving_container_image_uri": IMAGE, "serving_container_ports": [8080]}
    known |= {"serving_container_predict_route": "/predict"}
    known |= {"serving_container_health_route": "/health"}
    return aiplatform.Model.upload(**known | changes)


def test_the_library_uploads_versions_and_moves_aliases(service):
    first = upload(model_id="churn", version_aliases=["champion"])
    second = upload(parent_model="churn", is_default_version=False, version_aliases=["champion"])
    assert (first.version_id, second.version_id) == ("1", "2")
    registry = aiplatform.models.ModelRegistry("churn")
    aliases = {v.version_id: sorted(v.version_aliases) for v in registry.list_versions()}
    assert aliases == {"1": ["default"], "2": ["champion"]}
    registry.add_version_aliases(["champion", "default"], "1")
    assert aiplatform.Model("churn@champion").version_id == "1"
    assert aiplatform.Model("churn").version_id == "1"
    registry.remove_version_aliases(["champion"], "1")
    with pytest.raises(exceptions.NotFound):
        aiplatform.Model("churn@champion")
    assert [model.version_id for model in aiplatform.Model.list(filter='display_name="churn"')] == [
        "1"
    ]


def test_the_library_deploys_a_version_and_takes_it_from_the_endpoint(service):
    from google.cloud import aiplatform_v1 as vertex

    parent = "projects/demo/locations/us-central1"
    made = service.create_endpoint(parent, vertex.Endpoint(display_name="churn"), "7")
    endpoint = aiplatform.Endpoint(made.name)
    upload(model_id="churn").deploy(endpoint, machine_type="e2-standard-2", min_replica_count=1)
    [deployed] = endpoint.list_models()
    assert deployed.model_version_id == "1" and endpoint.traffic_split == {deployed.id: 100}
    endpoint.undeploy(deployed.id)
    assert endpoint.list_models() == []


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"model_id": "4churn"}, "modelId"),
        ({"serving_container_image_uri": "churn"}, "imageUri"),
        ({"labels": {"version": "Not A Label"}}, "a label is none"),
        ({"version_aliases": ["7"]}, "an alias is none"),
        ({"serving_container_predict_route": "predict"}, "a route does not begin"),
    ],
)
def test_what_vertex_ai_would_refuse_is_refused(service, changes, words):
    with pytest.raises((exceptions.BadRequest, ValueError), match=words):
        upload(**{"model_id": "churn"} | changes)
    assert service.list_models("projects/demo/locations/us-central1") == []


def test_files_outside_a_bucket_are_refused(service):
    """The library looks for a local folder itself, so the service is asked without it."""
    container = {"image_uri": IMAGE, "predict_route": "/predict", "health_route": "/health"}
    model = {"display_name": "churn", "artifact_uri": "/tmp/model", "container_spec": container}
    with pytest.raises(ApiError, match="artifactUri is '/tmp/model'"):
        service.upload("projects/demo/locations/us-central1", UploadModelRequest(model=model))


def test_a_model_that_is_there_is_no_new_model_and_one_that_is_not_has_no_versions(service):
    upload(model_id="churn")
    with pytest.raises(exceptions.Conflict, match="already exists"):
        upload(model_id="churn")
    with pytest.raises(exceptions.NotFound):
        upload(parent_model="other")
