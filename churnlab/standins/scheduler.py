"""Cloud Scheduler on this machine: keeps jobs, and fires them over accelerated time.

A job is the real message. Its target gets the headers that Cloud Scheduler sends, and is retried
as the job's ``retry_config`` says. Rules are those of
https://docs.cloud.google.com/scheduler/docs/reference/rest/v1/projects.locations.jobs and
https://docs.cloud.google.com/scheduler/docs/configuring/retry-jobs
and, for the schedule (accessed 2026-11-25),
https://docs.cloud.google.com/scheduler/docs/configuring/cron-job-schedules
"""

import base64
import copy
import json
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import grpc
import requests
from croniter import croniter
from flask import Flask, jsonify, request
from google.cloud import scheduler_v1 as scheduler
from google.protobuf import json_format

from churnlab.standins.api import ApiError, invalid
from churnlab.standins.rest import error_reply, serve_app

JOB_NAME = re.compile(r"projects/[a-z0-9-:.]+/locations/[a-z0-9-]+/jobs/[A-Za-z0-9_-]{1,500}")
SHORTEST_DEADLINE, LONGEST_DEADLINE = timedelta(seconds=15), timedelta(minutes=30)
DEFAULT_DEADLINE = timedelta(minutes=3)
MOST_RETRIES = 5
MONTHS = tuple("JAN FEB MAR APR MAY JUN JUL AUG SEP OCT NOV DEC".split())
DAYS = tuple("SUN MON TUE WED THU FRI SAT".split())
# Each field of a schedule: least and largest value, and names for those from the least on
CRON_FIELDS = {
    "minute": (0, 59, ()),
    "hour": (0, 23, ()),
    "day of the month": (1, 31, ()),
    "month": (1, 12, MONTHS),
    "day of the week": (0, 7, DAYS),
}
CRON_ITEM = re.compile(r"(?:\*|(?P<first>\w+)(?:-(?P<last>\w+))?)(?:/(?P<skip>[1-9]\d{0,2}))?")
# What a retry_config leaves open
MIN_BACKOFF, MAX_BACKOFF, MAX_DOUBLINGS = timedelta(seconds=5), timedelta(hours=1), 5


@dataclass(frozen=True)
class Attempt:
    """One call of a job's target."""

    tick: datetime  # the time of the schedule, UTC
    number: int  # 1, and counted on by retries
    at: datetime
    status: int  # 0 if there was no answer

    @property
    def succeeded(self) -> bool:
        """Tell whether the target acknowledged it."""
        return 200 <= self.status < 300


def next_ticks(job: scheduler.Job, after: datetime, count: int) -> list[datetime]:
    """Return the next times at which a job fires, in UTC."""
    fires = croniter(job.schedule, after.astimezone(ZoneInfo(job.time_zone or "Etc/UTC")))
    return [fires.get_next(datetime).astimezone(UTC) for _ in range(count)]


def cron_problem(schedule: str) -> str:
    """Return what is wrong with the fields of a unix-cron line, or "" if nothing is."""
    fields = schedule.split()
    if len(fields) != len(CRON_FIELDS):
        return "it has not five fields"
    for text, (field, (least, largest, names)) in zip(fields, CRON_FIELDS.items(), strict=True):
        values = {name: least + n for n, name in enumerate(names)}
        values |= {str(n): n for n in range(least, largest + 1)}
        for item in text.split(","):
            found = CRON_ITEM.fullmatch(item)
            first = values.get(found["first"] or str(least)) if found else None
            last = values.get(found["last"] or str(largest)) if found else None
            if first is None or last is None or first > last:
                return f"{item!r} is no {field}"
            if found["skip"] and found["first"] and not found["last"]:
                return f"{item!r} skips in no range of the {field}"
    return ""


def never_fires(job: scheduler.Job) -> bool:
    """Tell whether a schedule of valid fields names no day that exists, such as 31 February."""
    try:
        next_ticks(job, datetime.now(UTC), 1)
    except (ValueError, OverflowError):  # what croniter raises after years without a date
        return True
    return False


def backoff(config: scheduler.RetryConfig, retry: int) -> timedelta:
    """Return the wait before a retry, counted from 0: doubled some times, then growing linearly."""
    shortest = config.min_backoff_duration or MIN_BACKOFF
    doublings = config.max_doublings or MAX_DOUBLINGS
    wait = shortest * 2 ** min(retry, doublings) * (1 + max(0, retry - doublings))
    return min(wait, config.max_backoff_duration or MAX_BACKOFF)


