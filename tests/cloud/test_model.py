"""`churnlab cloud model` brings what the lake serves into Vertex AI's registry, once."""

import json
from pathlib import Path

import grpc
import pytest
from google.cloud import aiplatform_v1 as vertex

from churnlab.cloud import models
from churnlab.cloud.profile import write_profile
from churnlab.errors import CourseError
from tests.cloud.conftest import PROFILE, changed, churnlab
from tests.infra import small_packages

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("cloud commands")]

PARENT = "projects/demo/locations/us-central1"
MODEL = f"{PARENT}/models/churn-churn"
TEST = {"average_precision": 0.66, "roc_auc": 0.85, "log_loss": 0.41, "brier": 0.13}
TEST |= {"true_positives": 7.0, "false_positives": 3.0}
TEST |= {"false_negatives": 2.0, "true_negatives": 20.0}
CURVES = {"pr": [[0.5, 0.9, 0.8], [1.0, 0.6, 0.2]], "roc": [[0.0, 0.0, 1.0], [1.0, 1.0, 0.0]]}


@pytest.fixture
def lake(cloud, tmp_path):
    """Return a function: package a model, and let the lake in the bucket serve it."""
    storage = cloud.clients().storage.bucket("demo-lake")

    def put(path: Path, name: str) -> None:
        storage.blob(name).upload_from_string(path.read_bytes())

    def serve(version: str, seed: int = 1, place: str = "", **note) -> str:
        note = {"metrics_uri": "metrics/run-a/training.json", "data_fingerprint": "7-f"} | note
        place = place or small_packages.package(tmp_path, version, seed, **note)
        for path in (tmp_path / "packages" / place).iterdir():
            put(path, f"packages/{place}/{path.name}")
        pointer = tmp_path / "champion.json"
        pointer.write_text(json.dumps({"package": place}))
        put(pointer, "packages/champion.json")
        return place

    evidence = tmp_path / "evidence.json"
    evidence.write_text(json.dumps({"test": TEST, "curves": CURVES}))
    put(evidence, "metrics/run-a/training.json")
    return serve


def registered(cloud) -> dict[str, list[str]]:
    """Return the aliases of each version that the registry has, by the course's own version."""
    found = cloud.clients().models.list_model_versions(name=MODEL, timeout=60)
    return {m.labels["model_version"]: sorted(m.version_aliases) for m in found}


def test_the_served_package_becomes_a_version_as_the_server_s_contract_wants_it(cloud, lake):
    place = lake("run-a-training")
    done = churnlab("model")
    assert done.error is None and "Uploaded: churn-churn@1, run-a-training" in done.text
    [model] = cloud.clients().models.list_model_versions(name=MODEL, timeout=60)
    assert model.artifact_uri == f"gs://demo-lake/packages/{place}"
    names = [b.name for b in cloud.clients().storage.list_blobs("demo-lake", timeout=60)]
    assert f"{model.artifact_uri.removeprefix('gs://demo-lake/')}/package.json" in names
    container = model.container_spec
    assert container.image_uri == PROFILE.serving_image
    assert (container.predict_route, container.health_route) == ("/predict", "/health")
    assert [port.container_port for port in container.ports] == [8080]
    assert model.labels["course"] == "churnlab" and model.labels["owner"] == "ada"
    assert registered(cloud) == {"run-a-training": ["champion", "default"]}


def test_its_evaluation_is_what_training_measured_on_the_test_split(cloud, lake):
    lake("run-a-training")
    assert "test split" in churnlab("model").text
    [found] = cloud.clients().models.list_model_evaluations(parent=f"{MODEL}@1", timeout=60)
    assert found.metrics_schema_uri == models.SCHEMA
    metrics = vertex.ModelEvaluation.to_dict(found)["metrics"]
    assert (metrics["auPrc"], metrics["auRoc"], metrics["logLoss"]) == (0.66, 0.85, 0.41)
    matrix = metrics["confusionMatrix"]
    assert [spec["displayName"] for spec in matrix["annotationSpecs"]] == ["stays", "churns"]
    assert matrix["rows"] == [[20, 3], [2, 7]]
    points = [(p["recall"], p["precision"]) for p in metrics["confidenceMetrics"]]
    assert points == [(0.5, 0.9), (1.0, 0.6)]


def test_the_same_package_twice_is_one_version_with_one_evaluation(cloud, lake):
    lake("run-a-training")
    churnlab("model")
    again = churnlab("model").text
    assert again == "Is there: churn-churn@1, run-a-training\n"
    assert len(registered(cloud)) == 1
    found = cloud.clients().models.list_model_evaluations(parent=f"{MODEL}@1", timeout=60)
    assert len(list(found)) == 1


