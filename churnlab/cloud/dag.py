"""The scoring DAG on Cloud Composer, by the REST API of its Airflow.

Airflow 3 is asked by its own API, version 2, which every environment of Composer 3 serves. That
takes ``composer.environments.get`` and a role in Airflow, Op for who comes first. The other way,
Airflow's command line by ``executeAirflowCommand``, lets its caller run any Python as the
environment's account, and costs a small quota.
https://docs.cloud.google.com/composer/docs/composer-3/access-airflow-api and
https://docs.cloud.google.com/composer/docs/composer-3/access-airflow-cli (accessed 2026-11-24)
"""

import ast
import time
from collections.abc import Iterator
from datetime import UTC, datetime

import requests
from google.api_core import exceptions

from churnlab import paths
from churnlab.cloud.clients import CALL, CALL_TIMEOUT, RETRY, Clients
from churnlab.cloud.profile import Profile
from churnlab.cloud.refusals import explained
from churnlab.cloud.upload import environment_name
from churnlab.errors import CourseError
from churnlab.run.parameters import assignments, read_value

DAG_ID = "churn_scoring"
ENDED = {"success": True, "failed": False}


def airflow_url(clients: Clients, profile: Profile) -> str:
    """Return the address of the environment's Airflow. Raises CourseError if there is none."""
    name = environment_name(profile)
    with explained("Reading the Composer environment"):
        found = clients.environments.get_environment(name=name, **CALL)
    if not found.config.airflow_uri:
        mend = "Wait until it is RUNNING, then repeat the command."
        raise CourseError(
            f"{name.rpartition('/')[2]} is {found.state.name}, without Airflow.", mend
        )
    return found.config.airflow_uri.rstrip("/")


def ask(clients: Clients, method: str, url: str, body: dict | None = None) -> dict:
    """Return Airflow's answer. Raises an error of google.api_core, as Google's clients do."""

    def once() -> requests.Response:
        answer = clients.web.request(method, url, json=body, timeout=CALL_TIMEOUT)
        if answer.status_code >= 400:
            raise exceptions.from_http_status(answer.status_code, answer.text[:500])
        return answer

    return RETRY(once)().json()


def dag_url(airflow: str) -> str:
    """Return the address of the scoring DAG in Airflow's API."""
    return f"{airflow}/api/v2/dags/{DAG_ID}"


def check_dag(clients: Clients, airflow: str, unpause: bool) -> None:
    """Raise CourseError if Airflow does not know the DAG, or would not run it."""
    with explained(f"Asking Airflow for {DAG_ID}"):
        try:
            dag = ask(clients, "GET", dag_url(airflow))
        except exceptions.NotFound:
            mend = "`churnlab cloud upload` brings it; Airflow reads it within a few minutes."
            raise CourseError(f"Airflow knows no DAG {DAG_ID} yet.", mend) from None
        if dag["is_paused"] and unpause:
            ask(clients, "PATCH", dag_url(airflow), {"is_paused": False})
        elif dag["is_paused"]:
            mend = "Repeat with --unpause. From then on it also runs by its own schedule."
            raise CourseError(f"{DAG_ID} is paused: its run would wait for ever.", mend)


def run_request(run_id: str, conf: dict) -> dict:
    """Return the body that asks for a run. A manual run of Airflow 3 needs no logical date."""
    return {"dag_run_id": run_id, "logical_date": None, "conf": conf}


def declared_parameters() -> dict[str, str]:
    """Return the DAG's parameters with their types, text or number, from its file.

    The file is read and not imported: Airflow lives in another environment.
    """
    tree = ast.parse((paths.SCRIPTS / "scoring_dag.py").read_text(encoding="utf-8"))
    [params] = [n.value for n in tree.body if isinstance(n, ast.Assign) and _named(n, "PARAMS")]
    kinds = {}
    for key, param in zip(params.keys, params.values, strict=True):
        given = {word.arg: ast.unparse(word.value) for word in param.keywords}
        kinds[ast.literal_eval(key)] = "str" if given.get("type") == "'string'" else "float"
    return kinds


def _named(node: ast.Assign, name: str) -> bool:
    return any(isinstance(t, ast.Name) and t.id == name for t in node.targets)


def parse_parameters(texts: list[str]) -> dict[str, object]:
    """Return parameters such as ``max_offers=0.5`` as the run's ``conf``.

    Raises CourseError for an unknown one, or another type's value. Airflow checks ranges.
    """
    asked, declared = assignments(texts), declared_parameters()
    if unknown := sorted(set(asked) - set(declared)):
        known = ", ".join(sorted(declared))
        raise CourseError(f"The DAG has no parameter {unknown[0]}.", f"It has {known}.")
    return {name: read_value(name, text, declared[name]) for name, text in asked.items()}


def new_run_id() -> str:
    """Return an id of our own, by which a second try finds the first one's run."""
    return f"churnlab__{datetime.now(UTC):%Y-%m-%dT%H:%M:%S.%f}"


def trigger(clients: Clients, airflow: str, run_id: str, conf: dict) -> dict:
    """Start a run, or find the one with its id. Raises CourseError."""
    with explained(f"Triggering {DAG_ID}"):
        try:
            return ask(clients, "POST", f"{dag_url(airflow)}/dagRuns", run_request(run_id, conf))
        except exceptions.Conflict:
            return find_run(clients, airflow, run_id)


def find_run(clients: Clients, airflow: str, run_id: str) -> dict:
    """Return a run of the DAG. Raises CourseError."""
    with explained(f"Reading the run {run_id}"):
        return ask(clients, "GET", f"{dag_url(airflow)}/dagRuns/{run_id}")


def follow(clients: Clients, airflow: str, run_id: str, pause: float = 15.0) -> Iterator[str]:
    """Yield the state of a run at each change until it ends; ``pause`` is in seconds.

    Raises CourseError if it fails.
    """
    state = ""
    while state not in ENDED:
        now = find_run(clients, airflow, run_id)["state"]
        if now != state:
            yield now
        state = now
        if state not in ENDED:
            time.sleep(pause)
    if not ENDED[state]:
        mend = f"Its page shows the task that failed: {airflow}/dags/{DAG_ID}/runs/{run_id}"
        raise CourseError(f"The run {run_id} has failed.", mend)
