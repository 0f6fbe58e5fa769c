"""The server of the serving image, run as Vertex AI runs it: a process, four variables, HTTP."""

import math
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests

from churnlab import paths
from churnlab.standins.ports import start_on_a_port
from churnlab.standins.storage import storage_server

SERVER = paths.INFRA / "images" / "serving" / "server.py"
LEAVER = {"contract": "Month-to-month", "tenure": 1, "senior_citizen": 1}
STAYER = {"contract": "Two year", "tenure": 3.5, "senior_citizen": 0}

pytestmark = [pytest.mark.xdist_group("serving"), pytest.mark.slow]


def in_bucket(path: str, storage: str) -> str:
    """Return a gs:// URI that pyarrow takes to the server on loopback instead of Google's."""
    return f"gs://anonymous@{path}?scheme=http&endpoint_override={storage.removeprefix('http://')}"


NOBODY_LISTENS = in_bucket("lake/models", "127.0.0.1:9") + "&retry_limit_seconds=1"


def environment(**changes: str) -> dict[str, str]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith("AIP_")}
    return kept | changes


@pytest.fixture(scope="module")
def models(infra_tools, tmp_path_factory) -> Path:
    """A folder with the models columns/model.onnx and wide/model.onnx."""
    folder = tmp_path_factory.mktemp("models")
    builder = Path(__file__).with_name("small_models.py")
    subprocess.run([infra_tools / "python", builder, folder], check=True)
    return folder


@contextmanager
def serving(infra_tools: Path, log: Path, **variables: str) -> Iterator[str]:
    """Run the server for a while and yield its address."""
    command = [str(infra_tools / "python"), str(SERVER)]
    with log.open("w") as output:

        def start(port: int) -> subprocess.Popen:
            return subprocess.Popen(
                command,
                env=environment(AIP_HTTP_PORT=str(port), **variables),
                stdout=output,
                stderr=subprocess.STDOUT,
            )

        process, port = start_on_a_port(start, patience=600)
        try:
            assert port, log.read_text()
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait(timeout=300)


@pytest.fixture(scope="module")
def server(infra_tools, models, tmp_path_factory) -> Iterator[str]:
    """The address of a server of the model with an input a column, at routes of our choice."""
    log = tmp_path_factory.mktemp("server") / "log"
    variables = {
        "AIP_STORAGE_URI": str(models / "columns"),
        "AIP_HEALTH_ROUTE": "/alive",
        "AIP_PREDICT_ROUTE": "/v1/answer",
    }
    with serving(infra_tools, log, **variables) as address:
        yield address


def answer(server: str, body: object) -> requests.Response:
    return requests.post(f"{server}/v1/answer", json=body, timeout=60)


def sigmoid(score: float) -> float:
    return 1 / (1 + math.exp(-score))


def test_the_health_route_says_ready(server):
    assert requests.get(f"{server}/alive", timeout=60).status_code == 200
    assert requests.get(f"{server}/health", timeout=60).status_code == 404


def test_instances_are_objects_of_columns(server):
    done = answer(server, {"instances": [LEAVER | {"customer_id": "not asked"}, STAYER]})
    assert done.status_code == 200
    leaver, stayer = done.json()["predictions"]
    assert leaver == {"probability": [pytest.approx(sigmoid(2))], "churns": True}
    assert stayer == {"probability": [pytest.approx(sigmoid(-5.5), rel=1e-3)], "churns": False}


def test_instances_are_arrays_in_the_order_of_the_model(server):
    arrays = answer(server, {"instances": [["Two year", 3.5, 0]]})
    assert arrays.json() == answer(server, {"instances": [STAYER]}).json()


def test_no_instances_give_no_predictions(server):
    assert answer(server, {"instances": []}).json() == {"predictions": []}


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({"instances": [LEAVER, {"tenure": 2}]}, "instance 1 lacks contract, senior_citizen"),
        ({"instances": [LEAVER | {"tenure": "two"}]}, "'tenure' must be a number, not 'two'"),
        ({"instances": [LEAVER | {"tenure": None}]}, "'tenure' must be a number, not None"),
        ({"instances": [LEAVER | {"tenure": [1, 2]}]}, "'tenure' takes 1 values, not 2"),
        ({"instances": [LEAVER | {"contract": 3}]}, "'contract' must be a string, not 3"),
        ({"instances": [LEAVER | {"senior_citizen": 0.5}]}, "must be a whole number, not 0.5"),
        ({"instances": [LEAVER | {"senior_citizen": True}]}, "must be a whole number, not True"),
        ({"instances": [LEAVER | {"senior_citizen": 10**30}]}, "'senior_citizen': "),
        ({"instances": [["Two year", 3.5]]}, "instance 0 has 2 values; the model takes 3"),
        ({"instances": ["Two year"]}, "instance 0 must be an object or an array"),
        ({"rows": [LEAVER]}, 'an object with a list: {"instances"'),
        ([LEAVER], 'an object with a list: {"instances"'),
    ],
)
def test_a_bad_request_is_answered_with_what_is_wrong(server, body, says):
    done = answer(server, body)
    assert done.status_code == 400
    assert says in done.json()["error"]


def test_a_body_that_is_not_json_is_answered_with_what_is_wrong(server):
    done = requests.post(f"{server}/v1/answer", data=b"tenure=2", timeout=60)
    assert done.status_code == 400
    assert "not JSON" in done.json()["error"]


def test_the_model_is_read_from_a_bucket_and_may_have_one_wide_input(infra_tools, models, tmp_path):
    with storage_server(300) as storage:
        requests.post(f"{storage}/storage/v1/b", json={"name": "lake"}, timeout=60)
        content = (models / "wide" / "model.onnx").read_bytes()
        upload = f"{storage}/upload/storage/v1/b/lake/o?uploadType=media&name=models/v1/model.onnx"
        assert requests.post(upload, data=content, timeout=60).ok
        uri = in_bucket("lake/models/v1/", storage)
        with serving(infra_tools, tmp_path / "log", AIP_STORAGE_URI=uri) as address:
            assert requests.get(f"{address}/health", timeout=60).status_code == 200
            body = {"instances": [[1, 2, 3.5], {"features": [0, 0, -1]}]}
            done = requests.post(f"{address}/predict", json=body, timeout=60)
            assert done.json() == {"predictions": [{"total": 6.5}, {"total": -1.0}]}
            uneven = {"instances": [[1, 2, 3], [1, 2]]}
            done = requests.post(f"{address}/predict", json=uneven, timeout=60)
            assert done.json() == {"error": "instance 1: 'features' takes 3 values, not 2"}


@pytest.mark.parametrize(
    ("variables", "says"),
    [
        ({}, "AIP_STORAGE_URI is not set"),
        ({"AIP_STORAGE_URI": "{folder}"}, "Cannot read model.onnx in"),
        ({"AIP_STORAGE_URI": "{folder}/broken"}, "onnxruntime cannot load model.onnx"),
        (
            {"AIP_STORAGE_URI": "{folder}", "AIP_HTTP_PORT": "eighty"},
            "AIP_HTTP_PORT must be a port",
        ),
    ],
)
def test_a_server_that_cannot_serve_says_why_and_ends(infra_tools, tmp_path, variables, says):
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "model.onnx").write_bytes(b"not a model")
    filled = {key: value.format(folder=tmp_path) for key, value in variables.items()}
    command = [str(infra_tools / "python"), str(SERVER)]
    done = subprocess.run(
        command, env=environment(**filled), capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert says in done.stderr
