"""The batches of Serverless for Apache Spark, run by spark-submit on this machine.

``BatchService`` knows nothing of transport: ``batches_grpc`` and ``batches_rest`` put it on a port.
States, names and limits are those of the REST reference,
https://docs.cloud.google.com/dataproc-serverless/docs/reference/rest/v1/projects.locations.batches
"""

import contextlib
import copy
import os
import re
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

import grpc
from google.cloud import dataproc_v1 as dataproc
from google.longrunning import operations_pb2
from google.rpc import code_pb2, status_pb2

from churnlab.facts import node_dcu, published
from churnlab.run.spark_submit import submit_environment
from churnlab.standins.api import PARENT, ApiError, invalid, meets, parse_filter

State = dataproc.Batch.State
FINAL = {State.SUCCEEDED, State.FAILED, State.CANCELLED}

BATCH_ID = re.compile(r"[a-z0-9][a-z0-9-]{2,61}[a-z0-9]")
LABEL_KEY = re.compile(r"[a-z][a-z0-9_-]{0,62}")
LABEL_VALUE = re.compile(r"[a-z0-9_-]{0,63}")
RUNTIME_VERSION = re.compile(r"(1\.[12]|2\.[0-3]|3\.0)(\.\d+)?")
SERVICE_ACCOUNT = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s]+")
IMAGE = re.compile(r"[a-z0-9.-]+(:\d+)?/[a-z0-9._/-]+(:[\w.-]+|@sha256:[0-9a-f]{64})")
MAIN_FILE = re.compile(r"((gs|file|hdfs)://|/)?[^:]+\.py")

SHORTEST_TTL, LONGEST_TTL = timedelta(minutes=10), timedelta(days=14)
# What a batch without a ttl gets from runtime 2.1 on.
DEFAULT_TTL = timedelta(hours=4)
GRACE = 5  # seconds between the request to end and the kill


def canonical(name: str) -> str:
    """Return a resource name with ``locations``: the API also takes the older ``regions``."""
    return name.replace("/regions/", "/locations/")


