"""The archive of Spark's classes: used by every Spark of the environment, and never in its way.

Java's own account of where each class came from is the proof that an archive is mapped.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from churnlab.errors import CourseError
from churnlab.run import class_archive, doctor, spark_home, spark_panel
from churnlab.run.spark_submit import submit_environment

MAPPED, FROM_JARS = "source: shared objects file (top)", "source: file:"
HELLO = "org.apache.spark.launcher.Main"
SESSION = """
from pyspark.sql import SparkSession
spark = SparkSession.builder.config("spark.ui.enabled", "false").getOrCreate()
print(len(spark.range(3).columns), "column")
spark.stop()
"""


def classes_of(log: Path) -> tuple[int, int]:
    """Return how many classes a Java took from jars and how many from the archive."""
    text = log.read_text()
    return text.count(FROM_JARS), text.count(MAPPED)


def run_session(folder: Path, *command: str, **variables: str) -> tuple[str, int, int]:
    """Run a script that starts a session; return what it said, and how many classes came from jars
    and from the archive.

    ``variables`` are environment variables. Standard output and error are one text.
    """
    script, log = folder / "session.py", folder / "classes.log"
    script.write_text(SESSION)
    env = submit_environment() | {"SPARK_SUBMIT_OPTS": f"-Xlog:class+load:file={log}"} | variables
    command = [*(command or (str(Path(sys.executable).with_name("spark-submit")),)), str(script)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    done = subprocess.run(command, cwd=folder, env=env, **pipes)
    assert done.returncode == 0, done.stdout
    return done.stdout, *classes_of(log)


@pytest.fixture
def settings(tmp_path):
    """Return a function that copies Spark's settings with changes and returns their folder."""

    def changed(name: str, *changes: tuple[str, str]) -> str:
        folder = tmp_path / "conf"
        shutil.copytree(spark_home.SPARK_HOME / "conf", folder)
        text = (folder / name).read_text()
        for old, new in changes:
            assert old in text
            text = text.replace(old, new)
        (folder / name).write_text(text)
        return str(folder)

    return changed


@pytest.mark.slow
@pytest.mark.parametrize("command", [[], [sys.executable]], ids=["spark-submit", "kernel"])
def test_every_spark_of_the_environment_maps_the_archive(tmp_path, command):
    said, loaded, mapped = run_session(tmp_path, *command)
    assert said == "1 column\n"
    assert mapped > 5000
    assert loaded < mapped / 10


@pytest.mark.slow
def test_the_spark_of_a_watched_kernel_maps_it_too(tmp_path):
    listener = spark_panel.listener_jar(spark_home.SPARK_HOME)
    jars = f"{spark_home.class_path()}:{listener}"
    submit = ["--conf", f"spark.driver.extraClassPath={jars}", "pyspark-shell"]
    _, _, mapped = run_session(tmp_path, sys.executable, PYSPARK_SUBMIT_ARGS=" ".join(submit))
    assert mapped > 5000


@pytest.mark.slow
def test_the_reader_s_own_java_options_go_on_working(tmp_path):
    submit = str(Path(sys.executable).with_name("spark-submit"))
    options = ["--conf", "spark.driver.extraJavaOptions=-XX:TieredStopAtLevel=1 -Dours=1"]
    said, _, mapped = run_session(
        tmp_path, submit, *options, JAVA_TOOL_OPTIONS="-XX:MaxMetaspaceSize=512m"
    )
    assert mapped > 5000
    assert said.splitlines()[-1] == "1 column"


@pytest.mark.slow
@pytest.mark.parametrize("case", ["missing", "cut short", "other Java", "other class path"])
def test_an_archive_that_does_not_fit_costs_nothing_but_time(tmp_path, settings, case):
    archive, broken = spark_home.CLASS_ARCHIVE, tmp_path / "broken.jsa"
    if case == "cut short":
        broken.write_bytes(archive.read_bytes()[:50_000_000])
    java = str(spark_home.java_home())
    changes = {
        "missing": ("spark-env.sh", (str(archive), str(broken))),
        "cut short": ("spark-env.sh", (str(archive), str(broken))),
        "other Java": ("spark-env.sh", (f'" = {java} ]', '" = /another/java ]')),
        "other class path": ("spark-defaults.conf", (spark_home.class_path(), "/another.jar")),
    }
    name, *changed = changes[case]
    said, loaded, mapped = run_session(tmp_path, SPARK_CONF_DIR=settings(name, *changed))
    assert said == "1 column\n"
    assert loaded > 5000 and mapped == 0


def test_a_path_with_spaces_is_one_word_for_java(tmp_path):
    home = tmp_path / "a place with spaces" / "pyspark"
    home.mkdir(parents=True)
    (home / spark_home.CLASS_ARCHIVE.name).write_bytes(b"classes")
    conf = spark_home.configure_spark(home)
    show = f'. "{conf}/spark-env.sh" && printf %s "$SPARK_SUBMIT_OPTS"'
    env = {"PATH": os.environ["PATH"], "JAVA_HOME": str(spark_home.java_home())}
    options = subprocess.check_output(["bash", "-c", show], env=env, text=True)
    launcher = [env["JAVA_HOME"] + "/bin/java", "-cp", spark_home.class_path(), HELLO]
    env |= {"SPARK_SUBMIT_OPTS": options, "SPARK_HOME": str(spark_home.SPARK_HOME)}
    env |= {"SPARK_CONF_DIR": str(conf), "SPARK_SCALA_VERSION": "2.12"}
    submit = [*launcher, "org.apache.spark.deploy.SparkSubmit", "x.py"]
    words = subprocess.check_output(submit, env=env, text=True).split("\0")
    assert f"-XX:SharedArchiveFile={home / spark_home.CLASS_ARCHIVE.name}" in words
    assert words[words.index("-cp") + 1].startswith(f"{home}/jars/*:{conf}/")


