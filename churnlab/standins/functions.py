"""An HTTP function on this machine, run by functions-framework as Cloud Run runs it."""

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from churnlab.standins.ports import listening_port


@dataclass(frozen=True)
class Function:
    """A function that listens, and what it has written."""

    url: str
    output: Path

    def lines(self) -> list[str]:
        """Return what the function has written to stdout, by line."""
        return self.output.read_text(encoding="utf-8").splitlines()


@contextmanager
def serve_function(
    source: Path, target: str, variables: dict[str, str], patience: float = 600
) -> Iterator[Function]:
    """Run a function on loopback for a while, in a process of its own.

    Raises RuntimeError, with what the process wrote, if it ends or does not listen in time
    (seconds).
    """
    command = [str(Path(sys.executable).with_name("functions-framework")), "--host", "127.0.0.1"]
    command += ["--port", "0", "--target", target, "--source", str(source)]
    with tempfile.TemporaryDirectory() as folder:
        output, errors = Path(folder, "stdout"), Path(folder, "stderr")
        with output.open("wb") as stdout, errors.open("wb") as stderr:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
                env=os.environ | variables,
                start_new_session=True,
            )
        try:
            if not (port := listening_port(process, patience)):
                raise RuntimeError(f"{source} does not listen:\n{errors.read_text()[-2000:]}")
            yield Function(f"http://127.0.0.1:{port}/", output)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)  # it has nothing to save
            process.wait()
