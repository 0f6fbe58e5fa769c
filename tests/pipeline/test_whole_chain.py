"""Everything at once: HTTP request → function → Vertex job → batches → Spark → champion → package →
server → answer with reasons → rollback → the former champion's answer.
"""

import json
import time
from pathlib import Path

import pytest
import requests
from google.cloud import aiplatform

from churnlab import paths
from churnlab.run import promotion
from churnlab.run.library import library
from churnlab.run.lineage import trace
from churnlab.standins.serving import model_server
from tests.pipeline.conftest import IMAGE, SHA

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("pipeline")]

State = aiplatform.gapic.PipelineState


@pytest.fixture(scope="module")
def start(start_function, lake):
    """Return a function: call the pipeline function, perhaps with a key, for a job that it starts."""
    place = {"LAKE": str(lake), "DATASET": "churn", "CODE_URI": str(paths.SCRIPTS)}
    function = start_function(**place, CONTAINER_IMAGE=IMAGE)

    def start(key: str = "", **parameters) -> dict:
        headers, body = {"Idempotency-Key": key} if key else {}, {"parameters": parameters}
        answer = requests.post(function.url, json=body, headers=headers, timeout=600)
        assert answer.status_code == 202, answer.text
        return answer.json()

    return start


@pytest.fixture(scope="module")
def call(cloud, start):
    """Return a function: start a job and wait for its end."""

    def call(*key, **parameters) -> tuple[dict, aiplatform.gapic.PipelineJob]:
        started = start(*key, **parameters)
        cloud.pipelines.wait(started["job"])
        return started, cloud.pipelines.get_job(started["job"])

    return call


@pytest.fixture(scope="module")
def trained(call):
    """A run that an HTTP request has started and that has succeeded."""
    return call(min_average_precision=0.0, quick_tuning=True)


def batches_of(cloud, pipeline_id: str) -> dict[str, str]:
    found, _ = cloud.service.list_batches("projects/demo/locations/us-central1", page_size=100)
    names = {batch.name.rpartition("/")[2]: batch.state.name for batch in found}
    return {n.removesuffix(f"-{pipeline_id}"): s for n, s in names.items() if pipeline_id in n}


def test_a_request_ends_in_a_registered_model(cloud, lake, trained):
    started, job = trained
    assert job.state == State.PIPELINE_STATE_SUCCEEDED, job.error
    key = started["pipeline_id"]
    assert started["job"].endswith(f"/pipelineJobs/churn-training-{key}")
    assert batches_of(cloud, key) == dict.fromkeys(
        ["preprocessing", "training", "tuning", "packaging"], "SUCCEEDED"
    )
    answer = library.review.review(
        str(lake / "warehouse" / "churn"),
        f"SELECT model_version, stage FROM model_registry WHERE pipeline_id = '{key}' ORDER BY 1, 2",
    )
    candidates = answer[answer["stage"] == "candidate"]["model_version"].tolist()
    assert candidates == [f"{key}-training", f"{key}-tuning"]
    tables = str(lake / "warehouse" / "churn")
    champion = library.registry.registered_model(tables)
    assert (
        champion["model_version"] == library.registry.best_candidate(tables, key)["model_version"]
    )
    assert library.runs.run_record(str(lake), key, "pipeline")["state"] == "SUCCEEDED"


def test_one_key_leads_from_the_run_to_every_row(lake, trained):
    key = trained[0]["pipeline_id"]
    found = {path.name for path in (lake / "runs" / key).iterdir()}
    assert found == {"preprocessing", "training", "tuning", "packaging", "pipeline"}
    answer = library.review.review(
        str(lake / "warehouse" / "churn"),
        "SELECT step, data_pipeline_id FROM model_registry "
        f"WHERE pipeline_id = '{key}' ORDER BY step",
    )
    steps = ["challenge-1", "promotion-2", "training", "tuning"]
    assert answer.values.tolist() == [[step, key] for step in steps]