class BatchService:
    """Creates, runs, lists and cancels batches, with one long-running operation each.

    ``storage`` is the folder that stands for Cloud Storage: ``gs://bucket/path`` is
    ``storage/bucket/path``. ``conf`` are Spark properties of every batch, ``workers`` how many run
    at a time; the others are PENDING. A second of ttl lasts ``ttl_scale`` seconds: the shortest
    ttl is ten minutes, too long to wait for in a test.
    """

    def __init__(
        self,
        storage: Path,
        conf: dict[str, str] | None = None,
        workers: int = 2,
        ttl_scale: float = 1.0,
    ):
        self.storage = Path(storage)
        self.conf = conf or {}
        self.ttl_scale = ttl_scale
        self._batches: dict[str, dataproc.Batch] = {}
        self._operations: dict[str, operations_pb2.Operation] = {}
        self._processes: dict[str, subprocess.Popen] = {}
        self._changed = threading.Condition(threading.RLock())
        self._pool = ThreadPoolExecutor(workers, "batch")

    # Requests. Each returns a copy, so that a batch may go on while it is sent.

    def create_batch(self, request: dataproc.CreateBatchRequest) -> operations_pb2.Operation:
        """Accept a batch and return its operation. Raises ApiError."""
        parent = canonical(request.parent)
        place = PARENT.fullmatch(parent)
        if not place:
            raise invalid(f"Parent {request.parent!r} is not projects/PROJECT/locations/REGION.")
        batch_id = request.batch_id or uuid.uuid4().hex
        if not BATCH_ID.fullmatch(batch_id):
            raise invalid(
                f"Batch ID {batch_id!r} must be 4 to 63 lower-case letters, digits and hyphens, "
                "without a hyphen at either end."
            )
        check_batch(request.batch)
        name = f"{parent}/batches/{batch_id}"
        with self._changed:
            if name in self._batches:
                raise ApiError(grpc.StatusCode.ALREADY_EXISTS, f"Already exists: {name}")
            batch = self._accepted(request.batch, name, place["region"])
            operation = self._operation_of(batch, place["project"], place["region"])
            self._batches[name] = batch
            self._operations[operation.name] = operation
            self._pool.submit(self._run, name)
            return copy.deepcopy(operation)

    def get_batch(self, name: str) -> dataproc.Batch:
        """Return a batch. Raises ApiError."""
        with self._changed:
            return copy.deepcopy(self._batch(name))

    def list_batches(
        self,
        parent: str,
        filter_: str = "",
        order_by: str = "",
        page_size: int = 0,
        token: str = "",
    ) -> tuple[list[dataproc.Batch], str]:
        """Return a page of a region's batches, the newest first, and the next page's token."""
        conditions = parse_filter(filter_, "state", "batch_id")
        if order_by not in ("", "create_time", "create_time desc", "create_time asc"):
            raise invalid(f"Can't order by {order_by!r}: only create_time, asc or desc.")
        if token and not token.isdigit():
            raise invalid(f"Page token {token!r} is none of ours.")
        start, size = int(token or 0), page_size or 20
        with self._changed:
            below = f"{canonical(parent)}/batches/"
            found = [b for n, b in self._batches.items() if n.startswith(below)]
            found = [b for b in found if all(meets(b, *c) for c in conditions)]
            if order_by not in ("create_time", "create_time asc"):
                found.reverse()  # they are kept in the order of their creation
            page = copy.deepcopy(found[start : start + size])
        return page, str(start + size) if start + size < len(found) else ""

    def delete_batch(self, name: str) -> None:
        """Forget a batch that has ended. Raises ApiError."""
        with self._changed:
            batch = self._batch(name)
            if batch.state not in FINAL:
                raise ApiError(
                    grpc.StatusCode.FAILED_PRECONDITION,
                    f"{batch.name} is {batch.state.name}. Cancel it first.",
                )
            del self._batches[batch.name]

    def get_operation(self, name: str) -> operations_pb2.Operation:
        """Return an operation. Raises ApiError."""
        with self._changed:
            if name not in self._operations:
                raise ApiError(grpc.StatusCode.NOT_FOUND, f"Not found: {name}")
            return copy.deepcopy(self._operations[name])

    def cancel_operation(self, name: str) -> None:
        """Ask a batch to end; the operation then ends in an error. Raises ApiError."""
        with self._changed:
            self.get_operation(name)
            batch = next((b for b in self._batches.values() if b.operation == name), None)
            if batch is None or batch.state in FINAL or batch.state == State.CANCELLING:
                return
            waiting = batch.state == State.PENDING
            self._set_state(batch, State.CANCELLING, "Cancelled by the caller.")
            if waiting:
                self._finish(batch, State.CANCELLED, "Cancelled by the caller.")
            else:
                end_process(self._processes.get(batch.name))

    def wait(self, name: str, timeout: float = 3600) -> dataproc.Batch:
        """Return a batch once it has ended. Raises TimeoutError after ``timeout`` seconds."""
        with self._changed:
            if not self._changed.wait_for(lambda: self._batch(name).state in FINAL, timeout):
                raise TimeoutError(f"{name} is {self._batch(name).state.name} after {timeout} s")
            return self.get_batch(name)

    def close(self) -> None:
        """End every batch and take no more."""
        with self._changed:
            running = [b.operation for b in self._batches.values() if b.state not in FINAL]
        for operation in running:
            self.cancel_operation(operation)
        self._pool.shutdown(cancel_futures=True)

    # The life of a batch

    def _batch(self, name: str) -> dataproc.Batch:
        batch = self._batches.get(canonical(name))
        if batch is None:
            raise ApiError(grpc.StatusCode.NOT_FOUND, f"Not found: {canonical(name)}")
        return batch

    def _accepted(self, asked: dataproc.Batch, name: str, region: str) -> dataproc.Batch:
        """Return the batch as the service keeps it: what was asked for and what it adds."""
        batch = dataproc.Batch(
            labels=asked.labels,
            pyspark_batch=asked.pyspark_batch,
            runtime_config=asked.runtime_config,
            environment_config=asked.environment_config,
            name=name,
            uuid=str(uuid.uuid4()),
            creator="you@example.com",
        )
        batch.create_time = now()
        if not batch.environment_config.execution_config.ttl:
            batch.environment_config.execution_config.ttl = DEFAULT_TTL
        if not batch.runtime_config.version:
            batch.runtime_config.version = "2.2"
        staging = batch.environment_config.execution_config.staging_bucket
        folder = f"{staging or f'dataproc-staging-{region}'}/google-cloud-dataproc-metainfo"
        output = self.storage / folder / batch.uuid / "driveroutput"
        batch.runtime_info.output_uri = output.absolute().as_uri()
        self._set_state(batch, State.PENDING)
        return batch

    def _operation_of(
        self, batch: dataproc.Batch, project: str, region: str
    ) -> operations_pb2.Operation:
        name = f"projects/{project}/regions/{region}/operations/{uuid.uuid4()}"
        batch.operation = name
        operation = operations_pb2.Operation(name=name)
        metadata = dataproc.BatchOperationMetadata(
            batch=batch.name,
            batch_uuid=batch.uuid,
            create_time=batch.create_time,
            operation_type=dataproc.BatchOperationMetadata.BatchOperationType.BATCH,
            description="Batch",
            labels=batch.labels,
        )
        operation.metadata.Pack(dataproc.BatchOperationMetadata.pb(metadata))
        return operation

    def _set_state(self, batch: dataproc.Batch, state: State, message: str = "") -> None:
        with self._changed:
            if batch.state:
                batch.state_history.append(
                    dataproc.Batch.StateHistory(
                        state=batch.state,
                        state_message=batch.state_message,
                        state_start_time=batch.state_time,
                    )
                )
            batch.state, batch.state_message, batch.state_time = state, message, now()
            self._changed.notify_all()

    def _run(self, name: str) -> None:
        """Run a batch from PENDING to its end; a thread of the pool does this."""
        with self._changed:
            batch = self._batches[name]
            if batch.state != State.PENDING:
                return
            try:
                process = self._start(batch)
            except (OSError, ValueError) as error:
                self._finish(batch, State.FAILED, f"The driver did not start: {error}")
                return
            self._processes[name] = process
            self._set_state(batch, State.RUNNING)
        ttl = batch.environment_config.execution_config.ttl
        try:
            status = process.wait(ttl.total_seconds() * self.ttl_scale)
            expired = False
        except subprocess.TimeoutExpired:
            end_process(process)
            status, expired = process.wait(), True
        with self._changed:
            del self._processes[name]
            if batch.state == State.CANCELLING:
                self._finish(batch, State.CANCELLED, batch.state_message)
            elif expired:
                # The reference says that the workload is terminated, not in which state it ends.
                self._finish(batch, State.FAILED, f"The batch exceeded its ttl of {ttl}.")
            elif status:
                output = batch.runtime_info.output_uri
                message = f"The driver ended with status {status}. See {output}"
                self._finish(batch, State.FAILED, message)
            else:
                self._finish(batch, State.SUCCEEDED)

    def _start(self, batch: dataproc.Batch) -> subprocess.Popen:
        output = Path(f"{url2pathname(urlsplit(batch.runtime_info.output_uri).path)}.000000000")
        output.parent.mkdir(parents=True)
        with output.open("wb") as stream:
            return subprocess.Popen(
                self.command(batch),
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
                env=submit_environment(),
                start_new_session=True,
            )

    def command(self, batch: dataproc.Batch) -> list[str]:
        """Return the spark-submit of a batch."""
        job = batch.pyspark_batch
        command = [str(Path(sys.executable).with_name("spark-submit"))]
        command += ["--name", batch.name.rpartition("/")[2]]
        # Sizes of cloud machines mean nothing here.
        asked = {k: v for k, v in batch.runtime_config.properties.items() if not is_size(k)}
        for key, value in (self.conf | asked).items():
            command += ["--conf", f"{key}={value}"]
        for option, uris in (
            ("--py-files", job.python_file_uris),
            ("--jars", job.jar_file_uris),
            ("--files", job.file_uris),
            ("--archives", job.archive_uris),
        ):
            if uris:
                command += [option, ",".join(map(self.local, uris))]
        return [*command, self.local(job.main_python_file_uri), *map(self.local, job.args)]

    def local(self, text: str) -> str:
        """Return a text with gs:// URIs, and the file scheme, as paths of this machine."""
        return text.replace("gs://", f"{self.storage.absolute()}/").replace("file:///", "/")

    def _finish(self, batch: dataproc.Batch, state: State, message: str = "") -> None:
        with self._changed:
            batch.runtime_info.approximate_usage = usage_of(batch)
            self._set_state(batch, state, message)
            operation = self._operations[batch.operation]
            if state == State.SUCCEEDED:
                operation.response.Pack(dataproc.Batch.pb(batch))
            else:
                code = code_pb2.CANCELLED if state == State.CANCELLED else code_pb2.ABORTED
                text = f"Batch {batch.name} is {state.name}: {message}"
                operation.error.CopyFrom(status_pb2.Status(code=code, message=text))
            operation.done = True
            self._changed.notify_all()


