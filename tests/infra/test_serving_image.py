"""The server of the serving image, run as Vertex AI runs it: a process, its variables, HTTP."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pytest
import requests
from churn.packages import MODEL, NODES, NOTE, POINTER, serve_package
from churn.reasons import in_words

from churnlab.errors import CourseError
from churnlab.standins.serving import SERVER, ModelServer, model_server, server_environment
from churnlab.standins.storage import storage_server
from tests.infra.small_packages import (
    COLUMNS,
    THRESHOLD,
    champion,
    customers,
    package,
    probabilities,
)

pytestmark = [pytest.mark.xdist_group("serving"), pytest.mark.slow]

FIRST, SECOND = 1, 2  # seeds of two forests
[CUSTOMER] = customers(FIRST, 1)
QUICK = {"CHURNLAB_POLL_SECONDS": "0.1", "CHURNLAB_BODY_SECONDS": "1"}


@pytest.fixture(scope="module")
def server(tmp_path_factory) -> Iterator[ModelServer]:
    """A server of the champion v1, at routes of our choice."""
    lake = tmp_path_factory.mktemp("lake")
    champion(lake, "v1", FIRST)
    routes = {"AIP_HEALTH_ROUTE": "/alive", "AIP_PREDICT_ROUTE": "/v1/answer"}
    with model_server(str(lake / "packages"), **QUICK, **routes) as running:
        yield running


@pytest.fixture
def own(tmp_path) -> Iterator[tuple[ModelServer, Path]]:
    """A server of a lake of its own, and the lake."""
    champion(tmp_path, "v1", FIRST)
    with model_server(str(tmp_path / "packages"), **QUICK) as running:
        yield running, tmp_path


def post(url: str, instances: list, **parameters) -> requests.Response:
    return requests.post(url, json={"instances": instances, "parameters": parameters}, timeout=60)


def ask(server: ModelServer, instances: list, **parameters) -> requests.Response:
    return post(f"{server.address}/v1/answer", instances, **parameters)


def in_bucket(path: str, storage: str) -> str:
    """Return a gs:// URI that pyarrow takes to the server on loopback instead of Google's."""
    return f"gs://anonymous@{path}?scheme=http&endpoint_override={storage.removeprefix('http://')}"


# What it answers


def test_the_health_route_names_the_model_that_answers(server):
    done = requests.get(f"{server.address}/alive", timeout=60)
    assert (done.status_code, done.json()) == (200, {"status": "ready", "model_version": "v1"})
    assert requests.get(f"{server.address}/health", timeout=60).status_code == 404


def test_every_instance_gets_the_forest_s_probability_in_its_order(server):
    instances = customers(FIRST, 300)
    assert any("never seen" in instance.values() for instance in instances)
    said = ask(server, instances, reasons=0).json()["predictions"]
    found = np.array([prediction["churn_probability"] for prediction in said])
    np.testing.assert_allclose(found, probabilities(FIRST, instances), rtol=0, atol=1e-12)
    assert len(set(found)) > 50
    assert [p["prediction"] for p in said] == ["yes" if p >= THRESHOLD else "no" for p in found]


def test_base_and_reasons_add_up_to_the_probability(server):
    [said] = ask(server, [CUSTOMER], reasons=100).json()["predictions"]
    assert [reason["feature"] for reason in said["reasons"]] != []
    total = said["base"] + sum(reason["contribution"] for reason in said["reasons"])
    assert total == pytest.approx(said["churn_probability"], abs=1e-9)
    sizes = [abs(reason["contribution"]) for reason in said["reasons"]]
    assert sizes == sorted(sizes, reverse=True)


