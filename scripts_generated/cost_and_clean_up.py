# Generated from notebooks/19-cost-and-clean-up.ipynb by `make export`; do not edit.
"""Say what each run has cost, what a month costs while nobody looks, and how to get back to
nothing.
"""

import argparse
import json
import math
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pandas as pd
from churn.lake import (
    check_lake,
    delete_folder,
    filesystem,
    join_uri,
    names_below,
    read_text,
    write_text,
)
from churn.programs import StepError, run_program
from churn.runs import check_pipeline_id
from churn.tables import DECISIONS, dataset_root, outdated_attempts
from pyarrow import fs as pafs


def check_numbers(days: int, **amounts: float) -> None:
    """Raise StepError if there is no day to look at, or an amount is below zero or no number."""
    if not 1 <= days <= 3660:
        raise StepError(f"--days is {days}: look back 1 to 3660 days.")
    for name, amount in amounts.items():
        if not 0 <= amount < math.inf:
            raise StepError(f"--{name} is {amount}: give 0 or more.")


def seconds_of(text: str) -> float:
    """Return the seconds that a record says, or NaN if it says none."""
    try:
        said = json.loads(text)
    except ValueError:
        return math.nan
    seconds = said.get("seconds") if isinstance(said, dict) else None
    known = type(seconds) in (int, float) and 0 <= seconds < math.inf
    return float(seconds) if known else math.nan


def finished_steps(lake: str, since: datetime) -> pd.DataFrame:
    """Return run, step, record and seconds of each step that has finished since a time.

    Seconds are NaN if the record doesn't say them. Raises StepError if no step has finished.
    """
    runs, earliest, found = join_uri(lake, "runs"), f"{since:%Y%m%dt%H%M%S}", []
    for place in names_below(runs):
        parts = place.split("/")
        if len(parts) == 3 and parts[2].endswith(".json") and parts[2] >= earliest:
            found.append((*parts, seconds_of(read_text(join_uri(runs, place)))))
    if not found:
        mend = "Run a step first, look further back by --days, or name another --lake."
        raise StepError(f"No step has left a record below {runs} since {since:%Y-%m-%d}. {mend}")
    steps = pd.DataFrame(found, columns=["run", "step", "record", "seconds"])
    return steps.sort_values("record", ignore_index=True)


# US dollars in us-central1, standard tier, read on 2026-11-24 at
# https://cloud.google.com/dataproc-serverless/pricing
DCU_HOUR = 0.06


SHUFFLE_GB_HOUR = 0.000054795


LEAST_SECONDS = 60


def priced(steps: pd.DataFrame, units: float, disks: float) -> pd.DataFrame:
    """Return steps with the columns dcu_hours and usd: as if each had been a batch."""
    hours = steps["seconds"].clip(lower=LEAST_SECONDS) / 3600
    rate = units * DCU_HOUR + disks * SHUFFLE_GB_HOUR
    return steps.assign(dcu_hours=hours * units, usd=hours * rate)


def by_step(steps: pd.DataFrame) -> pd.DataFrame:
    """Return records, unpriced, seconds, dcu_hours and usd of each step, the dearest first."""
    sums = steps.groupby("step")[["seconds", "dcu_hours", "usd"]].sum(min_count=1)
    sums.insert(0, "records", steps.groupby("step").size())
    sums.insert(1, "unpriced", steps["usd"].isna().groupby(steps["step"]).sum())
    return sums.sort_values("usd", ascending=False)


# Where a step is not called as its script.
STEP_OF = {
    "model_training": "training",
    "hyperparameter_tuning": "tuning",
    "batch_scoring": "scoring",
    "online_serving": "packaging",
}


