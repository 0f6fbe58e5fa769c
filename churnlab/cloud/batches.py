"""A step as a batch: the request that a profile's batch service gets."""

from dataclasses import dataclass
from datetime import timedelta

from google.cloud import dataproc_v1 as dataproc

from churnlab.cloud.profile import Profile, split_uri
from churnlab.errors import CourseError
from churnlab.run.library import course_module, library
from churnlab.run.runner import find_notebooks, typed_parameters
from churnlab.run.spark_submit import find_script


@dataclass(frozen=True)
class Plan:
    """A batch that may be submitted: the request, and the name it will have."""

    parent: str  # projects/PROJECT/locations/REGION
    batch_id: str
    request: dataproc.Batch

    @property
    def name(self) -> str:
        """The batch's full name."""
        return f"{self.parent}/batches/{self.batch_id}"


def plan_step(
    step: str, words: list[str], profile: Profile, ttl_minutes: int = 60, attempt: int = 1
) -> Plan:
    """Return the batch of a step with its options, given as the words of a command line.

    Lake, dataset and a fresh pipeline id are filled in. Raises CourseError for what is missing.
    """
    script = find_script(step).stem
    options = fill_in(read_options(words), profile)
    typed_parameters(find_notebooks([script]), options)  # the batch would say it minutes later
    check_profile(profile)
    if "lake" not in options:
        raise CourseError("The step needs --lake.", "Write it after a lone `--`.")
    serverless = course_module("serverless_batches")
    request = serverless.step_batch(
        script,
        options,
        profile.code_uri,
        profile.service_accounts["batch"],
        subnetwork=profile.subnetwork or "default",
        container_image=profile.batch_image or "none",
        ttl=timedelta(minutes=ttl_minutes),
        labels={name: text for name, text in profile.labels.items() if name != "managed-by"},
    )
    environment = request.environment_config
    # Without a bucket the service makes one, which nobody deletes.
    environment.execution_config.staging_bucket = split_uri(profile.staging_bucket)[0]
    environment.execution_config.kms_key = profile.kms_key
    if profile.history_server:
        history = environment.peripherals_config.spark_history_server_config
        history.dataproc_cluster = profile.history_server
    parent = f"projects/{profile.project_id}/locations/{profile.region}"
    return Plan(parent, serverless.batch_id(script, options["pipeline_id"], attempt), request)


def read_options(words: list[str]) -> dict[str, str]:
    """Return the options of a step, ``--raw x`` and ``--raw=x`` alike, as name and value."""
    options, rest = {}, [word for word in words if word != "--"]
    while rest:
        name, equals, value = rest.pop(0).partition("=")
        if not name.startswith("--") or not (equals or rest):
            raise CourseError(f"{name!r} is not an option with a value.", "Write --name value.")
        options[name[2:].replace("-", "_")] = value if equals else rest.pop(0)
    return options


def fill_in(options: dict[str, str], profile: Profile) -> dict[str, str]:
    """Return a step's options with what the profile knows, and a pipeline id in any case."""
    known = {"lake": profile.lake_uri, "dataset": profile.dataset}
    known = {name: text for name, text in known.items() if text}
    known["pipeline_id"] = options.get("pipeline_id") or library.runs.new_pipeline_id()
    return known | options


def check_profile(profile: Profile) -> None:
    """Raise CourseError for what the cloud would have to guess."""
    needed = {
        "project": profile.project_id,
        "code": profile.code_uri,
        "service-account": profile.service_accounts.get("batch"),
    }
    if missing := [f"--{name}" for name, value in needed.items() if not value]:
        raise CourseError(
            f"A batch on Google Cloud needs {', '.join(missing)}.",
            "`churnlab submit --help` names the variables that hold them, and "
            "`churnlab cloud submit` reads them from the profile.",
        )
