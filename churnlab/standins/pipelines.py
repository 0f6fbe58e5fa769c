"""Pipeline jobs, their schedules and managed datasets of Vertex AI, on this machine.

``PipelineService`` knows nothing of transport: ``pipelines_rest`` puts it on a port. A job is run
in a process of its own by ``pipeline_run``: the compiled pipeline as it was submitted. Schedules
are kept but start nothing. States, names and limits are those of the REST reference,
https://docs.cloud.google.com/vertex-ai/docs/reference/rest/v1/projects.locations.pipelineJobs
"""

import copy
import json
import os
import re
import shutil
import subprocess
import sys
import threading
import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import grpc
from google.cloud import aiplatform_v1 as vertex
from google.protobuf import json_format
from google.rpc import code_pb2, status_pb2

from churnlab.standins.api import PARENT, ApiError, invalid, meets, parse_filter
from churnlab.standins.batches import FINAL as FINAL_BATCH
from churnlab.standins.batches import BatchService, end_process, now
from churnlab.standins.clients import shim_variables

State = vertex.PipelineState
TaskState = vertex.PipelineTaskDetail.State
FINAL = {
    State.PIPELINE_STATE_SUCCEEDED,
    State.PIPELINE_STATE_FAILED,
    State.PIPELINE_STATE_CANCELLED,
}
JOB_ID = re.compile(r"[a-z][a-z0-9-]{0,127}")
CRON = re.compile(r"(?:(?:CRON_)?TZ=(?P<zone>\S+)\s+)?(?P<times>\S.*)")
# The label that Vertex AI puts on everything a run starts; we find a run's batches by it.
RUN_LABEL = "vertex-ai-pipelines-run-billing-id"

# parameterType of a compiled pipeline → the Python types of its JSON values
JSON_TYPES = {
    "STRING": (str,),
    "NUMBER_INTEGER": (int, float),  # a Struct of protobuf knows only doubles
    "NUMBER_DOUBLE": (int, float),
    "BOOLEAN": (bool,),
    "LIST": (list,),
    "STRUCT": (dict,),
}


