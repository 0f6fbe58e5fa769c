"""The same scripts on a cluster: one worker of one core, then two, on the same customers.

Driver, master, workers and executors are processes of one machine, which has to have cores for
them. No script is changed: spark-submit gets another master.
"""

import shutil
from collections.abc import Callable
from pathlib import Path

from benchmarks import growth
from benchmarks.programs import read_defaults
from benchmarks.watched import FAILURES
from churnlab.run import spark_home
from churnlab.run.spark_submit import submit_environment
from churnlab.standins.spark_cluster import spark_cluster

WORKERS = (1, 2)
SHARE_OF_TREES = 10  # training grows a tenth of them: two times six forests take minutes
STEPS = ("preprocessing", "training", "scoring by paths")
EXECUTOR_MEMORY = "2g"


def settings_of(master: str) -> list[str]:
    """Return what spark-submit is told of a cluster; executors get the driver's Java options."""
    defaults = read_defaults(spark_home.SPARK_HOME / "conf" / "spark-defaults.conf")
    options = defaults["spark.driver.defaultJavaOptions"]
    return [
        *("--master", master),
        *("--executor-memory", EXECUTOR_MEMORY),
        *("--conf", f"spark.executor.defaultJavaOptions={options}"),
    ]


def run_on_clusters(
    lake: Path, size: dict, announce: Callable[[str], None], trees: int, only: int = 0
) -> None:
    """Run the steps on a copy of a lake, with one worker and with two.

    Figures go to ``size["clusters"]``, by workers and step. Only the size ``only`` is measured, by
    default that of the growth. A cluster that fails is said and named in ``size["failed"]``.
    """
    if size["rows"] != (only or growth.ON_CLUSTERS):
        return
    ours = shutil.copytree(lake, lake.with_name(f"{lake.name}-on-clusters"))
    few = max(1, trees // SHARE_OF_TREES)
    for workers in WORKERS:
        found = size.setdefault("clusters", {}).setdefault(str(workers), {})
        place = ours / f"cluster-{workers}"
        try:
            with spark_cluster(place, workers, EXECUTOR_MEMORY, submit_environment()) as master:
                for name in STEPS:
                    options = growth.options_of(name, ours, ours / "waiting", few)
                    found[name] = growth.run_step(name, ours, options, settings_of(master))
                    took = f"{found[name]['seconds']:.1f} s"
                    announce(f"{size['rows']:,} customers, {name}, {workers} worker(s): {took}")
        except FAILURES as error:
            size.setdefault("failed", []).append(place.name)
            announce(f"{size['rows']:,} customers, {place.name} FAILED and is left out. {error}")
    shutil.rmtree(ours)
