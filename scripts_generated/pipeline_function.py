# Generated from notebooks/10-pipeline-function.ipynb by `make export`; do not edit.
"""Start the training pipeline by an HTTP request: checked, started once however often it is asked
for, and with a log that a machine can read.
"""

import functools
import hashlib
import json
import logging
import os
import re
import secrets
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import functions_framework
import requests
import yaml
from flask import Request
from google.api_core import exceptions
from google.auth.exceptions import TransportError
from google.cloud import aiplatform, storage


class RequestError(Exception):
    """The request can't be served as it is; the message is for the caller."""


class SettingsError(Exception):
    """The function was not deployed as it has to be; the message is for the log."""


@dataclass(frozen=True)
class Settings:
    """What the deployment decides, from the environment variable of the same name."""

    project: str
    location: str
    lake: str
    dataset: str
    code_uri: str
    pipeline_root: str
    template: str
    service_account: str  # the pipeline's own
    batch_service_account: str  # that of the Spark batches it starts
    subnetwork: str
    container_image: str
    kms_key: str  # a key of your own, for all that a run leaves in Vertex AI and on disks


REQUIRED_SETTINGS = ("PROJECT", "LOCATION", "LAKE", "DATASET", "CODE_URI", "PIPELINE_ROOT")


def read_settings(env: dict[str, str]) -> Settings:
    """Return the settings of the deployment. Raises SettingsError, which names what is missing."""
    if missing := [name for name in REQUIRED_SETTINGS if not env.get(name)]:
        raise SettingsError(
            f"The function has no {', '.join(missing)}. Name them in its --env-vars-file."
        )
    if not env["PIPELINE_ROOT"].startswith("gs://"):
        raise SettingsError(f"PIPELINE_ROOT is {env['PIPELINE_ROOT']!r}, not a gs:// folder.")
    if env["LAKE"].startswith("gs://") and not env["DATASET"].startswith("bigquery://"):
        raise SettingsError(f"DATASET is {env['DATASET']!r}, not bigquery://project.dataset.")
    given = {name: env.get(name.upper(), "") for name in Settings.__annotations__}
    given["template"] = given["template"] or str(Path(__file__).with_name("training_pipeline.yaml"))
    given["batch_service_account"] = given["batch_service_account"] or given["service_account"]
    return Settings(**given)


def read_template(template: str) -> str:
    """Return the text of a compiled pipeline, from a file or a bucket."""
    if template.startswith("gs://"):
        return storage.Blob.from_uri(template, storage.Client()).download_as_text()
    return Path(template).read_text(encoding="utf-8")


def template_parameters(template: str) -> dict[str, dict]:
    """Return the definitions of a compiled pipeline's parameters. Raises SettingsError."""
    try:
        root = yaml.safe_load(read_template(template))["root"]
    except requests.RequestException:  # a network's error is no wrong setting
        raise
    except (OSError, ValueError, TypeError, KeyError, yaml.YAMLError) as error:
        raise SettingsError(f"TEMPLATE {template} is no compiled pipeline: {error!r}") from error
    except (exceptions.NotFound, exceptions.Forbidden) as error:
        raise SettingsError(f"TEMPLATE {template} can't be read: {error}") from error
    return root.get("inputDefinitions", {}).get("parameters", {})


def deployed_parameters(settings: Settings, pipeline_id: str) -> dict[str, str | int]:
    """Return the pipeline parameters that no caller may choose."""
    return {
        "project": settings.project,
        "location": settings.location,
        "pipeline_id": pipeline_id,
        "attempt": 1,
        "lake": settings.lake,
        "dataset": settings.dataset,
        "code_uri": settings.code_uri,
        "service_account": settings.batch_service_account,
        "subnetwork_uri": settings.subnetwork,
        "container_image": settings.container_image,
        "kms_key": settings.kms_key,
    }


