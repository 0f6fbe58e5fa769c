"""Run a process to its end: what it took, and what Spark's own event log says it did."""

import json
import os
import subprocess
import threading
from collections import Counter
from pathlib import Path

import psutil

from churnlab.errors import CourseError

EVERY = 0.2  # seconds between two looks at the memory
PROFILE = 5  # stages


def run_watched(
    command: list[str], folder: Path, env: dict[str, str] | None = None
) -> tuple[dict, dict]:
    """Run a command in a folder; return seconds and memory, and the JSON object it said last.

    ``driver_mb`` is the most memory that its largest process has held, in MB, ``total_mb`` the most
    of its tree at one moment. What forked processes share counts once for each.
    Raises CourseError if it fails.
    """
    log = folder / "process.log"
    with log.open("w", encoding="utf-8") as stream:
        started = os.times().elapsed
        process = subprocess.Popen(command, cwd=folder, env=env, stdout=stream, stderr=stream)
        peaks = {"driver_mb": 0, "total_mb": 0}
        ended = threading.Event()
        watcher = threading.Thread(target=watch, args=(process.pid, peaks, ended))
        watcher.start()
        try:
            status = process.wait()
        finally:
            ended.set()
            watcher.join()
        seconds = os.times().elapsed - started
    said = log.read_text(encoding="utf-8", errors="replace")
    if status:
        raise CourseError(f"{command[0]} ended with status {status}:\n{said[-3000:]}", f"{log}")
    return {"seconds": round(seconds, 2), **peaks}, last_object(said)


def last_object(text: str) -> dict:
    """Return the last line that is a JSON object, or {}."""
    found = [line for line in text.splitlines() if line.startswith("{")]
    return json.loads(found[-1]) if found else {}


def watch(pid: int, peaks: dict[str, int], ended: threading.Event) -> None:
    """Keep the largest memory of a process and its children in ``peaks`` until it has ended."""
    while not ended.wait(EVERY):
        held = [memory for memory in map(resident, tree(pid)) if memory]
        if held:
            peaks["driver_mb"] = max(peaks["driver_mb"], *held)
            peaks["total_mb"] = max(peaks["total_mb"], sum(held))


def tree(pid: int) -> list[psutil.Process]:
    """Return a process and everything below it, as far as it is still there."""
    try:
        root = psutil.Process(pid)
        return [root, *root.children(recursive=True)]
    except psutil.Error:
        return []


def resident(process: psutil.Process) -> int:
    """Return the memory that a process holds, in MB; 0 if it has gone."""
    try:
        return process.memory_info().rss // 2**20
    except psutil.Error:
        return 0


def event_log_options(folder: Path) -> list[str]:
    """Return the options that let Spark write one plain event log into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    conf = {"enabled": "true", "dir": folder.as_uri(), "compress": "false"}
    conf |= {"rolling.enabled": "false"}
    return [part for k, v in conf.items() for part in ("--conf", f"spark.eventLog.{k}={v}")]


def read_events(folder: Path) -> dict:
    """Return what the event logs of a folder count: jobs, stages, tasks, bytes and core seconds.

    ``longest_stages`` are the stages on which cores worked longest, with the job's name.
    """
    counts, stages = Counter(), {}
    for file in sorted(folder.iterdir()):
        with file.open(encoding="utf-8") as lines:
            for line in lines:
                count_event(json.loads(line), counts, stages)
    longest = sorted(stages.values(), key=lambda stage: -stage["core_seconds"])[:PROFILE]
    for stage in longest:
        stage["core_seconds"] = round(stage["core_seconds"], 1)
    figures = {name: counts[name] for name in ("jobs", "stages", "tasks", "failed_tasks")}
    for name in ("shuffled", "spilled", "read", "written"):
        figures[f"{name}_mb"] = round(counts[name] / 2**20, 1)
    for name in ("core", "collector"):
        figures[f"{name}_seconds"] = round(counts[f"{name}_ms"] / 1000, 1)
    return figures | {"longest_stages": longest}


def count_event(event: dict, counts: Counter, stages: dict) -> None:
    """Add one event of Spark's log to the counts, and to its stage."""
    kind = event["Event"]
    if kind == "SparkListenerJobStart":
        counts["jobs"] += 1
    elif kind == "SparkListenerStageCompleted":
        counts["stages"] += 1
        name = event["Stage Info"]["Stage Name"].rpartition("/")[2]
        stages.setdefault(event["Stage Info"]["Stage ID"], fresh_stage())["name"] = name
    elif kind == "SparkListenerTaskEnd":
        counts["tasks"] += 1
        counts["failed_tasks"] += event["Task End Reason"]["Reason"] != "Success"
        if metrics := event.get("Task Metrics"):
            count_task(metrics, counts)
            stage = stages.setdefault(event["Stage ID"], fresh_stage())
            stage["tasks"] += 1
            stage["core_seconds"] += metrics["Executor Run Time"] / 1000


def fresh_stage() -> dict:
    """Return the entry of a stage without tasks."""
    return {"name": "", "tasks": 0, "core_seconds": 0.0}


def count_task(metrics: dict, counts: Counter) -> None:
    """Add the metrics of a task (https://spark.apache.org/docs/3.5.9/monitoring.html)."""
    counts["shuffled"] += metrics["Shuffle Write Metrics"]["Shuffle Bytes Written"]
    counts["spilled"] += metrics["Disk Bytes Spilled"]
    counts["read"] += metrics["Input Metrics"]["Bytes Read"]
    counts["written"] += metrics["Output Metrics"]["Bytes Written"]
    counts["core_ms"] += metrics["Executor Run Time"]
    counts["collector_ms"] += metrics["JVM GC Time"]
