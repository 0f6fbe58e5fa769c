"""Airflow on this machine: its own environment, a home below _build, the stand-ins beside it."""

from __future__ import annotations

import contextlib
import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType

import psutil
import requests

from churnlab import paths
from churnlab.errors import CourseError
from churnlab.run.library import library
from churnlab.standins.ports import listening_port, spare_port
from churnlab.standins.project import BATCH_ACCOUNT, PROJECT, REGION
from churnlab.standins.server import Addresses, stand_ins

ENVIRONMENT = paths.AIRFLOW
HOME = paths.BUILD / "airflow"
KERNEL = "churnlab-airflow"
DAG = "scoring_dag.py"
LOCAL_SETTINGS = Path(__file__).with_name("airflow_local_settings.py")

# Of a machine that does much else: an idle one needs 20 and 3.
START_SECONDS = 900
STOP_SECONDS = 60

# What a Composer environment would be given, and what makes Airflow quiet, local and quick.
SETTINGS = {
    "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
    "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
    "AIRFLOW__CORE__DEFAULT_TASK_RETRY_DELAY": "2",
    "AIRFLOW__CORE__PARALLELISM": "2",
    # Nothing may fail because this machine does much else, or starts for the first time.
    "AIRFLOW__CORE__DAGBAG_IMPORT_TIMEOUT": "600",
    "AIRFLOW__DAG_PROCESSOR__DAG_FILE_PROCESSOR_TIMEOUT": "600",
    "AIRFLOW__WORKERS__EXECUTION_API_TIMEOUT": "120",
    # Nobody but this machine reaches the port, so there is no password to lose.
    "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "True",
    "AIRFLOW__API__HOST": "127.0.0.1",
    "AIRFLOW__API__WORKERS": "1",
    "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
    "AIRFLOW_CONN_GOOGLE_CLOUD_DEFAULT": f"google-cloud-platform://?project={PROJECT}",
    "CHURNLAB_PROJECT": PROJECT,
    "CHURNLAB_REGION": REGION,
    "CHURNLAB_SERVICE_ACCOUNT": BATCH_ACCOUNT,
    # Google's libraries announce the end of Python 3.11 in every process of Airflow.
    "PYTHONWARNINGS": "ignore::FutureWarning",
}


@dataclass(frozen=True)
class Airflow:
    """A running Airflow: its address, its main process and the stand-ins it talks to."""

    url: str
    process: subprocess.Popen
    stand_ins: Addresses


def airflow_python() -> Path:
    """Return the Python of Airflow's environment. Raises CourseError if it is not there."""
    python = ENVIRONMENT / "bin" / "python"
    if not python.exists():
        raise CourseError(f"Airflow's environment {ENVIRONMENT} is missing.", "Run `make airflow`.")
    return python


def airflow_environment(
    home: Path, lake: str, env: Mapping[str, str] = os.environ
) -> dict[str, str]:
    """Return the environment variables of an Airflow that lives in ``home`` and scores ``lake``.

    Settings of another Airflow, and another Python's, are dropped.
    """
    foreign = ("AIRFLOW", "PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")
    kept = {name: value for name, value in env.items() if not name.startswith(foreign)}
    no_proxy = ",".join(filter(None, [env.get("NO_PROXY") or env.get("no_proxy"), "127.0.0.1"]))
    own = {
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__DAGS_FOLDER": str(home / "dags"),
        "CHURNLAB_LAKE": lake if "://" in lake else str(Path(lake).resolve()),
        "CHURNLAB_CODE_URI": str(paths.SCRIPTS),
        "CHURNLAB_COMMAND": str(Path(sys.executable).with_name("churnlab")),
        "NO_PROXY": no_proxy,
        "no_proxy": no_proxy,
        "PATH": os.pathsep.join([str(ENVIRONMENT / "bin"), env.get("PATH", "")]),
    }
    return kept | SETTINGS | own


def prepare_home(home: Path) -> None:
    """Deploy the DAG and the local settings to an Airflow home."""
    for source, folder in ((paths.SCRIPTS / DAG, "dags"), (LOCAL_SETTINGS, "config")):
        if not source.exists():
            raise CourseError(f"{source} is missing.", "Run `make export`.")
        (home / folder).mkdir(parents=True, exist_ok=True)
        shutil.copy(source, home / folder)


def make_database(env: Mapping[str, str]) -> None:
    """Make the database of an Airflow home that has none; ``airflow standalone`` does so itself."""
    if not Path(env["AIRFLOW_HOME"], "airflow.db").exists():
        command = [str(airflow_python()), "-m", "airflow", "db", "migrate"]
        done = subprocess.run(command, env=env, capture_output=True, text=True)
        if done.returncode:
            raise CourseError(f"Airflow made no database:\n{(done.stdout + done.stderr)[-2000:]}")


def register_kernel(prefix: Path = Path(sys.prefix)) -> Path:
    """Let Jupyter of this environment run notebooks in Airflow's; return the kernel's folder."""
    folder = prefix / "share" / "jupyter" / "kernels" / KERNEL
    folder.mkdir(parents=True, exist_ok=True)
    command = [str(Path(sys.executable).with_name("churnlab")), "airflow-kernel"]
    specification = {
        "argv": [*command, "-f", "{connection_file}"],
        "display_name": "Airflow (.venv-airflow)",
        "language": "python",
        "metadata": {"debugger": True},
    }
    folder.joinpath("kernel.json").write_text(json.dumps(specification, indent=1), encoding="utf-8")
    return folder


