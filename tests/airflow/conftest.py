"""A lake with a model, the stand-ins, and Airflow's own environment as a subprocess."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from churnlab.run import spark_submit
from churnlab.run.promotion import promote
from churnlab.standins.airflow import (
    airflow_environment,
    airflow_python,
    make_database,
    prepare_home,
)
from churnlab.standins.server import stand_ins
from tests.conftest import CUSTOMER, customer, write_raw
from tests.local_cloud import function, start_function  # noqa: F401  where `cloud` is a module's
from tests.quick_spark import QUICK_SETTINGS

WITHOUT_CHURN = list(CUSTOMER)[:-1]


def various(number: int) -> dict[str, str]:
    """Return a customer who leaves if he is new, with exceptions: a few trees can learn that."""
    tenure = 1 + number % 40
    leaves = (tenure < 12) != (number % 7 == 0)
    changes = {"tenure": str(tenure), "TotalCharges": str(30 * tenure)}
    return customer(number, Churn="Yes" if leaves else "No", **changes)


def land(lake: Path, name: str, rows: list[dict[str, str]]) -> str:
    """Land waiting customers in a lake; return the path below the lake."""
    lines = [",".join(row[column] for column in WITHOUT_CHURN) for row in rows]
    target = lake / "incoming" / name
    target.parent.mkdir(exist_ok=True)
    target.write_text("\n".join([",".join(WITHOUT_CHURN), *lines]) + "\n", encoding="utf-8")
    return f"incoming/{name}"


def published(lake: Path) -> dict:
    """Return what readers are pointed to, {} for nothing."""
    file = lake / "published" / "batch_predictions.json"
    return json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}


@pytest.fixture(scope="session")
def trained_lake(tmp_path_factory) -> Path:
    """A lake with a champion of five trees."""
    lake = tmp_path_factory.mktemp("airflow") / "lake"
    write_raw(lake, [various(number) for number in range(400)])
    common = ["--pipeline-id", "first", "--lake", str(lake)]
    for step, options in (("preprocessing", []), ("model_training", ["--num-trees", "5"])):
        done = spark_submit.run_script(
            step, common + options, QUICK_SETTINGS, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    promote("first-training", "the only one", "a test", str(lake), "churn")
    return lake


@pytest.fixture
def scored_lake(trained_lake, tmp_path) -> Path:
    """A copy of the lake, with its model, that a test may fill."""
    return Path(shutil.copytree(trained_lake, tmp_path / "lake"))


@pytest.fixture
def cloud(tmp_path):
    """The stand-ins, with a batch service of the test's own."""
    with stand_ins(tmp_path / "cloud", execute_pipelines=False, conf=QUICK_SETTINGS) as addresses:
        yield addresses


class AirflowHome:
    """An Airflow home of a test, with the DAG deployed to it."""

    def __init__(self, home: Path, lake: Path, **variables: str):
        self.home = home
        self.env = airflow_environment(home, str(lake)) | variables
        self.env["AIRFLOW__CORE__DEFAULT_TASK_RETRY_DELAY"] = "1"
        prepare_home(home)

    def run(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess:
        """Run Airflow's Python."""
        return subprocess.run(
            [str(airflow_python()), *arguments],
            env=self.env | variables,
            cwd=self.home,
            capture_output=True,
            text=True,
            timeout=1800,
        )

    def test_dag(self, conf: dict, **variables: str) -> subprocess.CompletedProcess:
        """Run the DAG once to its end, without a scheduler: ``airflow dags test`` and ``dag.test``."""
        command = ["dags", "test", "churn_scoring", "--conf", json.dumps(conf)]
        return self.run("-m", "airflow", *command, **variables)


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory) -> Path:
    """A database without runs, to be copied: making one takes seconds."""
    home = AirflowHome(tmp_path_factory.mktemp("airflow") / "home", Path("no-lake"))
    (home.home / "config" / "airflow_local_settings.py").unlink()  # there is no stand-in yet
    make_database(home.env)
    return home.home / "airflow.db"


@pytest.fixture
def airflow(tmp_path, scored_lake, cloud, empty_database) -> AirflowHome:
    """An Airflow home whose DAG scores a lake of the test by the stand-ins."""
    home = AirflowHome(tmp_path / "airflow", scored_lake, **cloud.variables())
    shutil.copy(empty_database, home.home)
    return home
