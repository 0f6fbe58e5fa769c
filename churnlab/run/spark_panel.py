"""An IPython extension that shows every Spark job below the cell that started it.

``churnlab lab`` loads it into the kernels of its JupyterLab. From then on a plain
``SparkSession.builder.getOrCreate()`` is watched: no code in the notebook asks for it.
"""

from __future__ import annotations

import functools
import logging
import os
import re
import shlex
import sys
import threading
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path

from pyspark import SparkContext
from sparkmonitor import kernelextension

from churnlab.environment import environment_with
from churnlab.errors import CourseError
from churnlab.run.spark_home import SPARK_HOME, class_path

LISTENER = "sparkmonitor.listener.JupyterSparkMonitorListener"
HELD_MESSAGES = 5000
"""How many messages wait for a browser: enough for an impatient reader, too few to fill memory."""


class PatientMonitor(kernelextension.ScalaMonitor):
    """Sparkmonitor's link to the browser, which also works while no browser is listening.

    The original loses its thread with an AttributeError if Spark speaks before the browser has
    opened the channel, as it does when a reader runs a cell while the page is still loading.
    """

    def __init__(self, ipython):
        super().__init__(ipython)
        self.comm = None
        self.held: deque[dict] = deque(maxlen=HELD_MESSAGES)
        self.delivering = threading.Lock()  # Spark speaks in one thread, the browser in another

    def start(self) -> int:
        """Listen for Spark on a free port of this machine and return the port."""
        self.scalaSocket = kernelextension.SocketThread()
        self.scalaSocket.daemon = True  # or the kernel would wait for Spark when it shuts down
        return self.scalaSocket.startSocket()

    def send(self, msg: dict) -> None:
        """Send a message to the browser, or hold it until there is one."""
        self.held.append(msg)
        self.deliver()

    def target_func(self, comm, msg) -> None:
        """Take the channel that a browser has opened; called again after a reload of the page."""
        super().target_func(comm, msg)
        self.deliver()

    def deliver(self) -> None:
        """Send what is held, in order, if there is a browser."""
        with self.delivering:
            while self.comm is not None and self.held:
                self.comm.send(self.held.popleft())


def listener_jar(spark_home: Path) -> Path:
    """Return sparkmonitor's listener for a Spark installation. Raises CourseError if none fits."""
    names = [jar.name for jar in (spark_home / "jars").glob("spark-core_*.jar")]
    found = re.fullmatch(r"spark-core_(2\.\d+)-(\d+)\..*", names[0]) if names else None
    jar = found and kernelextension.get_listener_jar_path(found[2], found[1])
    if not jar:
        raise CourseError(
            f"The Spark monitor has no listener for the Spark in {spark_home}.",
            "Use the PySpark of requirements/course.txt, with SPARK_HOME unset.",
        )
    return Path(jar)


def listener_environment(
    jars: Path | str, port: int, environment: Mapping[str, str]
) -> dict[str, str]:
    """Return the variables that make Spark report to a port when PySpark launches it.

    ``jars`` is a class path with the listener. It goes in front of the reader's own
    PYSPARK_SUBMIT_ARGS. Such settings join those of spark-defaults.conf; a SPARK_CONF_DIR of our
    own would take the file's place.
    """
    settings = {"spark.extraListeners": LISTENER, "spark.driver.extraClassPath": str(jars)}
    options = [part for name, value in settings.items() for part in ("--conf", f"{name}={value}")]
    theirs = environment.get("PYSPARK_SUBMIT_ARGS", "pyspark-shell")
    return {
        "PYSPARK_SUBMIT_ARGS": f"{shlex.join(options)} {theirs}",
        "SPARKMONITOR_KERNEL_PORT": str(port),
    }


def watch(launch: Callable, jars: Path | str, port: int) -> Callable:
    """Return PySpark's launcher of the JVM, with the listener on.

    The variables last no longer than the launch: a Spark that the notebook starts in another
    process would block when nobody reads its reports.
    """

    @functools.wraps(launch)
    def watched_launch(*arguments, **options):
        with environment_with(listener_environment(jars, port, os.environ)):
            return launch(*arguments, **options)

    return watched_launch


def load_ipython_extension(ipython) -> None:
    """Watch the Spark sessions of this kernel; called by IPython."""
    if not hasattr(ipython, "kernel"):  # IPython in a terminal has no page to draw on
        return
    home = Path(os.environ.get("SPARK_HOME", SPARK_HOME))
    # Spark's own jars first, or Java does not take the archive of their classes.
    jars = os.pathsep.join([class_path(home), str(listener_jar(home))])
    monitor = PatientMonitor(ipython)
    # Sparkmonitor's socket thread looks for these two in its module.
    kernelextension.monitor = monitor
    kernelextension.logger = logging.getLogger("sparkmonitor")
    monitor.register_comm()
    context = sys.modules[SparkContext.__module__]  # another module in Spark 3 than in Spark 4
    context.launch_gateway = watch(context.launch_gateway, jars, monitor.start())
