"""What is kept of a benchmark: a JSON file each, and one table of all.

A file holds every round's figures, their medians, and what they were measured with. It names no
host and no path.
"""

import json
import os
import platform
import subprocess
from collections.abc import Iterable
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from benchmarks.rounds import STEPS, summarise
from churnlab import paths
from churnlab.run import spark_home

RESULTS = paths.ROOT / "benchmarks" / "results"
TO_REACH = {"preprocessing": 3.0, "training": 2.5, "tuning": 8.0, "scoring": 3.0}
FLOORS = {"roc_auc": 0.845, "average_precision": 0.655}  # of the real customers, 5×5
HEAD = (
    "step",
    "straightforward",
    "course",
    "ratio",
    "to reach",
    "whole process",
    "Spark jobs",
    "stages",
)


def circumstances(data: dict, quick: bool, settings: str) -> dict:
    """Return what a measurement depends on: machine, versions, commit, date and data."""
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": commit(),
        "machine": machine(),
        "versions": {
            "python": platform.python_version(),
            "java": spark_home.java_version(spark_home.java_home()),
            "pyspark": version("pyspark"),
        },
        "data": data,
        "straightforward_settings": settings,
        "quick": quick,
    }


def machine() -> dict:
    """Return cores, memory in GB and the processor's name; None for what is not known."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {"cores": cores, "memory_gb": memory_gb(), "cpu": processor(), "os": platform.system()}


def memory_gb() -> float | None:
    """Return the machine's memory in GB, or None where the system does not say."""
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1)
    except (ValueError, OSError):
        return None


def processor() -> str | None:
    """Return the name of the processor, or None where the system does not say."""
    known = Path("/proc/cpuinfo")  # Linux
    lines = known.read_text(encoding="utf-8").splitlines() if known.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or None


def commit() -> str | None:
    """Return the commit of the checkout, with a plus sign if files have been changed since."""
    others = ("--", ".", ":!benchmarks/results")
    try:
        head = git("rev-parse", "--short", "HEAD")
        changed = git("status", "--porcelain", "--untracked-files=no", *others)
    except OSError:
        return None
    return head + ("+" if changed else "") or None


def git(*arguments: str) -> str:
    """Return what Git answers about the checkout, "" if it knows nothing of it."""
    command = ["git", "-C", str(paths.ROOT), *arguments]
    return subprocess.run(command, capture_output=True, text=True).stdout.strip()


def step_report(step: str, rounds: list[dict], equality: dict, around: dict) -> dict:
    """Return the report of a step."""
    report = {"benchmark": step, **around, "to_reach": TO_REACH[step]}
    return report | {"summary": summarise(rounds), "equality": equality, "rounds": rounds}


def start_up_report(rounds: list[dict], around: dict) -> dict:
    """Return the report of the start of an empty session, timed as a whole process.

    ``archive_in_use`` tells whether there was an archive to measure.
    """
    in_use = all(turn["with"]["class_data_archive"] for turn in rounds)
    summary = summarise(rounds, "process_seconds")
    report = {"benchmark": "start-up", **around, "archive_in_use": in_use}
    return report | {"summary": summary, "rounds": rounds}


def quality_report(figures: dict, around: dict) -> dict:
    """Return the report of the tuned winner's quality; ``reached`` is None for other customers."""
    facts = figures["facts"]
    reached = {name: facts["mean"][name] >= floor for name, floor in FLOORS.items()}
    is_real = around["data"]["real"] and not around["quick"]
    report = {"benchmark": "quality", **around, **facts, "to_reach": FLOORS}
    return report | {"reached": reached if is_real else None, "seconds": figures["seconds"]}


