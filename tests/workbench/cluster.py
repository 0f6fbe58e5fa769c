"""A Spark cluster of separate processes, and a machine for kernels that shares only a lake with it.

On Google Cloud a notebook's kernel and its executors run on different machines. Here each process
lives in a mount namespace of its own, where empty folders lie over what its machine would not have.
That takes Linux and the right to mount; without it the processes still are separate, on one disk.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from churnlab import paths
from churnlab.run.spark_home import CLASS_ARCHIVE, SPARK_HOME, class_path
from churnlab.standins import spark_cluster as cluster
from tests.quick_spark import QUICK_JAVA, UNCOMPILED

NOTEBOOK_SECONDS = 1800
COVER = """
while [ "$1" != -- ]; do if [ -d "$1" ]; then mount -t tmpfs -o size=1m none "$1"; fi; shift; done
shift; exec "$@"
"""
# Each process lives for a minute or less: a light compiler, the archive of Spark's classes, and no
# more tasks than there is work.
ARCHIVE = f"-XX:SharedArchiveFile={CLASS_ARCHIVE} -Xlog:cds*=off"
PLANS = "\n".join(map(" ".join, UNCOMPILED.items()))
SETTINGS = f"""
spark.driver.extraJavaOptions {QUICK_JAVA} -XX:+UseSerialGC
spark.driver.extraClassPath {class_path()}
spark.executor.extraJavaOptions {QUICK_JAVA} -XX:+UseSerialGC {ARCHIVE}
spark.executor.extraClassPath {class_path()}
spark.sql.shuffle.partitions 2
{PLANS}
spark.ui.enabled false
spark.ui.showConsoleProgress false
"""
OURS = ("SPARK_", "PYSPARK_", "PYTHONPATH", "CHURNLAB_", "JAVA_HOME")


@cache
def can_cover() -> bool:
    """Tell whether this machine lets us cover folders for a process."""
    if not shutil.which("unshare"):
        return False
    return (
        subprocess.run(covering([paths.NOTEBOOKS], ["true"]), capture_output=True).returncode == 0
    )


def covering(folders: list[Path], command: list[str]) -> list[str]:
    """Return a command that finds these folders empty."""
    return ["unshare", "--mount", "sh", "-ec", COVER, "sh", *map(str, folders), "--", *command]


def without(folders: list[Path], command: list[str]) -> list[str]:
    """Return a command that finds these folders empty where that is possible, else sees all."""
    return covering(folders, command) if can_cover() else command


def checkout() -> list[Path]:
    """Return the folders of the checkout, but for the Python that runs everything."""
    return [p for p in paths.ROOT.iterdir() if p.is_dir() and not p.name.startswith(".venv")]


def environment(**variables: str) -> dict[str, str]:
    """Return this environment without what points to the checkout, and with more variables."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(OURS)}
    return kept | variables


@contextmanager
def spark_cluster(folder: Path, hidden: list[Path]) -> Iterator[str]:
    """Run a cluster whose workers and executors find the ``hidden`` folders empty."""

    def wrap(command: list[str]) -> list[str]:
        return without(hidden, command)

    with cluster.spark_cluster(folder, env=environment(), wrap=wrap) as master:
        yield master


@dataclass(frozen=True)
class KernelMachine:
    """Where kernels run: the place of the notebooks, with a disk that no executor sees."""

    folder: Path
    code: Path
    lake: Path

    @property
    def notebooks(self) -> Path:
        """Return where the notebooks of this machine lie: not where they run."""
        return self.folder / "notebooks"

    def prepare(self, master: str) -> None:
        """Make the folders, and a configuration of Spark that has nothing of the laptop's."""
        for name in ("home", "tmp", "conf"):
            (self.folder / name).mkdir(parents=True)
        for name in ("spark-env.sh", "log4j2.properties"):
            shutil.copy(SPARK_HOME / "conf" / name, self.folder / "conf")
        settings = self.folder / "conf" / "spark-defaults.conf"
        settings.write_text(f"spark.master {master}\n{SETTINGS}", encoding="utf-8")

    def executed(self, notebook: Path) -> Path:
        """Return where the executed copy of a notebook is put."""
        return self.folder / f"{notebook.stem}.executed.ipynb"

    def run(self, notebook: Path, **parameters) -> subprocess.CompletedProcess:
        """Run a notebook of this machine as `churnlab run` does, from the folder home."""
        command = [sys.executable, "-m", "papermill", str(notebook), str(self.executed(notebook))]
        command += ["--kernel", "python3", "--no-progress-bar", "--cwd", str(self.folder / "home")]
        for name, value in parameters.items():
            command += ["-p", name, str(value)]
        variables = {
            "CHURNLAB_CODE": str(self.code),
            "CHURNLAB_LAKE": str(self.lake),
            "SPARK_CONF_DIR": str(self.folder / "conf"),
            "TMPDIR": str(self.folder / "tmp"),
            "IPYTHONDIR": str(self.folder / "ipython"),
        }
        return subprocess.run(
            without(checkout(), command),
            cwd=self.folder / "home",
            env=environment(**variables),
            capture_output=True,
            text=True,
            timeout=NOTEBOOK_SECONDS,
        )