def test_the_reasons_come_in_the_customer_s_words_as_batch_scoring_writes_them(server):
    instances = customers(FIRST, 40)
    said = ask(server, instances, reasons=2).json()["predictions"]
    for instance, prediction in zip(instances, said, strict=True):
        moved = {reason["feature"]: reason["contribution"] for reason in prediction["reasons"]}
        assert all(moved.values()), "a column that moves nothing is no reason"
        words = {name: in_words(name, instance[name]) for name in moved}
        assert prediction["raises"] == [words[name] for name in moved if moved[name] > 0]
        assert prediction["lowers"] == [words[name] for name in moved if moved[name] < 0]
    spoken = [text for prediction in said for text in prediction["raises"] + prediction["lowers"]]
    assert "month-to-month contract" in spoken and any("customer for" in text for text in spoken)
    [none] = ask(server, instances[:1], reasons=0).json()["predictions"]
    assert none["reasons"] == none["raises"] == none["lowers"] == []


def test_three_reasons_come_unless_asked_otherwise(server):
    done = requests.post(f"{server.address}/v1/answer", json={"instances": [CUSTOMER]}, timeout=60)
    [said] = done.json()["predictions"]
    assert len(said["reasons"]) == 3
    [said] = ask(server, [CUSTOMER], reasons=1).json()["predictions"]
    assert len(said["reasons"]) == 1


def test_an_answer_names_the_keys_that_lead_back_to_its_model_and_package(server):
    [said] = ask(server, [CUSTOMER]).json()["predictions"]
    assert (said["model_version"], said["pipeline_id"]) == ("v1", "packed-v1")


def test_a_value_that_the_model_has_never_seen_is_answered_and_named(server):
    known = CUSTOMER | {"contract": "One year", "region": "north", "customer_id": "not asked"}
    said = ask(server, [known, known | {"region": "Moon"}]).json()["predictions"]
    assert [prediction["unseen"] for prediction in said] == [[], ["region"]]


def test_no_instances_give_no_predictions(server):
    assert ask(server, []).json() == {"predictions": []}


# What it refuses


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"tenure": "two"}, "should be a valid number"),
        ({"tenure": None}, "should be a valid number"),
        ({"tenure": [1, 2]}, "should be a valid number"),
        ({"tenure": True}, "should be a valid number"),
        ({"tenure": 1.5}, "multiple of 1"),
        ({"tenure": -1}, "greater than or equal to 0"),
        ({"monthly_charges": 10**400}, "finite number"),
        ({"monthly_charges": 1e12}, "less than"),
        ({"monthly_charges": float("inf")}, "finite number"),
        ({"monthly_charges": float("nan")}, "finite number"),
        ({"contract": 3}, "should be a valid string"),
        ({"contract": "x" * 201}, "at most 200 characters"),
    ],
)
def test_a_wrong_value_is_refused_with_instance_and_field(server, change, says):
    body = json.dumps({"instances": [CUSTOMER, CUSTOMER | change]})  # NaN is none of JSON's words
    done = requests.post(f"{server.address}/v1/answer", data=body, timeout=60)
    assert done.status_code == 400
    [problem] = done.json()["problems"]
    assert (problem["instance"], problem["field"]) == (1, next(iter(change)))
    assert says in problem["problem"]
    assert done.json()["error"].startswith(f"instance 1: '{next(iter(change))}': ")


def test_all_that_is_wrong_is_named_at_once(server):
    lacking = {name: value for name, value in CUSTOMER.items() if name != "contract"}
    done = ask(server, [lacking, CUSTOMER, CUSTOMER | {"tenure": -1, "region": 5}, "nobody"])
    named = [(p["instance"], p.get("field")) for p in done.json()["problems"]]
    assert named == [(0, "contract"), (2, "region"), (2, "tenure"), (3, None)]


@pytest.mark.parametrize(
    "body",
    [
        b"tenure=2",
        b"",
        b"\xff\xfe\x00",
        b'{"instances": [',
        b"[]",
        b"null",
        b'{"rows": []}',
        b'{"instances": {}}',
        b'{"instances": [], "parameters": {"reasons": -1}}',
        b"[" * 100_000,
    ],
)
def test_a_body_that_is_no_list_of_instances_is_refused(server, body):
    done = requests.post(f"{server.address}/v1/answer", data=body, timeout=60)
    assert done.status_code == 400
    assert done.json()["error"]


