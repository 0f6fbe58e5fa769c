"""`churnlab cloud dag trigger` starts the scoring DAG by the API of the environment's Airflow."""

import json
import subprocess

import pytest

from churnlab import paths
from churnlab.cloud.dag import run_request
from churnlab.cloud.profile import profile_path, write_profile
from tests.cloud.conftest import changed, churnlab

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("cloud commands")]


def test_a_run_starts_with_its_parameters(cloud):
    done = churnlab(
        "dag", "trigger", "--run-id", "mine", "-p", "max_offers=0.5", "-p", "customers=x"
    )
    assert done.error is None and "mine queued" in done.text
    assert cloud.project.runs["mine"]["conf"] == {"max_offers": 0.5, "customers": "x"}
    assert "/airflow/dags/churn_scoring/runs/mine" in done.text


def test_the_same_id_again_finds_the_first_run(cloud):
    for _ in range(2):
        assert "mine queued" in churnlab("dag", "trigger", "--run-id", "mine").text
    assert list(cloud.project.runs) == ["mine"]


def test_each_command_without_an_id_is_a_run_of_its_own(cloud):
    churnlab("dag", "trigger")
    churnlab("dag", "trigger")
    assert len(cloud.project.runs) == 2


def test_a_dry_run_shows_the_request_and_sends_none(cloud):
    text = churnlab("dag", "trigger", "--dry-run", "--run-id", "mine").text
    assert "Would POST to" in text and '"dag_run_id": "mine"' in text
    assert cloud.project.changes == [] and cloud.project.runs == {}


def test_an_airflow_that_is_away_for_a_moment_is_asked_again(cloud):
    cloud.project.fail("POST /airflow", "UNAVAILABLE", times=2)
    assert churnlab("dag", "trigger", "--run-id", "mine").error is None
    assert list(cloud.project.runs) == ["mine"]


def test_a_paused_dag_is_not_left_waiting_for_ever(cloud):
    cloud.project.dag["is_paused"] = True
    error = churnlab("dag", "trigger").error
    assert "churn_scoring is paused" in error.problem and "--unpause" in error.mend
    assert cloud.project.runs == {}
    assert churnlab("dag", "trigger", "--unpause").error is None
    assert cloud.project.dag["is_paused"] is False and len(cloud.project.runs) == 1


def test_a_dag_that_airflow_does_not_know_yet_is_to_be_uploaded(cloud):
    cloud.project.dag = None
    error = churnlab("dag", "trigger").error
    assert "knows no DAG churn_scoring yet" in error.problem and "cloud upload" in error.mend


def test_without_composer_the_mend_names_its_switch(cloud):
    write_profile(changed(composer_environment=""), profile_path())
    error = churnlab("dag", "trigger").error
    assert "no Composer environment" in error.problem and "create_composer" in error.mend


def test_an_environment_that_is_still_made_has_no_airflow_yet(cloud):
    cloud.project.environments[0].config.airflow_uri = ""
    assert "without Airflow" in churnlab("dag", "trigger").error.problem


@pytest.mark.parametrize(("end", "fails"), [("success", False), ("failed", True)])
def test_waiting_ends_with_the_run_s_fate(cloud, monkeypatch, end, fails):
    monkeypatch.setattr("churnlab.cloud.dag.time.sleep", lambda seconds: None)
    states = ["queued", "running", "running", end]
    cloud.project.runs["mine"] = {"dag_run_id": "mine", "state": "queued", "states": states}
    cloud.project.runs["mine"]["states"].insert(0, "queued")  # the answer to the second trigger
    done = churnlab("dag", "trigger", "--run-id", "mine", "--wait")
    assert done.text.split("\n")[2:5] == ["queued", "running", end]
    assert bool(done.error) == fails


@pytest.mark.slow
def test_airflow_s_own_model_takes_the_request(tmp_path):
    python = paths.AIRFLOW / "bin" / "python"
    if not python.exists():
        pytest.skip(f"{paths.AIRFLOW.name} is missing: make airflow")
    code = "import sys; from airflow.api_fastapi.core_api.datamodels.dag_run import "
    code += "TriggerDAGRunPostBody as Body; Body.model_validate_json(sys.argv[1])"
    env = {"AIRFLOW_HOME": str(tmp_path), "PATH": "/usr/bin:/bin"}

    def accepted(body: dict) -> bool:
        command = [str(python), "-c", code, json.dumps(body)]
        return subprocess.run(command, env=env, capture_output=True).returncode == 0

    assert accepted(run_request("mine", {"max_offers": 0.5}))
    assert not accepted(run_request("mine", {}) | {"execution_date": None})