# What Java itself says and does: of an archive of one small jar, which takes a second to make.


@pytest.fixture(scope="module")
def small(tmp_path_factory) -> Path:
    """A folder with a jar of Spark's and an archive made for it by the environment's Java."""
    folder = tmp_path_factory.mktemp("small")
    (jar,) = (spark_home.SPARK_HOME / "jars").glob("spark-launcher_*.jar")
    shutil.copy2(jar, folder / "a.jar")
    hello(folder, "-XX:ArchiveClassesAtExit=" + str(folder / "a.jsa"))
    assert (folder / "a.jsa").stat().st_size > 0
    return folder


def quiet_options(archive: Path) -> list[str]:
    """Return the options that spark-env.sh gives a Java, for another archive."""
    text = (spark_home.SPARK_HOME / "conf" / "spark-env.sh").read_text()
    (logging,) = re.findall(r"-Xlog:\S+", text)
    return [f"-XX:SharedArchiveFile={archive}", logging]


def hello(folder: Path, *options: str, java: Path | None = None) -> str:
    """Run a small program of the folder's jar, and return all it says."""
    command = [str((java or spark_home.java_home()) / "bin" / "java"), *options]
    command += ["-cp", str(folder / "a.jar"), HELLO, HELLO]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    env = os.environ | {"SPARK_HOME": str(folder), "SPARK_SCALA_VERSION": "2.12"}
    (folder / "jars").mkdir(exist_ok=True)
    done = subprocess.run(command, env=env, **pipes)
    assert done.returncode == 0, done.stdout
    return done.stdout


def mapped_by(folder: Path, *options: str) -> int:
    """Return how many classes the small program takes from the archive."""
    return hello(folder, "-Xlog:class+load", *options).count(MAPPED)


def test_java_takes_the_small_archive(small):
    assert mapped_by(small, *quiet_options(small / "a.jsa")) > 5


def test_java_is_silent_about_a_touched_jar(small):
    jar = small / "a.jar"
    before = jar.stat()
    os.utime(jar, (1, 1))
    try:
        options = quiet_options(small / "a.jsa")
        assert mapped_by(small, *options) == 0
        assert hello(small, *options) == hello(small)
    finally:
        os.utime(jar, ns=(before.st_atime_ns, before.st_mtime_ns))


@pytest.mark.parametrize(
    "content", [b"", b"not an archive", bytes(100_000)], ids=["empty", "text", "zeros"]
)
def test_java_is_silent_about_a_file_that_is_no_archive(small, tmp_path, content):
    (tmp_path / "a.jsa").write_bytes(content)
    assert hello(small, *quiet_options(tmp_path / "a.jsa")) == hello(small)


def test_java_is_silent_about_another_java_s_archive(small, another_java):
    said = hello(small, *quiet_options(small / "a.jsa"), java=another_java)
    assert said == hello(small, java=another_java)


@pytest.fixture
def another_java() -> Path:
    """A Java 17 of this machine that is not the environment's."""
    for home in Path("/usr/lib/jvm").glob("*"):
        if spark_home.java_version(home).startswith("17") and (home / "bin" / "java").exists():
            return home
    pytest.skip("no other Java 17 in /usr/lib/jvm")


def test_a_fit_is_asked_of_java(tmp_path):
    java = spark_home.java_home()
    assert class_archive.fits(java)
    broken = tmp_path / "broken.jsa"
    assert not class_archive.fits(java, broken)
    shutil.copyfile(spark_home.CLASS_ARCHIVE, broken)
    for size in (broken.stat().st_size - 5000, 1000, 0):
        os.truncate(broken, size)
        assert not class_archive.fits(java, broken), size
    assert not class_archive.fits(Path("/nowhere"))


def test_an_archive_that_fits_is_not_made_again():
    before = spark_home.CLASS_ARCHIVE.stat()
    assert not class_archive.ensure_archive(spark_home.java_home())
    assert spark_home.CLASS_ARCHIVE.stat() == before


@pytest.mark.parametrize(
    ("java", "archive", "reason"),
    [
        (spark_home.bundled_java_home(), Path("/dev/null/no.jsa"), "no.jsa cannot be written"),
        (Path("/nowhere"), None, "/nowhere has no archive of its own classes"),
    ],
    ids=["disk", "Java"],
)
def test_what_hinders_it_is_named_and_no_reason_to_stop(tmp_path, java, archive, reason):
    with pytest.raises(CourseError, match=reason) as error:
        class_archive.ensure_archive(java, archive or tmp_path / "no.jsa")
    assert "Spark works without it" in error.value.mend


def test_the_doctor_tells_whether_it_fits(tmp_path):
    java = spark_home.java_home()
    assert doctor.check_class_archive(java, spark_home.CLASS_ARCHIVE).state == "ok"
    (tmp_path / "no.jsa").write_bytes(b"")
    for name, found in (("no.jsa", "does not fit"), ("none.jsa", "is missing")):
        finding = doctor.check_class_archive(java, tmp_path / name)
        assert finding.state == "warning" and found in finding.detail
        assert "churnlab setup" in finding.mend
