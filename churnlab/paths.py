"""Where things live in a checkout of the course."""

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = ROOT / "notebooks"
SCRIPTS = ROOT / "scripts_generated"
INFRA = ROOT / "infra"
BUILD = Path(os.environ.get("CHURNLAB_BUILD") or ROOT / "_build")  # tests build elsewhere
EXECUTED = BUILD / "executed"
BOOK = BUILD / "book" / "_build" / "html"
LAB = ROOT / "lab"
AIRFLOW = ROOT / ".venv-airflow"  # its own environment
INFRA_CHECKS = ROOT / ".venv-infra"  # what checks the cloud's side, its own environment as well
LOCK = ROOT / "requirements" / "course.txt"


def lake() -> str:
    """Return the lake: CHURNLAB_LAKE, else the checkout's own folder."""
    return os.environ.get("CHURNLAB_LAKE") or str(ROOT / "lake")
