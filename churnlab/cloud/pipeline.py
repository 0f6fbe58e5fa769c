"""The training pipeline on Vertex AI: start it as the function does, list it, follow it."""

import time
from collections.abc import Iterator
from typing import Any

from churnlab.cloud.clients import CALL, RETRY, Clients
from churnlab.cloud.profile import Profile
from churnlab.cloud.refusals import explained
from churnlab.errors import CourseError
from churnlab.run.library import course_module, library
from churnlab.run.parameters import assignments, read_value

ENDED = {"SUCCEEDED": True, "FAILED": False, "CANCELLED": False}
KINDS = {"NUMBER_INTEGER": "int", "NUMBER_DOUBLE": "float", "BOOLEAN": "bool"}
CONSOLE = "https://console.cloud.google.com/vertex-ai/locations/{}/pipelines/runs/{}?project={}"


def settings_of(profile: Profile):
    """Return the settings that the pipeline function reads from its deployment's variables."""
    return course_module("pipeline_function").read_settings(
        {
            "PROJECT": profile.project_id,
            "LOCATION": profile.region,
            "LAKE": profile.lake_uri,
            "DATASET": profile.dataset,
            "CODE_URI": profile.code_uri,
            "PIPELINE_ROOT": profile.pipeline_root,
            "TEMPLATE": profile.template_uri,
            "SERVICE_ACCOUNT": profile.service_accounts["pipeline"],
            "BATCH_SERVICE_ACCOUNT": profile.service_accounts["batch"],
            "SUBNETWORK": profile.subnetwork,
            "CONTAINER_IMAGE": profile.batch_image,
            "KMS_KEY": profile.kms_key,
        }
    )


def parse_parameters(texts: list[str], definitions: dict[str, dict]) -> dict[str, object]:
    """Return parameters such as ``quick_tuning=true`` with the types of the compiled pipeline.

    Raises CourseError for one that is unknown or of another type.
    """
    asked = assignments(texts)
    for name in asked:
        if name not in definitions:
            known = ", ".join(sorted(definitions))
            raise CourseError(f"The pipeline has no parameter {name}.", f"It has {known}.")
    kinds = {name: KINDS.get(d["parameterType"], "str") for name, d in definitions.items()}
    return {name: read_value(name, text, kinds[name]) for name, text in asked.items()}


def plan_run(profile: Profile, texts: list[str], pipeline_id: str) -> tuple[str, dict]:
    """Return the id of a run and its parameters, checked as the function checks a request.

    The compiled pipeline is read where the function reads it. Raises CourseError.
    """
    function = course_module("pipeline_function")
    settings = settings_of(profile)
    pipeline_id = pipeline_id or library.runs.new_pipeline_id()
    try:
        with explained(f"Reading {settings.template}"):
            definitions = function.template_parameters(settings.template)
        deployed = function.deployed_parameters(settings, pipeline_id)
        asked = parse_parameters(texts, definitions)
        return pipeline_id, function.run_parameters(asked, deployed, definitions)
    except function.RequestError as error:
        raise CourseError(f"The pipeline can't start: {error}") from None
    except function.SettingsError as error:
        mend = "`churnlab cloud upload` puts the compiled pipeline there."
        raise CourseError(str(error), mend) from None


def start_run(clients: Clients, profile: Profile, parameters: dict) -> dict:
    """Start a run, anew if it has failed, or find it; return what the function replies.

    That makes a second try harmless. Raises CourseError.
    """
    use_vertex(clients)
    function = course_module("pipeline_function")

    def known(_, pipeline_id: str, attempt: int) -> dict:
        job = find_run(clients, function.job_id_of(pipeline_id, attempt))
        return {"job": job.name, "pipeline_id": pipeline_id, "state": job.state.name}

    try:
        with explained(f"Starting {parameters['pipeline_id']}"):
            return RETRY(function.start)(settings_of(profile), parameters, known)[0]
    except function.RequestError as error:
        raise CourseError(f"The pipeline can't start: {error}") from None


def use_vertex(clients: Clients) -> None:
    """Give the course's own code, which asks the library's defaults, the clients' login."""
    if not clients.endpoints:
        from google.cloud import aiplatform

        aiplatform.init(
            project=clients.project, location=clients.region, credentials=clients.credentials
        )


def console_url(job: str) -> str:
    """Return the page of a pipeline job, by its full name."""
    _, project, _, region, _, name = job.split("/")
    return CONSOLE.format(region, name, project)


def job_name(clients: Clients, pipeline_id: str) -> str:
    """Return the full name of the job of a run's first attempt."""
    function = course_module("pipeline_function")
    return f"{clients.parent}/pipelineJobs/{function.job_id_of(pipeline_id, 1)}"


def newest_job(clients: Clients, run: str) -> str:
    """Return the full name of a job, which may be named by its id, or of a run's newest attempt.

    All attempts have the run's id as label, and the service filters by labels:
    https://docs.cloud.google.com/python/docs/reference/aiplatform/latest/google.cloud.aiplatform_v1.types.ListPipelineJobsRequest
    """
    if "/" in run:
        return run
    if run.startswith(f"{course_module('pipeline_function').PIPELINE_NAME}-"):
        return f"{clients.parent}/pipelineJobs/{run}"
    request = {"parent": clients.parent, "order_by": "create_time desc"}
    request["filter"] = f'labels.pipeline_id="{run}"'
    jobs = clients.pipelines.list_pipeline_jobs(request=request, **CALL)
    return next((job.name for job in jobs), job_name(clients, run))


def state_of(resource: Any) -> str:
    """Return a state without the words that all states of Vertex AI begin with."""
    return resource.state.name.removeprefix("PIPELINE_STATE_")


def list_runs(clients: Clients, limit: int) -> list:
    """Return the newest jobs. Raises CourseError."""
    request = {"parent": clients.parent, "order_by": "create_time desc", "page_size": limit}
    with explained("Listing pipeline jobs"):
        pages = clients.pipelines.list_pipeline_jobs(request=request, **CALL)
        return [job for job, _ in zip(pages, range(limit), strict=False)]


def find_run(clients: Clients, run: str):
    """Return a job by its name, or the newest of a pipeline id. Raises CourseError."""
    with explained(f"Reading the pipeline job {run}"):
        return clients.pipelines.get_pipeline_job(name=newest_job(clients, run), **CALL)


def follow_run(clients: Clients, run: str, pause: float = 15.0) -> Iterator[tuple[str, str]]:
    """Yield the job's state, and the states of its tasks, at each change until it ends.

    ``pause`` is the time between two questions, in seconds. Raises CourseError if it fails.
    """
    state, shown = "", {}
    while state not in ENDED:
        job = find_run(clients, run)
        tasks = {t.task_name: t.state.name for t in job.job_detail.task_details}
        news = [f"{name} {now}" for name, now in tasks.items() if shown.get(name) != now]
        if news or state_of(job) != state:
            yield state_of(job), ", ".join(news)
        state, shown = state_of(job), tasks
        if state not in ENDED:
            time.sleep(pause)
    if not ENDED[state]:
        mend = f"Its page names the task that failed: {console_url(job.name)}"
        raise CourseError(f"{run} is {state}. {job.error.message}".strip(), mend)