def used(batch: dict) -> dict:
    """Return run, step, state and US dollars of a batch as the service's JSON has it."""
    job, counts = batch.get("pysparkBatch", {}), batch.get("runtimeInfo", {})
    counts = counts.get("approximateUsage", {})
    dcu_hours = int(counts.get("milliDcuSeconds", 0)) / 3.6e6
    gb_hours = int(counts.get("shuffleStorageGbSeconds", 0)) / 3600
    script = job.get("mainPythonFileUri", "").rpartition("/")[2].removesuffix(".py")
    run = dict(pairwise(job.get("args", []))).get("--pipeline-id", "")
    said = {"run": run, "step": STEP_OF.get(script, script), "state": batch.get("state", "")}
    usd = dcu_hours * DCU_HOUR + gb_hours * SHUFFLE_GB_HOUR
    return said | {"billed": usd if counts else math.nan}  # nothing is known yet: not free


def used_batches(text: str, since: datetime) -> pd.DataFrame:
    """Return run, step, state and billed (US dollars) of the batches created since a time.

    ``text`` is a JSON list, as gcloud writes it. Raises StepError if it is another.
    """
    try:
        batches = json.loads(text)
        recent = [b for b in batches if datetime.fromisoformat(b["createTime"]) >= since]
        rows = [used(batch) for batch in recent]
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        wrong = f"--usage is no list of batches ({type(error).__name__}: {error})."
        mend = "Write it by `gcloud dataproc batches list --format=json`."
        raise StepError(f"{wrong} {mend}") from None
    found = pd.DataFrame(rows, columns=["run", "step", "state", "billed"])
    return found[found["run"] != ""].reset_index(drop=True)


def reconciled(steps: pd.DataFrame, batches: pd.DataFrame) -> pd.DataFrame:
    """Return estimated and billed US dollars by run and step; NaN where one side knows nothing."""
    key = ["run", "step"]
    estimated = steps.groupby(key)["usd"].sum(min_count=1).rename("estimated")
    billed = batches.groupby(key)["billed"].sum(min_count=1).rename("billed")
    return pd.concat([estimated, billed], axis=1).sort_index()


def read_usage(lake: str, usage: str) -> str:
    """Return the text of the file of --usage, "[]" for none. Raises StepError if it isn't there."""
    if usage == "none":
        return "[]"
    try:
        return read_text(join_uri(lake, usage))
    except (OSError, ValueError) as error:
        raise StepError(f"Can't read --usage {usage}: {error}. Name a file in the lake.") from None


def outdated_in(tables: str) -> list[str]:
    """Return the attempts in a dataset's tables that nobody reads or writes any more.

    BigQuery has none: a staging table ends by itself after a day.
    """
    if tables.startswith("bigquery://"):
        return []
    names = names_below(tables)
    decided = {name.partition("/")[0] for name in names if f"/{DECISIONS}/" in name}
    runs = {name.partition("/attempt=")[0] for name in names if "/attempt=" in name}
    runs = sorted(run for run in runs if run.partition("/")[0] not in decided)
    return [folder for run in runs for folder in outdated_attempts(join_uri(tables, run))]


def bytes_below(uri: str) -> int:
    """Return how many bytes lie below a folder."""
    files, path = filesystem(uri)
    below = pafs.FileSelector(path, allow_not_found=True, recursive=True)
    return sum(found.size or 0 for found in files.get_file_info(below))


def report(steps: pd.DataFrame, compared: pd.DataFrame, **facts) -> str:
    """Return the report as JSON: the facts, the sums by step, estimate and bill by run and step."""
    parts = {"steps": by_step(steps), "compared": compared}
    lists = {k: json.loads(v.reset_index().to_json(orient="records")) for k, v in parts.items()}
    total = steps["usd"].sum(min_count=1)
    facts |= {"usd": None if math.isnan(total) else float(total), "dcu_hour": DCU_HOUR}
    return json.dumps(facts | {"shuffle_gb_hour": SHUFFLE_GB_HOUR} | lists, indent=2)


