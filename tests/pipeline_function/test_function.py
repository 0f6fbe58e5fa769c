"""The pipeline function keeps its promises over real HTTP."""

import json
import re
import shutil
import socket
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest
import requests
from google.cloud import aiplatform_v1 as vertex

from churnlab import paths
from churnlab.run.library import course_module
from tests.local_cloud import SETTINGS, plan_of

# It starts processes; one worker is enough for them.
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("function")]

PLACE = "projects/demo/locations/us-central1"
TICK = {
    "User-Agent": "Google-Cloud-Scheduler",
    "X-CloudScheduler": "true",
    "X-CloudScheduler-JobName": "churn-training",
    "X-CloudScheduler-ScheduleTime": "2026-11-23T05:00:00Z",
}
# What nobody outside may see: addresses, accounts, paths, traces
INTERNAL = re.compile(r"http|gs://|@|Traceback|File \"|\.py|google|demo|because a test", re.I)


def post(function, body: object = None, **headers: str) -> requests.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    data = body if isinstance(body, str | bytes) else "" if body is None else json.dumps(body)
    return requests.post(function.url, data=data, headers=named, timeout=600)


def job_names(cloud) -> set[str]:
    return {job.name for job in cloud.pipelines.list_jobs(PLACE)}


def kept_job(cloud, answer: requests.Response) -> vertex.PipelineJob:
    return cloud.pipelines.get_job(answer.json()["job"])


def values_of(cloud, answer: requests.Response) -> dict:
    return dict(kept_job(cloud, answer).runtime_config.parameter_values)


def test_a_call_starts_the_compiled_pipeline_with_the_settings_of_the_deployment(cloud, function):
    answer = post(function)
    assert answer.status_code == 202
    pipeline_id = answer.json()["pipeline_id"]
    assert answer.json()["job"] == f"{PLACE}/pipelineJobs/churn-training-{pipeline_id}"
    assert values_of(cloud, answer) == {
        "project": "demo",
        "location": "us-central1",
        "pipeline_id": pipeline_id,
        "attempt": 1,
        "lake": "gs://demo-lake",
        "dataset": "bigquery://demo.churn",
        "code_uri": "gs://demo-code",
        "service_account": "pipeline@demo.iam.gserviceaccount.com",
    }
    job = cloud.pipelines.get_job(answer.json()["job"])
    assert job.service_account == "pipeline@demo.iam.gserviceaccount.com"
    assert job.pipeline_spec["pipelineInfo"]["name"] == "churn-training"


@pytest.mark.parametrize("body", [None, {"parameters": {}}])
def test_an_empty_body_is_a_run_that_the_pipeline_s_first_task_accepts(cloud, function, body):
    answer = post(function, body)
    assert answer.status_code == 202
    plan = plan_of(kept_job(cloud, answer))
    assert plan.table == "bq://demo.churn.training_data"
    assert plan.training[-4:] == ["--lake", "gs://demo-lake", "--dataset", "bigquery://demo.churn"]
    assert plan.ending == answer.json()["pipeline_id"]


def test_tables_beside_a_lake_in_a_bucket_have_to_be_in_bigquery():
    function = course_module("pipeline_function")
    assert function.read_settings(SETTINGS).dataset == "bigquery://demo.churn"
    with pytest.raises(function.SettingsError, match="DATASET is 'churn', not bigquery://project"):
        function.read_settings(SETTINGS | {"DATASET": "churn"})
    assert function.read_settings(SETTINGS | {"DATASET": "churn", "LAKE": "/lake"})


def test_the_batches_have_an_account_of_their_own_if_the_deployment_names_one(
    cloud, start_function
):
    batch = "batch@demo.iam.gserviceaccount.com"
    answer = post(start_function(BATCH_SERVICE_ACCOUNT=batch))
    assert values_of(cloud, answer)["service_account"] == batch
    job = cloud.pipelines.get_job(answer.json()["job"])
    assert job.service_account == "pipeline@demo.iam.gserviceaccount.com"


def test_a_key_that_the_deployment_names_encrypts_the_run_and_its_batches(cloud, start_function):
    key = "projects/demo/locations/us-central1/keyRings/course/cryptoKeys/data"
    answer = post(start_function(KMS_KEY=key))
    assert values_of(cloud, answer)["kms_key"] == key
    assert cloud.pipelines.get_job(answer.json()["job"]).encryption_spec.kms_key_name == key


