# Generated from notebooks/08-serverless-batches.ipynb by `make export`; do not edit.
"""Submit a step as a batch of Serverless for Apache Spark, follow it to its end, and say what it
cost.
"""

import argparse
import re
import time
from collections.abc import Iterator
from datetime import timedelta

import grpc
from churn.lake import filesystem, join_uri
from churn.programs import StepError, run_program
from churn.runs import check_pipeline_id
from google.api_core.exceptions import AlreadyExists
from google.api_core.retry import Retry
from google.cloud import dataproc_v1 as dataproc
from google.cloud.dataproc_v1.services.batch_controller.transports import (
    BatchControllerGrpcTransport,
)
from pyarrow import fs as pafs

RUNTIME_VERSION = "2.3"  # Spark 3.5, Java 17, Python 3.11


def step_batch(
    step: str, options: dict[str, str], code: str, service_account: str, **settings
) -> dataproc.Batch:
    """Return the request to run a step's script with its options, such as ``pipeline_id``.

    ``settings`` may hold subnetwork, container_image, ttl (a timedelta), properties (of Spark) and
    labels. Raises StepError for a step that can't name a file.
    """
    if not re.fullmatch(r"[a-z][a-z0-9_]*", step):
        raise StepError(f"--step {step!r} is not a script's name, such as preprocessing.")
    names = {name: f"--{name.replace('_', '-')}" for name in options}
    arguments = [text for name, value in options.items() for text in (names[name], str(value))]
    return dataproc.Batch(
        pyspark_batch=dataproc.PySparkBatch(
            main_python_file_uri=join_uri(code, f"{step}.py"),
            python_file_uris=[join_uri(code, "churn.zip")],
            args=arguments,
        ),
        labels={"course": "churnlab", "step": step.replace("_", "-")} | settings.get("labels", {}),
        runtime_config=runtime_config(**settings),
        environment_config=environment_config(service_account, **settings),
    )


def runtime_config(
    container_image: str = "none", properties: dict[str, str] | None = None, **_
) -> dataproc.RuntimeConfig:
    """Return the runtime: version, image ("none": Google's own) and Spark properties."""
    image = "" if container_image == "none" else container_image
    return dataproc.RuntimeConfig(
        version=RUNTIME_VERSION, container_image=image, properties=properties or {}
    )


def environment_config(
    service_account: str, subnetwork: str = "default", ttl: timedelta = timedelta(hours=1), **_
) -> dataproc.EnvironmentConfig:
    """Return the environment: account, network and the time after which the batch is ended."""
    execution = dataproc.ExecutionConfig(
        service_account=service_account, subnetwork_uri=subnetwork, ttl=ttl
    )
    return dataproc.EnvironmentConfig(execution_config=execution)


def batch_id(step: str, pipeline_id: str, attempt: int = 1) -> str:
    """Return the batch's name: step and run, and the attempt from the second one on.

    A name has 4 to 63 lower-case letters, digits and hyphens; a long step gives way.
    """
    end = f"-{pipeline_id}" + (f"-t{attempt}" if attempt > 1 else "")
    return step.replace("_", "-")[: 63 - len(end)].rstrip("-") + end


def batch_client(region: str, endpoint: str = "google") -> dataproc.BatchControllerClient:
    """Return the client of a region's batch service, or of a stand-in at host:port."""
    if endpoint == "google":
        address = f"{region}-dataproc.googleapis.com:443"
        return dataproc.BatchControllerClient(client_options={"api_endpoint": address})
    transport = BatchControllerGrpcTransport(channel=grpc.insecure_channel(endpoint))
    return dataproc.BatchControllerClient(transport=transport)


CALL_TIMEOUT = 60  # seconds


# Reading again is harmless, so a service that is away for a while is asked again.
CALL = {"timeout": CALL_TIMEOUT, "retry": Retry(timeout=300)}


def submit_batch(
    client: dataproc.BatchControllerClient, parent: str, name: str, batch: dataproc.Batch
) -> dataproc.Batch:
    """Create a batch, or find the one that has its name; return what the service knows of it.

    ``parent`` is projects/PROJECT/locations/REGION. Raises StepError if that one runs another job.
    """
    try:
        client.create_batch(parent=parent, batch=batch, batch_id=name, timeout=CALL_TIMEOUT)
    except AlreadyExists:
        pass
    found = client.get_batch(name=f"{parent}/batches/{name}", **CALL)
    if found.pyspark_batch != batch.pyspark_batch:
        raise StepError(
            f"The batch {name} is there and runs something else. Take another --pipeline-id, or "
            "another --attempt."
        )
    return found


def driver_output(batch: dataproc.Batch) -> str:
    """Return what the script has printed so far; "" before it has printed anything."""
    if not batch.runtime_info.output_uri:
        return ""
    files, path = filesystem(batch.runtime_info.output_uri)
    below = pafs.FileSelector(path.rpartition("/")[0], allow_not_found=True)
    parts = sorted(i.path for i in files.get_file_info(below) if i.path.startswith(path))
    texts = []
    for part in parts:
        with files.open_input_stream(part) as stream:
            texts.append(stream.read().decode(errors="replace"))
    return "".join(texts)


STATE = dataproc.Batch.State


ENDED = (STATE.SUCCEEDED, STATE.FAILED, STATE.CANCELLED)


