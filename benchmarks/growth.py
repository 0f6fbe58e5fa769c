"""How the course's own scripts grow: 10,000, 100,000, a million customers, on one machine.

Each step is the real script by spark-submit, with 2 GB for the driver, timed as a whole process.
Figures come from the process, from Spark's event log, and from the record that the step leaves.
"""

import math
import os
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

import pyarrow.parquet as pq

from benchmarks import customers
from benchmarks.programs import submit
from benchmarks.watched import event_log_options, read_events, run_watched
from churnlab.run.library import library
from churnlab.run.spark_submit import submit_command, submit_environment

STEPS = {
    "preprocessing": "preprocessing",
    "training": "model_training",
    "scoring": "batch_scoring",
}
DRIVER_MEMORY = "2g"
TREES = 100
TRAINED_UP_TO = 1_000_000  # customers; of more only the two other steps are measured
SLOPED_FROM = 100_000  # below, the start of Spark is most of the time
SLOPE_TO_REACH = 1.05
FOREST = "one forest, Spark ML"  # the fit of the arm "rows", without folds and tables
# What a size may take: step, customers, seconds.
SECONDS_TO_REACH = (
    ("preprocessing", 10_000_000, 300),
    (FOREST, 1_000_000, 600),
    ("scoring", 1_000_000, 60),
)
EXAMPLE = 100_000  # customers that train the model which scores more than are trained on

COUNTED = ("train", "test", "scoring", "quarantined")  # by preprocessing
KEPT = (*COUNTED, "roc_auc", "average_precision", "predictions")  # of a step's record

Announce = Callable[[str], None]


def grow(
    sizes: Iterable[int], folder: Path, announce: Announce, trees: int = TREES, beside=None
) -> list[dict]:
    """Measure all sizes in turn, smallest first; each has a lake, which goes when it is done.

    ``beside`` runs the arms on the lake of a size that is trained on: see ``arms.run_arms``.
    """
    measured, model_from = [], None
    for rows in sorted(sizes):
        lake = folder / f"lake-{rows}"
        size = one_size(rows, lake, announce, trees, model_from)
        measured.append(size)
        if "training" in size["steps"]:
            if beside:
                size["arms"] = beside(lake, size, announce, trees)
            model_from, outdated = lake, model_from
            if outdated:
                shutil.rmtree(outdated)
    return measured


def one_size(
    rows: int, lake: Path, announce: Announce, trees: int, model_from: Path | None
) -> dict:
    """Generate customers and run the steps on them; ``model_from`` is a lake with a model."""
    lake.mkdir(parents=True)
    submit(customers.generator(lake, rows, "parquet"), lake)
    waiting = without_label(lake)
    size = {"rows": rows, "raw_mb": folder_mb(waiting), "steps": {}}
    names = ["preprocessing", "training", "scoring"]
    if rows > TRAINED_UP_TO:
        names.remove("training")
        model_from = model_from or trained_elsewhere(lake, trees)
        for part in ("models", "warehouse/churn/model_registry"):
            shutil.copytree(model_from / part, lake / part)
    for name in names:
        figures = run_step(name, lake, options_of(name, lake, waiting, trees))
        size["steps"][name] = figures | {"rows_per_second": round(rows / figures["seconds"])}
        announce(f"{rows:,} customers, {name}: {figures['seconds']:.1f} s")
    return size


def options_of(name: str, lake: Path, waiting: Path, trees: int) -> list[str]:
    """Return what a step is told beside lake and key."""
    if name == "training":
        return ["--num-trees", str(trees)]
    if name == "scoring":
        return ["--customers", str(waiting), "--model-version", newest_model(lake)]
    return []


def trained_elsewhere(lake: Path, trees: int) -> Path:
    """Return a lake of its own with a model trained on fewer customers, not measured."""
    other = lake.with_name("lake-of-the-model")
    other.mkdir()
    submit(customers.generator(other, EXAMPLE, "parquet"), other)
    for name in ("preprocessing", "training"):
        run_step(name, other, options_of(name, other, other, trees))
    return other


def newest_model(lake: Path) -> str:
    """Return the version that was registered last."""
    rows = library.tables.read_rows(str(lake / "warehouse" / "churn"), "model_registry")
    return rows[-1]["model_version"]