def become_kernel(arguments: list[str]) -> None:
    """Become a kernel in Airflow's environment, with a home below _build; does not return.

    ``arguments`` are those of ipykernel.
    """
    home = HOME / "notebook"
    # A notebook wants to show errors, not how Airflow passes a task along.
    env = airflow_environment(home, paths.lake()) | {"AIRFLOW__LOGGING__LOGGING_LEVEL": "ERROR"}
    prepare_home(home)
    make_database(env)
    python = str(airflow_python())
    os.execve(python, [python, "-m", "ipykernel_launcher", *arguments], env)


@contextmanager
def running_airflow(
    lake: str,
    home: Path = HOME / "standalone",
    storage: Path | None = None,
    port: int = 0,
    settings: Mapping[str, str] = MappingProxyType({}),
) -> Iterator[Airflow]:
    """Run the stand-ins and ``airflow standalone`` for a while, on loopback only.

    A port that is taken, or 0, makes way for a free one; ``settings`` are further variables of
    Airflow. Raises CourseError if it does not come up; no process is left in either case.
    """
    env = airflow_environment(home, lake)
    port = spare_port(port)
    url = f"http://127.0.0.1:{port}"
    with stand_ins(storage or paths.BUILD / "cloud") as addresses:
        env |= addresses.variables() | {
            "AIRFLOW__API__PORT": str(port),
            "AIRFLOW__API__BASE_URL": url,
            "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{url}/execution/",
            # Its two servers of logs have fixed ports, which another Airflow would not get.
            "AIRFLOW__LOGGING__WORKER_LOG_SERVER_PORT": str(spare_port()),
            "AIRFLOW__LOGGING__TRIGGER_LOG_SERVER_PORT": str(spare_port()),
            "AIRFLOW__OPERATORS__DEFAULT_DEFERRABLE": "True",  # as in production
        }
        env |= settings
        prepare_home(home)
        with (home / "standalone.log").open("wb") as log:
            process = subprocess.Popen(
                [str(airflow_python()), "-m", "airflow", "standalone"],
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # a Ctrl-C is ours to pass on, in the right order
            )
            try:
                wait_until_healthy(port, process, Path(log.name))
                yield Airflow(url, process, addresses)
            finally:
                stop_all(process)


def wait_until_healthy(port: int, process: subprocess.Popen, log: Path) -> None:
    """Wait until this Airflow listens and says that each of its parts is healthy.

    Raises CourseError.
    """
    url = f"http://127.0.0.1:{listening_port(process, START_SECONDS, port)}"
    deadline = time.monotonic() + START_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        try:
            parts = requests.get(f"{url}/api/v2/monitor/health", timeout=60).json().values()
            if all(part["status"] == "healthy" for part in parts):
                return
        except (requests.RequestException, TypeError, KeyError):
            pass  # nobody answers yet, or not about health
        time.sleep(0.5)
    tail = "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-15:])
    raise CourseError(f"Airflow did not come up. The end of {log}:\n{tail}")


def stop_all(process: subprocess.Popen) -> None:
    """End Airflow as Ctrl-C would, then whatever of its processes is left."""
    try:
        family = psutil.Process(process.pid).children(recursive=True)
    except psutil.NoSuchProcess:
        family = []
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    _, left = psutil.wait_procs(family, 3)
    for end in (psutil.Process.terminate, psutil.Process.kill):
        for one in left:
            try:
                end(one)
            except psutil.NoSuchProcess:
                continue
        _, left = psutil.wait_procs(left, 5)
    # If Airflow's main process had died, its children were nobody's: they are in its group still.
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def land_todays_customers(lake: Path, rows: int = 300) -> Path | None:
    """Land today's scoring input, if it is missing: customers of the raw file, without Churn.

    Returns the new file, or None, also where the raw customers are no CSV.
    """
    target = lake / "incoming" / f"{datetime.now(UTC):%Y-%m-%d}.csv"
    folder = Path(library.contract.newest_landing(str(lake / "raw" / "customers")))
    raw = next(iter(sorted(folder.glob("*.csv"))), None)
    if target.exists() or raw is None:
        return None
    with raw.open(encoding="utf-8", newline="") as stream:
        lines = [line[:-1] for line, _ in zip(csv.reader(stream), range(rows + 1), strict=False)]
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_suffix(".partial")
    with partial.open("w", encoding="utf-8", newline="") as stream:
        csv.writer(stream).writerows(lines)
    return partial.replace(target)


def check_model(lake: str) -> None:
    """Raise CourseError if a lake on this machine has no champion."""
    if "://" not in lake:
        try:
            library.registry.registered_model(library.tables.dataset_root(lake, "churn"))
        except library.programs.ModelError as error:
            raise CourseError(str(error), "`make course` trains models and chooses one.") from error


def serve_airflow(lake: str, port: int, announce: Callable[[str], None]) -> None:
    """Run Airflow until Ctrl-C or SIGTERM; ``announce`` gets what the reader should know."""
    check_model(lake)
    if "://" not in lake and (landed := land_todays_customers(Path(lake))):
        announce(f"Today's customers have landed: {landed}")
    announce("Airflow starts; this takes about 20 seconds ...")
    earlier = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with running_airflow(lake, port=port) as airflow:
            announce(f"The scoring DAG is at {airflow.url}/dags/churn_scoring (Ctrl-C ends)")
            airflow.process.wait()
        raise CourseError("Airflow ended by itself.", f"Read {HOME / 'standalone/standalone.log'}.")
    except KeyboardInterrupt:
        announce("Airflow and the stand-ins have ended.")
    finally:
        signal.signal(signal.SIGTERM, earlier)