def test_the_model_that_is_handed_on_is_one_that_the_run_has_written(cloud, trained):
    key = trained[0]["pipeline_id"]
    root = cloud.pipelines.storage / "demo-pipelines" / "root"
    outputs = [path for path in root.rglob("executor_output.json") if key in str(path)]
    [given] = [json.loads(p.read_text()) for p in outputs if p.parent.name == "promote-model"]
    [model] = given["artifacts"]["model"]["artifacts"]
    version = given["parameterValues"]["Output"]
    assert version in (f"{key}-training", f"{key}-tuning")
    assert model["metadata"]["model_version"] == version
    assert Path(model["uri"], "stages").is_dir()


@pytest.fixture(scope="module")
def server(lake, trained):
    """A server of the lake's packages, as a container's, started after the run."""
    with model_server(str(lake / "packages"), CHURNLAB_POLL_SECONDS="0.2") as server:
        yield server


def tables(lake: Path) -> str:
    return library.tables.dataset_root(str(lake), "churn")


def scored(lake: Path, version: str) -> tuple[list[dict], list[float]]:
    """Return the test's customers as instances, and what Spark said of them in training."""
    rows = library.tables.read_rows(tables(lake), "test_predictions")
    said = {r["customer_id"]: r["churn_probability"] for r in rows if r["model_version"] == version}
    names = [*library.contract.CATEGORIES, *library.contract.AMOUNTS]
    known = library.tables.read_rows(tables(lake), "training_data")
    asked = [row for row in known if row["customer_id"] in said]
    assert len(asked) == len(said) > 10
    instances = [{name: row[name] for name in names} for row in asked]
    return instances, [said[row["customer_id"]] for row in asked]


def ask(server, instances: list[dict]) -> list[dict]:
    """Return the server's predictions, with a reason of each column."""
    body = {"instances": instances, "parameters": {"reasons": 100}}
    answer = requests.post(f"{server.address}/predict", json=body, timeout=600)
    assert answer.status_code == 200, answer.text
    return answer.json()["predictions"]


def check_answers(server, lake: Path, version: str) -> list[dict]:
    """Check that a version answers, as Spark did where it was trained, with exact reasons."""
    instances, spark_said = scored(lake, version)
    predictions = ask(server, instances)
    assert {said["model_version"] for said in predictions} == {version}
    found = [said["churn_probability"] for said in predictions]
    assert found == pytest.approx(spark_said, abs=1e-12)
    for said in predictions:
        moved = sum(reason["contribution"] for reason in said["reasons"])
        assert said["base"] + moved == pytest.approx(said["churn_probability"], abs=1e-9)
    return predictions


def test_the_promoted_champion_answers_as_spark_did_and_says_why(lake, server):
    champion = library.registry.registered_model(tables(lake))["model_version"]
    predictions = check_answers(server, lake, champion)
    surest = max(predictions, key=lambda said: said["churn_probability"])
    assert surest["prediction"] == "yes"
    first = surest["reasons"][0]  # those with fibre leave
    assert first["feature"] == "internet_service" and first["contribution"] > 0


def test_an_answer_can_be_traced_to_the_raw_file_and_the_scripts(lake, trained, server):
    champion = library.registry.registered_model(tables(lake))["model_version"]
    [said] = ask(server, scored(lake, champion)[0][:1])
    assert said["pipeline_id"] == trained[0]["pipeline_id"]
    lineage = trace(str(lake), "churn", said["pipeline_id"])
    assert lineage.nodes["model"]["version"] == said["model_version"]
    assert ("model", "package") in lineage.edges
    [raw] = [facts for name, facts in lineage.nodes.items() if name.startswith("raw ")]
    assert raw["provenance"]["sha256"] == SHA
    code = {
        f["script"]: f["script_blob"] for n, f in lineage.nodes.items() if n.startswith("code ")
    }
    step = said["model_version"].rpartition("-")[2]
    fitted = {"training": "model_training.py", "tuning": "hyperparameter_tuning.py"}[step]
    assert code == {
        name: library.runs.git_blob(str(paths.SCRIPTS / name))
        for name in ("preprocessing.py", fitted, "online_serving.py")
    }


