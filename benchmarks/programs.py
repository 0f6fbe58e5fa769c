"""What is measured, and how it is started: each program in a fresh JVM by spark-submit."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from churnlab import paths
from churnlab.errors import CourseError
from churnlab.run import spark_home
from churnlab.run.library import ARCHIVE
from churnlab.run.spark_submit import submit_environment

HERE = Path(__file__).parent
DRIVER = HERE / "timed_step.py"
SCRIPTS = {
    "preprocessing": "preprocessing",
    "training": "model_training",
    "tuning": "hyperparameter_tuning",
    "scoring": "batch_scoring",
}
LIBRARY = (ARCHIVE,)  # what every script imports
KEPT_JOBS = ("--conf", "spark.ui.retainedJobs=10000")  # for the profile; Spark keeps 1,000

# Small forests and grids, to try the benchmarks out: no comparison of results means anything.
QUICK = {
    "straightforward": {
        "training": ["--trees", "3"],
        "tuning": ["--depths", "3", "--bins", "32", "--sizes", "5", "--folds", "2"],
    },
    "course": {
        "training": ["--num-trees", "3"],
        "tuning": ["--quick", "true"],
    },
}


@dataclass(frozen=True)
class Program:
    """A module with a ``main(arguments)``, and what spark-submit needs to start it.

    Without a module it is an empty session.
    """

    module: str = ""
    arguments: tuple[str, ...] = ()
    files: tuple[Path, ...] = ()
    options: tuple[str, ...] = ()
    environment: dict[str, str] = field(default_factory=dict)


Runner = Callable[[Program, Path], dict]


def course_step(step: str, folder: Path, run: str, quick: bool, model: str = "") -> Program:
    """Return a script of the course, on the lake ``folder`` and under the key ``run``.

    ``model`` is the version that scores; nobody has made a champion here.
    """
    module = SCRIPTS[step]
    small = QUICK["course"].get(step, []) if quick else []
    chosen = ("--model-version", model) if step == "scoring" else ()
    arguments = ("--pipeline-id", run, "--lake", str(folder), *small, *chosen)
    return Program(module, arguments, (paths.SCRIPTS / f"{module}.py", *LIBRARY))


def straightforward_step(
    step: str, folder: Path, quick: bool, spark_defaults: Path | None
) -> Program:
    """Return a step of the slow side on a folder.

    ``spark_defaults`` is a folder of settings to use in place of the course's, or None.
    """
    small = QUICK["straightforward"].get(step, []) if quick else []
    plain = plain_settings(spark_defaults) if spark_defaults else {}
    arguments = (step, "--folder", str(folder), *small)
    return Program("straightforward", arguments, (HERE / "straightforward.py",), **plain)


def plain_settings(folder: Path) -> dict:
    """Return options and environment for PySpark's own defaults.

    Cores, driver memory and Java are those of the course, and the log is as quiet.
    """
    folder.mkdir(parents=True, exist_ok=True)
    course = spark_home.SPARK_HOME / "conf"
    shutil.copy(course / "log4j2.properties", folder)
    defaults = read_defaults(course / "spark-defaults.conf")
    options = ("--master", defaults["spark.master"], "--driver-memory")
    return {
        "options": (*options, defaults["spark.driver.memory"]),
        "environment": {
            "SPARK_CONF_DIR": str(folder),
            "JAVA_HOME": str(spark_home.java_home()),
            "SPARK_LOCAL_IP": "127.0.0.1",
        },
    }


def read_defaults(file: Path) -> dict[str, str]:
    """Return the settings of a spark-defaults.conf."""
    lines = (line.strip() for line in file.read_text(encoding="utf-8").splitlines())
    pairs = (line.split(maxsplit=1) for line in lines if line and not line.startswith("#"))
    return {name: value for name, value in pairs}


def submit(program: Program, folder: Path) -> dict:
    """Run a program by spark-submit in a folder; return what its driver wrote and wall seconds.

    The log stays in the folder. Raises CourseError if the program fails.
    """
    result, log = folder / "result.json", folder / "spark.log"
    result.unlink(missing_ok=True)
    command = [str(Path(sys.executable).with_name("spark-submit")), *KEPT_JOBS, *program.options]
    if program.files:
        command += ["--py-files", ",".join(map(str, program.files))]
    command += [str(DRIVER), str(result)]
    command += [program.module, *program.arguments] if program.module else []
    # The course and its stand-ins may be configured where `make bench` runs; a step is not.
    env = submit_environment(os.environ) | program.environment
    with log.open("w", encoding="utf-8") as stream:
        started = os.times().elapsed
        done = subprocess.run(command, env=env, cwd=folder, stdout=stream, stderr=stream)
        wall = os.times().elapsed - started
    if done.returncode or not result.exists():
        end = log.read_text(encoding="utf-8", errors="replace")[-3000:]
        name = " ".join([program.module or "an empty session", *program.arguments])
        raise CourseError(f"{name} ended with status {done.returncode}:\n{end}", f"Log: {log}")
    return json.loads(result.read_text(encoding="utf-8")) | {"process_seconds": round(wall, 2)}