class PipelineService:
    """Keeps pipeline jobs, schedules and datasets; runs the jobs.

    ``storage`` is the folder that stands for Cloud Storage. ``batches`` is the service that the
    jobs' Spark steps go to. With ``execute=False`` jobs stay PENDING, which is enough to look at
    what a client sends. ``workers`` jobs run at a time.
    """

    def __init__(
        self,
        storage: Path,
        batches: BatchService | None = None,
        execute: bool = True,
        workers: int = 2,
    ):
        self.storage = Path(storage)
        self.batches = batches
        self.execute = execute
        # What a job's process is told about the stand-ins; the server sets it once it knows.
        self.variables: dict[str, str] = {}
        self._jobs: dict[str, vertex.PipelineJob] = {}
        self._folders: dict[str, Path] = {}
        self._processes: dict[str, subprocess.Popen] = {}
        self._schedules: dict[str, vertex.Schedule] = {}
        self._datasets: dict[str, vertex.Dataset] = {}
        self._faults: list[grpc.StatusCode] = []
        self._changed = threading.Condition(threading.RLock())
        self._pool = ThreadPoolExecutor(workers, "pipeline")

    # Faults, for tests of clients

    def fail_next(self, code: grpc.StatusCode, times: int = 1) -> None:
        """Answer the next calls with an error, whatever they ask."""
        with self._changed:
            self._faults += [code] * times

    def next_fault(self) -> grpc.StatusCode | None:
        """Return the error that the next call gets instead of an answer, and count it."""
        with self._changed:
            return self._faults.pop(0) if self._faults else None

    # Pipeline jobs

    def create_job(self, parent: str, job: vertex.PipelineJob, job_id: str) -> vertex.PipelineJob:
        """Accept a pipeline job and start it when a worker is free. Raises ApiError."""
        check_parent(parent)
        job_id = job_id or f"job-{uuid.uuid4().hex}"
        if not JOB_ID.fullmatch(job_id):
            raise invalid(
                f"pipelineJobId {job_id!r} must start with a lower-case letter and go on with at "
                "most 127 lower-case letters, digits and hyphens."
            )
        check_job(job)
        name = f"{parent}/pipelineJobs/{job_id}"
        with self._changed:
            if name in self._jobs:
                message = f"The PipelineJob {name} already exists. Choose another pipelineJobId."
                raise ApiError(grpc.StatusCode.ALREADY_EXISTS, message)
            job = copy.deepcopy(job)
            job.name = name
            job.create_time = job.update_time = now()
            job.state = State.PIPELINE_STATE_PENDING
            job.labels[RUN_LABEL] = str(uuid.uuid4().int % 10**18)
            self._jobs[name] = job
            self._changed.notify_all()
            if self.execute:
                self._pool.submit(self._run, name)
            return copy.deepcopy(job)

    def get_job(self, name: str) -> vertex.PipelineJob:
        """Return a pipeline job with what its tasks have done so far. Raises ApiError."""
        with self._changed:
            job = self._found(self._jobs, name)
            if name in self._folders:
                job.job_detail.task_details = task_details(self._folders[name] / "tasks.jsonl")
            return copy.deepcopy(job)

    def list_jobs(self, parent: str, filter_: str = "", order_by: str = "") -> list:
        """Return the pipeline jobs of a place, the newest first. Raises ApiError."""
        return self._listed(self._jobs, parent, filter_, order_by)

    def cancel_job(self, name: str) -> None:
        """Ask a pipeline job to end; its process and its batches are cancelled. Raises ApiError."""
        with self._changed:
            job = self._found(self._jobs, name)
            if job.state in FINAL or job.state == State.PIPELINE_STATE_CANCELLING:
                return
            if name in self._processes:
                self._set_state(job, State.PIPELINE_STATE_CANCELLING)
                end_process(self._processes[name])
            else:
                self._finish(job, State.PIPELINE_STATE_CANCELLED, "Cancelled by the caller.")

    def wait(self, name: str, timeout: float = 3600) -> vertex.PipelineJob:
        """Return a job once it has ended. Raises TimeoutError after ``timeout`` seconds."""
        with self._changed:
            if not self._changed.wait_for(lambda: self._jobs[name].state in FINAL, timeout):
                raise TimeoutError(f"{name} is {self._jobs[name].state.name} after {timeout} s")
            return self.get_job(name)

    def log(self, name: str) -> str:
        """Return what a job's process has written so far."""
        folder = self._folders.get(name)
        return (folder / "log.txt").read_text(errors="replace") if folder else ""

    def close(self) -> None:
        """End every job and take no more."""
        with self._changed:
            running = [name for name, job in self._jobs.items() if job.state not in FINAL]
        for name in running:
            self.cancel_job(name)
        self._pool.shutdown(cancel_futures=True)

    # Schedules

    def create_schedule(self, parent: str, schedule: vertex.Schedule) -> vertex.Schedule:
        """Accept a schedule. Raises ApiError."""
        check_parent(parent)
        check_schedule(schedule)
        with self._changed:
            schedule = copy.deepcopy(schedule)
            schedule.name = f"{parent}/schedules/{uuid.uuid4().int % 10**18}"
            schedule.create_time = schedule.update_time = now()
            schedule.state = vertex.Schedule.State.ACTIVE
            schedule.next_run_time = next_run(schedule.cron, schedule.start_time or now())
            self._schedules[schedule.name] = schedule
            return copy.deepcopy(schedule)

    def get_schedule(self, name: str) -> vertex.Schedule:
        """Return a schedule. Raises ApiError."""
        with self._changed:
            return copy.deepcopy(self._found(self._schedules, name))

    def list_schedules(self, parent: str, filter_: str = "", order_by: str = "") -> list:
        """Return the schedules of a place, the newest first. Raises ApiError."""
        return self._listed(self._schedules, parent, filter_, order_by)

    def pause_schedule(self, name: str) -> None:
        """Pause an active schedule. Raises ApiError."""
        with self._changed:
            schedule = self._found(self._schedules, name)
            if schedule.state != vertex.Schedule.State.ACTIVE:
                message = f"{name} is {schedule.state.name}, not ACTIVE."
                raise ApiError(grpc.StatusCode.FAILED_PRECONDITION, message)
            schedule.state, schedule.last_pause_time = vertex.Schedule.State.PAUSED, now()
            del schedule.next_run_time

    def resume_schedule(self, name: str, catch_up: bool) -> None:
        """Resume a paused schedule. Raises ApiError."""
        with self._changed:
            schedule = self._found(self._schedules, name)
            if schedule.state != vertex.Schedule.State.PAUSED:
                message = f"{name} is {schedule.state.name}, not PAUSED."
                raise ApiError(grpc.StatusCode.FAILED_PRECONDITION, message)
            schedule.state, schedule.last_resume_time = vertex.Schedule.State.ACTIVE, now()
            schedule.catch_up = catch_up
            schedule.next_run_time = next_run(schedule.cron, now())

    def delete_schedule(self, name: str) -> None:
        """Forget a schedule. Raises ApiError."""
        with self._changed:
            self._found(self._schedules, name)
            del self._schedules[name]

    # Managed datasets

    def create_dataset(self, parent: str, dataset: vertex.Dataset) -> vertex.Dataset:
        """Register a dataset; nothing is copied, the data stays where it is. Raises ApiError."""
        check_parent(parent)
        missing = [f for f in ("display_name", "metadata_schema_uri") if not getattr(dataset, f)]
        if missing:
            raise invalid(f"Dataset without {' and '.join(missing)}.")
        with self._changed:
            dataset = copy.deepcopy(dataset)
            dataset.name = f"{parent}/datasets/{uuid.uuid4().int % 10**18}"
            dataset.create_time = dataset.update_time = now()
            self._datasets[dataset.name] = dataset
            return copy.deepcopy(dataset)

    def get_dataset(self, name: str) -> vertex.Dataset:
        """Return a dataset. Raises ApiError."""
        with self._changed:
            return copy.deepcopy(self._found(self._datasets, name))

    def list_datasets(self, parent: str, filter_: str = "", order_by: str = "") -> list:
        """Return the datasets of a place, the newest first. Raises ApiError."""
        return self._listed(self._datasets, parent, filter_, order_by)

    # The life of a job

    @staticmethod
    def _found(kept: dict, name: str):
        if name not in kept:
            raise ApiError(grpc.StatusCode.NOT_FOUND, f"Not found: {name}")
        return kept[name]

    def _listed(self, kept: dict, parent: str, filter_: str, order_by: str) -> list:
        conditions = parse_filter(filter_, "state", "display_name")
        if order_by not in ("", "create_time", "create_time desc", "create_time asc"):
            raise invalid(f"Can't order by {order_by!r}: only create_time, asc or desc.")
        with self._changed:
            found = [
                r for n, r in kept.items() if n.rpartition("/")[0].rpartition("/")[0] == parent
            ]
            found = [r for r in found if all(meets(r, *c) for c in conditions)]
            if order_by not in ("create_time", "create_time asc"):
                found.reverse()  # they are kept in the order of their creation
            return copy.deepcopy(found)

    def _set_state(self, job: vertex.PipelineJob, state: State) -> None:
        job.state, job.update_time = state, now()
        self._changed.notify_all()

    def _finish(self, job: vertex.PipelineJob, state: State, message: str = "") -> None:
        with self._changed:
            job.end_time = now()
            if state != State.PIPELINE_STATE_SUCCEEDED:
                cancelled = state == State.PIPELINE_STATE_CANCELLED
                code = code_pb2.CANCELLED if cancelled else code_pb2.FAILED_PRECONDITION
                job.error = status_pb2.Status(code=code, message=message)
            self._set_state(job, state)

    def _run(self, name: str) -> None:
        """Run a job from PENDING to its end; a thread of the pool does this."""
        with self._changed:
            job = self._jobs[name]
            if job.state != State.PIPELINE_STATE_PENDING:
                return
            try:
                process = self._start(job)
            except (OSError, ValueError) as error:
                self._finish(job, State.PIPELINE_STATE_FAILED, f"The job did not start: {error}")
                return
            self._processes[name] = process
            job.start_time = now()
            self._set_state(job, State.PIPELINE_STATE_RUNNING)
        status = process.wait()
        self._cancel_batches(job)
        with self._changed:
            del self._processes[name]
            if job.state == State.PIPELINE_STATE_CANCELLING:
                self._finish(job, State.PIPELINE_STATE_CANCELLED, "Cancelled by the caller.")
            elif status:
                self._finish(job, State.PIPELINE_STATE_FAILED, self._failure(name, status))
            else:
                self._finish(job, State.PIPELINE_STATE_SUCCEEDED)

    def _start(self, job: vertex.PipelineJob) -> subprocess.Popen:
        folder = self.storage / "vertex-pipelines" / job.name.replace("/", "-")
        shutil.rmtree(folder, ignore_errors=True)  # an earlier program's job of this name
        folder.mkdir(parents=True)
        self._folders[job.name] = folder
        message = json_format.MessageToDict(vertex.PipelineJob.pb(job))
        (folder / "job.json").write_text(json.dumps(message))
        root = job.runtime_config.gcs_output_directory
        with (folder / "log.txt").open("wb") as stream:
            return subprocess.Popen(
                [
                    *(sys.executable, "-m", "churnlab.standins.pipeline_run", str(folder)),
                    root.replace("gs://", f"{self.storage.absolute()}/"),
                ],
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
                # What Vertex AI tells a component's container about its run
                env=os.environ
                | shim_variables(self.variables)
                | {"VERTEX_AI_PIPELINES_RUN_LABELS": json.dumps(self._run_label(job))},
                start_new_session=True,
            )

    @staticmethod
    def _run_label(job: vertex.PipelineJob) -> dict[str, str]:
        return {RUN_LABEL: job.labels[RUN_LABEL]}

    def _cancel_batches(self, job: vertex.PipelineJob) -> None:
        """Cancel what a job left behind: its launcher may have been killed before it could."""
        if self.batches is None:
            return
        parent = job.name.rpartition("/pipelineJobs/")[0]
        mine = f"labels.{RUN_LABEL} = {job.labels[RUN_LABEL]}"
        for batch in self.batches.list_batches(parent, mine, page_size=1000)[0]:
            if batch.state not in FINAL_BATCH:
                self.batches.cancel_operation(batch.operation)

    def _failure(self, name: str, status: int) -> str:
        written = self._folders[name] / "error.txt"
        reason = written.read_text() if written.exists() else f"The process ended with {status}."
        return f"{reason} The job's log: {self._folders[name] / 'log.txt'}"