def package_of(lake: Path, version: str, like: str) -> None:
    """Package another version, with the note of one that Spark was compared with."""
    packages, onnx_forest = library.packages, library.onnx_forest
    entry = library.registry.registered_model(tables(lake), version)
    nodes, columns = library.registry.read_forest(entry, str(lake))
    content = onnx_forest.forest_to_onnx(nodes, columns).SerializeToString()
    shown = onnx_forest.inconvenient_customers(nodes, columns, 20, seed=1)
    shown["tenure"] = shown["tenure"] // 1
    note = packages.package_note(str(lake), packages.newest_package(str(lake), like))
    note |= {name: entry[name] for name in ("model_version", "model_uri", "threshold")}
    probability = onnx_forest.answers(content, shown, columns)
    note["examples"] = packages.examples(shown, columns, probability)
    files = {packages.MODEL: content, packages.NODES: packages.parquet_bytes(nodes)}
    packages.write_package(str(lake), version, files, note)


def wait_for(server, version: str) -> None:
    """Wait until a version answers."""
    deadline = time.monotonic() + 120
    while (said := requests.get(f"{server.address}/health", timeout=60).json()) and (
        said["model_version"] != version
    ):
        assert time.monotonic() < deadline, f"{said} answers, not {version}"
        time.sleep(0.05)


def test_after_a_rollback_the_former_champion_answers_from_the_same_server(lake, trained, server):
    """A person puts the run's other candidate in the champion's place, and thinks better of it."""
    key = trained[0]["pipeline_id"]
    former = library.registry.registered_model(tables(lake))["model_version"]
    [other] = {f"{key}-training", f"{key}-tuning"} - {former}
    package_of(lake, other, like=former)
    decided, _ = promotion.promote(other, "I know better", "ada", str(lake), "churn")
    assert promotion.serve(other, str(lake)).startswith(f"{other}/")
    wait_for(server, other)
    check_answers(server, lake, other)
    back, _ = promotion.rollback("they call in", "ada", str(lake), "churn")
    assert back["model_version"] == former != decided["model_version"]
    assert promotion.serve(former, str(lake)).startswith(f"{former}/")
    wait_for(server, former)
    check_answers(server, lake, former)
    assert server.process.poll() is None


@pytest.fixture(scope="module")
def cancelled(cloud, start):
    """A run that was cancelled as soon as its first batch had got its name."""
    started, deadline = start("a-bad-night"), time.monotonic() + 120
    while not batches_of(cloud, started["pipeline_id"]) and time.monotonic() < deadline:
        time.sleep(0.1)
    cloud.pipelines.cancel_job(started["job"])
    assert cloud.pipelines.wait(started["job"]).state == State.PIPELINE_STATE_CANCELLED
    return started


@pytest.fixture(scope="module")
def failed(call, cancelled):
    """The same run once more, whose first step fails."""
    return call("a-bad-night", raw="raw/nowhere.csv")


def test_a_run_is_repeated_with_a_job_and_batches_of_its_own(cloud, cancelled, failed):
    started, _ = failed
    key = cancelled["pipeline_id"]
    assert started == cancelled | {"job": f"{cancelled['job']}-t2"}
    assert batches_of(cloud, key) == {
        "preprocessing": "CANCELLED",
        f"preprocessing-{key}-t2": "FAILED",
    }


def test_a_failing_spark_step_fails_the_job_and_starts_nothing_after_it(cloud, lake, failed):
    started, job = failed
    assert job.state == State.PIPELINE_STATE_FAILED
    assert job.error.message
    key = started["pipeline_id"]
    assert not [name for name in batches_of(cloud, key) if "preprocessing" not in name]
    report = library.runs.run_record(str(lake), key, "pipeline")
    assert report["state"] == "FAILED"
