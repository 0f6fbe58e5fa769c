"""The schedule that the exported program writes calls the function as Cloud Scheduler would."""

import base64
import json
import threading
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from itertools import pairwise

import grpc
import pipeline_schedule
import pytest
import requests
from churn.programs import StepError
from google.api_core import exceptions
from google.cloud import scheduler_v1

from churnlab.standins.scheduler import backoff, next_ticks, run_schedule
from tests.local_cloud import plan_of

PARENT = "projects/demo/locations/us-central1"
NAME = f"{PARENT}/jobs/churn-training"
ACCOUNT = "scheduler@demo.iam.gserviceaccount.com"
MONDAY = datetime(2026, 11, 23, 6, tzinfo=UTC)
HOUR, WEEK = timedelta(hours=1), timedelta(weeks=1)
SPEED = 1e7


def options(scheduler, **changes: str) -> list[str]:
    """Return the program's command line; the scheduler is the one of this test."""
    given = {"project": "demo", "function_url": "http://127.0.0.1:9/", "service_account": ACCOUNT}
    given |= {"api_endpoint": scheduler[1]} | changes
    return [w for name, value in given.items() for w in (f"--{name.replace('_', '-')}", value)]


class Target:
    """An HTTP server that answers with the statuses of a list and keeps what it was sent."""

    def __init__(self, statuses: list[int]):
        self.requests, left = [], list(statuses)
        kept = self.requests

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                kept.append((dict(self.headers), body))
                self.send_response(left.pop(0))
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *arguments):
                """Say nothing."""

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/"
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()


@pytest.fixture
def target():
    """Make servers that answer as told, and close them."""
    made = []

    def make(*statuses: int) -> Target:
        made.append(Target(statuses))
        return made[-1]

    yield make
    for one in made:
        one.server.shutdown()
        one.server.server_close()


def kept_job(scheduler, url: str, **changes: str) -> scheduler_v1.Job:
    """Write the job by the program and return what Cloud Scheduler keeps."""
    pipeline_schedule.main(options(scheduler, function_url=url, **changes))
    return scheduler[0].get_job(NAME)


def test_the_program_creates_the_job_and_updates_it_when_run_again(scheduler, capsys):
    job = kept_job(scheduler, "http://127.0.0.1:9/")
    assert (job.schedule, job.time_zone) == ("0 6 * * 1", "Etc/UTC")
    assert job.http_target.oidc_token.service_account_email == ACCOUNT
    assert job.http_target.oidc_token.audience == "http://127.0.0.1:9/"
    assert "fires next at" in capsys.readouterr().out
    job = kept_job(scheduler, "http://127.0.0.1:9/", schedule="30 4 * * *", time_zone="Asia/Tokyo")
    assert (job.schedule, job.time_zone) == ("30 4 * * *", "Asia/Tokyo")
    assert len(scheduler[0].list_jobs(PARENT)) == 1


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"time_zone": "Mars/Base"}, "--time-zone 'Mars/Base' is not in the tz database"),
        ({"time_zone": "../etc/passwd"}, "is not in the tz database"),
        ({"time_zone": "Europe"}, "is not in the tz database"),
        ({"parameters": "{"}, "--parameters is not JSON"),
        ({"parameters": "[1]"}, "--parameters is no object"),
    ],
)
def test_a_wrong_option_ends_the_program_before_anything_is_written(scheduler, changes, words):
    with pytest.raises(StepError, match=words):
        pipeline_schedule.main(options(scheduler, **changes))
    assert scheduler[0].list_jobs(PARENT) == []


NO_CRON = ["every monday", "61 * * * *", "0 6 * * 1 0", "0 6 L * *", "0 6 * * 5#2", "0 6 ? * 1"]
NO_CRON += ["0 6 * * 5-1", "0 6 * * mon", "0 6 0 * *", "5/15 * * * *", "*/0 * * * *", "0 6 * 13 *"]


