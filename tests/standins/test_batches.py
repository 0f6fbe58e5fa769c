"""The stand-in of the batch service, through the real clients."""

import subprocess
import sys
import time
from datetime import timedelta

import pytest
import requests
from google.api_core import exceptions
from google.cloud import dataproc_v1 as dataproc

from churnlab.run.library import course_module
from churnlab.standins.batches import gigabytes
from churnlab.standins.server import stand_ins

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("batches")]

PARENT = "projects/demo/locations/us-central1"
STATE = dataproc.Batch.State
SCRIPTS = {
    "fine": "import sys\nprint('hello', *sys.argv[1:])\n",
    "wrong": "print('about to fail')\nraise SystemExit(3)\n",
    # It holds on to its life for a while, as a driver that is busy does.
    "slow": "import time\nprint('started', flush=True)\ntime.sleep(3600)\n",
}


@pytest.fixture(scope="module")
def serverless():
    """The functions of module 08."""
    return course_module("serverless_batches")


@pytest.fixture(scope="module")
def cloud(tmp_path_factory):
    """The stand-ins, with scripts in a bucket."""
    storage = tmp_path_factory.mktemp("storage with ü")
    (storage / "code").mkdir()
    for name, text in SCRIPTS.items():
        (storage / "code" / f"{name}.py").write_text(text)
    with stand_ins(storage) as addresses:
        yield addresses


@pytest.fixture(scope="module")
def client(serverless, cloud):
    """The real client of the batch service."""
    return serverless.batch_client("us-central1", cloud.batches)


def request(script: str, arguments=(), **fields) -> dataproc.Batch:
    """Return a batch of a script of the bucket."""
    job = {"main_python_file_uri": f"gs://code/{script}.py", "args": list(arguments)}
    return dataproc.Batch({"pyspark_batch": job} | fields)


def ended(serverless, client, name: str) -> dataproc.Batch:
    """Follow a batch to its end."""
    *_, (batch, _) = serverless.follow_batch(client, f"{PARENT}/batches/{name}", pause=0.1)
    return batch


@pytest.fixture(scope="module")
def good(serverless, client) -> dataproc.Batch:
    """A batch that has succeeded."""
    arguments = ["--lake", "gs://lake/here"]
    operation = client.create_batch(
        parent=PARENT, batch_id="good", batch=request("fine", arguments, labels={"team": "churn"})
    )
    assert operation.result(timeout=1800).state == STATE.SUCCEEDED
    return ended(serverless, client, "good")


@pytest.fixture(scope="module")
def bad(serverless, client) -> dataproc.Batch:
    """A batch whose script has failed."""
    client.create_batch(parent=PARENT, batch_id="wrong", batch=request("wrong"))
    return ended(serverless, client, "wrong")


def test_a_batch_goes_from_pending_over_running_to_succeeded(serverless, good):
    assert [name for name, _ in serverless.state_times(good)] == ["PENDING", "RUNNING"]
    assert all(seconds >= 0 for _, seconds in serverless.state_times(good))


def test_the_driver_s_output_is_kept_with_buckets_as_folders(serverless, cloud, good):
    lake = cloud.service.storage / "lake" / "here"
    # Spark may warn beside it, of a port that another Spark has, say.
    assert f"hello --lake {lake}" in serverless.driver_output(good).splitlines()


def test_a_batch_counts_the_units_of_its_machines(serverless, good):
    """A minute is the least: 12 units for 60 seconds, a fifth of a unit hour."""
    assert good.runtime_info.approximate_usage.milli_dcu_seconds == 12 * 60 * 1000
    assert serverless.run_cost(good) == pytest.approx(0.2 * serverless.DCU_HOUR)


def test_memory_is_read_as_spark_writes_it():
    assert [gigabytes(text) for text in ("16g", "512m", "1T")] == [16, 0.5, 1024]


def test_a_script_that_fails_makes_the_batch_fail_with_its_last_words(serverless, bad):
    assert bad.state == STATE.FAILED
    with pytest.raises(serverless.BatchFailed, match=r"(?s)FAILED.*status 3.*about to fail"):
        serverless.check_succeeded(bad)


def test_a_cancelled_batch_is_never_a_success(serverless, client, cloud):
    operation = client.create_batch(parent=PARENT, batch_id="tired", batch=request("slow"))
    name = f"{PARENT}/batches/tired"
    for batch, text in serverless.follow_batch(client, name, pause=0.1):
        if "started" in text:
            serverless.cancel_batch(client, batch)
    assert batch.state == STATE.CANCELLED
    assert [h.state for h in batch.state_history][-1] == STATE.CANCELLING
    with pytest.raises(serverless.BatchFailed, match="CANCELLED"):
        serverless.check_succeeded(batch)
    with pytest.raises(exceptions.Cancelled):
        operation.result(timeout=600)
    wait_until_gone(f"{cloud.service.storage}/code/slow.py")