def test_a_body_that_is_too_large_is_refused_whether_it_says_so_or_not(server):
    large = b" " * 1_600_000
    for body in (large, iter([large[:800_000]] * 2)):  # with its length, and in chunks without
        done = requests.post(f"{server.address}/v1/answer", data=body, timeout=60)
        assert (done.status_code, "1,500,000 bytes" in done.json()["error"]) == (413, True)


def test_more_than_a_thousand_instances_are_refused(server):
    done = ask(server, [CUSTOMER] * 1001)
    assert done.status_code == 400 and "at most 1000 items" in done.json()["error"]


def dripping(server: ModelServer, route: str, body: bytes) -> socket.socket:
    """Begin a request, and send its head and half of its body."""
    host, port = server.address.removeprefix("http://").split(":")
    connection = socket.create_connection((host, int(port)), timeout=60)
    head = f"POST {route} HTTP/1.1\r\nHost: {host}\r\nContent-Length: {len(body)}\r\n\r\n"
    connection.sendall(head.encode() + body[: len(body) // 2])
    return connection


def test_a_slow_body_is_given_up_and_keeps_nobody_waiting(server):
    with dripping(server, "/v1/answer", b'{"instances": []}') as slow:
        assert ask(server, [CUSTOMER]).status_code == 200
        assert slow.recv(65536).startswith(b"HTTP/1.1 408 ")


def test_many_at_once_get_each_their_own_answer(server):
    instances = customers(FIRST, 200)
    with ThreadPoolExecutor(8) as callers:
        said = list(callers.map(lambda instance: ask(server, [instance]), instances))
    assert [done.text for done in said if done.status_code != 200] == []
    found = [done.json()["predictions"][0]["churn_probability"] for done in said]
    np.testing.assert_allclose(found, probabilities(FIRST, instances), rtol=0, atol=1e-12)


def test_what_openapi_allows_is_answered_and_everything_else_refused(infra_tools, server, tmp_path):
    """Schemathesis makes requests up, valid and invalid ones, and judges the answers."""
    command = [infra_tools / "st", "run", f"{server.address}/openapi.json", "--seed", "7"]
    command += ["--max-examples", "40", "--phases", "examples,coverage,fuzzing", "--no-color"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]
    assert "POST /v1/answer" in done.stdout or "2 / 2" in done.stdout or "passed" in done.stdout


def test_the_log_is_json_and_says_nothing_of_customers(server):
    secret = "Contract of Ada Lovelace"
    ask(server, [CUSTOMER | {"contract": secret, "region": 17}])
    lines = [json.loads(line) for line in server.log.read_text(encoding="utf-8").splitlines()]
    asked = [line for line in lines if "httpRequest" in line]
    assert {"severity", "time", "message", "model_version"} <= set(asked[-1])
    assert asked[-1]["httpRequest"]["status"] == 400
    assert secret not in server.log.read_text(encoding="utf-8")
    assert not [line for line in lines if line["severity"] not in ("INFO", "WARNING")]


# Its champion


def wait_until(server: ModelServer, version: str) -> None:
    """Wait until a version answers; minutes, for the machine may do much else."""
    for _ in range(3000):
        if requests.get(f"{server.address}/health", timeout=60).json()["model_version"] == version:
            return
        time.sleep(0.1)
    raise AssertionError(server.log.read_text(encoding="utf-8"))


def test_a_new_champion_is_taken_up_and_a_former_one_again_without_dropping_a_request(own):
    server, lake = own
    said, enough = [], threading.Event()

    def keep_asking() -> None:
        while not enough.is_set():
            done = post(f"{server.address}/predict", [CUSTOMER], reasons=0)
            answer = done.json()["predictions"][0] if done.ok else done.text
            said.append((done.status_code, answer))

    first = json.loads((lake / "packages" / POINTER).read_text())["package"]
    with ThreadPoolExecutor(4) as callers:
        asking = [callers.submit(keep_asking) for _ in range(4)]
        second = package(lake, "v2", SECOND)
        for place, version in ((second, "v2"), (first, "v1")):
            serve_package(str(lake), place)
            wait_until(server, version)
        enough.set()
        for caller in asking:
            caller.result()
    assert {status for status, _ in said} == {200}
    wanted = {v: probabilities(s, [CUSTOMER])[0] for v, s in (("v1", FIRST), ("v2", SECOND))}
    assert wanted["v1"] != wanted["v2"]
    for _, answer in said:  # each by one champion, never by half of two
        assert answer["churn_probability"] == pytest.approx(wanted[answer["model_version"]])
    assert {answer["model_version"] for _, answer in said} == {"v1", "v2"}


def damage(lake: Path, place: str, how: str) -> None:
    """Damage a package: cut the model, lose the nodes, or empty the pointer."""
    if how == "pointer":
        (lake / "packages" / POINTER).write_text("{")
        return
    file = lake / "packages" / place / {"cut": MODEL, "lost": NODES, "note": NOTE}[how]
    file.unlink() if how == "lost" else file.write_bytes(file.read_bytes()[:100])


@pytest.mark.parametrize("how", ["cut", "lost", "note", "pointer", "other answers"])
def test_a_damaged_champion_is_reported_and_the_former_one_goes_on(own, how):
    server, lake = own
    other = {
        "instances": [CUSTOMER],
        "churn_probability": [probabilities(FIRST, [CUSTOMER])[0] - 1],
    }
    place = package(lake, "v2", SECOND, **({"examples": other} if how == "other answers" else {}))
    if how != "other answers":
        damage(lake, place, how)
    if how != "pointer":
        serve_package(str(lake), place)
    for _ in range(3000):
        errors = [line for line in server.log.read_text().splitlines() if '"ERROR"' in line]
        if errors:
            break
        time.sleep(0.1)
    assert "goes on answering" in errors[0]
    done = post(f"{server.address}/predict", [CUSTOMER])
    assert done.json()["predictions"][0]["model_version"] == "v1"
    serve_package(str(lake), package(lake, "v3", SECOND))  # and a good one is taken up again
    wait_until(server, "v3")


def test_the_package_may_be_in_a_bucket_and_served_by_itself(tmp_path):
    place = package(tmp_path, "v1", FIRST)
    with storage_server(300) as storage:
        requests.post(f"{storage}/storage/v1/b", json={"name": "models"}, timeout=60)
        for file in (tmp_path / "packages" / place).iterdir():
            address = f"{storage}/upload/storage/v1/b/models/o?uploadType=media&name=a/{file.name}"
            assert requests.post(address, data=file.read_bytes(), timeout=60).ok
        with model_server(in_bucket("models/a/", storage)) as server:
            done = post(f"{server.address}/predict", [CUSTOMER])
            assert done.json()["predictions"][0]["model_version"] == "v1"


def test_the_champion_of_a_bucket_is_read_without_listing_what_the_bucket_holds(tmp_path):
    """The server's account may read packages, and list nothing: see infra/identity.tf."""
    champion(tmp_path, "v1", FIRST)
    noted = tmp_path / "requests.txt"
    with storage_server(300, noted) as storage:
        requests.post(f"{storage}/storage/v1/b", json={"name": "lake"}, timeout=60)
        for file in (tmp_path / "packages").rglob("*"):
            name = quote(str(file.relative_to(tmp_path)), safe="")
            address = f"{storage}/upload/storage/v1/b/lake/o?uploadType=media&name={name}"
            assert not file.is_file() or requests.post(address, data=file.read_bytes()).ok
        with model_server(in_bucket("lake/packages", storage), **QUICK) as server:
            done = post(f"{server.address}/predict", [CUSTOMER])
            assert done.json()["predictions"][0]["model_version"] == "v1"
            time.sleep(1)  # some looks at the pointer
    asked = re.findall(r'"GET (\S+) HTTP', noted.read_text())
    assert any("champion.json" in path for path in asked)
    assert [path for path in asked if re.search(r"/b/lake(/o)?/?(\?|$)", path)] == []


@pytest.mark.parametrize(
    ("variables", "says"),
    [
        ({"AIP_STORAGE_URI": ""}, "AIP_STORAGE_URI is not set"),
        ({"AIP_STORAGE_URI": "{lake}/nowhere"}, "holds neither package.json nor champion.json"),
        ({"AIP_STORAGE_URI": "{lake}/packages/{cut}"}, "model.onnx is damaged or of another"),
        ({"AIP_STORAGE_URI": "{lake}/packages/{wrong}"}, "does not answer here as it did"),
        ({"AIP_HTTP_PORT": "eighty"}, "AIP_HTTP_PORT must be a port"),
        ({"CHURNLAB_POLL_SECONDS": "often"}, "CHURNLAB_POLL_SECONDS must be seconds"),
    ],
)
def test_a_server_that_cannot_serve_says_why_and_ends(tmp_path, variables, says):
    cut, false = package(tmp_path, "cut", FIRST), {"instances": [CUSTOMER]}
    damage(tmp_path, cut, "cut")
    wrong = package(tmp_path, "wrong", FIRST, examples=false | {"churn_probability": [2.0]})
    places = {"lake": tmp_path, "cut": cut, "wrong": wrong}
    filled = {name: text.format(**places) for name, text in variables.items()}
    environment = server_environment(str(tmp_path), 8080, **filled)
    command = [sys.executable, str(SERVER)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 1
    assert done.stderr.startswith("error: ") and says in done.stderr


class Denies(BaseHTTPRequestHandler):
    """A storage that denies whatever it is asked for, as a bucket does to who may not list it."""

    def do_GET(self):
        """Deny."""
        body = b'{"error": {"code": 403, "message": "may not storage.objects.list"}}'
        self.send_response(403)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def test_a_bucket_that_denies_what_it_does_not_have_is_told_as_a_missing_package():
    with ThreadingHTTPServer(("127.0.0.1", 0), Denies) as storage:
        threading.Thread(target=storage.serve_forever, daemon=True).start()
        uri = in_bucket("lake/packages", f"http://127.0.0.1:{storage.server_port}")
        environment = server_environment(uri, 8080)
        done = subprocess.run(
            [sys.executable, str(SERVER)], env=environment, capture_output=True, text=True
        )
        storage.shutdown()
    assert done.returncode == 1
    assert "holds neither package.json nor champion.json, or this server may not" in done.stderr
    assert "churnlab package" in done.stderr


def test_whoever_starts_a_server_that_cannot_serve_hears_what_it_says(tmp_path):
    with pytest.raises(CourseError, match="holds neither"), model_server(str(tmp_path)):
        pass


def test_a_server_that_is_told_to_end_answers_what_it_has_begun(tmp_path):
    champion(tmp_path, "v1", FIRST)
    body = json.dumps({"instances": [CUSTOMER]}).encode()
    with model_server(str(tmp_path / "packages"), CHURNLAB_BODY_SECONDS="300") as server:
        with dripping(server, "/predict", body) as begun:
            time.sleep(0.5)  # until the server has read the head
            os.kill(server.process.pid, signal.SIGTERM)
            while (
                "Waiting for connections" not in server.log.read_text()
                and server.process.poll() is None
            ):
                time.sleep(0.05)
            with pytest.raises(requests.ConnectionError):
                requests.get(f"{server.address}/health", timeout=60)
            begun.sendall(body[len(body) // 2 :])
            assert begun.recv(65536).startswith(b"HTTP/1.1 200 ")
        server.process.wait(timeout=300)
        assert "Finished server process" in server.log.read_text()


def test_a_server_knows_no_spark(server):
    """The image has none: what the server imports must do without."""
    check = "import sys, server; sys.exit('pyspark' in sys.modules)"
    environment = server_environment("", 0)
    environment["PYTHONPATH"] += os.pathsep + str(SERVER.parent)
    done = subprocess.run([sys.executable, "-c", check], env=environment, capture_output=True)
    assert done.returncode == 0, done.stderr
    assert set(COLUMNS) <= set(
        json.dumps(requests.get(f"{server.address}/openapi.json").json()).split('"')
    )
