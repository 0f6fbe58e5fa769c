"""The notebooks as the tests run them: each once, by nbmake, from a fresh kernel, on few customers.

Whoever needs a notebook's lake or its executed copy asks for it. The first one who asks runs it,
and what it stands on before it; everybody else, in whichever process, gets what it left.
"""

import csv
import fcntl
import json
import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import nbformat
from nbmake.nb_run import NotebookRun

from churnlab import paths
from churnlab.run import runner, spark_submit
from churnlab.run.library import library

CUSTOMERS = 1500
CELL_SECONDS = 3600  # of a machine that does much else; a cell takes a minute at most
NAMES = [path.stem for path in runner.find_notebooks()]


class NotebookFailed(AssertionError):
    """A notebook did not run to its end."""


@dataclass(frozen=True)
class Course:
    """The notebooks' lake, their executed copies and the book made of them, in a build folder.

    ``environment`` is that of the kernels and of every program.
    """

    build: Path
    environment: dict[str, str]

    @property
    def lake(self) -> Path:
        """Return the lake of all notebooks."""
        return self.build / "lake"

    def executed(self, name: str) -> Path:
        """Return a notebook's executed copy; run it, and what it stands on, if nobody has yet.

        Raises NotebookFailed with nbmake's report, also to those who come later.
        """
        if name in runner.STANDS_ON:
            self.executed(runner.STANDS_ON[name])
        copy, said = (self.build / "executed" / f"{name}.{end}" for end in ("ipynb", "json"))
        with locked(self.build / f"{name}.lock"):
            if not said.exists():
                said.write_text(json.dumps(self._run(name, copy)), encoding="utf-8")
        if failure := json.loads(said.read_text(encoding="utf-8"))["failure"]:
            raise NotebookFailed(f"{name}: {failure}\nThe copy is {copy}.")
        return copy

    def _run(self, name: str, copy: Path) -> dict:
        # The parameters' defaults, as a reader opens it: what is ours is in the environment.
        environment = self.environment | {"CHURNLAB_RAW_CSV": str(self.customers())}
        started = time.monotonic()
        with environment_of(environment):
            result = NotebookRun(paths.NOTEBOOKS / f"{name}.ipynb", CELL_SECONDS).execute()
        nbformat.write(result.nb, copy)
        failure = result.error and f"{result.error.summary}\n{result.error.trace}"
        seconds = time.monotonic() - started
        return {"ended": time.time(), "seconds": seconds, "failure": failure}

    def customers(self) -> Path:
        """Return the file of the few customers: of the real ones, else generated."""
        target = self.build / "customers.csv"
        with locked(self.build / "customers.lock"):
            if not target.exists():
                raw = os.environ.get("CHURNLAB_RAW_CSV")
                shutil.copy(sample(Path(raw), self.build) if raw else self._generated(), target)
        return target

    def _generated(self) -> Path:
        lake = self.build / "generated"
        arguments = ["--pipeline-id", "few", "--lake", str(lake), "--source", "synthetic"]
        arguments += ["--rows", str(CUSTOMERS)]
        done = spark_submit.run_script("customer_data", arguments, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-3000:]
        [landed] = library.contract.raw_files(
            library.contract.newest_landing(str(lake / "raw" / "customers"))
        )
        return Path(landed)

    def book(self) -> Path:
        """Return the folder of the book, built strictly from the executed copies.

        Raises NotebookFailed if a notebook did not run, AssertionError for a warning of Sphinx.
        """
        for name in NAMES:
            self.executed(name)
        with locked(self.build / "book.lock"):
            if not (self.build / "book").exists():
                self._write_record()
                done = self.churnlab("book")
                assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        return self.build / "book" / "_build" / "html"

    def _write_record(self) -> None:
        copies = [self.executed(name) for name in NAMES]
        said = [json.loads(c.with_suffix(".json").read_text(encoding="utf-8")) for c in copies]
        started = datetime.fromtimestamp(min(s["ended"] - s["seconds"] for s in said), UTC)
        runs = [runner.module_run(copy, s["seconds"]) for copy, s in zip(copies, said, strict=True)]
        runner.write_record(runs, started, str(self.lake), copies[0].parent)

    def churnlab(self, *arguments: str) -> subprocess.CompletedProcess:
        """Run a command of the course in its environment."""
        program = str(Path(sys.executable).with_name("churnlab"))
        env = self.environment | {"CHURNLAB_RAW_CSV": str(self.customers())}
        return subprocess.run([program, *arguments], env=env, capture_output=True, text=True)


def course_in(build: Path, environment: dict[str, str]) -> Course:
    """Return the course of a build folder, run in an environment that is told of it."""
    (build / "executed").mkdir(parents=True, exist_ok=True)
    ours = {"CHURNLAB_BUILD": str(build), "CHURNLAB_LAKE": str(build / "lake")}
    return Course(build, environment | ours | {"IPYTHONDIR": str(build / "ipython")})


@contextmanager
def environment_of(variables: dict[str, str]) -> Iterator[None]:
    """Have these environment variables for a while, and no others."""
    before = dict(os.environ)
    try:
        os.environ.clear()
        os.environ.update(variables)
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a lock among all processes of this machine; it ends with its holder."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def drawn(raw: Path, count: int) -> list[dict[str, str]]:
    """Return some of a file's customers, always the same."""
    with raw.open(newline="") as stream:
        return random.Random(7).sample(list(csv.DictReader(stream)), count)


def sample(raw: Path, folder: Path) -> Path:
    """Write a sample of a file's customers into a folder."""
    rows, target = drawn(raw, CUSTOMERS), folder / "sample.csv"
    with target.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return target
