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

from benchmarks import alone, customers
from benchmarks.programs import submit
from benchmarks.watched import event_log_options, read_events, run_watched
from churnlab.run.library import library
from churnlab.run.spark_submit import submit_command, submit_environment

# What is measured of a size: the script, and its options beside those of ``options_of``.
STEPS = {
    "preprocessing": ("preprocessing", []),
    "training": ("model_training", []),
    "scoring": ("batch_scoring", []),
    "scoring by paths": ("batch_scoring", ["--method", "path"]),
}
DRIVER_MEMORY = "2g"
TREES = 100
# Customers; of more, training and exact reasons are not measured: they would take an hour each.
TRAINED_UP_TO = 1_000_000
LARGE_STEPS = ("preprocessing", "scoring by paths")
EXACT_UP_TO = 100_000  # customers; exact reasons of a million take minutes, so they are by choice
ON_CLUSTERS = 1_000_000  # customers: the size that is run on one and on two workers as well
SLOPED_FROM = 100_000  # below, the start of Spark is most of the time
SLOPE_TO_REACH = 1.05
FOREST = "one forest, Spark ML"  # the fit of the arm "rows", without folds and tables
# What a size may take: step, customers, seconds.
SECONDS_TO_REACH = (
    ("preprocessing", 10_000_000, 300),
    (FOREST, 1_000_000, 600),
    ("scoring", 1_000_000, 60),
    ("scoring by paths", 1_000_000, 60),
)
EXAMPLE = 100_000  # customers that train the model which scores more than are trained on

PARTS = ("steps", "arms", "clusters")  # of a size: figures by name
COUNTED = ("train", "test", "scoring", "quarantined")  # by preprocessing
# Of a step's record.
KEPT = (*COUNTED, "roc_auc", "average_precision", "predictions", "mean_probability")

Announce = Callable[[str], None]
Beside = Callable[[Path, dict, Announce, int], None]


def grow(
    sizes: Iterable[int],
    folder: Path,
    announce: Announce,
    trees: int = TREES,
    beside: Iterable[Beside] = (),
    keep: Callable[[dict], None] = lambda size: None,
    exact_up_to: int = TRAINED_UP_TO,
) -> list[dict]:
    """Measure all sizes in turn, smallest first; each has a lake, which goes when it is done.

    ``beside`` measures more on the lake of a size that is trained on: see ``arms.run_arms``.
    ``keep`` gets a size each time that something more of it has been measured. Exact reasons are
    measured for so many customers only.
    """
    measured, model_from = [], None
    for rows in sorted(sizes):
        lake, size = folder / f"lake-{rows}", {"rows": rows, "steps": {}}
        measured.append(size)

        def tell(text: str, size: dict = size) -> None:
            announce(text)
            keep(size)

        names = [name for name in STEPS if name != "scoring" or rows <= exact_up_to]
        names = LARGE_STEPS if rows > TRAINED_UP_TO else names
        run_steps(names, size, lake, tell, trees, model_from)
        if "training" not in size["steps"]:
            shutil.rmtree(lake)
            continue
        for more in beside:
            more(lake, size, tell, trees)
        model_from, outdated = lake, model_from
        if outdated:
            shutil.rmtree(outdated)
    return measured


def run_steps(
    names: Iterable[str],
    size: dict,
    lake: Path,
    tell: Announce,
    trees: int,
    model_from: Path | None,
) -> None:
    """Generate customers and run steps on them; ``model_from`` is a lake with a model."""
    rows = size["rows"]
    lake.mkdir(parents=True)
    submit(customers.generator(lake, rows, "parquet"), lake)
    waiting = without_label(lake)
    size["raw_mb"] = folder_mb(waiting)
    if "training" not in names:
        model_from = model_from or trained_elsewhere(lake, trees)
        for part in ("models", "warehouse/churn/model_registry"):
            shutil.copytree(model_from / part, lake / part)
    for name in names:
        figures = run_step(name, lake, options_of(name, lake, waiting, trees))
        size["steps"][name] = figures | {"rows_per_second": round(rows / figures["seconds"])}
        tell(f"{rows:,} customers, {name}: {figures['seconds']:.1f} s")


def options_of(name: str, lake: Path, waiting: Path, trees: int) -> list[str]:
    """Return what a step is told beside lake and key."""
    if name == "training":
        return ["--num-trees", str(trees)]
    if name.startswith("scoring"):
        version = alone.newest_model(str(lake))["model_version"]
        return ["--customers", str(waiting), "--model-version", version]
    return []


def trained_elsewhere(lake: Path, trees: int) -> Path:
    """Return a lake of its own with a model trained on fewer customers, not measured."""
    other = lake.with_name("lake-of-the-model")
    other.mkdir()
    submit(customers.generator(other, EXAMPLE, "parquet"), other)
    for name in ("preprocessing", "training"):
        run_step(name, other, options_of(name, other, other, trees))
    return other


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