def now() -> datetime:
    """Return the time of a state change."""
    return datetime.now(UTC)


def check_batch(batch: dataproc.Batch) -> None:
    """Raise ApiError for a batch that the service would not accept."""
    kind = dataproc.Batch.pb(batch).WhichOneof("batch_config")
    if kind is None:
        raise invalid("Batch has no workload: set pyspark_batch.")
    if kind != "pyspark_batch":
        raise ApiError(
            grpc.StatusCode.UNIMPLEMENTED, f"This stand-in runs pyspark_batch only, not {kind}."
        )
    problems = [
        *_job_problems(batch.pyspark_batch),
        *_label_problems(batch.labels),
        *_runtime_problems(batch.runtime_config),
        *_execution_problems(batch.environment_config.execution_config),
    ]
    if problems:
        raise invalid(" ".join(problems))


def _job_problems(job: dataproc.PySparkBatch) -> list[str]:
    if not MAIN_FILE.fullmatch(job.main_python_file_uri):
        return [f"main_python_file_uri {job.main_python_file_uri!r} must name a .py file."]
    wrong = [uri for uri in job.python_file_uris if not uri.endswith((".py", ".egg", ".zip"))]
    return [f"python_file_uris: {uri!r} is no .py, .egg or .zip." for uri in wrong]


