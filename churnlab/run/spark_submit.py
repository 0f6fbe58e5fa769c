"""Run a generated script with spark-submit, as production does."""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from churnlab import paths
from churnlab.errors import CourseError
from churnlab.run.library import ARCHIVE, library

# The light compiler, for a Java that ends before the thorough one has earned its time back. By
# itself it leaves room for too little code; when that is full, Java only interprets from then on.
LIGHT_JAVA = "-XX:TieredStopAtLevel=1 -XX:ReservedCodeCacheSize=240m"


def find_script(step: str) -> Path:
    """Return the generated script of a step. Raises CourseError for an unknown one."""
    known = sorted(path.stem for path in paths.SCRIPTS.glob("*.py"))
    name = step.replace("-", "_").removesuffix(".py")
    if name not in known:
        raise CourseError(f"There is no script {step!r}.", f"Scripts are {', '.join(known)}.")
    return paths.SCRIPTS / f"{name}.py"


def with_run(arguments: list[str]) -> list[str]:
    """Return a step's options with the course's lake and a fresh pipeline id, if they name none."""
    given = {argument.partition("=")[0] for argument in arguments}
    if "--help" in given:
        return arguments
    own = [] if "--pipeline-id" in given else ["--pipeline-id", library.runs.new_pipeline_id()]
    own += [] if "--lake" in given else ["--lake", paths.lake()]
    return [*arguments, *own]


def submit_command(
    step: str, arguments: list[str], conf: dict[str, str] | None = None
) -> list[str]:
    """Return the spark-submit command line of a step."""
    settings = [
        word for name, value in (conf or {}).items() for word in ("--conf", f"{name}={value}")
    ]
    return [
        str(Path(sys.executable).with_name("spark-submit")),
        *settings,
        "--py-files",
        str(ARCHIVE),
        str(find_script(step)),
        *arguments,
    ]


def submit_environment(env: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return an environment in which spark-submit uses this Python's own Spark.

    Another Spark's SPARK_HOME is dropped; without PYSPARK_PYTHON spark-submit would ask the first
    python3 on the PATH, which may know no Spark.
    """
    kept = {name: value for name, value in env.items() if name != "SPARK_HOME"}
    return kept | {"PYSPARK_PYTHON": sys.executable}


def run_script(step: str, arguments: list[str], conf: dict[str, str] | None = None, **options):
    """Run a step by spark-submit and return the finished process; options go to subprocess.run."""
    env = submit_environment(options.pop("env", os.environ))
    return subprocess.run(submit_command(step, arguments, conf), env=env, **options)