def gives_up(config: scheduler.RetryConfig, retries: int, elapsed: timedelta) -> bool:
    """Tell whether a failed job is not retried any more: all limits that are set are reached."""
    longest = config.max_retry_duration or timedelta(0)
    return retries >= config.retry_count and elapsed >= longest


def fire(job: scheduler.Job, tick: datetime) -> int:
    """Call a job's target once, as Cloud Scheduler does; return the status, 0 for no answer."""
    target = job.http_target
    headers = {"Content-Type": "application/octet-stream"} if target.body else {}
    headers |= dict(target.headers)
    headers |= {
        "User-Agent": "Google-Cloud-Scheduler",
        "X-CloudScheduler": "true",
        "X-CloudScheduler-JobName": job.name.rpartition("/")[2],
        "X-CloudScheduler-ScheduleTime": f"{tick:%Y-%m-%dT%H:%M:%SZ}",
    }
    if target.oidc_token.service_account_email:
        headers["Authorization"] = f"Bearer {unsigned_token(target)}"
    deadline = (job.attempt_deadline or DEFAULT_DEADLINE).total_seconds()
    method = target.http_method.name if target.http_method else "POST"
    try:
        return requests.request(
            method, target.uri, data=target.body, headers=headers, timeout=deadline
        ).status_code
    except requests.RequestException:
        return 0


def unsigned_token(target: scheduler.HttpTarget) -> str:
    """Return what an OIDC token says, without Google's signature: nobody here checks it."""
    token = target.oidc_token
    claims = {"aud": token.audience or target.uri, "email": token.service_account_email}
    parts = ({"alg": "none", "typ": "JWT"}, claims)
    texts = (base64.urlsafe_b64encode(json.dumps(p).encode()).decode().rstrip("=") for p in parts)
    return ".".join([*texts, ""])


def run_schedule(job: scheduler.Job, start: datetime, end: datetime, speed: float) -> list[Attempt]:
    """Fire a job from one time to another and return what happened.

    Waiting is accelerated: ``speed`` seconds of the schedule pass in one of ours. A request takes
    the time that it takes. A tick during the retries of the one before is skipped.
    """
    attempts, clock = [], start

    def wait_until(moment: datetime) -> None:
        nonlocal clock
        time.sleep(max(0.0, (moment - clock).total_seconds()) / speed)
        clock = max(clock, moment)

    while (tick := next_ticks(job, clock, 1)[0]) <= end:
        wait_until(tick)
        for number in range(1, 1000):
            at, began = clock, time.monotonic()
            status = fire(job, tick)
            clock += timedelta(seconds=time.monotonic() - began)
            attempts.append(Attempt(tick, number, at, status))
            if attempts[-1].succeeded or gives_up(job.retry_config, number - 1, clock - tick):
                break
            wait_until(clock + backoff(job.retry_config, number - 1))
    return attempts


class SchedulerService:
    """Keeps jobs; they are fired by ``run_schedule`` or one by one by ``run_job``."""

    def __init__(self):
        self._jobs: dict[str, scheduler.Job] = {}
        self._lock = threading.RLock()

    def create_job(self, parent: str, job: scheduler.Job) -> scheduler.Job:
        """Accept a job. Raises ApiError."""
        check_job(job)
        if job.name.rpartition("/jobs/")[0] != parent:
            raise invalid(f"Job name {job.name!r} is not below {parent}.")
        with self._lock:
            if job.name in self._jobs:
                raise ApiError(grpc.StatusCode.ALREADY_EXISTS, f"Job {job.name} already exists.")
            self._jobs[job.name] = copy.deepcopy(job)
            self._jobs[job.name].state = scheduler.Job.State.ENABLED
            return self.get_job(job.name)

    def update_job(self, job: scheduler.Job) -> scheduler.Job:
        """Replace a job. Raises ApiError."""
        check_job(job)
        with self._lock:
            state = self.get_job(job.name).state
            self._jobs[job.name] = copy.deepcopy(job)
            self._jobs[job.name].state = state
            return self.get_job(job.name)

    def get_job(self, name: str) -> scheduler.Job:
        """Return a job with the time at which it fires next. Raises ApiError."""
        with self._lock:
            if name not in self._jobs:
                raise ApiError(grpc.StatusCode.NOT_FOUND, f"Job {name} not found.")
            job = copy.deepcopy(self._jobs[name])
        if job.state == scheduler.Job.State.ENABLED:
            job.schedule_time = next_ticks(job, datetime.now(UTC), 1)[0]
        return job

    def list_jobs(self, parent: str) -> list[scheduler.Job]:
        """Return the jobs of a place by name."""
        with self._lock:
            return [self.get_job(n) for n in sorted(self._jobs) if n.startswith(f"{parent}/jobs/")]

    def delete_job(self, name: str) -> None:
        """Forget a job. Raises ApiError."""
        with self._lock:
            self.get_job(name)
            del self._jobs[name]

    def set_state(self, name: str, state: scheduler.Job.State) -> scheduler.Job:
        """Pause or resume a job. Raises ApiError."""
        with self._lock:
            self.get_job(name)
            self._jobs[name].state = state
            return self.get_job(name)

    def run_job(self, name: str) -> scheduler.Job:
        """Fire a job now, whatever its schedule. Raises ApiError."""
        job = self.get_job(name)
        fire(job, datetime.now(UTC))
        return job