def _label_problems(labels) -> list[str]:
    problems = [f"{len(labels)} labels: 32 at most."] if len(labels) > 32 else []
    problems += [f"Label key {key!r} is invalid." for key in labels if not LABEL_KEY.fullmatch(key)]
    return problems + [
        f"Label value {value!r} of {key} is invalid."
        for key, value in labels.items()
        if not LABEL_VALUE.fullmatch(value)
    ]


def _runtime_problems(config: dataproc.RuntimeConfig) -> list[str]:
    problems = []
    if config.version and not RUNTIME_VERSION.fullmatch(config.version):
        problems.append(f"Runtime version {config.version!r} is unknown.")
    if config.container_image and not IMAGE.fullmatch(config.container_image):
        problems.append(f"Container image {config.container_image!r} has no tag or is no image.")
    for key in config.properties:
        if not key.startswith(("spark.", "dataproc.")) or key == "spark.master":
            problems.append(f"Property {key!r} is not allowed.")
    try:
        dcu_of(config.properties)
    except ValueError as error:
        problems.append(f"Properties: {error}.")
    return problems


def _execution_problems(config: dataproc.ExecutionConfig) -> list[str]:
    problems = []
    if config.service_account and not SERVICE_ACCOUNT.fullmatch(config.service_account):
        problems.append(f"Service account {config.service_account!r} is no e-mail address.")
    if config.ttl and not SHORTEST_TTL <= config.ttl <= LONGEST_TTL:
        problems.append(f"ttl {config.ttl} is not between 10 minutes and 14 days.")
    if config.idle_ttl:
        problems.append("idle_ttl is for sessions, not for batches.")
    return problems


def is_size(key: str) -> bool:
    """Tell whether a Spark property asks for a size or number of the cloud's machines."""
    sizes = (
        r"spark\.((driver|executor)\.(cores|memory|memoryOverhead|instances)|dynamicAllocation\..*)"
    )
    return bool(re.fullmatch(f"{sizes}|dataproc\\..*", key))


def gigabytes(memory: str) -> float:
    """Return a Spark memory setting, such as 16g or 9600m, in GB. Raises ValueError."""
    found = re.fullmatch(r"(\d+)([kmgt])b?", memory.lower())
    if not found:
        raise ValueError(f"{memory!r} is no size of memory, such as 16g")
    return int(found[1]) * {"k": 2**-20, "m": 2**-10, "g": 1, "t": 2**10}[found[2]]


def dcu_of(properties: Mapping[str, str]) -> float:
    """Return the units of a driver and its executors by Spark properties.

    Raises ValueError for a number or a size that Spark does not know.
    """
    total = 0.0
    executors = int(properties.get("spark.executor.instances", 2))
    for role, count in (("driver", 1), ("executor", executors)):
        cores = int(properties.get(f"spark.{role}.cores", 4))
        memory = gigabytes(properties.get(f"spark.{role}.memory", f"{4 * cores}g"))
        total += count * node_dcu(cores, memory)
    return total


def usage_of(batch: dataproc.Batch) -> dataproc.UsageMetrics:
    """Return what the cloud would count for machines of the asked size and this running time.

    A batch that never ran uses nothing; the least time that is billed is counted.
    """
    starts = [h.state_start_time for h in batch.state_history if h.state == State.RUNNING]
    if batch.state == State.RUNNING:
        starts.append(batch.state_time)
    if not starts:
        return dataproc.UsageMetrics()
    least = published().values("spark-minimum-charge")["seconds"]
    seconds = max(least, (now() - starts[0]).total_seconds())
    return dataproc.UsageMetrics(
        milli_dcu_seconds=round(1000 * dcu_of(batch.runtime_config.properties) * seconds),
        shuffle_storage_gb_seconds=0,  # a laptop's disk is not metered
        update_time=now(),
    )


def end_process(process: subprocess.Popen | None) -> None:
    """End a driver and all its children: politely first, then by force."""
    if process is None or process.poll() is not None:
        return
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)

    def kill() -> None:
        deadline = time.monotonic() + GRACE
        while process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.1)
        with contextlib.suppress(ProcessLookupError):  # children may outlive a polite leader
            os.killpg(process.pid, signal.SIGKILL)

    threading.Thread(target=kill, daemon=True).start()