def check_parent(parent: str) -> None:
    """Raise ApiError for anything but projects/PROJECT/locations/REGION."""
    if not PARENT.fullmatch(parent):
        raise invalid(f"Parent {parent!r} is not projects/PROJECT/locations/REGION.")


def check_job(job: vertex.PipelineJob) -> None:
    """Raise ApiError for a job whose spec or parameters the service would refuse."""
    from kfp.pipeline_spec import pipeline_spec_pb2

    message = json_format.MessageToDict(vertex.PipelineJob.pb(job))
    spec = message.get("pipelineSpec")
    if not spec:
        raise invalid("The job has no pipelineSpec.")
    try:  # the real message of compiled pipelines
        json_format.ParseDict(spec, pipeline_spec_pb2.PipelineSpec())
    except json_format.ParseError as error:
        raise invalid(f"pipelineSpec: {error}") from None
    config = message.get("runtimeConfig", {})
    if not config.get("gcsOutputDirectory", "").startswith("gs://"):
        raise invalid("runtimeConfig.gcsOutputDirectory must be a gs:// folder.")
    check_parameters(spec, config.get("parameterValues", {}))


def check_parameters(spec: dict, values: dict) -> None:
    """Raise ApiError for parameters that a compiled pipeline does not take or lacks."""
    defined = spec["root"].get("inputDefinitions", {}).get("parameters", {})
    problems = [f"unknown parameter {name!r}" for name in values.keys() - defined.keys()]
    for name, definition in defined.items():
        kind = definition["parameterType"]
        if name not in values:
            if not definition.get("isOptional") and "defaultValue" not in definition:
                problems.append(f"parameter {name!r} is missing")
        elif not has_type(values[name], kind):
            problems.append(f"parameter {name!r} must be {kind}, not {values[name]!r}")
    if problems:
        raise invalid(f"runtimeConfig.parameterValues: {'; '.join(sorted(problems))}.")


