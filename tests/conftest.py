"""What several tests share: a session, a lake, raw customers, the course, the order of the groups."""

import os
import re
import shutil
import sys
from pathlib import Path

import pytest

from churnlab import paths
from tests.browser import chromium
from tests.quick_spark import QUICK_JAVA

sys.path.insert(0, str(paths.SCRIPTS))

CUSTOMER = {
    "customerID": "0001-GOOD",
    "gender": "Female",
    "SeniorCitizen": "0",
    "Partner": "Yes",
    "Dependents": "No",
    "tenure": "2",
    "PhoneService": "No",
    "MultipleLines": "No phone service",
    "InternetService": "DSL",
    "OnlineSecurity": "No",
    "OnlineBackup": "Yes",
    "DeviceProtection": "No",
    "TechSupport": "No",
    "StreamingTV": "No",
    "StreamingMovies": "No",
    "Contract": "Month-to-month",
    "PaperlessBilling": "Yes",
    "PaymentMethod": "Electronic check",
    "MonthlyCharges": "29.85",
    "TotalCharges": "59.7",
    "Churn": "No",
}


# Workers take the groups in this order. Whoever needs a notebook that nobody has run runs it, so
# the order is only about time: long ones begin early, and a chain's second part begins when
# the first is likely to be done.
ORDER = """
course cluster library steps metrics cloud storage pipeline airflow batches basics
quality function terraform serving data book
""".split()


SLOW = re.compile(r"^pytestmark = .*\bmark\.slow\b", re.MULTILINE)


def pytest_ignore_collect(collection_path, config):
    """Leave out a file whose tests are all slow, or a folder of such files, when none shall run.

    Importing what they need would take as long as some tests.
    """
    if config.option.markexpr != "not slow":
        return None
    folder = collection_path.is_dir()
    files = list(collection_path.rglob("test_*.py")) if folder else [collection_path]
    tests = [file for file in files if file.name.startswith("test_")]
    return True if tests and all(SLOW.search(file.read_text("utf-8")) for file in tests) else None


def pytest_collection_modifyitems(items):
    """Bring the groups into their order; what is in no group fills the gaps at the end."""
    items.sort(key=_place)  # stable: tests of one place keep their order


def _place(item) -> int:
    groups = [mark.args[0] for mark in item.iter_markers("xdist_group") if mark.args]
    return min((ORDER.index(g) for g in groups if g in ORDER), default=len(ORDER))


@pytest.fixture(scope="session")
def spark(tmp_path_factory):
    """The session of all tests of a worker; settings are those of the laptop."""
    from pyspark.sql import SparkSession

    warehouse = tmp_path_factory.mktemp("spark-warehouse")
    session = (
        SparkSession.builder.appName("tests")
        .config("spark.ui.enabled", "false")
        .config("spark.sql.shuffle.partitions", "2")
        .config("spark.driver.extraJavaOptions", QUICK_JAVA)
        .config("spark.sql.warehouse.dir", str(warehouse))
        .getOrCreate()
    )
    yield session
    session.stop()


@pytest.fixture
def as_a_program(monkeypatch):
    """Let a script run as a program in this process: at its end it stops no session of others."""
    from pyspark.sql import SparkSession

    monkeypatch.setattr(SparkSession, "getActiveSession", lambda: None)


@pytest.fixture(scope="session")
def browser():
    """The one browser of a worker: Playwright's synchronous side runs once in a process."""
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="session")
def library():
    """The library's modules as the scripts import them, as attributes."""
    from churnlab.run.library import library

    return library


@pytest.fixture(scope="session")
def real_csv() -> Path:
    """The real customers; tests that need them are skipped, with the reason, without them."""
    path = os.environ.get("CHURNLAB_RAW_CSV")
    if not path:
        pytest.skip("CHURNLAB_RAW_CSV names no file with the real customers")
    return Path(path)


@pytest.fixture
def lake(tmp_path) -> Path:
    """An empty lake."""
    return tmp_path / "lake"


def customer(number: int, **changes: str) -> dict[str, str]:
    """Return a raw customer that keeps the contract, but for the changes."""
    churns = {"Churn": "Yes"} if number % 4 == 0 else {}
    return CUSTOMER | {"customerID": f"{number:04d}-GOOD"} | churns | changes


def write_raw(lake: Path, rows: list[dict[str, str]], columns: list[str] | None = None) -> Path:
    """Land raw customers in a lake as text, without any quoting of our own."""
    columns = columns or list(CUSTOMER)
    lines = [",".join(columns), *(",".join(row.get(c, "") for c in columns) for row in rows)]
    path = lake / "raw" / "customers" / "customers.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def environment_without_java(folder: Path) -> dict[str, str]:
    """Return this environment with no JAVA_HOME and a PATH on which there is no java."""
    tools = folder / "bin"
    tools.mkdir(parents=True)
    for place in os.environ["PATH"].split(os.pathsep):
        for program in Path(place).glob("*") if Path(place).is_dir() else ():
            link = tools / program.name
            if not program.name.startswith("java") and not link.is_symlink():
                link.symlink_to(program)
    assert shutil.which("java", path=str(tools)) is None
    kept = {k: v for k, v in os.environ.items() if k not in ("JAVA_HOME", "SPARK_HOME")}
    return kept | {"PATH": str(tools)}


@pytest.fixture(scope="session")
def course(tmp_path_factory):
    """The course's notebooks, its lake and its book, each made once for all workers.

    Everything runs without any Java but the lock's.
    """
    from tests.course import course_in

    build = shared_folder(tmp_path_factory) / "course"
    return course_in(build, environment_without_java(tmp_path_factory.mktemp("no-java")))


@pytest.fixture(scope="session")
def on_a_cluster(tmp_path_factory):
    """What notebooks 03-06 left on a cluster: its tests and the scripts' share it, in one worker."""
    from tests.workbench.on_a_cluster import run_on_a_cluster

    return run_on_a_cluster(tmp_path_factory.mktemp("on-a-cluster"))


def shared_folder(tmp_path_factory) -> Path:
    """Return the temporary folder of this run of the tests, the same for every worker."""
    base = tmp_path_factory.getbasetemp()
    return base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