def check_job(job: scheduler.Job) -> None:
    """Raise ApiError for a job that the service would refuse."""
    problems = []
    if not JOB_NAME.fullmatch(job.name):
        problems.append(f"name {job.name!r} is not projects/PROJECT/locations/REGION/jobs/JOB")
    try:
        ZoneInfo(job.time_zone or "Etc/UTC")
    except (ZoneInfoNotFoundError, ValueError, OSError):  # a folder of zones is none
        problems.append(f"time_zone {job.time_zone!r} is not in the tz database")
    if problem := cron_problem(job.schedule):
        problems.append(f"schedule {job.schedule!r} is no unix-cron line of five fields: {problem}")
    elif not problems and never_fires(job):
        problems.append(f"schedule {job.schedule!r} never fires")
    if not re.match(r"https?://\S+$", job.http_target.uri):
        problems.append(f"http_target.uri {job.http_target.uri!r} is no URL")
    if not 0 <= job.retry_config.retry_count <= MOST_RETRIES:
        problems.append(f"retry_count {job.retry_config.retry_count} is not between 0 and 5")
    deadline = job.attempt_deadline or DEFAULT_DEADLINE
    if not SHORTEST_DEADLINE <= deadline <= LONGEST_DEADLINE:
        problems.append(f"attempt_deadline {deadline} is not between 15 seconds and 30 minutes")
    if problems:
        raise invalid(f"Job: {'; '.join(problems)}.")


def rest_app(service: SchedulerService) -> Flask:
    """Return the REST face of a scheduler as a WSGI application."""
    app, place = Flask("scheduler"), "/v1/projects/<project>/locations/<region>/jobs"

    def parent() -> str:
        return "projects/{project}/locations/{region}".format(**request.view_args)

    def name() -> str:
        return f"{parent()}/jobs/{request.view_args['job']}"

    def asked() -> scheduler.Job:
        try:  # the real message: a field that it does not have is an error
            return scheduler.Job.from_json(request.get_data(), ignore_unknown_fields=False)
        except json_format.ParseError as error:
            raise invalid(str(error)) from None

    def as_dict(job: scheduler.Job) -> dict:
        return json_format.MessageToDict(scheduler.Job.pb(job))

    @app.post(place)
    def create(project, region):
        return jsonify(as_dict(service.create_job(parent(), asked())))

    @app.get(place)
    def list_(project, region):
        return jsonify({"jobs": [as_dict(job) for job in service.list_jobs(parent())]})

    @app.get(f"{place}/<job>")
    def get(project, region, job):
        return jsonify(as_dict(service.get_job(name())))

    @app.patch(f"{place}/<job>")
    def update(project, region, job):
        wanted = asked()
        wanted.name = name()  # it is in the path, and the client leaves it out of the body
        return jsonify(as_dict(service.update_job(wanted)))

    @app.delete(f"{place}/<job>")
    def delete(project, region, job):
        service.delete_job(name())
        return jsonify({})

    @app.post(f"{place}/<job>:pause")
    def pause(project, region, job):
        return jsonify(as_dict(service.set_state(name(), scheduler.Job.State.PAUSED)))

    @app.post(f"{place}/<job>:resume")
    def resume(project, region, job):
        return jsonify(as_dict(service.set_state(name(), scheduler.Job.State.ENABLED)))

    @app.post(f"{place}/<job>:run")
    def run(project, region, job):
        return jsonify(as_dict(service.run_job(name())))

    @app.errorhandler(ApiError)
    def refuse(error):
        return error_reply(error.code, error.message)

    return app


@contextmanager
def local_scheduler(port: int = 0) -> Iterator[tuple[SchedulerService, str]]:
    """Serve Cloud Scheduler on loopback for a while; yield the service and its address."""
    service = SchedulerService()
    server, url = serve_app(rest_app(service), port)
    try:
        yield service, url
    finally:
        server.shutdown()
