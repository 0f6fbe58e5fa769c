"""Three ways to use a machine's cores, on the same customers: rows, fits, or no Spark at all."""

import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

from benchmarks import alone, growth
from benchmarks.programs import HERE
from benchmarks.watched import FAILURES, event_log_options, read_events, run_watched
from churnlab import paths
from churnlab.errors import CourseError
from churnlab.run.library import ARCHIVE
from churnlab.run.spark_submit import submit_environment

# Of each kind, by what they do: those that Spark runs come first.
TRAINING = {
    "rows": "rows shared out: Spark ML",
    "xgboost_in_spark": "rows shared out: XGBoost's Spark estimator",
    "fits": "fits shared out: scikit-learn in tasks",
    "forest": "the driver alone: scikit-learn's forest",
    "histogram": "the driver alone: scikit-learn's boosting by histograms",
    "xgboost": "the driver alone: XGBoost's boosting by histograms",
}
PREPROCESSING = {"duckdb": "DuckDB alone", "polars": "Polars alone"}
SCORING = {
    "scan": "read the customers, nothing else",
    "transform": "Spark ML's own model, no reasons",
    "onnx_in_spark": "ONNX Runtime in Spark's tasks, no reasons",
    "onnx": "ONNX Runtime alone, no reasons",
}
IN_SPARK = ("rows", "xgboost_in_spark", "fits", "scan", "transform", "onnx_in_spark")
ARMS = (*TRAINING, *PREPROCESSING, *SCORING)
PATIENCE = 1200  # seconds; no arm is waited for longer
QUICK = "scoring by paths"  # every size has it; its probabilities are those of the other scoring
LARGEST_GAP = 1e-9  # between two means of the same probabilities, summed in another order


def environment() -> dict[str, str]:
    """Return an environment in which an arm finds the benchmarks and this Python's Spark."""
    return submit_environment(os.environ) | {"PYTHONPATH": str(paths.ROOT)}


def run_arm(arm: str, lake: Path, trees: int) -> dict:
    """Run an arm in a process of its own, or by spark-submit, and return its figures."""
    place, events = lake / f"arm-{arm}", lake / f"events-arm-{arm}"
    place.mkdir()
    if arm not in IN_SPARK:
        command = [sys.executable, "-m", "benchmarks.alone", arm, str(lake), str(trees)]
        found, said = run_watched(command, place, environment(), PATIENCE)
    else:
        command = [str(Path(sys.executable).with_name("spark-submit")), "--driver-memory"]
        command += [growth.DRIVER_MEMORY, *event_log_options(events), "--py-files", str(ARCHIVE)]
        command += [str(HERE / "shared_out.py"), arm, str(lake), str(trees)]
        found, said = run_watched(command, place, environment(), PATIENCE)
        said |= read_events(events)
        shutil.rmtree(events)
    shutil.rmtree(place)
    return found | said


def run_arms(lake: Path, size: dict, announce: Callable[[str], None], trees: int) -> None:
    """Run all arms on a lake that the course's steps have filled; figures go to ``size["arms"]``.

    ``size`` holds what the steps took. What is not installed is left out and said so; so is an arm
    that fails, which ``size["failed"]`` names as well.
    """
    found = size.setdefault("arms", {})
    for arm in ARMS:
        if package := alone.missing_package(arm):
            announce(f"{arm} is left out: {package} is not installed; `make bench` installs it.")
            continue
        try:
            figures = run_arm(arm, lake, trees)
            found[arm] = figures | checked(arm, figures, size["steps"])
        except FAILURES as error:
            size.setdefault("failed", []).append(arm)
            announce(f"{size['rows']:,} customers, {arm} FAILED and is left out. {error}")
            continue
        announce(f"{size['rows']:,} customers, {arm}: {figures['seconds']:.1f} s")


def checked(arm: str, figures: dict, steps: dict) -> dict[str, bool]:
    """Return that an arm came to what the course's step came to, where that can be said.

    Raises CourseError if it came to something else: then its time says nothing.
    """
    if arm in PREPROCESSING:
        names, known, own = tuple(figures["sizes"]), steps["preprocessing"], figures["sizes"]
    elif "mean_probability" in figures:
        names, known, own = ("predictions", "mean_probability"), steps[QUICK], figures
    else:
        return {}
    differing = [name for name in names if abs(own[name] - known[name]) > LARGEST_GAP]
    if differing:
        told = ", ".join(f"{name} {own[name]}, not {known[name]}" for name in differing)
        raise CourseError(f"It came to something else than the course's step: {told}.")
    return {"equal": True}


def crossover(slow_start: dict[int, float], quick_start: dict[int, float]) -> dict:
    """Return where the way that starts slowly overtakes the other, by straight lines of two sizes.

    Both hold seconds by rows. ``rows`` is None where the lines do not meet above the largest size.
    """
    small, large = sorted(slow_start)[-2:]
    slopes = [(s[large] - s[small]) / (large - small) for s in (slow_start, quick_start)]
    ahead = slow_start[large] - quick_start[large]
    if ahead <= 0:
        return {"kind": "measured", "rows": large}
    if slopes[0] >= slopes[1]:
        return {"kind": "nowhere that these lines show", "rows": None}
    return {"kind": "projected", "rows": round(large + ahead / (slopes[1] - slopes[0]))}


def crossings(measured: list[dict]) -> dict[str, dict]:
    """Return where Spark overtakes a process alone, for training and for preprocessing."""
    pairs = {
        "training": (("arms", "rows"), ("arms", "forest")),
        "preprocessing": (("steps", "preprocessing"), ("arms", "duckdb")),
    }
    found = {}
    for name, ways in pairs.items():
        sides = [
            {
                size["rows"]: size[part][key]["seconds"]
                for size in measured
                if key in size.get(part, {})
            }
            for part, key in ways
        ]
        both = sorted(sides[0].keys() & sides[1].keys())
        if len(both) > 1:
            found[name] = crossover(*({rows: side[rows] for rows in both} for side in sides))
    return found