def summary(steps: pd.DataFrame, batches: pd.DataFrame, days: int, budget: float) -> str:
    """Return the last line: what was spent, by bill or by records, and whether it is too much."""
    known = batches["billed"] if len(batches) else steps["usd"]
    spent, least = known.sum(), "at least " if known.isna().any() else ""
    counted = f"steps {len(steps)}, runs {steps['run'].nunique()}, days {days}"
    source = "bills" if len(batches) else "records"
    line = f"{counted}: {least}{spent:.3f} US dollars by {source}"
    top = by_step(steps).index[0]
    return f"{'over the budget: ' if 0 < budget < spent else ''}{line}; the dearest is {top}"


def boolean(text: str) -> bool:
    """Read the value of a true/false option."""
    if text.lower() not in ("true", "false"):
        raise argparse.ArgumentTypeError(f"{text!r} is neither true nor false")
    return text.lower() == "true"


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line; a missing or wrong option ends it with status 2."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument(
        "--pipeline-id",
        type=str,
        required=True,
        help="key of this run in every table, such as 20261123t051500-3f9c2a",
    )
    parser.add_argument(
        "--lake", type=str, required=True, help="root of the lake: a folder or gs://bucket/path"
    )
    parser.add_argument(
        "--dataset",
        type=str,
        default="churn",
        help="the tables: below the lake's warehouse, or bigquery://project.dataset (default: %(default)s)",
    )
    parser.add_argument(
        "--days", type=int, default=30, help="how many days to look back (default: %(default)s)"
    )
    parser.add_argument(
        "--units",
        type=float,
        default=12.0,
        help="compute units of a batch: its driver and its executors (default: %(default)s)",
    )
    parser.add_argument(
        "--disks",
        type=float,
        default=1200.0,
        help="GB of their disks, for the shuffle (default: %(default)s)",
    )
    parser.add_argument(
        "--usage",
        type=str,
        default="none",
        help="what `gcloud dataproc batches list --format=json` wrote, or none (default: %(default)s)",
    )
    parser.add_argument(
        "--budget",
        type=float,
        default=0.0,
        help="US dollars of these days above which the last line warns; 0 is none (default: %(default)s)",
    )
    parser.add_argument(
        "--sweep",
        type=boolean,
        default=False,
        help="delete the attempts that nobody reads any more (default: %(default)s)",
    )
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> None:
    """Run the steps of notebooks/19-cost-and-clean-up.ipynb."""
    options = parse_arguments(arguments)
    pipeline_id = options.pipeline_id
    lake = options.lake
    dataset = options.dataset
    days = options.days
    units = options.units
    disks = options.disks
    usage = options.usage
    budget = options.budget
    sweep = options.sweep

    check_pipeline_id(pipeline_id)
    check_numbers(days, units=units, disks=disks, budget=budget)
    lake = check_lake(lake)
    tables = dataset_root(lake, dataset)

    # Those of the last days:
    since = datetime.now(UTC) - timedelta(days=days)
    finished = finished_steps(lake, since)

    # Machines, hours and prices multiplied:
    steps = priced(finished, units, disks)

    batches = used_batches(read_usage(lake, usage), since)
    compared = reconciled(steps, batches)

    # How much lies in them?
    outdated = outdated_in(tables)
    idle_bytes = sum(map(bytes_below, outdated))

    # The report is written, then what is outdated goes, if you have asked for it.
    said = summary(steps, batches, days, budget)
    facts = {"pipeline_id": pipeline_id, "days": days, "since": since.isoformat(), "budget": budget}
    facts |= {"said": said, "outdated": len(outdated), "outdated_bytes": idle_bytes}
    facts |= {"sweep_asked": sweep}

    folder = join_uri(lake, "reports", pipeline_id)
    write_text(join_uri(folder, "costs.json"), report(steps, compared, **facts))
    for attempt in outdated if sweep else []:
        delete_folder(attempt)
    print(f"costs: {len(outdated)} outdated attempts, {idle_bytes / 1e6:.1f} MB", flush=True)
    print(f"costs: {said}", flush=True)


if __name__ == "__main__":
    run_program(main)
