"""Check the machine and say, for each trouble, how to mend it."""

import os
import re
import shutil
import socket
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from packaging.requirements import Requirement
from rich.table import Table
from rich.text import Text

from churnlab import paths
from churnlab.errors import CourseError
from churnlab.run import class_archive, spark_home
from churnlab.run.library import library
from churnlab.screen import table_of

GIB = 1024**3


@dataclass(frozen=True)
class Finding:
    """One check: what was looked at, how it stands (ok, warning, trouble), and the mend."""

    check: str
    state: str
    detail: str
    mend: str = ""


def examine() -> Iterator[Finding]:
    """Run every check."""
    yield check_python(sys.version_info[:3])
    yield check_java(spark_home.java_home())
    yield check_spark_settings(spark_home.SPARK_HOME, os.environ)
    yield check_class_archive(spark_home.java_home(), spark_home.CLASS_ARCHIVE)
    yield check_lock(paths.LOCK)
    yield check_airflow(paths.AIRFLOW)
    yield check_memory(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    yield check_disk(shutil.disk_usage(paths.ROOT).free)
    yield check_lake(paths.lake())
    yield from (check_port(port, use) for port, use in ((4040, "Spark UI"), (8888, "JupyterLab")))


def check_python(found: tuple[int, int, int]) -> Finding:
    """Python 3.11 or 3.12: PySpark 3.5 supports no newer one, the course no older one."""
    text = ".".join(map(str, found))
    if found[:2] in ((3, 11), (3, 12)):
        return Finding("Python", "ok", text)
    return Finding("Python", "trouble", text, "Install Python 3.11 or 3.12, then `make clean-env`.")


def check_java(home: Path) -> Finding:
    """Java 17, from JAVA_HOME or from the lock."""
    found = spark_home.java_version(home)
    bundled = "the lock's" if home == spark_home.bundled_java_home() else "JAVA_HOME"
    if found.startswith("17") and os.access(home / "bin" / "java", os.X_OK):
        return Finding("Java", "ok", f"{found} ({bundled})")
    mend = "Install the lock again: `make clean-env`, then `make setup`."
    return Finding("Java", "trouble", f"{found or 'none'} at {home}", mend)


def check_spark_settings(home: Path, environment) -> Finding:
    """The laptop settings are in place and no other Spark gets in the way."""
    named = environment.get("SPARK_HOME")
    if named and Path(named).resolve() != home.resolve():
        return Finding("Spark", "trouble", f"SPARK_HOME is {named}", "Run `unset SPARK_HOME`.")
    if not (home / "conf" / "spark-env.sh").exists():
        return Finding("Spark", "trouble", "laptop settings are missing", "Run `make setup`.")
    return Finding("Spark", "ok", version("pyspark"))


def check_class_archive(java: Path, archive: Path) -> Finding:
    """The archive of Spark's classes is there and fits; without it every Spark starts later."""
    if class_archive.fits(java, archive):
        return Finding("Class archive", "ok", f"fits, {archive.stat().st_size / 2**20:.0f} MiB")
    found = "does not fit this Java and Spark" if archive.exists() else "is missing"
    mend = "Nothing fails: Spark starts a few seconds later. `churnlab setup` makes a new one."
    return Finding("Class archive", "warning", found, mend)


def check_lock(lock: Path) -> Finding:
    """Every package has the version of the lock."""
    wrong = []
    for line in lock.read_text(encoding="utf-8").splitlines():
        if not re.match(r"\w", line):
            continue
        wanted = Requirement(line)
        if wanted.marker and not wanted.marker.evaluate():
            continue
        try:
            found = version(wanted.name)
        except PackageNotFoundError:
            found = "none"
        if found not in wanted.specifier:
            wrong.append(f"{wanted.name} is {found}, locked {wanted.specifier}")
    if wrong:
        more = f" and {len(wrong) - 3} more" if len(wrong) > 3 else ""
        return Finding("Packages", "trouble", "; ".join(wrong[:3]) + more, "Run `make setup`.")
    return Finding("Packages", "ok", f"as {lock.name} says")


def check_airflow(environment: Path) -> Finding:
    """Airflow's own environment is there; only module 12 needs it."""
    if not (environment / "bin" / "airflow").exists():
        mend = "Run `make airflow`, which sets it up, or leave module 12 out."
        return Finding("Airflow", "warning", f"{environment.name} is missing", mend)
    found = next(environment.glob("lib/*/site-packages/apache_airflow_core-*.dist-info"), None)
    return Finding("Airflow", "ok", found.name.split("-")[1].removesuffix(".dist") if found else "")


def check_memory(size: int) -> Finding:
    """Spark's driver takes up to 3 GiB, the notebook and the browser the rest."""
    if size >= 6 * GIB:
        return Finding("Memory", "ok", f"{size / GIB:.0f} GiB")
    mend = "Close other programs, or lower spark.driver.memory in churnlab/run/spark_conf."
    return Finding("Memory", "warning", f"{size / GIB:.1f} GiB, 6 are comfortable", mend)


def check_disk(free: int) -> Finding:
    """The environment takes about 2 GiB, lake and book less than one."""
    if free >= 3 * GIB:
        return Finding("Disk", "ok", f"{free / GIB:.0f} GiB free")
    return Finding("Disk", "trouble", f"{free / GIB:.1f} GiB free", "Free 3 GiB on this disk.")


def check_lake(lake: str) -> Finding:
    """The lake can be written."""
    try:
        return Finding("Lake", "ok", library.lake.check_lake(lake))
    except library.programs.StepError as error:
        return Finding("Lake", "trouble", str(error), "Name another folder by CHURNLAB_LAKE.")


def check_port(port: int, use: str) -> Finding:
    """A port on loopback is free; a taken one is no trouble, the next is used."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            mend = "Nothing to mend: the next free port is used. Read its number in the log."
            return Finding(f"Port {port}", "warning", f"taken ({use})", mend)
    return Finding(f"Port {port}", "ok", f"free ({use})")


def findings_table(findings: list[Finding]) -> Table:
    """Return findings as a table, worst colours for the worst."""
    colour = {"ok": "green", "warning": "yellow", "trouble": "red"}
    rows = [(f.check, Text(f.state, colour[f.state]), f.detail, f.mend) for f in findings]
    return table_of(("Check", "State", "Found", "Mend"), rows, box=None, pad_edge=False)


def healthy(findings: list[Finding]) -> None:
    """Raise CourseError if a finding is trouble."""
    troubles = [finding for finding in findings if finding.state == "trouble"]
    if troubles:
        names = ", ".join(finding.check for finding in troubles)
        raise CourseError(f"{len(troubles)} check(s) failed: {names}.", "Mend them from the top.")