@pytest.mark.parametrize("schedule", NO_CRON)
def test_cloud_scheduler_refuses_a_line_that_is_no_cron(scheduler, schedule):
    with pytest.raises(exceptions.BadRequest, match="unix-cron"):
        pipeline_schedule.main(options(scheduler, schedule=schedule))


@pytest.mark.parametrize("schedule", ["0 0 31 2 *", "0 0 30 FEB *", "0 0 31 4,6 *"])
def test_a_schedule_that_never_fires_is_refused_and_not_kept(scheduler, schedule):
    for kept in (0, 1):  # as a new job, and as a change of one
        with pytest.raises(exceptions.BadRequest, match="never fires") as refusal:
            pipeline_schedule.main(options(scheduler, schedule=schedule))
        assert refusal.value.reason is None and refusal.value.code == 400
        assert len(scheduler[0].list_jobs(PARENT)) == kept
        kept_job(scheduler, "http://127.0.0.1:9/")
    assert scheduler[0].get_job(NAME).schedule == "0 6 * * 1"


@pytest.mark.parametrize(
    "schedule",
    ["*/15 0-6/2 1,15 JAN-MAR MON-FRI", "0 6 29 2 *", "0 0 31 2 MON", "0 6 * * 7", "* * * * *"],
)
def test_every_documented_form_of_a_schedule_is_taken(scheduler, schedule):
    assert kept_job(scheduler, "http://127.0.0.1:9/", schedule=schedule).schedule == schedule


def test_what_the_stand_in_does_not_know_is_refused_in_json(scheduler):
    place = f"http://{scheduler[1].removeprefix('http://')}/v1/{PARENT}"
    for method, path in (("GET", "/nothing"), ("DELETE", "/jobs"), ("POST", "/jobs?x=1")):
        answer = requests.request(method, place + path, data="<html>", timeout=10)
        assert answer.status_code >= 400
        assert answer.json()["error"]["status"] in (
            "NOT_FOUND",
            "UNIMPLEMENTED",
            "INVALID_ARGUMENT",
        )


def test_a_tick_is_sent_with_the_headers_of_cloud_scheduler_and_a_token(scheduler, target):
    server = target(200)
    job = kept_job(scheduler, server.url, parameters='{"quick_tuning": true}')
    [attempt] = run_schedule(job, MONDAY - HOUR, MONDAY + HOUR, SPEED)
    assert (attempt.tick, attempt.number, attempt.status) == (MONDAY, 1, 200)
    [(headers, body)] = server.requests
    assert headers["User-Agent"] == "Google-Cloud-Scheduler"
    assert headers["X-CloudScheduler"] == "true"
    assert headers["X-CloudScheduler-JobName"] == "churn-training"
    assert headers["X-CloudScheduler-ScheduleTime"] == "2026-11-23T06:00:00Z"
    assert headers["Content-Type"] == "application/json"
    assert json.loads(body) == {"parameters": {"quick_tuning": True}}
    claims = headers["Authorization"].removeprefix("Bearer ").split(".")[1]
    claims = json.loads(base64.urlsafe_b64decode(claims + "=" * (-len(claims) % 4)))
    assert claims == {"aud": server.url, "email": ACCOUNT}


