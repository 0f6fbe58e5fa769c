"""An archive of Spark's classes, from which every Spark of the environment starts sooner.

Spark loads ten thousand classes before its first job ends; Java unpacks, parses and verifies them
at each start. It can keep the outcome in a file and map that instead. The file fits one Java and
one set of jars: with another Java, other jars or no file Spark starts as well, a little later.
"""

import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path

from churnlab.errors import CourseError
from churnlab.run import spark_home

SECONDS = 600
"""How long making the archive may take: half a minute on a free laptop, minutes on a busy one."""
MEND = "Spark works without it; `churnlab setup` tries again."
FOREIGN = ("SPARK_", "PYSPARK_", "PYTHONPATH", "JAVA_TOOL_OPTIONS", "JDK_JAVA_OPTIONS")


def ensure_archive(java: Path | None = None, archive: Path = spark_home.CLASS_ARCHIVE) -> bool:
    """Make the archive unless there is one that fits; tell whether it was made now.

    Raises CourseError if it cannot be made; one that does not fit is gone then.
    """
    java = java or spark_home.java_home()
    if fits(java, archive):
        return False
    try:
        archive.unlink(missing_ok=True)
        _ensure_base(java)
        _write(java, archive)
    except OSError as error:
        raise CourseError(f"{archive} cannot be written: {error}.", MEND) from error
    return True


def fits(java: Path, archive: Path = spark_home.CLASS_ARCHIVE) -> bool:
    """Tell whether a Java takes the archive, whole, for the jars of this Spark."""
    # Java dies of a file that was cut short: quietly, if it is told so.
    options = ["-Xshare:on", "-XX:+VerifySharedSpaces", "-XX:+SuppressFatalErrorMessage"]
    return archive.is_file() and _starts(java, [*options, f"-XX:SharedArchiveFile={archive}"])


def _ensure_base(java: Path) -> None:
    """Give the lock's Java the archive of its own classes that others come with; ours builds on it.

    Raises CourseError for another Java that has none: we do not write there.
    """
    if _starts(java, ["-Xshare:on"]):
        return
    if java != spark_home.bundled_java_home():
        raise CourseError(f"The Java in {java} has no archive of its own classes.", MEND)
    base = java / "lib" / "server" / "classes.jsa"
    aside = base.with_suffix(".part")  # half a base would keep every Java from starting
    _run(java, ["-Xshare:dump", f"-XX:SharedArchiveFile={aside}"])
    aside.replace(base)


def _write(java: Path, archive: Path) -> None:
    """Take the tour and put the archive of it in its place; a Spark that runs keeps the old one."""
    aside = archive.with_suffix(".part")
    with tempfile.TemporaryDirectory(prefix="churnlab-classes-") as folder:
        _run(java, tour_options(java, aside, Path(folder)))
    if not fits(java, aside):
        aside.unlink(missing_ok=True)
        raise CourseError(f"The Java in {java} wrote no archive that it takes.", MEND)
    aside.replace(archive)


def tour_options(java: Path, archive: Path, folder: Path) -> list[str]:
    """Return Java's options for the tour: as Spark's launcher writes them, but for two things.

    Spark puts the folder of its settings on the class path, and Java archives nothing beside a
    folder with files; and when it ends, this Java writes the archive.
    """
    settings = ["--master", "local[2]", "--driver-memory", "1g"]
    for setting in ("spark.ui.enabled=false", "spark.sql.shuffle.partitions=2"):
        settings += ["--conf", setting]
    tour = str(files("churnlab.run") / "class_tour.py")
    submit = ["org.apache.spark.deploy.SparkSubmit", *settings, tour, str(folder)]
    told = _run(java, ["-cp", spark_home.class_path(), "org.apache.spark.launcher.Main", *submit])
    command = told.partition("\0\n")[2].rstrip("\0").split("\0")
    if "-cp" not in command:
        raise CourseError("Spark's launcher speaks another language than in Spark 3.5.", MEND)
    command[command.index("-cp") + 1] = spark_home.class_path()
    # Without the folder of the settings Spark does not find those of its log.
    log = f"-Dlog4j2.configurationFile={spark_home.SPARK_HOME / 'conf' / 'log4j2.properties'}"
    dump = [f"-XX:ArchiveClassesAtExit={archive}", "-XX:TieredStopAtLevel=1", log]
    return [*dump, *command[1:]]


def clean_environment(java: Path, environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return an environment without what the reader has set for other Sparks and Javas."""
    kept = {name: value for name, value in environment.items() if not name.startswith(FOREIGN)}
    return kept | {
        "JAVA_HOME": str(java),
        "PYSPARK_PYTHON": sys.executable,
        "SPARK_HOME": str(spark_home.SPARK_HOME),
        "SPARK_LOCAL_IP": "127.0.0.1",
        "SPARK_SCALA_VERSION": "2.12",
    }


def _starts(java: Path, options: list[str]) -> bool:
    """Tell whether a Java starts with these options and Spark's jars."""
    try:
        _run(java, [*options, "-cp", spark_home.class_path(), "-version"])
    except CourseError:
        return False
    return True


def _run(java: Path, options: list[str]) -> str:
    """Run a Java and return what it says. Raises CourseError with its last words if it fails."""
    command = [str(java / "bin" / "java"), "-Xlog:cds*=off", *options]
    pipes = {"capture_output": True, "text": True, "errors": "replace"}
    try:
        done = subprocess.run(command, env=clean_environment(java), timeout=SECONDS, **pipes)
    except subprocess.TimeoutExpired:
        raise CourseError(f"{command[0]} did not end within {SECONDS} s.", MEND) from None
    except OSError as error:
        raise CourseError(f"{command[0]} does not start: {error}.", MEND) from error
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip()).splitlines()
        words = said[-1] if said else f"status {done.returncode}"
        raise CourseError(f"{command[0]} failed: {words}", MEND)
    return done.stdout