def test_a_caller_may_set_what_the_deployment_leaves_open(cloud, function):
    wished = {"min_average_precision": 1, "quick_tuning": True, "raw": "raw/day=1/july.csv"}
    values = values_of(cloud, post(function, {"parameters": wished}))
    assert {name: values[name] for name in wished} == wished


def test_calls_without_a_key_are_runs_of_their_own(cloud, function):
    first, second = post(function), post(function)
    assert (first.status_code, second.status_code) == (202, 202)
    assert first.json()["job"] != second.json()["job"]


def test_of_fifty_concurrent_calls_one_wins_for_each_key(cloud, function):
    before = job_names(cloud)
    keys = [f"key-{number % 5}" for number in range(50)]
    with ThreadPoolExecutor(50) as callers:
        answers = list(callers.map(lambda key: post(function, Idempotency_Key=key), keys))
    assert {answer.status_code for answer in answers} == {200, 202}
    assert sum(answer.status_code == 202 for answer in answers) == 5
    for key in set(keys):
        mine = [a for k, a in zip(keys, answers, strict=True) if k == key]
        assert len({answer.json()["job"] for answer in mine}) == 1
        assert sum(answer.status_code == 202 for answer in mine) == 1
    assert len(job_names(cloud) - before) == 5


def test_a_retried_tick_of_the_scheduler_finds_the_first_job(cloud, function):
    first, second = post(function, **TICK), post(function, **TICK)
    assert (first.status_code, second.status_code) == (202, 200)
    assert re.fullmatch(r"20261123t050000-[0-9a-f]{6}", first.json()["pipeline_id"])
    assert second.json() == first.json() | {"state": "PIPELINE_STATE_PENDING"}


@pytest.mark.parametrize(
    "change",
    [
        {"X-CloudScheduler-ScheduleTime": "2026-11-30T05:00:00Z"},
        {"X-CloudScheduler-JobName": "churn-training-b"},
    ],
)
def test_another_tick_or_another_job_is_another_run(function, change):
    assert post(function, **TICK | change).json() != post(function, **TICK).json()


def test_the_time_of_a_tick_may_be_written_with_an_offset(function):
    first = post(function, **TICK)
    local = TICK | {"X-CloudScheduler-ScheduleTime": "2026-11-23T06:00:00.000000+01:00"}
    assert post(function, **local).json()["pipeline_id"] == first.json()["pipeline_id"]


def test_a_key_that_is_an_id_stays_what_it_is_and_others_sort_before_all_times(function):
    answer = post(function, Idempotency_Key="20270101t000000-0abcde")
    assert answer.json()["pipeline_id"] == "20270101t000000-0abcde"
    other = post(function, Idempotency_Key="Any text of mine!").json()["pipeline_id"]
    assert other < "1"
    assert re.fullmatch(r"[a-z0-9][a-z0-9-]{0,47}", other)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("not json", "The body is not JSON"),
        ('{"parameters": {', "The body is not JSON"),
        (b"\xff\xfe", "The body is not JSON"),
        ("[" * 20_000, "The body is not JSON"),
        ("[]", "must be an object"),
        ("7", "must be an object"),
        ("null", "must be an object"),
        ({"params": {}}, "Unknown field 'params'"),
        ({"parameters": []}, "parameters must be an object"),
        ({"parameters": None}, "parameters must be an object"),
        ({"parameters": {"row": "x"}}, "parameters.row is unknown"),
        ({"parameters": {"raw": 7}}, "parameters.raw must be a text"),
        ({"parameters": {"raw": None}}, "parameters.raw must be a text"),
        ({"parameters": {"quick_tuning": "true"}}, "parameters.quick_tuning must be true or false"),
        ({"parameters": {"quick_tuning": 1}}, "parameters.quick_tuning must be true or false"),
        ({"parameters": {"min_average_precision": True}}, "min_average_precision must be a number"),
        (
            '{"parameters": {"min_average_precision": NaN}}',
            "min_average_precision must be a number",
        ),
        ('{"parameters": {"min_average_precision": 1e999}}', "must be a number"),
        ({"parameters": {"min_average_precision": 10**400}}, "must be a number"),
        ({"parameters": {"code_uri": "gs://mine"}}, "code_uri is set by the deployment"),
        ({"parameters": {"lake": "gs://mine"}}, "parameters.lake is set by the deployment"),
        ({"parameters": {"dataset": "bigquery://my.own"}}, "dataset is set by the deployment"),
        ({"parameters": {"attempt": 2}}, "attempt is set by the deployment"),
        ({"parameters": {"kms_key": "mine"}}, "kms_key is set by the deployment"),
        ({"parameters": {"service_account": "me@x.y"}}, "service_account is set by the deployment"),
        ({"parameters": {"pipeline_id": "mine"}}, "pipeline_id is set by the deployment"),
        ({"parameters": {"raw": "x" * 70_000}}, "The body is larger than"),
    ],
)
def test_a_wrong_body_is_refused_in_words_that_help(cloud, function, body, words):
    before = job_names(cloud)
    answer = post(function, body)
    assert answer.status_code == 400
    assert words in answer.json()["error"]
    assert job_names(cloud) == before