def run_step(name: str, lake: Path, options: list[str], settings: Iterable[str] = ()) -> dict:
    """Run a script of the course on a lake by spark-submit and return its figures.

    ``settings`` are more options of spark-submit.
    """
    (script, own), run = STEPS[name], library.runs.new_pipeline_id()
    events = lake / f"events-{run}"
    arguments = ["--pipeline-id", run, "--lake", str(lake), *options, *own]
    command = submit_command(script, arguments)
    memory = ["--driver-memory", DRIVER_MEMORY]
    command[1:1] = [*memory, *settings, *event_log_options(events)]
    figures, _ = run_watched(command, lake, submit_environment(os.environ))
    record = library.runs.run_record(str(lake), run, name.partition(" ")[0])
    facts = {key: record["facts"][key] for key in KEPT if key in record["facts"]}
    figures |= read_events(events) | facts
    shutil.rmtree(events)
    return figures


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


def targets(measured: list[dict], older: Iterable[dict] = ()) -> list[dict]:
    """Return what was to reach and what came of it; a size that was not measured is left out.

    Seconds may be those of ``older`` sizes, slopes may not.
    """
    found = [
        {"what": f"slope of {name}", "to_reach": SLOPE_TO_REACH, "measured": value}
        for name, value in slopes(measured).items()
        if value is not None
    ]
    by_rows: dict[int, dict] = {}
    for size in (*measured, *older):
        by_rows[size["rows"]] = seconds_of(size) | by_rows.get(size["rows"], {})
    for name, rows, seconds in SECONDS_TO_REACH:
        if name in by_rows.get(rows, {}):
            what = f"seconds of {name}, {rows:,} customers"
            found.append({"what": what, "to_reach": seconds, "measured": by_rows[rows][name]})
    return [entry | {"reached": entry["measured"] <= entry["to_reach"]} for entry in found]


def marks(around: dict) -> dict:
    """Return what a size was measured with, as far as its figures depend on it."""
    kept = {name: around[name] for name in ("date", "commit", "machine", "versions")}
    return kept | {"library_tree": library.runs.library_tree()}


def alike(one: dict, other: dict) -> bool:
    """Tell whether two sizes were measured with the same library, Spark, Python and machine."""
    names = ("machine", "versions", "library_tree")
    return all(one.get(name) == other.get(name) for name in names)


def merged(report: dict, fresh: list[dict], around: dict) -> tuple[list[dict], list[dict]]:
    """Return the sizes that are like today's, and older ones that were measured with other code.

    ``report`` is the last one, or {}. What is measured again takes the place of its own; the other
    figures of a size stay: with it if they were measured alike, else among the older ones.
    """
    ours, older = marks(around), []
    sizes = {size["rows"]: size | {"measured": ours} for size in fresh}
    for size in (*report.get("sizes", []), *report.get("older_sizes", [])):
        if report.get("trees") != around["trees"]:
            continue
        if "measured" not in size:  # a report from before there were marks
            known = {name: report.get(name) for name in ("date", "commit", "machine", "versions")}
            size = size | {"measured": known | {"library_tree": report.get("library_tree")}}
        if alike(size["measured"], ours):
            sizes[size["rows"]] = together(size, sizes.get(size["rows"], {}))
        else:
            older.append(size)
    older = left_over(sizes.values(), older)
    by_rows = [sizes[rows] for rows in sorted(sizes)]
    return by_rows, sorted(older, key=lambda size: size["rows"])


def left_over(sizes: Iterable[dict], older: list[dict]) -> list[dict]:
    """Return what ``older`` sizes, the newest first, have that neither these have nor a newer one.

    A size of which nothing is left is left out.
    """
    known, left = {mark for size in sizes for mark in figures_of(size)}, []
    for size in older:
        parts = {"steps": {}}  # which every size has
        for mark, figures in figures_of(size).items():
            if mark not in known:
                _, name, key = mark
                parts.setdefault(name, {})[key] = figures
        known.update(figures_of(size))
        if any(parts.values()):
            kept = {name: value for name, value in size.items() if name not in (*PARTS, "failed")}
            left.append(kept | parts)
    return left


def figures_of(size: dict) -> dict[tuple, dict]:
    """Return all figures of a size by its rows, the part and the name."""
    return {
        (size["rows"], name, key): figures
        for name in PARTS
        for key, figures in size.get(name, {}).items()
    }


def together(old: dict, new: dict) -> dict:
    """Return a size whose figures are the new ones, and the old ones where there are no new."""
    parts = {
        name: old.get(name, {}) | new.get(name, {}) for name in PARTS if name in old or name in new
    }
    kept = {name: value for name, value in old.items() if name != "failed"}
    return kept | new | parts


def growth_report(fresh: list[dict], around: dict, last: dict | None = None) -> dict:
    """Return the report of a growth, with the sizes of the last one that were not measured again.

    Slopes are those of the sizes that were measured alike; targets are held against all.
    """
    sizes, older = merged(last or {}, fresh, around)
    report = {"benchmark": "growth", **around, "driver_memory": DRIVER_MEMORY}
    return report | {
        "library_tree": library.runs.library_tree(),
        "sizes": sizes,
        "older_sizes": older,
        "slopes": slopes(sizes),
        "targets": targets(sizes, older),
    }
