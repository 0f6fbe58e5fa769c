"""A Spark cluster of its own processes on loopback: a master, and workers of one core each.

Driver and executors share the disk, as they would share a bucket, and nothing else.
"""

import os
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from churnlab.errors import CourseError
from churnlab.run.spark_home import SPARK_HOME
from churnlab.standins.ports import start_on_a_port

START_SECONDS = 300  # of a machine that does much else

Wrap = Callable[[list[str]], list[str]]


@contextmanager
def spark_cluster(
    folder: Path,
    workers: int = 2,
    memory: str = "1g",
    env: Mapping[str, str] = os.environ,
    wrap: Wrap = list,
) -> Iterator[str]:
    """Run a master and workers of one core each, and yield the master's address.

    ``folder`` takes the workers' files and logs, ``memory`` is what a worker may give to executors,
    ``wrap`` may put another command before that of each daemon. Raises CourseError.
    """
    settings = {
        "SPARK_DAEMON_MEMORY": "256m",
        # A port that is taken ends the daemon, instead of making it take the next one.
        "SPARK_DAEMON_JAVA_OPTS": "-Dspark.port.maxRetries=0",
    }

    def start(place: Path, daemon: str, options: list[str]) -> subprocess.Popen:
        place.mkdir(parents=True)
        command = [f"{SPARK_HOME}/bin/spark-class", f"org.apache.spark.deploy.{daemon}", *options]
        with (place / "log").open("w") as log:
            return subprocess.Popen(
                wrap(command), cwd=place, env={**env, **settings}, stdout=log, stderr=log
            )

    def start_master(port: int) -> subprocess.Popen:
        address = ["--host", "127.0.0.1", "--port", str(port), "--webui-port", "0"]
        return start(folder / f"master-{port}", "master.Master", address)

    # A worker that comes before its master tries again after ten seconds.
    process, port = start_on_a_port(start_master, START_SECONDS)
    processes, master = [process], f"spark://127.0.0.1:{port}"
    try:
        if not port:
            raise CourseError(f"No Spark master listens after {START_SECONDS} s.", f"Log: {folder}")
        for number in range(workers):
            place = folder / f"worker-{number}"
            options = ["--cores", "1", "--memory", memory, "--work-dir", str(place / "work")]
            options += ["--webui-port", "0", master]
            processes.append(start(place, "worker.Worker", options))
        yield master
    finally:
        for process in reversed(processes):
            process.terminate()
            process.wait(START_SECONDS)
