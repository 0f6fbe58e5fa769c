"""What `make airflow` starts, driven over the REST API as another system would."""

import time
from pathlib import Path

import psutil
import pytest
import requests

from churnlab.standins.airflow import running_airflow
from tests.airflow.conftest import land, published, various

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("airflow")]


class Api:
    """The REST API of an Airflow on this machine."""

    def __init__(self, url: str):
        self.url = f"{url}/api/v2"
        token = requests.get(f"{url}/auth/token", timeout=120).json()["access_token"]
        self.session = requests.Session()
        self.session.headers["Authorization"] = f"Bearer {token}"

    def get(self, path: str) -> dict:
        """Return what stands at a path; {} for nothing."""
        answer = self.session.get(f"{self.url}/{path}", timeout=120)
        return answer.json() if answer.ok else {}

    def post(self, path: str, body: dict) -> requests.Response:
        """Send a request."""
        return self.session.post(f"{self.url}/{path}", json=body, timeout=120)

    def wait(self, seconds: float, condition):
        """Return the first true value of a condition; fail after some seconds."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if found := condition():
                return found
            time.sleep(0.5)
        pytest.fail(f"Not within {seconds} s; runs: {self.get('dags/churn_scoring/dagRuns')}")

    def finished(self, run: str) -> str:
        """Return the state of a run that has ended, else ""."""
        state = self.get(f"dags/churn_scoring/dagRuns/{run}").get("state")
        return state if state in ("success", "failed") else ""


def processes_with(word: str) -> list[str]:
    """Return the command lines of processes whose environment or arguments hold a word."""
    found = []
    for process in psutil.process_iter():
        try:
            told = [*process.cmdline(), *process.environ().values()]
            if any(word in text for text in told):
                found.append(" ".join(process.cmdline()))
        except psutil.Error:
            continue
    return found


def test_a_rest_call_without_a_logical_date_runs_the_dag_and_nothing_stays_behind(
    scored_lake, tmp_path
):
    home = tmp_path / "airflow-home"
    small = land(scored_lake, "small.csv", [various(number) for number in range(50)])
    unscheduled = {"AIRFLOW__SCHEDULER__USE_JOB_SCHEDULE": "False"}  # one run is enough here
    with running_airflow(
        str(scored_lake), home, tmp_path / "cloud", settings=unscheduled
    ) as airflow:
        api = Api(airflow.url)
        api.wait(600, lambda: api.get("dags/churn_scoring"))
        assert api.get("importErrors")["total_entries"] == 0
        runs = "dags/churn_scoring/dagRuns"
        refused = api.post(runs, {"logical_date": None, "conf": {"max_offers": 2}})
        assert refused.status_code in (400, 422) and "max_offers" in refused.text

        asked = api.post(runs, {"logical_date": None, "conf": {"customers": small}})
        assert asked.ok and asked.json()["logical_date"] is None
        run = asked.json()["dag_run_id"]
        assert api.wait(1800, lambda: api.finished(run)) == "success"

        tasks = api.get(f"{runs}/{run}/taskInstances")["task_instances"]
        states = {task["task_id"]: task["state"] for task in tasks}
        answers = {states.pop(name) for name in ("alert", "retrain", "nobody_watched")}
        assert answers == {"skipped"}  # these customers are like those the model learned from
        assert states == dict.fromkeys(
            ("wait_for_customers", "score", "check_quality", "publish", "monitor", "judge"),
            "success",
        )
        [score] = [task for task in tasks if task["task_id"] == "score"]
        assert score["operator_name"] == "DataprocCreateBatchOperator"
        assert published(scored_lake)["predictions"] == 50
        assert Path(published(scored_lake)["source"]).name == "small.csv"
        assert processes_with(str(home))
    assert processes_with(str(home)) == []
    with pytest.raises(requests.ConnectionError):
        requests.get(airflow.url, timeout=5)
