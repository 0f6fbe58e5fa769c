"""Three ways to use a machine's cores, on the same customers: rows, fits, or no Spark at all."""

import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

from benchmarks import alone, growth
from benchmarks.programs import HERE
from benchmarks.watched import event_log_options, read_events, run_watched
from churnlab import paths
from churnlab.run.library import ARCHIVE
from churnlab.run.spark_submit import submit_environment

SPARK_ARMS = {
    "rows": "rows shared out: Spark ML",
    "fits": "fits shared out: scikit-learn in tasks",
}
LONE_ARMS = {
    "forest": "the driver alone: scikit-learn's forest",
    "histogram": "the driver alone: scikit-learn's boosting by histograms",
    "xgboost": "the driver alone: XGBoost's boosting by histograms",
}
SCAN = "scan"  # Parquet, read and thrown away: what scoring can't beat
ALONE = "duckdb"  # preprocessing without Spark
NAMES = SPARK_ARMS | LONE_ARMS


def environment() -> dict[str, str]:
    """Return an environment in which an arm finds the benchmarks and this Python's Spark."""
    return submit_environment(os.environ) | {"PYTHONPATH": str(paths.ROOT)}


def run_spark_arm(arm: str, lake: Path, trees: int) -> dict:
    """Run an arm by spark-submit and return its figures."""
    events, place = lake / f"events-arm-{arm}", lake / f"arm-{arm}"
    place.mkdir()
    command = [str(Path(sys.executable).with_name("spark-submit")), "--driver-memory"]
    command += [growth.DRIVER_MEMORY, *event_log_options(events), "--py-files", str(ARCHIVE)]
    command += [str(HERE / "shared_out.py"), arm, str(lake), str(trees)]
    found, said = run_watched(command, place, environment())
    return found | said | read_events(events)


def run_lone_arm(arm: str, lake: Path, trees: int) -> dict:
    """Run an arm in a Python process of its own and return its figures."""
    place = lake / f"arm-{arm}"
    place.mkdir()
    command = [sys.executable, "-m", "benchmarks.alone", arm, str(lake), str(trees)]
    found, said = run_watched(command, place, environment())
    shutil.rmtree(place)
    return found | said


def run_arms(lake: Path, size: dict, announce: Callable[[str], None], trees: int) -> dict:
    """Run all arms on a lake that the course's steps have filled; return figures by arm.

    ``size`` holds what the steps took. Arms that are not installed are left out.
    """

    def told(arm: str, figures: dict) -> dict:
        announce(f"{size['rows']:,} customers, {arm}: {figures['seconds']:.1f} s")
        return figures

    found = {arm: told(arm, run_spark_arm(arm, lake, trees)) for arm in (*SPARK_ARMS, SCAN)}
    lone = [arm for arm in (*LONE_ARMS, ALONE) if alone.is_installed(arm)]
    found |= {arm: told(arm, run_lone_arm(arm, lake, trees)) for arm in lone}
    counted, own = size["steps"]["preprocessing"], found[ALONE]["sizes"]
    found[ALONE]["equal"] = all(own[name] == counted[name] for name in own)
    return found


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
    sizes = [size for size in measured if "arms" in size]
    if len(sizes) < 2:
        return {}

    def seconds(figures: Callable[[dict], dict]) -> dict[int, float]:
        return {size["rows"]: figures(size)["seconds"] for size in sizes}

    return {
        "training": crossover(
            seconds(lambda size: size["arms"]["rows"]), seconds(lambda size: size["arms"]["forest"])
        ),
        "preprocessing": crossover(
            seconds(lambda size: size["steps"]["preprocessing"]),
            seconds(lambda size: size["arms"][ALONE]),
        ),
    }
