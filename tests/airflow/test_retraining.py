"""An alarm starts one retraining: the DAG's task asks the real function, which asks Vertex AI's stand-in."""

import base64
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import grpc
import pytest

from tests.airflow.conftest import AirflowHome
from tests.local_cloud import waiting_cloud  # noqa: F401

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("airflow")]

HERE, THERE = "http://127.0.0.1:8080/", "https://start-training-abcdefghij-uc.a.run.app"
WEEK = [f"2026-11-{day}T05:00:00+00:00" for day in range(23, 30)]  # Monday to Sunday
TEN = [(day, "v7") for day in [*WEEK, *WEEK[:3]]]
LATER = [("2026-11-30T05:00:00+00:00", "v7"), (WEEK[2], "v8")]


class Metadata(BaseHTTPRequestHandler):
    """Answers as the metadata server of a machine on Google Cloud does, as far as tokens need it."""

    def do_GET(self):
        """Answer with the account, or with a token for the audience."""
        asked = urlsplit(self.path)
        body = "{}"
        if asked.path.endswith("/identity"):
            [audience] = parse_qs(asked.query)["audience"]
            parts = [{"alg": "RS256"}, {"aud": audience, "exp": 4102444800}, {}]
            texts = [base64.urlsafe_b64encode(json.dumps(part).encode()) for part in parts]
            body = ".".join(text.decode().rstrip("=") for text in texts)
        elif "service-accounts" in asked.path:
            body = json.dumps({"email": "dag@demo.iam.gserviceaccount.com", "scopes": []})
        self.send_response(200)
        self.send_header("Metadata-Flavor", "Google")
        json_or_text = "application/json" if body.startswith("{") else "application/text"
        self.send_header("Content-Type", json_or_text)
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *arguments):
        """Say nothing."""


@contextmanager
def metadata_server() -> Iterator[str]:
    """Give host:port of a metadata server."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Metadata)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def ask(folder: Path, runs: list, **variables: str) -> dict:
    """Raise alarms in a lake of their own and let the DAG's task answer them."""
    lake = folder / "lake"
    lake.mkdir(parents=True)
    home = AirflowHome(folder / "airflow", lake, **variables)
    (home.home / "config" / "airflow_local_settings.py").unlink()  # no batch is asked for
    program = Path(__file__).with_name("retrain_in_airflow.py")
    with metadata_server() as metadata:
        env = {"GCE_METADATA_HOST": metadata, "GCE_METADATA_IP": metadata}
        told = [json.dumps(runs), json.dumps([HERE, THERE])]
        done = home.run(str(program), str(home.home / "dags"), *told, **env)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def asked(cloud, function, tmp_path_factory) -> dict:
    """What is noted about ten alarms of a week, one of the next, and one about another champion."""
    folder = tmp_path_factory.mktemp("retraining")
    return ask(folder, TEN + LATER, CHURNLAB_FUNCTION_URL=function.url)


def test_ten_alarms_of_a_week_about_one_champion_start_one_training(cloud, asked):
    ten = asked["answers"][: len(TEN)]
    assert [answer["status"] for answer in ten] == [202, *[200] * 9]
    assert len({answer["pipeline_id"] for answer in ten}) == 1
    assert {answer["key"] for answer in ten} == {"retrain-v7-2026-w48"}


def test_the_next_week_and_another_champion_are_trainings_of_their_own(cloud, asked):
    assert [answer["status"] for answer in asked["answers"][len(TEN) :]] == [202, 202]
    jobs = cloud.pipelines.list_jobs("projects/demo/locations/us-central1")
    assert len(jobs) == 3


def test_google_cloud_is_told_who_calls_and_this_machine_is_not(asked):
    assert asked["identities"][HERE] == {}
    [kind, token] = asked["identities"][THERE]["Authorization"].split()
    payload = token.split(".")[1]
    claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    assert (kind, claims["aud"]) == ("Bearer", THERE)


def test_a_function_that_is_in_trouble_is_asked_again_and_one_that_refuses_is_not(
    cloud,
    start_function,
    tmp_path,
):
    broken = start_function(PIPELINE_ROOT="nowhere").url
    [refused] = ask(tmp_path / "a", TEN[:1], CHURNLAB_FUNCTION_URL=broken)["answers"]
    assert (refused["status"], refused["raised"]) == (500, "AirflowFailException")
    cloud.pipelines.fail_next(grpc.StatusCode.UNAVAILABLE)
    alive = start_function().url
    [busy] = ask(tmp_path / "b", [(WEEK[0], "v9")], CHURNLAB_FUNCTION_URL=alive)["answers"]
    assert (busy["status"], busy["raised"]) == (503, "AirflowException")
    assert "can't be reached" in busy["error"]


def test_a_function_that_is_not_reached_is_said_in_the_alarm(tmp_path):
    nobody = "http://127.0.0.1:9"  # a port at which nobody listens
    [lost] = ask(tmp_path, TEN[:1], CHURNLAB_FUNCTION_URL=nobody)["answers"]
    assert lost["raised"] == "ConnectionError"
    assert lost["key"] == "retrain-v7-2026-w48" and "was not reached" in lost["error"]