def has_type(value: object, kind: str) -> bool:
    """Tell whether a JSON value is of a compiled pipeline's parameter type."""
    if isinstance(value, bool) and kind != "BOOLEAN":
        return False
    if kind == "NUMBER_INTEGER" and isinstance(value, float) and not value.is_integer():
        return False
    return isinstance(value, JSON_TYPES.get(kind, (object,)))


def check_schedule(schedule: vertex.Schedule) -> None:
    """Raise ApiError for a schedule that the service would refuse."""
    if not schedule.display_name:
        raise invalid("The schedule has no displayName.")
    if schedule.max_concurrent_run_count < 1:
        raise invalid("maxConcurrentRunCount must be at least 1.")
    next_run(schedule.cron, now())
    check_job(schedule.create_pipeline_job_request.pipeline_job)


def next_run(cron: str, after: datetime) -> datetime:
    """Return the first time after another at which a cron line of Vertex AI fires.

    The line may begin with ``TZ=Europe/Berlin`` or ``CRON_TZ=…``. Raises ApiError.
    """
    from croniter import croniter

    found = CRON.fullmatch(cron)
    try:
        zone = ZoneInfo((found and found["zone"]) or "UTC")
        fires = croniter(found["times"] if found else "", after.astimezone(zone))
        return fires.get_next(datetime)
    except (ValueError, OverflowError, OSError, ZoneInfoNotFoundError) as error:
        raise invalid(f"cron {cron!r} after {after}: {error}") from None


def task_details(path: Path) -> list[vertex.PipelineTaskDetail]:
    """Return what the tasks of a job have done so far, from the lines that its process writes."""
    details: dict[str, vertex.PipelineTaskDetail] = {}
    lines = path.read_text().splitlines() if path.exists() else []
    for line in lines:
        event = json.loads(line)
        at = datetime.fromisoformat(event["time"])
        detail = details.setdefault(
            event["task"],
            vertex.PipelineTaskDetail(
                task_id=len(details) + 1, task_name=event["task"], create_time=at, start_time=at
            ),
        )
        detail.state = TaskState[event["state"]]
        if detail.state != TaskState.RUNNING:
            detail.end_time = at
    return list(details.values())