OUTSIDE = ["", "/", "/etc/passwd", "gs://other/customers", "file:x", "..", "raw/..", "raw/../../x"]
OUTSIDE += ["./raw", "raw//x", "raw\\..\\x", "raw/%2e%2e/x", "raw/{a,../b}", "raw/x\n", "raw/.x"]


@pytest.mark.parametrize("raw", OUTSIDE)
def test_a_raw_file_that_may_be_outside_of_the_lake_is_refused(cloud, function, raw):
    before = job_names(cloud)
    answer = post(function, {"parameters": {"raw": raw}})
    assert answer.status_code == 400
    assert "parameters.raw must be a path below the lake" in answer.json()["error"]
    assert job_names(cloud) == before


@pytest.mark.parametrize(
    "headers",
    [
        {"Idempotency-Key": ""},
        {"Idempotency-Key": "x" * 201},
        TICK | {"X-CloudScheduler-ScheduleTime": "next Monday"},
        TICK | {"X-CloudScheduler-ScheduleTime": "2026-11-23T05:00:00"},
        TICK | {"X-CloudScheduler-ScheduleTime": "2026-11-23"},
        TICK | {"X-CloudScheduler-ScheduleTime": "0001-01-01T00:00:00+01:00"},
        TICK | {"X-CloudScheduler-ScheduleTime": "9999-12-31T23:59:59-01:00"},
    ],
)
def test_a_wrong_header_is_refused_by_its_name(function, headers):
    answer = post(function, **headers)
    assert answer.status_code == 400
    assert "Idempotency-Key" in answer.text or "X-CloudScheduler-ScheduleTime" in answer.text


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH"])
def test_only_post_starts_anything(cloud, function, method):
    before = job_names(cloud)
    answer = requests.request(method, function.url, timeout=600)
    assert (answer.status_code, answer.headers["Allow"]) == (405, "POST")
    assert job_names(cloud) == before


@pytest.mark.parametrize(
    ("fault", "status", "retry"),
    [
        ("INVALID_ARGUMENT", 400, None),
        ("RESOURCE_EXHAUSTED", 429, "60"),
        ("UNAVAILABLE", 503, "30"),
        ("INTERNAL", 503, "30"),
        ("PERMISSION_DENIED", 500, None),
        ("NOT_FOUND", 500, None),
    ],
)
def test_an_error_of_vertex_ai_becomes_a_status_that_says_whether_to_retry(
    cloud, function, fault, status, retry
):
    cloud.pipelines.fail_next(grpc.StatusCode[fault])
    answer = post(function)
    assert (answer.status_code, answer.headers.get("Retry-After")) == (status, retry)
    assert not INTERNAL.search(answer.json()["error"].replace("Vertex AI", ""))


def test_a_call_that_failed_may_be_repeated_with_its_key(cloud, function):
    cloud.pipelines.fail_next(grpc.StatusCode.UNAVAILABLE)
    answers = [post(function, Idempotency_Key="once-more") for _ in range(3)]
    assert [answer.status_code for answer in answers] == [503, 202, 200]


def end_job(cloud, answer: requests.Response, state: str) -> None:
    """Let a job, which nobody runs here, have ended."""
    job = cloud.pipelines._jobs[answer.json()["job"]]
    job.state = vertex.PipelineState[f"PIPELINE_STATE_{state}"]