JSON_TYPES = {
    "STRING": (str, "a text"),
    "NUMBER_INTEGER": (int, "a whole number"),
    "NUMBER_DOUBLE": ((int, float), "a number"),
    "BOOLEAN": (bool, "true or false"),
    "LIST": (list, "a list"),
    "STRUCT": (dict, "an object"),
}

LARGEST_NUMBER = 2**53


def check_value(name: str, value: object, kind: str) -> None:
    """Raise RequestError for a value that is not of a parameter's type."""
    types, expected = JSON_TYPES[kind]
    fits = isinstance(value, types) and (kind == "BOOLEAN" or not isinstance(value, bool))
    if fits and kind.startswith("NUMBER"):
        fits = -LARGEST_NUMBER <= value <= LARGEST_NUMBER  # false for NaN as well
    if not fits:
        raise RequestError(f"parameters.{name} must be {expected}.")


PATHS = ("raw",)

PART = r"[A-Za-z0-9_=-][A-Za-z0-9_.=-]*"  # can't be "." or ".."

BELOW = re.compile(rf"{PART}(/{PART})*/?")


def check_path(name: str, value: str) -> None:
    """Raise RequestError for a path that may leave the lake."""
    if not BELOW.fullmatch(value):
        raise RequestError(
            f"parameters.{name} must be a path below the lake, such as raw/customers: "
            "letters, digits and _ . = - between single slashes, no scheme, no '..'."
        )


LARGEST_BODY = 64 * 1024  # bytes


def parse_body(body: bytes) -> object:
    """Return what a request's body says; nothing is an empty object. Raises RequestError."""
    if len(body) > LARGEST_BODY:
        raise RequestError(f"The body is larger than {LARGEST_BODY} bytes.")
    try:
        return json.loads(body) if body.strip() else {}
    except (ValueError, RecursionError):
        raise RequestError('The body is not JSON. Send {"parameters": {...}}.') from None


def read_body(body: bytes) -> dict:
    """Return the parameters that a request's body asks for. Raises RequestError."""
    asked = parse_body(body)
    if not isinstance(asked, dict):
        raise RequestError('The body must be an object: {"parameters": {...}}.')
    if unknown := sorted(asked.keys() - {"parameters"}):
        raise RequestError(f"Unknown field {unknown[0]!r}. The only field is parameters.")
    parameters = asked.get("parameters", {})
    if not isinstance(parameters, dict):
        raise RequestError("parameters must be an object of names and values.")
    return parameters


def check_asked(asked: dict, deployed: dict, definitions: dict[str, dict]) -> None:
    """Raise RequestError for a parameter that the caller may not set, or not like this."""
    free = sorted(definitions.keys() - deployed.keys())
    for name, value in asked.items():
        if name in deployed:
            raise RequestError(f"parameters.{name} is set by the deployment. Leave it out.")
        if name not in definitions:
            known = ", ".join(free) or "none"
            raise RequestError(f"parameters.{name} is unknown. You may set: {known}.")
        check_value(name, value, definitions[name]["parameterType"])
        if name in PATHS:
            check_path(name, value)


def run_parameters(asked: dict, deployed: dict, definitions: dict[str, dict]) -> dict:
    """Return the values of a run: the deployment's and the caller's. Raises RequestError."""
    check_asked(asked, deployed, definitions)
    values = {n: v for n, v in deployed.items() if v and n in definitions} | asked
    for name, definition in definitions.items():
        if name not in values and not definition.get("isOptional"):
            raise RequestError(f"parameters.{name} is missing.")
    return values


PIPELINE_ID = re.compile(r"\d{8}t\d{6}-[0-9a-f]{6}")

LONGEST_KEY = 200


def digest(*texts: str) -> str:
    """Return hexadecimal digits that stand for some texts."""
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()


def id_of_key(key: str) -> str:
    """Return the run of an Idempotency-Key. A key that is a pipeline_id stays what it is."""
    if not 0 < len(key) <= LONGEST_KEY:
        raise RequestError(f"Idempotency-Key must have 1 to {LONGEST_KEY} characters.")
    return key if PIPELINE_ID.fullmatch(key) else f"0-{digest(key)[:16]}"


