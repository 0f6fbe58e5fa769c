"""Run one program in a session of its own and say what it took: the driver that is measured.

    spark-submit --py-files MODULE.py benchmarks/timed_step.py RESULT.json MODULE [ARGUMENT ...]

MODULE.main(ARGUMENTS) runs when the session stands, so that starting it does not count. The session
stays until Spark has been asked what it did. Without MODULE the session is all there is to measure.
"""

import contextlib
import importlib
import json
import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from pyspark.sql import SparkSession


@contextlib.contextmanager
def held_back_stop() -> Iterator[None]:
    """Let a program's spark.stop() do nothing for a while."""
    stop = SparkSession.stop
    SparkSession.stop = lambda self: None
    try:
        yield
    finally:
        SparkSession.stop = stop


def measure(module: str, arguments: list[str]) -> dict:
    """Run a module's main and return what it took: seconds, Spark jobs and stages, memory, facts.

    ``module`` may be empty: then only the session is measured.
    """
    started = time.monotonic()
    program = importlib.import_module(module) if module else None
    imported = time.monotonic()
    spark = SparkSession.builder.appName(f"benchmark-{module or 'empty'}").getOrCreate()
    stood = time.monotonic()
    before = counted(spark)
    with held_back_stop():
        begun = time.monotonic()
        facts = program.main(arguments) if program else None
        seconds = time.monotonic() - begun
    after = counted(spark)
    return {
        "seconds": round(seconds, 2),
        "import_seconds": round(imported - started, 2),
        "session_seconds": round(stood - imported, 2),
        **{name: after[name] - before[name] for name in after},
        **job_times(spark, before["jobs"], seconds),
        "peak_memory_mb": peak_memory_mb(spark),
        "class_data_archive": class_data_archive(spark),
        "facts": facts or {},
    }


def counted(spark: SparkSession) -> dict[str, int]:
    """Return the Spark jobs and stages of a session so far."""
    scheduler = spark.sparkContext._jsc.sc().dagScheduler()
    return {"jobs": scheduler.numTotalJobs(), "stages": scheduler.nextStageId()}


def job_times(spark: SparkSession, first: int, seconds: float) -> dict:
    """Return the seconds with and without a running Spark job, and the longest kinds of job.

    ``first`` is the number of the program's first job. Spark keeps the last jobs, as many as
    spark.ui.retainedJobs says; where it has forgotten some, the times are left out.
    """
    context = spark.sparkContext._jsc.sc()
    context.listenerBus().waitUntilEmpty()
    jobs = context.statusStore().jobsList(None)
    spans, kinds = [], {}
    for number in range(jobs.size()):
        job = jobs.apply(number)
        if job.jobId() < first or job.completionTime().isEmpty():
            continue
        span = (job.submissionTime().get().getTime(), job.completionTime().get().getTime())
        spans.append(span)
        name = call_site(job.name())
        count, took = kinds.get(name, (0, 0.0))
        kinds[name] = (count + 1, took + (span[1] - span[0]) / 1000)
    if counted(spark)["jobs"] - first != len(spans):
        return {}
    busy = covered(spans) / 1000
    longest = sorted(kinds.items(), key=lambda item: -item[1][1])[:5]
    return {
        "seconds_in_jobs": round(busy, 2),
        "seconds_between_jobs": round(max(0.0, seconds - busy), 2),
        "longest_jobs": [
            {"job": name, "count": count, "seconds": round(took, 2)}
            for name, (count, took) in longest
        ],
    }


def call_site(name: str) -> str:
    """Return a job's name without folders and without places that Spark does not know."""
    return re.sub(r"/\S*/", "", name.removesuffix(" at <unknown>:0"))


def covered(spans: list[tuple[int, int]]) -> int:
    """Return the length that spans (start, end) cover together, overlaps once."""
    total, reached = 0, 0
    for start, end in sorted(spans):
        total += max(0, end - max(start, reached))
        reached = max(reached, end)
    return total


def peak_memory_mb(spark: SparkSession) -> int | None:
    """Return the most memory that the JVM has held, in MB; None where the system does not say."""
    process = spark.sparkContext._jvm.java.lang.ProcessHandle.current().pid()
    status = Path(f"/proc/{process}/status")  # Linux
    if not status.exists():
        return None
    lines = dict(line.split(":", 1) for line in status.read_text().splitlines())
    return round(int(lines["VmHWM"].split()[0]) / 1024)


def class_data_archive(spark: SparkSession) -> bool:
    """Tell whether Java has taken classes from an archive that a setting names."""
    jvm = spark.sparkContext._jvm
    kind = jvm.java.lang.Class.forName("com.sun.management.HotSpotDiagnosticMXBean")
    machine = jvm.java.lang.management.ManagementFactory.getPlatformMXBean(kind)
    values = {
        name: machine.getVMOption(name).getValue()
        for name in ("SharedArchiveFile", "UseSharedSpaces")
    }
    return bool(values["SharedArchiveFile"]) and values["UseSharedSpaces"] == "true"


if __name__ == "__main__":
    target, *program = sys.argv[1:]
    result = measure(program[0] if program else "", program[1:])
    Path(target).write_text(json.dumps(result), encoding="utf-8")
    SparkSession.getActiveSession().stop()
