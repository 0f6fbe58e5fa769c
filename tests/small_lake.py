"""A pytest plugin for nbmake runs: a temporary lake with a small raw file.

The notebooks then run with their default parameters, as a reader opens them, on few customers.
"""

import csv
import os
import random
import tempfile
from pathlib import Path

ROWS = 1500


def pytest_configure(config):
    """Point the notebooks' kernels at a lake of their own before any of them starts."""
    config.small_lake = tempfile.TemporaryDirectory(prefix="churnlab-")
    lake = Path(config.small_lake.name)
    os.environ["CHURNLAB_LAKE"] = str(lake)
    if raw := os.environ.get("CHURNLAB_RAW_CSV"):
        os.environ["CHURNLAB_RAW_CSV"] = str(_sample(Path(raw), lake / "sample.csv"))


def pytest_unconfigure(config):
    """Delete the lake."""
    config.small_lake.cleanup()


def _sample(raw: Path, target: Path) -> Path:
    with raw.open(newline="") as stream:
        header, *rows = list(csv.reader(stream))
    with target.open("w", newline="") as stream:
        csv.writer(stream).writerows([header, *random.Random(7).sample(rows, ROWS)])
    return target