@pytest.mark.parametrize("state", ["FAILED", "CANCELLED"])
def test_a_run_that_failed_is_repeated_under_its_key_with_names_of_its_own(cloud, function, state):
    key = f"repeat-{state}"
    first = post(function, Idempotency_Key=key)
    assert plan_of(kept_job(cloud, first)).ending == first.json()["pipeline_id"]
    for attempt in (2, 3):
        end_job(cloud, first, state)
        again = post(function, Idempotency_Key=key)
        assert again.status_code == 202
        assert again.json()["pipeline_id"] == first.json()["pipeline_id"]
        assert again.json()["job"].endswith(f"-t{attempt}")
        assert plan_of(kept_job(cloud, again)).ending == f"{first.json()['pipeline_id']}-t{attempt}"
        assert plan_of(kept_job(cloud, again)).training == plan_of(kept_job(cloud, first)).training
        first = again


@pytest.mark.parametrize("state", ["QUEUED", "PENDING", "RUNNING", "CANCELLING", "SUCCEEDED"])
def test_a_run_that_goes_on_or_has_succeeded_is_not_repeated(cloud, function, state):
    key = f"kept-{state}"
    first = post(function, Idempotency_Key=key)
    end_job(cloud, first, state)
    again = post(function, Idempotency_Key=key)
    assert again.status_code == 200
    assert again.json() == first.json() | {"state": f"PIPELINE_STATE_{state}"}


def test_of_many_concurrent_calls_after_a_failure_one_repeats_the_run(cloud, function):
    end_job(cloud, post(function, Idempotency_Key="all-again"), "FAILED")
    with ThreadPoolExecutor(8) as callers:
        answers = list(callers.map(lambda _: post(function, Idempotency_Key="all-again"), range(8)))
    assert sorted(answer.status_code for answer in answers) == [200] * 7 + [202]
    [job] = {answer.json()["job"] for answer in answers}
    assert job.endswith("-t2")


def test_a_run_that_fails_again_and_again_is_given_up(cloud, function):
    answer = post(function, Idempotency_Key="hopeless")
    end_job(cloud, answer, "FAILED")
    name = answer.json()["job"]
    kept = {f"{name}-t{attempt}": kept_job(cloud, answer) for attempt in range(2, 10)}
    cloud.pipelines._jobs |= kept
    before, answer = job_names(cloud), post(function, Idempotency_Key="hopeless")
    assert answer.status_code == 400
    assert "failed 9 times" in answer.json()["error"]
    assert job_names(cloud) == before


def test_a_request_leaves_one_line_of_json_with_its_trace(cloud, function):
    trace = "0af7651916cd43dd8448eb211c80319c"
    before = len(function.lines())
    cloud.pipelines.fail_next(grpc.StatusCode.PERMISSION_DENIED)
    for body in (None, None, "not json"):
        post(function, body, X_Cloud_Trace_Context=f"{trace}/1;o=1")
    lines = [json.loads(line) for line in function.lines()[before:]]
    assert [line["severity"] for line in lines] == ["ERROR", "INFO", "WARNING"]
    assert all("pipeline_id" in line and line["message"] for line in lines)
    assert "job" in lines[1]
    traces = {line["logging.googleapis.com/trace"] for line in lines}
    assert traces == {f"projects/demo/traces/{trace}"}


def test_an_unreachable_vertex_ai_is_a_503(start_function):
    with socket.socket() as silent:  # bound, so that nobody else can listen there
        silent.bind(("127.0.0.1", 0))
        url = "http://{}:{}".format(*silent.getsockname())
        answer = post(start_function(CHURNLAB_VERTEX_URL=url))
    assert answer.status_code == 503
    assert not INTERNAL.search(answer.json()["error"])


def test_missing_settings_are_named_in_one_log_line_and_to_nobody_else(start_function):
    function = start_function(LAKE="", CODE_URI="")
    answer = post(function)
    assert answer.status_code == 500
    assert not INTERNAL.search(answer.json()["error"])
    [line] = [json.loads(line) for line in function.lines()]
    assert line["severity"] == "ERROR"
    assert "LAKE, CODE_URI" in line["message"]
    assert "stack_trace" not in line


def test_the_template_may_lie_in_a_bucket(cloud, start_function):
    bucket = cloud.pipelines.storage / "demo-templates"
    bucket.mkdir()
    function = start_function(TEMPLATE="gs://demo-templates/churn.yaml")
    assert post(function).status_code == 500  # not yet
    shutil.copy(paths.SCRIPTS / "training_pipeline.yaml", bucket / "churn.yaml")
    answer = post(function, {"parameters": {"raw": "raw/july"}})
    assert values_of(cloud, answer)["raw"] == "raw/july"
    (bucket / "churn.yaml").write_text("- no pipeline")
    assert post(function).status_code == 500
    assert not INTERNAL.search(post(function).json()["error"])