def id_of_tick(job: str, scheduled: str) -> str:
    """Return the run of a tick of Cloud Scheduler: of a job at a scheduled time."""
    try:
        time = datetime.fromisoformat(scheduled)
        if time.tzinfo is None or not 2000 < time.year < 9999:
            raise ValueError("no zone, or no year of ours")
    except ValueError:
        raise RequestError(
            f"X-CloudScheduler-ScheduleTime {scheduled!r} is no time with its zone, "
            "such as 2026-11-23T05:00:00Z."
        ) from None
    time = time.astimezone(UTC)
    return f"{time:%Y%m%dt%H%M%S}-{digest(job, time.isoformat())[:6]}"


def pipeline_id_of(headers) -> str:
    """Return the pipeline_id that a request's headers ask for. Raises RequestError."""
    if "Idempotency-Key" in headers:
        return id_of_key(headers["Idempotency-Key"].strip())
    job, scheduled = (headers.get(f"X-CloudScheduler-{n}") for n in ("JobName", "ScheduleTime"))
    if job and scheduled:
        return id_of_tick(job, scheduled)
    return f"{datetime.now(UTC):%Y%m%dt%H%M%S}-{secrets.token_hex(3)}"


PIPELINE_NAME = "churn-training"


def job_id_of(pipeline_id: str, attempt: int) -> str:
    """Return the id of a run's job: its key, and the attempt from the second one on."""
    return f"{PIPELINE_NAME}-{pipeline_id}" + (f"-t{attempt}" if attempt > 1 else "")


def pipeline_job(settings: Settings, parameters: dict) -> aiplatform.PipelineJob:
    """Return the job of a run's attempt, not yet submitted."""
    job_id = job_id_of(parameters["pipeline_id"], parameters["attempt"])
    return aiplatform.PipelineJob(
        display_name=job_id,
        template_path=settings.template,
        job_id=job_id,
        pipeline_root=settings.pipeline_root,
        encryption_spec_key_name=settings.kms_key or None,
        parameter_values=parameters,
        labels={"pipeline_id": parameters["pipeline_id"]},
        project=settings.project,
        location=settings.location,
    )


CREATE_TIMEOUT = 60.0  # seconds


def submit(settings: Settings, parameters: dict) -> str:
    """Submit the compiled pipeline and return the job's name."""
    job = pipeline_job(settings, parameters)
    account = settings.service_account or None
    job.submit(service_account=account, create_request_timeout=CREATE_TIMEOUT)
    return job.resource_name


def known_job(settings: Settings, pipeline_id: str, attempt: int) -> dict:
    """Return the reply about a run's attempt that was started before."""
    name = job_id_of(pipeline_id, attempt)
    job = aiplatform.PipelineJob.get(name, project=settings.project, location=settings.location)
    state = job.gca_resource.state.name
    return {"job": job.resource_name, "pipeline_id": pipeline_id, "state": state}


MOST_ATTEMPTS = 9

REPEATABLE = ("PIPELINE_STATE_FAILED", "PIPELINE_STATE_CANCELLED")


def start(settings: Settings, parameters: dict, known=known_job) -> tuple[dict, int]:
    """Start a run, anew if it has failed, or find it; return reply and status."""
    pipeline_id = parameters["pipeline_id"]
    for attempt in range(1, MOST_ATTEMPTS + 1):
        try:
            job = submit(settings, parameters | {"attempt": attempt})
            return {"job": job, "pipeline_id": pipeline_id}, 202
        except exceptions.Conflict as error:
            if isinstance(error, exceptions.Aborted):  # is a 409 as well, but nothing exists
                raise
        reply = known(settings, pipeline_id, attempt)
        if reply["state"] not in REPEATABLE:
            return reply, 200
    raise RequestError(f"This run has failed {MOST_ATTEMPTS} times. Mend it, and send a new key.")


