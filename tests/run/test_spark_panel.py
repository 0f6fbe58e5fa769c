"""The link between Spark and the page, without either."""

import os
import re
import shlex
import threading
from pathlib import Path

import pytest

from churnlab.errors import CourseError
from churnlab.run import lab, spark_panel
from churnlab.run.spark_home import SPARK_HOME


class Channel:
    """Keeps what is sent to the browser."""

    def __init__(self):
        self.sent = []

    def on_msg(self, callback):
        return callback

    def send(self, message):
        self.sent.append(message.get("number", message["msgtype"]))


@pytest.fixture
def patient(monkeypatch):
    """A monitor of no kernel at all."""
    logger = spark_panel.logging.getLogger("sparkmonitor")
    monkeypatch.setattr(spark_panel.kernelextension, "logger", logger, raising=False)
    return spark_panel.PatientMonitor(ipython=None)


def numbered(count):
    return [{"msgtype": "fromscala", "number": number} for number in range(count)]


def test_messages_wait_for_the_browser_and_keep_their_order(patient):
    for message in numbered(3):
        patient.send(message)
    browser = Channel()
    patient.target_func(browser, {})
    patient.send({"msgtype": "fromscala", "number": 3})
    assert browser.sent == ["commopen", 0, 1, 2, 3]


def test_a_reloaded_page_gets_the_messages_from_then_on(patient):
    first, second = Channel(), Channel()
    patient.target_func(first, {})
    patient.send({"msgtype": "fromscala", "number": 0})
    patient.target_func(second, {})
    patient.send({"msgtype": "fromscala", "number": 1})
    assert (first.sent, second.sent) == (["commopen", 0], ["commopen", 1])


def test_no_message_is_lost_when_the_browser_opens_in_the_middle(patient):
    browser = Channel()
    speaking = threading.Thread(target=lambda: [patient.send(m) for m in numbered(2000)])
    speaking.start()
    patient.target_func(browser, {})
    speaking.join()
    assert [number for number in browser.sent if number != "commopen"] == list(range(2000))


def test_without_a_browser_the_memory_stays_small(patient):
    for message in numbered(spark_panel.HELD_MESSAGES + 1):
        patient.send(message)
    assert len(patient.held) == spark_panel.HELD_MESSAGES


def test_the_listener_fits_the_spark_of_the_course():
    jar = spark_panel.listener_jar(SPARK_HOME)
    assert jar.is_file()
    assert re.search(r"spark\d_2\.\d+\.jar$", jar.name)


def test_an_unknown_spark_is_named(tmp_path):
    with pytest.raises(CourseError, match=re.escape(str(tmp_path))):
        spark_panel.listener_jar(tmp_path)


def test_the_reader_s_own_submit_arguments_stay():
    theirs = {"PYSPARK_SUBMIT_ARGS": "--driver-memory 2g pyspark-shell"}
    variables = spark_panel.listener_environment(Path("/a folder/listener.jar"), 1234, theirs)
    arguments = shlex.split(variables["PYSPARK_SUBMIT_ARGS"])
    assert arguments[-3:] == ["--driver-memory", "2g", "pyspark-shell"]
    assert "spark.driver.extraClassPath=/a folder/listener.jar" in arguments


@pytest.mark.parametrize(
    "before", [{}, {"PYSPARK_SUBMIT_ARGS": "--driver-memory 2g pyspark-shell"}]
)
def test_only_the_kernel_s_own_spark_is_watched(monkeypatch, before):
    monkeypatch.delenv("PYSPARK_SUBMIT_ARGS", raising=False)
    for name, value in before.items():
        monkeypatch.setenv(name, value)
    around = dict(os.environ)
    launch = spark_panel.watch(lambda: dict(os.environ), Path("/listener.jar"), 1234)
    during = launch()
    assert during["SPARKMONITOR_KERNEL_PORT"] == "1234"
    assert spark_panel.LISTENER in during["PYSPARK_SUBMIT_ARGS"]
    assert dict(os.environ) == around


def test_the_environment_is_restored_when_spark_does_not_start():
    def fail():
        raise RuntimeError("no Java")

    around = dict(os.environ)
    with pytest.raises(RuntimeError, match="no Java"):
        spark_panel.watch(fail, Path("/listener.jar"), 1234)()
    assert dict(os.environ) == around


def test_the_lab_keeps_out_of_the_reader_s_own_jupyter(tmp_path):
    theirs = {"IPYTHONDIR": "/theirs", "JUPYTER_CONFIG_DIR": "/theirs", "CHURNLAB_LAKE": "/data"}
    environment = lab.lab_environment(theirs, tmp_path)
    assert environment["IPYTHONDIR"] == str(tmp_path / "ipython")
    assert environment["JUPYTER_CONFIG_DIR"] == str(tmp_path / "config")
    assert environment["CHURNLAB_LAKE"] == "/data"


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(CourseError, match="missing-folder"):
        lab.start_lab(8888, False, tmp_path / "missing-folder", tmp_path / "state")