def test_a_new_champion_takes_the_aliases_and_a_rollback_brings_them_back(cloud, lake):
    first = lake("run-a-training")
    churnlab("model")
    lake("run-b-tuning", seed=2)
    assert "champion: churn-churn@1 → churn-churn@2" in churnlab("model").text
    assert registered(cloud) == {"run-a-training": [], "run-b-tuning": ["champion", "default"]}
    lake("run-a-training", place=first)
    said = churnlab("model").text
    assert "Is there: churn-churn@1" in said and "champion: churn-churn@2 → churn-churn@1" in said
    assert registered(cloud) == {"run-a-training": ["champion", "default"], "run-b-tuning": []}


def test_a_command_that_was_killed_after_the_upload_is_finished_by_the_next(cloud, lake):
    lake("run-a-training")
    clients = cloud.clients()
    package = models.served_package(clients, PROFILE)
    assert models.upload(clients, PROFILE, package, first=True) == f"{MODEL}@1"
    said = churnlab("model").text
    assert "Is there: churn-churn@1" in said and "test split" in said
    assert registered(cloud) == {"run-a-training": ["champion", "default"]}


def test_what_may_have_arrived_is_not_sent_again_and_a_question_is_asked_again(cloud, lake):
    lake("run-a-training")
    clients = cloud.clients()
    package = models.served_package(clients, PROFILE)
    cloud.pipelines.fail_next(grpc.StatusCode.UNAVAILABLE)
    with pytest.raises(CourseError, match="Uploading run-a-training: no answer"):
        models.upload(clients, PROFILE, package, first=True)
    assert models.versions(clients, PROFILE) == []
    cloud.pipelines.fail_next(grpc.StatusCode.UNAVAILABLE, times=2)
    assert "Uploaded: churn-churn@1" in churnlab("model").text
    assert len(registered(cloud)) == 1


def test_a_dry_run_says_what_it_would_upload_and_uploads_nothing(cloud, lake):
    lake("run-a-training")
    said = churnlab("model", "--dry-run").text
    assert '"model_version": "run-a-training"' in said and PROFILE.serving_image in said
    assert models.versions(cloud.clients(), PROFILE) == []
    churnlab("model")
    assert churnlab("model", "--dry-run").text == f"There is {MODEL}@1\n"


def test_without_a_package_or_an_image_it_says_what_is_missing(cloud, lake, tmp_path):
    error = churnlab("model").error
    assert "There is no gs://demo-lake/packages/champion.json" in error.problem
    assert "churnlab cloud submit online_serving" in error.mend
    lake("run-a-training", metrics_uri="metrics/gone.json")
    assert "There is no gs://demo-lake/metrics/gone.json" in churnlab("model").error.problem
    lake("run-b-training")
    write_profile(changed(serving_image=""), tmp_path / "cloud.toml")
    assert "serving_image" in churnlab("model").error.mend


@pytest.fixture
def endpoint(cloud, tmp_path) -> str:
    """An endpoint as Terraform makes one, and the profile that names it."""
    known = {"display_name": "churnlab", "labels": {"course": "churnlab"}}
    name = cloud.models.create_endpoint(PARENT, vertex.Endpoint(known), "4711").name
    settings = {"serving_endpoint": name, "serving_machine": "e2-standard-2"}
    write_profile(changed(**settings), tmp_path / "cloud.toml")
    return name


def test_the_endpoint_answers_by_the_champion_and_by_no_other(cloud, lake, endpoint):
    for number, version in enumerate(("run-a-training", "run-b-training"), 1):
        lake(version, seed=number)
        assert f"The endpoint answers by churn-churn@{number}." in churnlab("model").text
        found = cloud.models.get_endpoint(endpoint)
        [deployed] = found.deployed_models
        assert (deployed.model, deployed.model_version_id) == (MODEL, str(number))
        assert dict(found.traffic_split) == {deployed.id: 100}
        resources = deployed.dedicated_resources
        assert resources.machine_spec.machine_type == "e2-standard-2"
        assert (resources.min_replica_count, resources.max_replica_count) == (1, 1)
        assert deployed.service_account == ""  # Vertex AI's own, which reads the package's copy
    assert "answered already by churn-churn@2" in churnlab("model").text
    assert cloud.models.get_endpoint(endpoint) == found


def test_a_deployed_model_bills_and_is_taken_down(cloud, lake, endpoint, terraform):
    from churnlab.cloud import leftovers, teardown

    lake("run-a-training")
    churnlab("model")
    clients = cloud.clients()
    [left] = leftovers._endpoints(clients)
    assert (left.name, left.course) == ("churnlab", True) and "deployed" in left.bills
    [run] = teardown.running(clients, PROFILE)
    assert run.kind == "deployed model"
    teardown.end(clients, run)
    assert teardown.running(clients, PROFILE) == []
    assert list(leftovers._endpoints(clients)) == []
