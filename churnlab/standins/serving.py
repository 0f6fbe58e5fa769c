"""The server of the serving image on this machine, started as Vertex AI starts it."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from churnlab import paths
from churnlab.errors import CourseError
from churnlab.standins.ports import listening_socket, start_on_a_port

SERVER = paths.INFRA / "images" / "serving" / "server.py"


@dataclass(frozen=True)
class ModelServer:
    """A running server: its address, its process, and the file to which it logs."""

    address: str
    process: subprocess.Popen
    log: Path


def server_environment(storage_uri: str, port: int, **variables: str) -> dict[str, str]:
    """Return the environment of a server: the contract's variables, and where the library is."""
    kept: Mapping = {k: v for k, v in os.environ.items() if not k.startswith("AIP_")}
    own = {"AIP_STORAGE_URI": storage_uri, "AIP_HTTP_PORT": str(port)}
    own |= {"CHURNLAB_HOST": "127.0.0.1", "PYTHONPATH": str(paths.SCRIPTS)}
    return kept | own | variables


@contextmanager
def model_server(storage_uri: str, **variables: str) -> Iterator[ModelServer]:
    """Serve a package, or the champion of a folder of packages, and stop it at the end.

    Raises CourseError with what the server says if it can't serve.
    """
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder, "log")
        with log.open("w") as output:

            def start(port: int) -> subprocess.Popen:
                environment = server_environment(storage_uri, port, **variables)
                command = [sys.executable, str(SERVER)]
                return subprocess.Popen(
                    command, env=environment, stdout=output, stderr=subprocess.STDOUT
                )

            process, port = start_on_a_port(start, patience=600)
            try:
                if not port:
                    said = log.read_text(encoding="utf-8").strip() or "it says nothing"
                    raise CourseError(f"The server does not start: {said}", "See its message.")
                yield ModelServer(f"http://127.0.0.1:{port}", process, log)
            finally:
                process.terminate()
                process.wait(timeout=300)


def serve_in_the_foreground(storage_uri: str, port: int) -> int:
    """Serve until Ctrl-C; return the server's status. Raises CourseError if the port is taken."""
    listening_socket(port).close()
    command = [sys.executable, str(SERVER)]
    process = subprocess.Popen(command, env=server_environment(storage_uri, port))
    while True:
        try:
            return process.wait()
        except KeyboardInterrupt:
            continue  # the server has heard it as well, and answers what it has begun
