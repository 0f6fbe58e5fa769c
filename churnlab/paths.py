"""Where things live in a checkout of the course."""

from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = ROOT / "notebooks"
SCRIPTS = ROOT / "scripts_generated"
BUILD = ROOT / "_build"
EXECUTED = BUILD / "executed"
LAB = ROOT / "lab"
LOCK = ROOT / "requirements" / "course.txt"