def follow_batch(
    client: dataproc.BatchControllerClient, name: str, pause: float = 5.0
) -> Iterator[tuple[dataproc.Batch, str]]:
    """Yield the batch and its new output at each change, until it has ended.

    ``pause`` is the time between two questions, in seconds.
    """
    state, shown = None, 0
    while state not in ENDED:
        batch = client.get_batch(name=name, **CALL)
        output = driver_output(batch)
        if batch.state != state or len(output) > shown:
            yield batch, output[shown:]
        state, shown = batch.state, len(output)
        if state not in ENDED:
            time.sleep(pause)


class BatchFailed(StepError):
    """A batch ended in another state than SUCCEEDED."""


def check_succeeded(batch: dataproc.Batch) -> dataproc.Batch:
    """Return a batch that has succeeded. Raises BatchFailed for any other, with its last lines."""
    if batch.state == STATE.SUCCEEDED:
        return batch
    name, lines = batch.name.rpartition("/")[2], driver_output(batch).strip().splitlines()
    said = f" Its last lines:\n{chr(10).join(lines[-5:])}" if lines else ""
    raise BatchFailed(f"The batch {name} is {batch.state.name}. {batch.state_message}{said}")


def state_times(batch: dataproc.Batch) -> list[tuple[str, float]]:
    """Return how long an ended batch stayed in each state, in seconds, in order."""
    times = [(h.state.name, h.state_start_time) for h in batch.state_history]
    times.append((batch.state.name, batch.state_time))
    ends = [start for _, start in times[1:]]
    return [
        (name, (end - start).total_seconds())
        for (name, start), end in zip(times, ends, strict=False)
    ]


def cancel_batch(client: dataproc.BatchControllerClient, batch: dataproc.Batch) -> None:
    """Ask the service to end a batch; it is CANCELLED when the machines have let go."""
    operations = client.transport.operations_client
    operations.cancel_operation(batch.operation)


# US dollars in us-central1, standard tier, read on 2026-11-24 at
# https://cloud.google.com/dataproc-serverless/pricing
DCU_HOUR = 0.06


def run_cost(batch: dataproc.Batch) -> float:
    """Return what the compute of an ended batch costs, in US dollars.

    Shuffle storage is billed apart: ``approximate_usage.shuffle_storage_gb_seconds`` counts it.
    """
    return batch.runtime_info.approximate_usage.milli_dcu_seconds / 1000 / 3600 * DCU_HOUR


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line; a missing or wrong option ends it with status 2."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument(
        "--pipeline-id",
        type=str,
        required=True,
        help="key of this run in every table, such as 20261123t051500-3f9c2a",
    )
    parser.add_argument(
        "--lake", type=str, required=True, help="root of the lake: a folder or gs://bucket/path"
    )
    parser.add_argument(
        "--dataset",
        type=str,
        default="churn",
        help="the tables: below the lake's warehouse, or bigquery://project.dataset (default: %(default)s)",
    )
    parser.add_argument(
        "--step",
        type=str,
        default="preprocessing",
        help="the script to run, without .py (default: %(default)s)",
    )
    parser.add_argument(
        "--code",
        type=str,
        required=True,
        help="where the scripts lie: a folder or gs://bucket/path",
    )
    parser.add_argument(
        "--service-account",
        type=str,
        required=True,
        help="e-mail address of the account the batch runs as",
    )
    parser.add_argument(
        "--project",
        type=str,
        default="demo",
        help="the Google Cloud project (default: %(default)s)",
    )
    parser.add_argument(
        "--region",
        type=str,
        default="us-central1",
        help="the region of the batch (default: %(default)s)",
    )
    parser.add_argument(
        "--subnetwork",
        type=str,
        default="default",
        help="a subnetwork with Private Google Access (default: %(default)s)",
    )
    parser.add_argument(
        "--container-image",
        type=str,
        default="none",
        help="an image with further packages, or none (default: %(default)s)",
    )
    parser.add_argument(
        "--ttl-minutes",
        type=int,
        default=60,
        help="the batch is ended after this time, whatever it does (default: %(default)s)",
    )
    parser.add_argument(
        "--attempt",
        type=int,
        default=1,
        help="2 and so on: run a step again that failed under its pipeline id (default: %(default)s)",
    )
    parser.add_argument(
        "--endpoint",
        type=str,
        default="google",
        help="google, or host:port of a stand-in (default: %(default)s)",
    )
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> None:
    """Run the steps of notebooks/08-serverless-batches.ipynb."""
    options = parse_arguments(arguments)
    pipeline_id = options.pipeline_id
    lake = options.lake
    dataset = options.dataset
    step = options.step
    code = options.code
    service_account = options.service_account
    project = options.project
    region = options.region
    subnetwork = options.subnetwork
    container_image = options.container_image
    ttl_minutes = options.ttl_minutes
    attempt = options.attempt
    endpoint = options.endpoint

    # Our own request, as the service will read it:
    check_pipeline_id(pipeline_id)
    options = {"pipeline_id": pipeline_id, "lake": lake, "dataset": dataset}
    batch = step_batch(
        step,
        options,
        code,
        service_account,
        subnetwork=subnetwork,
        container_image=container_image,
        ttl=timedelta(minutes=ttl_minutes),
    )

    # We submit.
    client = batch_client(region, endpoint)
    parent = f"projects/{project}/locations/{region}"
    submitted = submit_batch(client, parent, batch_id(step, pipeline_id, attempt), batch)

    # Now we wait for ours, and show what it says.
    for finished, text in follow_batch(client, submitted.name):
        print(f"[{finished.state.name}]", text.strip(), flush=True)
    check_succeeded(finished)

    # The last line of the job's log says it.
    print(f"about {run_cost(finished):.3f} US dollars", flush=True)


if __name__ == "__main__":
    run_program(main)
