"""Submit a step as a batch, to Google Cloud or to the stand-in of this machine."""

import contextlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta

from google.api_core.exceptions import GoogleAPIError, NotFound
from google.auth.exceptions import DefaultCredentialsError
from google.cloud import dataproc_v1 as dataproc

from churnlab import paths
from churnlab.cloud.refusals import explain
from churnlab.errors import CourseError
from churnlab.run.library import course_module
from churnlab.run.runner import find_notebooks, typed_parameters
from churnlab.run.submit import find_script


@dataclass(frozen=True)
class Target:
    """Where a batch runs, and as whom."""

    on: str  # dataproc or local
    project: str
    region: str
    code: str
    service_account: str
    subnetwork: str
    container_image: str
    staging_bucket: str = ""  # without one the service makes a bucket, which nobody deletes
    labels: dict[str, str] = field(default_factory=dict)
    kms_key: str = ""  # without one Google encrypts the disks with a key of its own
    history_server: str = ""  # the cluster that shows an ended batch's Spark UI
    endpoint: str = "google"  # or host:port, when on is dataproc

    def for_this_machine(self) -> "Target":
        """Return the target with what a stand-in needs and nobody has to name."""
        return replace(
            self,
            project=self.project or "demo",
            code=self.code or str(paths.SCRIPTS),
            service_account=self.service_account or "spark-batch@demo.iam.gserviceaccount.com",
        )

    def check(self) -> None:
        """Raise CourseError for what the cloud would have to guess."""
        needed = {
            "project": self.project,
            "code": self.code,
            "service-account": self.service_account,
        }
        if missing := [f"--{name}" for name, value in needed.items() if not value]:
            raise CourseError(
                f"A batch on Google Cloud needs {', '.join(missing)}.",
                "`churnlab submit --help` names the variables that hold them.",
            )


@dataclass(frozen=True)
class Plan:
    """A batch that may be submitted: the request, and the name it will have."""

    parent: str  # projects/PROJECT/locations/REGION
    batch_id: str
    request: dataproc.Batch


def plan_step(
    step: str, arguments: list[str], target: Target, ttl_minutes: int, attempt: int = 1
) -> Plan:
    """Return the batch of a step with its options. Raises CourseError for what is missing."""
    script = find_script(step).stem
    options = read_options(arguments)
    typed_parameters(find_notebooks([script]), options)  # the batch would say it minutes later
    serverless = course_module("serverless_batches")
    if target.on == "local":
        target = target.for_this_machine()
        options.setdefault("lake", paths.lake())
        options.setdefault("pipeline_id", course_module("common_utils").new_pipeline_id())
    target.check()
    if missing := [o for o in ("lake", "pipeline_id") if o not in options]:
        raise CourseError(
            f"The step needs --{missing[0].replace('_', '-')}.", "Write it after a lone `--`."
        )
    request = serverless.step_batch(
        script,
        options,
        target.code,
        target.service_account,
        subnetwork=target.subnetwork,
        container_image=target.container_image,
        ttl=timedelta(minutes=ttl_minutes),
        labels=target.labels,
    )
    request.environment_config.execution_config.staging_bucket = target.staging_bucket
    request.environment_config.execution_config.kms_key = target.kms_key
    if target.history_server:
        peripherals = request.environment_config.peripherals_config
        peripherals.spark_history_server_config.dataproc_cluster = target.history_server
    parent = f"projects/{target.project}/locations/{target.region}"
    return Plan(parent, serverless.batch_id(script, options["pipeline_id"], attempt), request)


def submit_step(
    step: str, arguments: list[str], target: Target, ttl_minutes: int, attempt: int = 1
) -> Iterator[tuple[str, str]]:
    """Submit a step with its options; yield state and new output at each change until it ends.

    Ctrl-C cancels the batch. Raises CourseError if it does not succeed or can't be submitted.
    """
    plan = plan_step(step, arguments, target, ttl_minutes, attempt)
    library = course_module("common_utils")
    serverless = course_module("serverless_batches")
    name = f"{plan.parent}/batches/{plan.batch_id}"
    with _endpoint(target) as endpoint:
        try:
            client = serverless.batch_client(target.region, endpoint)
        except DefaultCredentialsError as error:
            mend = "`gcloud auth application-default login` logs you in."
            raise CourseError("Nobody is logged in to Google Cloud.", mend) from error
        try:
            submit = serverless.CALL["retry"](serverless.submit_batch)  # it finds its own batch
            batch = submit(client, plan.parent, plan.batch_id, plan.request)
            pause = 1.0 if target.on == "local" else 5.0
            for batch, text in serverless.follow_batch(client, name, pause):
                yield batch.state.name, text
            serverless.check_succeeded(batch)
        except (KeyboardInterrupt, GeneratorExit):  # the latter: who reads us was interrupted
            with contextlib.suppress(NotFound):
                serverless.cancel_batch(client, client.get_batch(name=name, **serverless.CALL))
            raise
        except library.StepError as error:
            raise CourseError(str(error)) from error
        except GoogleAPIError as error:
            raise explain(error, f"Submitting {plan.batch_id}") from error
    yield batch.state.name, f"{plan.batch_id}: about {serverless.run_cost(batch):.3f} US dollars"


def read_options(arguments: list[str]) -> dict[str, str]:
    """Return the options of a step, ``--raw x`` and ``--raw=x`` alike, as name and value."""
    options, rest = {}, [text for text in arguments if text != "--"]
    while rest:
        name, equals, value = rest.pop(0).partition("=")
        if not name.startswith("--") or not (equals or rest):
            raise CourseError(f"{name!r} is not an option with a value.", "Write --name value.")
        options[name[2:].replace("-", "_")] = value if equals else rest.pop(0)
    return options


@contextmanager
def _endpoint(target: Target) -> Iterator[str]:
    """Give the address of the service: Google's, a stand-in that runs, or one for a while."""
    if target.on == "dataproc":
        yield target.endpoint
    elif running := os.environ.get("CHURNLAB_BATCHES"):
        yield running
    else:
        from churnlab.standins.server import stand_ins

        with stand_ins(paths.BUILD / "cloud") as addresses:
            yield addresses.batches