def wait_until_gone(text: str) -> None:
    """Wait until no process of this machine has a text in its command line."""
    deadline = time.monotonic() + 600
    while subprocess.run(["pgrep", "-f", text], capture_output=True).returncode == 0:
        assert time.monotonic() < deadline, f"a process with {text} is left"
        time.sleep(0.2)


def test_a_batch_is_ended_after_its_ttl(serverless, tmp_path):
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "slow.py").write_text(SCRIPTS["slow"])
    execution = {"execution_config": {"ttl": timedelta(minutes=20)}}
    batch = request("slow", environment_config=execution)
    with stand_ins(tmp_path, ttl_scale=1 / 600) as fast:  # twenty minutes in two seconds
        late = overdue(serverless, serverless.batch_client("us-central1", fast.batches), batch)
    assert late.state == STATE.FAILED
    with pytest.raises(serverless.BatchFailed, match="exceeded its ttl of 0:20:00"):
        serverless.check_succeeded(late)


def overdue(serverless, client, batch: dataproc.Batch) -> dataproc.Batch:
    """Submit a batch that never ends and follow it to its end."""
    client.create_batch(parent=PARENT, batch_id="late", batch=batch)
    return ended(serverless, client, "late")


def test_without_a_ttl_a_batch_gets_four_hours(good):
    assert good.environment_config.execution_config.ttl == timedelta(hours=4)


def test_a_name_is_taken_once_and_submitting_again_finds_the_first(serverless, client, good):
    with pytest.raises(exceptions.AlreadyExists):
        client.create_batch(parent=PARENT, batch_id="good", batch=request("fine"))
    same = request("fine", ["--lake", "gs://lake/here"])
    assert serverless.submit_batch(client, PARENT, "good", same).uuid == good.uuid


def test_a_name_whose_batch_runs_something_else_is_an_error(serverless, client, good):
    with pytest.raises(serverless.StepError, match="runs something else"):
        serverless.submit_batch(client, PARENT, "good", request("wrong"))


def test_older_names_with_regions_mean_the_same(client, good):
    assert client.get_batch(name=good.name.replace("locations", "regions")).uuid == good.uuid


