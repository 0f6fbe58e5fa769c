"""A broker of Kafka on this machine, and Spark's connector to it, fetched by Maven."""

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from churnlab.run import spark_home
from churnlab.standins.ports import spare_port

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
PROJECT = """\
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>tests</groupId><artifactId>jars</artifactId><version>1</version>
  <dependencies>
    <dependency>
      <groupId>{groupId}</groupId><artifactId>{artifactId}</artifactId><version>{version}</version>
    </dependency>
  </dependencies>
</project>
"""


def fetch(coordinates: str, folder: Path) -> Path:
    """Return the folder of a package's jars, but for Hadoop's, which Spark has.

    Skips the test without Maven, or if Maven Central is out of reach. Spark's own resolver leaves
    out what Spark has in another version, such as Scala's library.
    """
    if not (maven := shutil.which("mvn")):
        pytest.skip("there is no mvn to fetch Kafka by")
    folder.mkdir()
    names = dict(zip(("groupId", "artifactId", "version"), coordinates.split(":"), strict=True))
    (folder / "pom.xml").write_text(PROJECT.format(**names))
    command = [maven, "-B", "-q", "dependency:copy-dependencies", "-DincludeScope=runtime"]
    command += [f"-DoutputDirectory={folder}/jars", "-DexcludeGroupIds=org.apache.hadoop"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"Maven has not given us {coordinates}: {done.stdout[-300:]}")
    return folder / "jars"


@contextmanager
def broker(folder: Path) -> Iterator[str]:
    """Run a broker; gives its address."""
    jars = fetch(BROKER, folder / "broker")
    port, controller = spare_port(), spare_port()
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
