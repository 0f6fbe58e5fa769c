# Generated from notebooks/11-pipeline-schedule.ipynb by `make export`; do not edit.
"""Let Cloud Scheduler call the pipeline function every week, with a token, retries and a time
zone.
"""

import argparse
import json
from datetime import timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from churn.programs import StepError, run_program
from google.api_core.exceptions import Conflict
from google.cloud import scheduler_v1 as scheduler


def check_time_zone(time_zone: str) -> None:
    """Raise StepError for a time zone that the tz database does not have."""
    try:
        ZoneInfo(time_zone)
    except (ZoneInfoNotFoundError, ValueError, OSError):  # a folder of zones is none
        raise StepError(
            f"--time-zone {time_zone!r} is not in the tz database. "
            "Use a name such as Etc/UTC or Europe/Berlin."
        ) from None


def request_body(parameters: str) -> bytes:
    """Return the body of the function's requests. Raises StepError if it can't be one."""
    try:
        values = json.loads(parameters)
    except ValueError as error:
        raise StepError(f"--parameters is not JSON: {error}.") from None
    if not isinstance(values, dict):
        raise StepError('--parameters is no object. Write it like {"quick_tuning": true}.')
    return json.dumps({"parameters": values}).encode()


def http_target(url: str, body: bytes, service_account: str) -> scheduler.HttpTarget:
    """Return whom a schedule calls, with what, and as whom."""
    return scheduler.HttpTarget(
        uri=url,
        http_method=scheduler.HttpMethod.POST,
        headers={"Content-Type": "application/json"},
        body=body,
        oidc_token=scheduler.OidcToken(service_account_email=service_account, audience=url),
    )


RETRIES = scheduler.RetryConfig(
    retry_count=5,
    min_backoff_duration=timedelta(seconds=30),
    max_backoff_duration=timedelta(minutes=10),
    max_doublings=4,
)


ATTEMPT_DEADLINE = timedelta(minutes=2)


def scheduler_job(
    name: str, target: scheduler.HttpTarget, schedule: str, time_zone: str
) -> scheduler.Job:
    """Return the job of a schedule, as Cloud Scheduler takes it."""
    return scheduler.Job(
        name=name,
        description="Starts the churn training pipeline by its function.",
        schedule=schedule,
        time_zone=time_zone,
        http_target=target,
        retry_config=RETRIES,
        attempt_deadline=ATTEMPT_DEADLINE,
    )


def write_job(
    client: scheduler.CloudSchedulerClient, parent: str, job: scheduler.Job
) -> scheduler.Job:
    """Create a job, or update the one of the same name; return it as it is kept."""
    try:
        return client.create_job(parent=parent, job=job)
    except Conflict:
        return client.update_job(job=job)


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line; a missing or wrong option ends it with status 2."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--project", type=str, required=True, help="project of the schedule")
    parser.add_argument(
        "--function-url", type=str, required=True, help="address of the pipeline function"
    )
    parser.add_argument(
        "--service-account",
        type=str,
        required=True,
        help="account that calls it, with the role Cloud Run Invoker",
    )
    parser.add_argument(
        "--location",
        type=str,
        default="us-central1",
        help="region of the schedule (default: %(default)s)",
    )
    parser.add_argument(
        "--job",
        type=str,
        default="churn-training",
        help="name of the schedule (default: %(default)s)",
    )
    parser.add_argument(
        "--schedule",
        type=str,
        default="0 6 * * 1",
        help="five fields of unix-cron: minute, hour, day, month, weekday (default: %(default)s)",
    )
    parser.add_argument(
        "--time-zone",
        type=str,
        default="Etc/UTC",
        help="a name of the tz database, such as Europe/Berlin (default: %(default)s)",
    )
    parser.add_argument(
        "--parameters",
        type=str,
        default="{}",
        help="JSON object of pipeline parameters to send with each tick (default: %(default)s)",
    )
    parser.add_argument(
        "--api-endpoint",
        type=str,
        default="cloudscheduler.googleapis.com",
        help="where Cloud Scheduler answers (default: %(default)s)",
    )
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> None:
    """Run the steps of notebooks/11-pipeline-schedule.ipynb."""
    options = parse_arguments(arguments)
    project = options.project
    function_url = options.function_url
    service_account = options.service_account
    location = options.location
    job = options.job
    schedule = options.schedule
    time_zone = options.time_zone
    parameters = options.parameters
    api_endpoint = options.api_endpoint

    # What we were told becomes the job that we want.
    check_time_zone(time_zone)
    target = http_target(function_url, request_body(parameters), service_account)
    parent = f"projects/{project}/locations/{location}"
    wanted = scheduler_job(f"{parent}/jobs/{job}", target, schedule, time_zone)

    # The client speaks REST here, so that it can talk to a server on your machine as well.
    client = scheduler.CloudSchedulerClient(
        transport="rest", client_options={"api_endpoint": api_endpoint}
    )
    written = write_job(client, parent, wanted)
    print(f"{written.name} fires next at {written.schedule_time.isoformat()}", flush=True)


if __name__ == "__main__":
    run_program(main)
