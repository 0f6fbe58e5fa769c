"""The loop: a scored batch has moved, the alarm starts a training, the gate decides, the next batch
is scored by whoever won. Without a person, and without a cloud.
"""

import json
import random
from collections.abc import Iterator
from pathlib import Path
from shutil import copy, copytree

import pytest
import requests
import yaml
from typer.testing import CliRunner

from churnlab import paths
from churnlab.cli import app
from churnlab.run import spark_submit
from churnlab.run.alarms import Alarm, alarms
from churnlab.run.library import library
from churnlab.standins.serving import model_server
from tests.airflow.conftest import AirflowHome, land, published, various
from tests.conftest import write_raw
from tests.local_cloud import local_cloud
from tests.quick_spark import QUICK_SETTINGS

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("airflow")]

CUSTOMERS = 300  # to learn from
WAITING = 120
# What a training shall be here, by the deployment's own compiled pipeline: small, and any model may
# stand before the gate.
DEFAULTS = {"quick_tuning": True, "min_average_precision": 0.0}


def fibre(number: int) -> bool:
    """Tell who has fibre in the new world: every third, whatever his tenure."""
    return number * 7919 % 30 < 10


def moved(number: int, has_fibre: bool, leaves: bool) -> dict[str, str]:
    """Return a customer of the new world."""
    internet = {"InternetService": "Fiber optic", "MonthlyCharges": "90.5"} if has_fibre else {}
    return various(number) | internet | {"Churn": "Yes" if leaves else "No"}


def new_world() -> list[dict[str, str]]:
    """Return customers who leave if they have fibre, with exceptions; tenure says nothing now."""
    return [moved(n, fibre(n), fibre(n) != (n % 5 == 4)) for n in range(CUSTOMERS)]


def nonsense() -> list[dict[str, str]]:
    """Return customers whose labels say nothing about them: as many leave, but others."""
    leaving = [row["Churn"] == "Yes" for row in new_world()]
    random.Random(16).shuffle(leaving)
    return [moved(n, fibre(n), leaves) for n, leaves in enumerate(leaving)]


@pytest.fixture(scope="module")
def cloud(tmp_path_factory) -> Iterator:
    """The stand-ins; their pipelines run."""
    with local_cloud(tmp_path_factory.mktemp("cloud"), conf=QUICK_SETTINGS) as addresses:
        yield addresses


class Town:
    """A lake in which a DAG scores, a function trains, and a server answers."""

    def __init__(self, lake: Path, airflow: AirflowHome, cloud):
        self.lake, self.airflow, self.cloud = lake, airflow, cloud
        self.tables = library.tables.dataset_root(str(lake), "churn")

    def champion(self) -> str:
        """Return the version that scores."""
        return library.registry.registered_model(self.tables)["model_version"]

    def score(self, name: str, rows: list[dict[str, str]]) -> dict:
        """Let the DAG run on waiting customers; return its alarm's file, once its training is over."""
        done = self.airflow.test_dag({"customers": land(self.lake, name, rows)})
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        key = published(self.lake)["pipeline_id"]
        alarm = json.loads((self.lake / "alarms" / f"{key}.json").read_text(encoding="utf-8"))
        job = self.cloud.pipelines.wait(alarm["retraining"]["job"])
        assert job.state.name == "PIPELINE_STATE_SUCCEEDED", job.error
        return alarm

    def serve(self) -> dict:
        """Package the champion if that has not been done; return what a server says of its health."""
        if not library.packages.newest_package(str(self.lake), self.champion()):
            options = ["--pipeline-id", "packed", "--lake", str(self.lake)]
            done = spark_submit.run_script(
                "online_serving", options, QUICK_SETTINGS, capture_output=True, text=True
            )
            assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
        with model_server(str(self.lake / "packages")) as server:
            return requests.get(f"{server.address}/health", timeout=300).json()