def test_a_failing_target_is_retried_with_back_off_and_the_same_tick(scheduler, target):
    server = target(503, 429, 500, 200)
    job = kept_job(scheduler, server.url)
    attempts = run_schedule(job, MONDAY - HOUR, MONDAY + HOUR, SPEED)
    assert [attempt.status for attempt in attempts] == [503, 429, 500, 200]
    assert [attempt.number for attempt in attempts] == [1, 2, 3, 4]
    gaps = [(b.at - a.at).total_seconds() for a, b in pairwise(attempts)]
    assert [gap // 30 for gap in gaps] == [1, 2, 4]  # a request may take its time, too
    assert len({headers["X-CloudScheduler-ScheduleTime"] for headers, _ in server.requests}) == 1


def test_retries_end_and_the_next_week_is_tried_again(scheduler, target):
    server = target(*[500] * 6, 200)
    job = kept_job(scheduler, server.url)
    attempts = run_schedule(job, MONDAY - HOUR, MONDAY + WEEK + HOUR, SPEED)
    assert [attempt.status for attempt in attempts] == [*[500] * 6, 200]
    assert {attempt.tick for attempt in attempts} == {MONDAY, MONDAY + WEEK}


def test_a_target_that_is_not_there_is_a_failed_attempt(scheduler):
    job = kept_job(scheduler, "http://127.0.0.1:9/")
    attempts = run_schedule(job, MONDAY - HOUR, MONDAY + HOUR, SPEED)
    assert [attempt.status for attempt in attempts] == [0] * 6
    assert not any(attempt.succeeded for attempt in attempts)


def test_ticks_during_retries_are_skipped(scheduler, target):
    server = target(500, 500, 500, 500, 200, 200)
    job = kept_job(scheduler, server.url, schedule="*/5 * * * *")
    attempts = run_schedule(job, MONDAY, MONDAY + timedelta(minutes=10), SPEED)
    ticks = sorted({attempt.tick.minute for attempt in attempts})
    # 30 s, 1, 2 and 4 minutes after the tick at five past: the one at ten past has gone by
    assert ticks == [5]
    assert attempts[-1].succeeded


@pytest.mark.slow
@pytest.mark.xdist_group("function")
def test_one_failing_week_still_starts_one_pipeline_by_the_function(cloud, function, scheduler):
    job = kept_job(scheduler, function.url)
    cloud.pipelines.fail_next(grpc.StatusCode.UNAVAILABLE, 2)
    attempts = run_schedule(job, MONDAY - HOUR, MONDAY + HOUR, SPEED)
    assert [attempt.status for attempt in attempts] == [503, 503, 202]
    again = run_schedule(job, MONDAY - HOUR, MONDAY + HOUR, SPEED)
    assert [attempt.status for attempt in again] == [200]
    [started] = cloud.pipelines.list_jobs(PARENT)
    assert started.labels["pipeline_id"].startswith("20261123t060000-")
    assert plan_of(started).table == "bq://demo.churn.training_data"


def test_ticks_follow_the_wall_clock_over_the_change_to_winter_time():
    job = scheduler_v1.Job(schedule="0 6 * * *", time_zone="Europe/Berlin")
    ticks = next_ticks(job, datetime(2026, 10, 23, 12, tzinfo=UTC), 3)
    assert [(tick.day, tick.hour) for tick in ticks] == [(24, 4), (25, 5), (26, 5)]
    job.time_zone = "Etc/UTC"
    ticks = next_ticks(job, datetime(2026, 10, 23, 12, tzinfo=UTC), 3)
    assert {tick.hour for tick in ticks} == {6}


def test_back_off_doubles_then_grows_linearly_then_stays():
    config = scheduler_v1.RetryConfig(
        min_backoff_duration=timedelta(seconds=10),
        max_backoff_duration=timedelta(seconds=300),
        max_doublings=3,
    )
    waits = [backoff(config, retry).total_seconds() for retry in range(8)]
    # The example of the API's reference
    assert waits == [10, 20, 40, 80, 160, 240, 300, 300]


def test_a_job_is_paused_resumed_run_at_once_and_deleted_by_the_client(scheduler, target):
    server = target(200)
    kept_job(scheduler, server.url)
    client = scheduler_v1.CloudSchedulerClient(
        transport="rest", client_options={"api_endpoint": scheduler[1]}
    )
    assert client.pause_job(name=NAME).state.name == "PAUSED"
    assert client.resume_job(name=NAME).state.name == "ENABLED"
    client.run_job(name=NAME)
    assert len(server.requests) == 1
    client.delete_job(name=NAME)
    with pytest.raises(exceptions.NotFound):
        client.get_job(name=NAME)