UNREACHABLE = (
    exceptions.ServerError,
    exceptions.RetryError,
    exceptions.Aborted,
    TransportError,
    requests.RequestException,
    ConnectionError,
    TimeoutError,
)

MESSAGES = {
    400: "Vertex AI does not accept this run. The function's log names the reason.",
    429: "Vertex AI's quota is used up. Ask again after the seconds in Retry-After.",
    500: "The pipeline can't be started. The function's log names the reason.",
    503: "Vertex AI can't be reached. Ask again after the seconds in Retry-After.",
}

RETRY_AFTER = {429: "60", 503: "30"}  # seconds


def status_of(error: Exception) -> int:
    """Return the HTTP status for an error on the way to Vertex AI."""
    if isinstance(error, exceptions.TooManyRequests):
        return 429
    if isinstance(error, exceptions.BadRequest):
        return 400
    return 503 if isinstance(error, UNREACHABLE) else 500


LOG = logging.getLogger("pipeline_function")


class JsonLines(logging.Formatter):
    """Write a log record as one line of JSON."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line of a record; ``extra={"fields": …}`` adds fields."""
        entry = {"severity": record.levelname, "message": record.getMessage()}
        entry |= getattr(record, "fields", {})
        if record.exc_info:
            entry["stack_trace"] = self.formatException(record.exc_info)
        return json.dumps(entry, default=str)


@functools.cache
def log_as_json() -> None:
    """Write the log records of this process to stdout as JSON, a line each; once is enough."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(JsonLines())
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    LOG.setLevel(logging.INFO)
    for name in list(logging.root.manager.loggerDict):
        if name.startswith("google.cloud.aiplatform"):
            logging.getLogger(name).handlers.clear()
            logging.getLogger(name).setLevel(logging.WARNING)


def trace_of(headers, project: str) -> dict[str, str]:
    """Return the log field that joins the lines of one request, if the platform sent a trace."""
    found = re.match(r"[0-9a-f]{32}", headers.get("X-Cloud-Trace-Context", ""))
    return (
        {"logging.googleapis.com/trace": f"projects/{project}/traces/{found[0]}"} if found else {}
    )


def serve(request: Request, fields: dict) -> tuple[dict, int]:
    """Start the run that a request asks for; note in ``fields`` what the log should know."""
    settings = read_settings(dict(os.environ))
    fields |= trace_of(request.headers, settings.project)
    pipeline_id = pipeline_id_of(request.headers)
    fields["pipeline_id"] = pipeline_id
    asked = read_body(request.get_data())
    definitions = template_parameters(settings.template)
    deployed = deployed_parameters(settings, pipeline_id)
    reply, status = start(settings, run_parameters(asked, deployed, definitions))
    fields["job"] = reply["job"]
    return reply, status


def refuse(error: Exception, fields: dict) -> tuple[dict, int, dict[str, str]]:
    """Log an error in one line and return the reply that says no more than the caller may know."""
    if isinstance(error, RequestError):
        LOG.warning("Refused: %s", error, extra={"fields": fields})
        return {"error": str(error)}, 400, {}
    status = status_of(error)
    known = isinstance(error, SettingsError | exceptions.GoogleAPIError) or status == 503
    LOG.error("Not started (%d): %s", status, error, exc_info=not known, extra={"fields": fields})
    wait = {"Retry-After": RETRY_AFTER[status]} if status in RETRY_AFTER else {}
    return {"error": MESSAGES[status]}, status, wait


@functions_framework.http
def start_training(request: Request):
    """Start the training pipeline: 202 with its name, 200 if this run goes on or has succeeded."""
    log_as_json()
    fields = {}
    if request.method != "POST":
        LOG.warning("Refused: %s", request.method)
        return {"error": f"{request.method} starts nothing. Send POST."}, 405, {"Allow": "POST"}
    try:
        reply, status = serve(request, fields)
    except Exception as error:
        return refuse(error, fields)
    message = "Started" if status == 202 else "Was started before"
    LOG.info("%s: %s", message, reply["job"], extra={"fields": fields})
    return reply, status