def without_label(lake: Path) -> Path:
    """Copy the landed customers as they wait to be scored: without the column Churn."""
    landed = Path(library.contract.newest_landing(str(lake / "raw" / "customers")))
    waiting = lake / "waiting"
    waiting.mkdir()
    for file in sorted(landed.glob("*.parquet")):
        with pq.ParquetFile(file) as source:
            named = source.schema_arrow.remove_metadata()  # Spark's note names the label, too
            schema = named.remove(named.get_field_index("Churn"))
            with pq.ParquetWriter(waiting / file.name, schema) as target:
                for batch in source.iter_batches(columns=schema.names):
                    target.write_batch(batch.cast(schema))
    return waiting


def folder_mb(folder: Path) -> float:
    """Return the size of a folder's files in MB."""
    return round(sum(file.stat().st_size for file in folder.iterdir()) / 2**20, 1)


def run_step(name: str, lake: Path, options: list[str]) -> dict:
    """Run a script of the course on a lake by spark-submit and return its figures."""
    run, events = library.runs.new_pipeline_id(), lake / f"events-{name}"
    arguments = ["--pipeline-id", run, "--lake", str(lake), *options]
    command = submit_command(STEPS[name], arguments)
    memory = ["--driver-memory", DRIVER_MEMORY]
    command[1:1] = [*memory, *event_log_options(events)]
    figures, _ = run_watched(command, lake, submit_environment(os.environ))
    record = library.runs.run_record(str(lake), run, name)
    facts = {key: record["facts"][key] for key in KEPT if key in record["facts"]}
    return figures | read_events(events) | facts


def slope(points: Iterable[tuple[float, float]]) -> float | None:
    """Return the exponent by which seconds grow with rows, or None of fewer than two points.

    It is the slope of the straight line through the logarithms, by least squares.
    """
    logs = [(math.log(rows), math.log(seconds)) for rows, seconds in points]
    if len(logs) < 2:
        return None
    mean_x, mean_y = (sum(values) / len(logs) for values in zip(*logs, strict=True))
    above = sum((x - mean_x) * (y - mean_y) for x, y in logs)
    return round(above / sum((x - mean_x) ** 2 for x, _ in logs), 3)


def seconds_of(size: dict) -> dict[str, float]:
    """Return the seconds of what was measured of a size: the steps, and one forest."""
    found = {name: figures["seconds"] for name, figures in size["steps"].items()}
    if "rows" in size.get("arms", {}):
        found[FOREST] = size["arms"]["rows"]["seconds"]
    return found


def slopes(measured: list[dict]) -> dict[str, float | None]:
    """Return the slope of each step, and of one forest, over the sizes from SLOPED_FROM on."""
    large = [(size["rows"], seconds_of(size)) for size in measured if size["rows"] >= SLOPED_FROM]
    return {
        name: slope((rows, seconds[name]) for rows, seconds in large if name in seconds)
        for name in (*STEPS, FOREST)
    }


def targets(measured: list[dict]) -> list[dict]:
    """Return what was to reach and what came of it; a size that was not measured is left out."""
    found = [
        {"what": f"slope of {name}", "to_reach": SLOPE_TO_REACH, "measured": value}
        for name, value in slopes(measured).items()
        if value is not None
    ]
    by_rows = {size["rows"]: seconds_of(size) for size in measured}
    for name, rows, seconds in SECONDS_TO_REACH:
        if name in by_rows.get(rows, {}):
            what = f"seconds of {name}, {rows:,} customers"
            found.append({"what": what, "to_reach": seconds, "measured": by_rows[rows][name]})
    return [entry | {"reached": entry["measured"] <= entry["to_reach"]} for entry in found]


def growth_report(measured: list[dict], trees: int, around: dict) -> dict:
    """Return the report of a growth."""
    report = {"benchmark": "growth", **around, "driver_memory": DRIVER_MEMORY, "trees": trees}
    return report | {
        "library_tree": library.runs.library_tree(),
        "sizes": measured,
        "slopes": slopes(measured),
        "targets": targets(measured),
    }
