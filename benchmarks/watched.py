"""Run a process to its end: what it took, and what Spark's own event log says it did."""

import contextlib
import json
import os
import subprocess
import threading
from collections import Counter
from pathlib import Path

import psutil

from churnlab.errors import CourseError

EVERY = 0.2  # seconds between two looks at the memory
PATIENCE = 3600  # seconds until a process that has not ended is taken to hang
PROFILE = 5  # stages
# What may go wrong with one arm or one cluster; the others go on, for nobody watches them.
FAILURES = (CourseError, KeyError, OSError, ValueError, subprocess.SubprocessError)


def run_watched(
    command: list[str],
    folder: Path,
    env: dict[str, str] | None = None,
    patience: float = PATIENCE,
) -> tuple[dict, dict]:
    """Run a command in a folder; return seconds and memory, and the JSON object it said last.

    ``driver_mb`` is the most memory that its largest process has held, in MB, ``total_mb`` the most
    of its tree at one moment. What forked processes share counts once for each.
    Raises CourseError if it fails, or has not ended after ``patience`` seconds.
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
            status = process.wait(patience)
        except subprocess.TimeoutExpired:
            status = f"{patience:g} s without an end"
        finally:
            ended.set()
            watcher.join()
            end_tree(process)
        seconds = os.times().elapsed - started
    said = log.read_text(encoding="utf-8", errors="replace")
    if status:
        raise CourseError(f"{command[0]} ended with status {status}:\n{said[-3000:]}", f"{log}")
    return {"seconds": round(seconds, 2), **peaks}, last_object(said)


def end_tree(process: subprocess.Popen) -> None:
    """End a process that still runs, and all that it started."""
    if process.poll() is None:
        members = tree(process.pid)
        for member in members:
            with contextlib.suppress(psutil.Error):
                member.kill()
        process.wait()
        psutil.wait_procs(members, timeout=60)


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
    ``application_seconds`` are those of the session, and ``at_once`` those of them in which so many
    tasks ran; in the others the driver worked alone.
    """
    log = Log()
    for file in sorted(folder.iterdir()):
        with file.open(encoding="utf-8") as lines:
            for line in lines:
                log.read(json.loads(line))
    counts = log.counts
    longest = sorted(log.stages.values(), key=lambda stage: -stage["core_seconds"])[:PROFILE]
    for stage in longest:
        stage["core_seconds"] = round(stage["core_seconds"], 1)
    names = ("jobs", "stages", "tasks", "failed_tasks", "executors")
    figures = {name: counts[name] for name in names}
    for name in ("shuffled", "spilled", "read", "written"):
        figures[f"{name}_mb"] = round(counts[name] / 2**20, 1)
    for name in ("core", "collector", "application"):
        figures[f"{name}_seconds"] = round(counts[f"{name}_ms"] / 1000, 1)
    at_once = {str(number): round(ms / 1000, 1) for number, ms in at_once_of(log.spans).items()}
    return figures | {"at_once": at_once, "longest_stages": longest}


class Log:
    """What Spark's events say so far: counts, figures by stage, and from when to when tasks ran."""

    def __init__(self):
        self.counts: Counter = Counter()
        self.stages: dict[int, dict] = {}
        self.spans: list[tuple[int, int]] = []

    def read(self, event: dict) -> None:
        """Add one event."""
        kind = event["Event"].removeprefix("SparkListener")
        if kind == "JobStart":
            self.counts["jobs"] += 1
        elif kind == "ExecutorAdded":
            self.counts["executors"] += 1
        elif kind == "ApplicationStart":
            self.counts["application_ms"] -= event["Timestamp"]
        elif kind == "ApplicationEnd":
            self.counts["application_ms"] += event["Timestamp"]
        elif kind == "StageCompleted":
            self.counts["stages"] += 1
            info = event["Stage Info"]
            self.stage(info["Stage ID"])["name"] = info["Stage Name"].rpartition("/")[2]
        elif kind == "TaskEnd":
            self.read_task(event)

    def read_task(self, event: dict) -> None:
        """Add the end of a task."""
        self.counts["tasks"] += 1
        self.counts["failed_tasks"] += event["Task End Reason"]["Reason"] != "Success"
        self.spans.append((event["Task Info"]["Launch Time"], event["Task Info"]["Finish Time"]))
        if metrics := event.get("Task Metrics"):
            count_task(metrics, self.counts)
            stage = self.stage(event["Stage ID"])
            stage["tasks"] += 1
            stage["core_seconds"] += metrics["Executor Run Time"] / 1000

    def stage(self, number: int) -> dict:
        """Return the entry of a stage."""
        return self.stages.setdefault(number, {"name": "", "tasks": 0, "core_seconds": 0.0})


def at_once_of(spans: list[tuple[int, int]]) -> dict[int, int]:
    """Return how long one, two, … of the spans (start, end) lay over each other."""
    edges = sorted([(start, 1) for start, _ in spans] + [(end, -1) for _, end in spans])
    found, running, before = Counter(), 0, 0
    for moment, change in edges:
        if running and moment > before:
            found[running] += moment - before
        running, before = running + change, moment
    return dict(sorted(found.items()))


def count_task(metrics: dict, counts: Counter) -> None:
    """Add the metrics of a task (https://spark.apache.org/docs/3.5.9/monitoring.html)."""
    counts["shuffled"] += metrics["Shuffle Write Metrics"]["Shuffle Bytes Written"]
    counts["spilled"] += metrics["Disk Bytes Spilled"]
    counts["read"] += metrics["Input Metrics"]["Bytes Read"]
    counts["written"] += metrics["Output Metrics"]["Bytes Written"]
    counts["core_ms"] += metrics["Executor Run Time"]
    counts["collector_ms"] += metrics["JVM GC Time"]
