"""JupyterLab for the course: on this machine only, with the Spark monitor on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

from churnlab import paths
from churnlab.errors import CourseError

STATE = paths.BUILD / "jupyter"
"""Settings, run-time files and history of the lab; the reader's own Jupyter stays as it is."""

KERNEL_CONFIG = {"InteractiveShellApp": {"extensions": ["churnlab.run.spark_panel"]}}

# The lab asks no other host for news, updates or extensions, and does not ask whether it may.
DEFAULT_SETTINGS = {
    "@jupyterlab/apputils-extension:notification": {
        "fetchNews": "false",
        "checkForUpdates": False,
    },
    "@jupyterlab/extensionmanager-extension:plugin": {"enabled": False},
}


def start_lab(port: int, open_browser: bool, root: Path, state: Path = STATE) -> int:
    """Serve JupyterLab on loopback until it is stopped, and return its exit status.

    A port that is taken makes way for the next free one; the log shows the address with its
    token. ``root`` is the folder that the lab shows, ``state`` keeps its settings and history.
    Raises CourseError if the folder or a package is missing.
    """
    root, state = root.resolve(), state.resolve()
    if not root.is_dir():
        raise CourseError(f"JupyterLab has no folder {root} to show.", "Name one that exists.")
    for package in ("jupyterlab", "sparkmonitor"):
        if find_spec(package) is None:
            raise CourseError(
                f"The package {package} is missing from {sys.prefix}.",
                "Install requirements/course.txt into this environment.",
            )
    write_configuration(state)
    server = subprocess.Popen(
        lab_command(port, open_browser, root), env=lab_environment(os.environ, state), cwd=root
    )
    earlier = signal.signal(signal.SIGTERM, lambda *_: server.terminate())
    try:
        while True:
            try:
                return server.wait()
            except KeyboardInterrupt:  # Jupyter has it too and asks whether to stop
                continue
    finally:
        signal.signal(signal.SIGTERM, earlier)


def write_configuration(state: Path) -> None:
    """Write what the lab and its kernels read at start."""
    files = {
        "config/labconfig/default_setting_overrides.json": DEFAULT_SETTINGS,
        "ipython/profile_default/ipython_kernel_config.json": KERNEL_CONFIG,
    }
    for name, content in files.items():
        path = state / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def lab_environment(environment: dict[str, str], state: Path) -> dict[str, str]:
    """Return the environment of the lab: own state, this Python first, the lake and code."""
    path = os.pathsep.join([str(Path(sys.executable).parent), environment.get("PATH", "")])
    course = {
        "CHURNLAB_LAKE": str(paths.ROOT / "lake"),
        "CHURNLAB_CODE": str(paths.SCRIPTS),
    }
    own = {
        "PATH": path,
        "IPYTHONDIR": str(state / "ipython"),
        "JUPYTER_CONFIG_DIR": str(state / "config"),
        "JUPYTER_DATA_DIR": str(state / "data"),
        "JUPYTER_RUNTIME_DIR": str(state / "runtime"),
    }
    return course | environment | own


def lab_command(port: int, open_browser: bool, root: Path) -> list[str]:
    """Return the command that serves the lab; Jupyter's own token keeps strangers out."""
    options = [
        "--ServerApp.ip=127.0.0.1",
        f"--ServerApp.port={port}",
        f"--ServerApp.root_dir={root}",
        f"--ServerApp.open_browser={open_browser}",
        "--LabApp.news_url=None",
        "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
        "--LabApp.extension_manager=readonly",
        "--LanguageServerManager.autodetect=False",  # or it lists all the servers we lack
    ]
    if hasattr(os, "geteuid") and os.geteuid() == 0:  # in a container; Jupyter refuses otherwise
        options.append("--ServerApp.allow_root=True")
    return [sys.executable, "-m", "jupyterlab", *options]
