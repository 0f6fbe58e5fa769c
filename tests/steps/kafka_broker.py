"""A broker of Kafka on this machine, and Spark's connector to it, by Spark's own resolver."""

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from churnlab.run import spark_home, spark_submit

BROKER = "org.apache.kafka:kafka_2.13:4.0.0"
CONNECTOR = "org.apache.spark:spark-sql-kafka-0-10_2.12:3.5.7"
CLUSTER = "MkU3OEVBNTcwNTJENDM2Qk"  # any name of 16 bytes
PATIENCE = 120  # seconds
SETTINGS = """\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
controller.listener.names=CONTROLLER
log.dirs={folder}/logs
offsets.topic.replication.factor=1
"""


def with_packages(coordinates: str, folder: Path, *program: str) -> list[str]:
    """Return the command that runs a program with packages of Maven Central, kept in a folder."""
    submit = str(Path(sys.executable).with_name("spark-submit"))
    settings = ["--conf", f"spark.jars.ivy={folder}", "--conf", "spark.ui.enabled=false"]
    return [submit, "--packages", coordinates, *settings, *program]


def fetch(coordinates: str, folder: Path) -> Path:
    """Return the folder of the jars of a package. Skips the test if they are out of reach."""
    folder.mkdir()
    nothing = folder / "nothing.py"
    nothing.write_text("")
    command = with_packages(coordinates, folder, str(nothing))
    env = spark_submit.submit_environment()
    done = subprocess.run(command, env=env, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"Maven Central has not given us {coordinates}: {done.stderr[-300:]}")
    return folder / "jars"


def free_ports(count: int) -> list[int]:
    """Return ports that nobody listens on."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [server.getsockname()[1] for server in sockets]
    for server in sockets:
        server.close()
    return ports


@contextmanager
def broker(folder: Path) -> Iterator[str]:
    """Run a broker; gives its address."""
    jars, (port, controller) = fetch(BROKER, folder / "broker"), free_ports(2)
    settings = folder / "server.properties"
    settings.write_text(SETTINGS.format(port=port, controller=controller, folder=folder))
    java = str(spark_home.java_home() / "bin" / "java")
    command = [java, "-Xmx256m", "-cp", f"{jars}/*"]
    formatting = ["kafka.tools.StorageTool", "format", "-t", CLUSTER, "-c", str(settings)]
    subprocess.run([*command, *formatting], check=True, capture_output=True)
    log = folder / "broker.log"
    with log.open("w") as stream:
        process = subprocess.Popen(
            [*command, "kafka.Kafka", str(settings)], stdout=stream, stderr=stream
        )
    try:
        wait_for(port, process, log)
        yield f"127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()


def wait_for(port: int, process: subprocess.Popen, log: Path) -> None:
    """Wait until a broker listens."""
    deadline = time.monotonic() + PATIENCE
    while True:
        assert process.poll() is None, log.read_text()[-2000:]
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            assert time.monotonic() < deadline, "the broker does not listen"
            time.sleep(0.1)
