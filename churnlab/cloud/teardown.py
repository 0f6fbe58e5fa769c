"""Back to nothing: end what runs, let Terraform destroy what it made, look for what is left."""

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass

from google.cloud import dataproc_v1 as dataproc

from churnlab.cloud.clients import CALL, Clients
from churnlab.cloud.models import undeploy
from churnlab.cloud.package import archive_path, write_archive
from churnlab.cloud.profile import Profile
from churnlab.cloud.refusals import explained
from churnlab.cloud.terraform import TERRAFORM_TIMEOUT, terraform
from churnlab.errors import CourseError

RUNNING = ("PENDING", "RUNNING", "CREATING", "ACTIVE", "QUEUED", "PAUSED")
ENDING = ("CANCELLING", "TERMINATING")
ALLOW = "Copy what you want to keep. Then set allow_data_deletion = true in "
ALLOW += "infra/terraform.tfvars, `terraform -chdir=infra apply`, and repeat the command."


@dataclass(frozen=True)
class Run:
    """Something that runs, bills and holds on to the network: Terraform knows nothing of it."""

    kind: str  # batch, session, pipeline job, schedule or deployed model
    name: str  # the full name
    operation: str = ""  # of a batch

    @property
    def title(self) -> str:
        """What it is called."""
        return f"{self.kind} {self.name.rpartition('/')[2]}"


def running(clients: Clients, profile: Profile, states: tuple[str, ...] = RUNNING) -> list[Run]:
    """Return what runs as the course's accounts or with its label. Raises CourseError."""
    accounts = set(profile.service_accounts.values()) - {""}

    def ours(labels, account: str) -> bool:
        return labels.get("course") == "churnlab" or account in accounts

    def of_spark(found) -> bool:
        account = found.environment_config.execution_config.service_account
        return found.state.name in states and ours(found.labels, account)

    place = {"parent": clients.parent, **CALL}
    with explained("Listing what runs"):
        batches = filter(of_spark, clients.batches.list_batches(**place))
        runs = [Run("batch", found.name, found.operation) for found in batches]
        sessions = filter(of_spark, clients.sessions.list_sessions(**place))
        runs += [Run("session", found.name) for found in sessions]
        for job in clients.pipelines.list_pipeline_jobs(**place):
            state = job.state.name.removeprefix("PIPELINE_STATE_")
            if state in states and ours(job.labels, job.service_account):
                runs.append(Run("pipeline job", job.name))
        for schedule in clients.schedules.list_schedules(**place):
            job = schedule.create_pipeline_job_request.pipeline_job
            if schedule.state.name != "COMPLETED" and ours(job.labels, job.service_account):
                runs.append(Run("schedule", schedule.name))
        for endpoint in clients.online_endpoints.list_endpoints(**place):
            if ours(endpoint.labels, ""):
                models = [f"{endpoint.name}/{model.id}" for model in endpoint.deployed_models]
                runs += [Run("deployed model", name) for name in models]
    # First what starts the others.
    order = ["schedule", "pipeline job", "batch", "session", "deployed model"]
    return sorted(runs, key=lambda run: order.index(run.kind))


def end(clients: Clients, run: Run) -> None:
    """Ask a service to end something. Raises CourseError."""
    with explained(f"Ending the {run.title}"):
        if run.kind == "batch":
            clients.batches.transport.operations_client.cancel_operation(run.operation, **CALL)
        elif run.kind == "session":
            request = dataproc.TerminateSessionRequest(name=run.name)
            clients.sessions.terminate_session(request=request, **CALL)
        elif run.kind == "pipeline job":
            clients.pipelines.cancel_pipeline_job(name=run.name, **CALL)
        elif run.kind == "deployed model":
            undeploy(clients, *run.name.rsplit("/", 1))
        else:
            clients.schedules.delete_schedule(name=run.name, **CALL)


def wait_until_ended(
    clients: Clients, profile: Profile, patience: float = 300, pause: float = 5
) -> None:
    """Wait until nothing runs: a machine that lets go of the network does not do so at once.

    Raises CourseError after ``patience`` seconds.
    """
    deadline = time.monotonic() + patience
    while still := running(clients, profile, RUNNING + ENDING):
        if time.monotonic() > deadline:
            names = ", ".join(run.title for run in still)
            raise CourseError(f"Still running: {names}.", "Repeat the command in some minutes.")
        time.sleep(pause)


# Terraform


def state_resources() -> list[dict]:
    """Return the resources in Terraform's state. Raises CourseError."""
    arguments = ["show", "-json", "-no-color"]
    done = terraform(arguments, capture_output=True, text=True, timeout=TERRAFORM_TIMEOUT)
    if done.returncode:
        mend = "`terraform -chdir=infra init` connects this checkout with its state."
        raise CourseError(f"terraform show failed: {done.stderr.strip()}", mend)
    values = json.loads(done.stdout or "{}").get("values", {})
    return list(_resources(values.get("root_module", {})))


def _resources(module: dict) -> Iterator[dict]:
    yield from module.get("resources", [])
    for child in module.get("child_modules", []):
        yield from _resources(child)


def guarded(clients: Clients, resources: list[dict]) -> list[str]:
    """Return what holds data that Terraform may not delete, which would stop it half-way.

    Terraform goes by its state, not by the variables: it counts what was applied. An old version of
    an object is data as well, and deleting an object leaves one.
    """
    found = []
    for resource in resources:
        values = resource.get("values", {})
        if values.get("deletion_protection"):
            found.append(resource["address"])
        elif resource["type"] == "google_storage_bucket" and not values.get("force_destroy"):
            with explained(f"Reading gs://{values['name']}"):
                objects = clients.storage.list_blobs(
                    values["name"], max_results=1, versions=True, **CALL
                )
                found += [f"gs://{values['name']}" for _ in objects]
    return found


def check_guard(clients: Clients, resources: list[dict]) -> None:
    """Raise CourseError if data is there and nobody has said that it may go."""
    if names := guarded(clients, resources):
        more = f" and {len(names) - 3} more" if len(names) > 3 else ""
        raise CourseError(f"Data is in {', '.join(names[:3])}{more}.", ALLOW)


def destroy() -> None:
    """Let Terraform destroy what it made; what it says goes to the terminal. Raises CourseError."""
    if not archive_path().exists():  # Terraform wants to see it, even to take the function away
        write_archive(archive_path())
    done = terraform(["destroy", "-auto-approve", "-input=false"])
    if done.returncode:
        mend = "Read its last error above. Repeating the command goes on where it stopped."
        raise CourseError("terraform destroy did not finish.", mend)