REFUSED = {
    "no workload": (dataproc.Batch(), "no workload"),
    "a capital in a label": (request("fine", labels={"Team": "x"}), "Label key 'Team'"),
    "a space in a label": (request("fine", labels={"team": "a b"}), "Label value 'a b'"),
    "33 labels": (request("fine", labels={f"l{n}": "x" for n in range(33)}), "32 at most"),
    "an unknown runtime": (request("fine", runtime_config={"version": "9.9"}), "'9.9'"),
    "an image without a tag": (
        request("fine", runtime_config={"container_image": "europe-docker.pkg.dev/p/r/i"}),
        "no tag",
    ),
    "a master of its own": (
        request("fine", runtime_config={"properties": {"spark.master": "local"}}),
        "spark.master",
    ),
    "a size that is none": (
        request("fine", runtime_config={"properties": {"spark.executor.memory": "1.5g"}}),
        "'1.5g' is no size",
    ),
    "a script from elsewhere": (request("fine/http://evil.example/x"), "must name a .py file"),
    "nobody's account": (
        request("fine", environment_config={"execution_config": {"service_account": "me"}}),
        "no e-mail address",
    ),
    "too short a ttl": (
        request("fine", environment_config={"execution_config": {"ttl": timedelta(minutes=9)}}),
        "ttl",
    ),
    "a session's ttl": (
        request(
            "fine", environment_config={"execution_config": {"idle_ttl": timedelta(minutes=20)}}
        ),
        "idle_ttl",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_request_that_breaks_a_rule_is_refused_and_leaves_no_batch(client, case):
    batch, reason = REFUSED[case]
    with pytest.raises(exceptions.InvalidArgument, match=reason):
        client.create_batch(parent=PARENT, batch_id="refused", batch=batch)
    with pytest.raises(exceptions.NotFound):
        client.get_batch(name=f"{PARENT}/batches/refused")


def test_a_main_file_has_to_be_python(client):
    job = {"main_python_file_uri": "gs://code/fine.sh"}
    with pytest.raises(exceptions.InvalidArgument, match=r"must name a \.py file"):
        client.create_batch(parent=PARENT, batch_id="shell", batch={"pyspark_batch": job})


@pytest.mark.parametrize("name", ["abc", "Capital", "under_score", "-hyphen", "x" * 64])
def test_a_batch_id_has_4_to_63_plain_characters(client, name):
    with pytest.raises(exceptions.InvalidArgument, match="Batch ID"):
        client.create_batch(parent=PARENT, batch_id=name, batch=request("fine"))


def test_other_kinds_of_batches_are_not_run_here(client):
    with pytest.raises(exceptions.MethodNotImplemented, match="pyspark_batch only"):
        client.create_batch(
            parent=PARENT,
            batch_id="sql-batch",
            batch={"spark_sql_batch": {"query_file_uri": "gs://code/a.sql"}},
        )


def test_the_list_is_filtered_ordered_and_paged(client, good, bad):
    def names(**options):
        found = client.list_batches(request={"parent": PARENT, **options})
        return [batch.name.rpartition("/")[2] for batch in found]

    assert names(filter="labels.team = churn AND state = SUCCEEDED") == ["good"]
    assert names(filter="labels.team = sales") == []
    everything = names(page_size=1)
    assert len(set(everything)) == len(everything) >= 2
    assert names(order_by="create_time") == everything[::-1]
    with pytest.raises(exceptions.InvalidArgument, match="Can't filter"):
        names(filter="colour = blue")


def test_only_what_has_ended_can_be_deleted(serverless, client):
    client.create_batch(parent=PARENT, batch_id="running", batch=request("slow"))
    name = f"{PARENT}/batches/running"
    with pytest.raises(exceptions.FailedPrecondition, match="Cancel it first"):
        client.delete_batch(name=name)
    serverless.cancel_batch(client, client.get_batch(name=name))
    assert ended(serverless, client, "running").state == STATE.CANCELLED
    client.delete_batch(name=name)
    with pytest.raises(exceptions.NotFound):
        client.get_batch(name=name)


def test_rest_says_the_same_as_grpc(cloud, good):
    url = f"{cloud.batches_url}/v1/{good.name}"
    assert requests.get(url).json()["uuid"] == good.uuid
    operation = requests.get(f"{cloud.batches_url}/v1/{good.operation}").json()
    assert operation["done"] and operation["response"]["state"] == "SUCCEEDED"


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "word"),
    [
        ("POST", "batches?batchId=unknown-field", '{"speed": 9}', 400, "INVALID_ARGUMENT"),
        ("POST", "batches?batchId=not-json", "{", 400, "INVALID_ARGUMENT"),
        ("GET", "batches?pageToken=abc", None, 400, "INVALID_ARGUMENT"),
        ("GET", "batches/nobody", None, 404, "NOT_FOUND"),
        ("GET", "operations/nobody", None, 404, "NOT_FOUND"),
    ],
)
def test_rest_errors_have_google_s_shape(cloud, method, path, body, status, word):
    answer = requests.request(method, f"{cloud.batches_url}/v1/{PARENT}/{path}", data=body)
    assert answer.status_code == status
    assert answer.json()["error"]["status"] == word


@pytest.mark.parametrize(
    "headers", [{"Origin": "http://evil.example"}, {"Host": "evil.example:8791"}], ids=str
)
def test_a_page_in_a_browser_can_start_nothing(cloud, client, headers):
    """A form of another site needs no permission to send text to a port of this machine."""
    url = f"{cloud.batches_url}/v1/{PARENT}/batches?batchId=from-a-page"
    body = dataproc.Batch.to_json(request("fine"))
    answer = requests.post(url, data=body, headers={"Content-Type": "text/plain", **headers})
    assert answer.status_code == 403
    with pytest.raises(exceptions.NotFound):
        client.get_batch(name=f"{PARENT}/batches/from-a-page")


def test_no_file_beside_the_storage_is_served(cloud):
    (cloud.service.storage.parent / "secret.txt").write_text("secret")
    for bucket in ("..", "%2e%2e"):
        session = requests.Session()
        asked = requests.Request("GET", "http://x").prepare()
        asked.url = f"{cloud.vertex_url}/download/storage/v1/b/{bucket}/o/secret.txt"
        assert session.send(asked).status_code == 404


def test_closing_ends_what_still_runs(tmp_path, serverless):
    (tmp_path / "sleeper.py").write_text(SCRIPTS["slow"])
    with stand_ins(tmp_path) as addresses:
        client = serverless.batch_client("us-central1", addresses.batches)
        job = {"main_python_file_uri": f"{tmp_path}/sleeper.py"}
        client.create_batch(parent=PARENT, batch_id="sleeper", batch={"pyspark_batch": job})
        for batch, _ in serverless.follow_batch(client, f"{PARENT}/batches/sleeper", 0.1):
            if batch.state == STATE.RUNNING:
                break
    assert addresses.service.get_batch(f"{PARENT}/batches/sleeper").state == STATE.CANCELLED
    wait_until_gone(f"{tmp_path}/sleeper.py")


def test_the_program_of_module_08_needs_an_account_and_a_place():
    script = course_module("serverless_batches").__file__
    done = subprocess.run([sys.executable, script], capture_output=True, text=True)
    assert done.returncode == 2
    assert "required: --pipeline-id, --lake, --code, --service-account" in done.stderr