def write(report: dict, folder: Path) -> Path:
    """Write a report in place of the last one of the same benchmark, in one move."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{report['benchmark']}.json"
    aside = file.with_suffix(".tmp")
    aside.write_text(json.dumps(report, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    aside.replace(file)
    return file


def read(folder: Path) -> dict[str, dict]:
    """Return the reports of a folder by benchmark."""
    reports = (json.loads(file.read_text(encoding="utf-8")) for file in folder.glob("*.json"))
    return {report["benchmark"]: report for report in reports}


def table_rows(reports: dict[str, dict]) -> list[tuple[str, ...]]:
    """Return the rows of the table of steps, under HEAD, in the order of the course."""
    return [table_row(reports[step]) for step in STEPS if step in reports]


def table_row(report: dict) -> tuple[str, ...]:
    """Return a step's row: medians, their ratio and the least and largest ratio of a round."""
    slow, fast = report["summary"]["straightforward"], report["summary"]["course"]
    least, most = report["summary"]["ratio_of_rounds"]
    return (
        report["benchmark"],
        f"{slow['seconds']:.1f} s",
        f"{fast['seconds']:.1f} s",
        f"{report['summary']['ratio']:.1f} ({least:.1f} to {most:.1f})",
        f"{report['to_reach']:g}",
        f"{slow['process_seconds']:.1f} → {fast['process_seconds']:.1f} s",
        f"{slow['jobs']:.0f} → {fast['jobs']:.0f}",
        f"{slow['stages']:.0f} → {fast['stages']:.0f}",
    )


def unequal(reports: Iterable[dict]) -> list[str]:
    """Return what had to be equal on both sides and is not, each with its step."""
    return [
        f"{report['benchmark']}: {claim}"
        for report in reports
        for claim, holds in report.get("equality", {}).get("equal", {}).items()
        if not holds
    ]


def short_of(reports: dict[str, dict]) -> list[dict]:
    """Return the reports of the steps whose ratio is below the one to reach."""
    found = [reports[step] for step in STEPS if step in reports]
    return [report for report in found if report["summary"]["ratio"] < report["to_reach"]]


def remarks(reports: dict[str, dict]) -> list[str]:
    """Return what is said below the table: profiles of slow steps, start-up, quality."""
    lines = [profile(report) for report in short_of(reports)]
    if found := reports.get("start-up"):
        with_it, without = found["summary"]["with"], found["summary"]["without"]
        note = "" if found["archive_in_use"] else " (there is no archive: run `churnlab setup`)"
        lines.append(
            f"start-up of an empty session: {without['process_seconds']:.1f} s without the "
            f"class-data archive, {with_it['process_seconds']:.1f} s with it{note}"
        )
    if found := reports.get("quality"):
        means = (
            f"{name} {found['mean'][name]:.4f}"
            + (f" (to reach {floor:g})" if found["reached"] else "")
            for name, floor in found["to_reach"].items()
        )
        lines.append(f"quality of the tuned forest, {found['evaluation']}: {', '.join(means)}")
    if found := reports.get("serving"):
        took = found["summary"]
        lines.append(
            f"serving: cold start {took['cold_start_seconds']:.1f} s; one caller "
            f"{took['one_caller_p50_ms']:.1f} ms (p99 {took['one_caller_p99_ms']:.1f}); "
            f"{found['callers']} callers {took['callers_per_second']:.0f} requests/s"
        )
    return lines


def profile(report: dict) -> str:
    """Return where the last run of a step of the course that falls short spent its time."""
    figures = report["rounds"][-1]["course"]
    start = f"{report['benchmark']} falls short of {report['to_reach']:g}"
    if "longest_jobs" not in figures:
        return f"{start}; Spark kept too few of its {figures['jobs']} jobs for a profile"
    jobs = ", ".join(
        f"{job['job']} {job['seconds']:.1f} s ({job['count']}×)" for job in figures["longest_jobs"]
    )
    return (
        f"{start}: {figures['seconds_in_jobs']:.1f} s with a Spark job running and "
        f"{figures['seconds_between_jobs']:.1f} s without; longest: {jobs}"
    )