@pytest.fixture(scope="module")
def town(
    trained_lake,
    cloud,
    start_function,
    empty_database,
    tmp_path_factory,
) -> Town:
    """The town on the day on which its customers have become others."""
    folder = tmp_path_factory.mktemp("loop")
    lake = Path(copytree(trained_lake, folder / "lake"))
    write_raw(lake, new_world())
    template = yaml.safe_load((paths.SCRIPTS / "training_pipeline.yaml").read_text("utf-8"))
    for name, value in DEFAULTS.items():
        template["root"]["inputDefinitions"]["parameters"][name]["defaultValue"] = value
    (folder / "pipeline.yaml").write_text(yaml.safe_dump(template), encoding="utf-8")
    own = {"LAKE": str(lake), "DATASET": "churn", "CODE_URI": str(paths.SCRIPTS)}
    function = start_function(TEMPLATE=str(folder / "pipeline.yaml"), **own)
    variables = cloud.variables() | {"CHURNLAB_FUNCTION_URL": function.url}
    airflow = AirflowHome(folder / "airflow", lake, **variables)
    copy(empty_database, airflow.home)
    return Town(lake, airflow, cloud)


@pytest.fixture(scope="module")
def first(town) -> dict:
    """The first turn: six in ten of the waiting customers are new ones, whom the model fears."""
    rows = [n if n % 40 < 11 or n % 10 < 5 else n - n % 40 + n % 11 for n in range(WAITING)]
    changes = [{"customerID": f"{n:04d}-WAIT"} for n in range(WAITING)]
    customers = [various(n) | change for n, change in zip(rows, changes, strict=True)]
    before = town.champion()
    alarm = town.score("first.csv", customers)
    return {"before": before, "alarm": alarm, "champion": town.champion()}


@pytest.fixture(scope="module")
def second(town, first) -> dict:
    """The second turn: seven in ten have fibre, and by now nobody knows what the labels mean."""
    health = town.serve()
    write_raw(town.lake, nonsense())
    waiting = [moved(n, n % 10 < 7, False) for n in range(WAITING)]
    alarm = town.score("second.csv", waiting)
    return {"health": health, "alarm": alarm, "champion": town.champion()}


def found(town: Town, alarm: dict) -> Alarm:
    """Return what `churnlab alarms` says about an alarm."""
    [said] = [a for a in alarms(str(town.lake), "churn") if a.pipeline_id == alarm["pipeline_id"]]
    return said


def test_a_batch_that_has_moved_ends_in_a_better_model_that_is_served_and_scores(
    town, first, second
):
    alarm, retraining = first["alarm"], first["alarm"]["retraining"]
    assert alarm["model_version"] == first["before"] == "first-training"
    assert (alarm["verdict"], retraining["status"]) == ("retrain", 202)
    assert "churn_probability" in alarm["moved"]
    assert first["champion"] in {f"{retraining['pipeline_id']}-{s}" for s in ("training", "tuning")}
    said = found(town, alarm).answer
    assert said.startswith(f"{first['champion']} became the champion: all "), said
    assert second["health"] == {"status": "ready", "model_version": first["champion"]}
    assert published(town.lake)["model_version"] == first["champion"]


def test_a_training_that_makes_it_worse_leaves_the_champion_and_the_alarm_says_why(
    town, first, second
):
    alarm, retraining = second["alarm"], second["alarm"]["retraining"]
    assert alarm["model_version"] == first["champion"]
    assert (alarm["verdict"], retraining["status"]) == ("retrain", 202)
    assert retraining["pipeline_id"] != first["alarm"]["retraining"]["pipeline_id"]
    assert second["champion"] == first["champion"]
    said = found(town, alarm).answer
    assert said.startswith(f"the champion stays, {retraining['pipeline_id']}-"), said
    assert "was refused: " in said and "is asked" in said
    printed = CliRunner().invoke(app, ["alarms", "--lake", str(town.lake)])
    assert printed.exit_code == 0 and "the champion stays" in " ".join(printed.output.split())
    # And the next alarm about this champion names who was refused, by itself.
    rows = library.tables.read_rows(town.tables, "model_registry")
    refused = library.alarms.refused_challengers(rows, first["champion"])
    assert [version.startswith(retraining["pipeline_id"]) for version in refused] == [True]
