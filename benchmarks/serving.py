"""How soon the server answers: from its start, for one caller, and for several at once."""

import json
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnxruntime
import pandas as pd
import requests

from benchmarks.programs import LIBRARY, Program
from benchmarks.rounds import Bench
from churnlab import paths
from churnlab.run.library import library
from churnlab.standins.serving import ModelServer, model_server

CALLERS = 4
REQUESTS = 400


def packaged(bench: Bench) -> Path:
    """Package the forest of the course's training step; return the folder of packages."""
    done = bench.last("course", "training")
    arguments = ["--lake", str(done.folder), "--pipeline-id", done.run]
    arguments += ["--model-version", f"{done.run}-training"]
    script = paths.SCRIPTS / "online_serving.py"
    folder = bench.folder / "serving"
    folder.mkdir()
    bench.runner(Program("online_serving", tuple(arguments), (script, *LIBRARY)), folder)
    return done.folder / library.packages.PACKAGES


def served(packages: Path) -> tuple[Path, dict]:
    """Return the folder and the note of the package that is served."""
    pointer = json.loads((packages / library.packages.POINTER).read_text(encoding="utf-8"))
    folder = packages / pointer["package"]
    return folder, json.loads((folder / library.packages.NOTE).read_text(encoding="utf-8"))


def milliseconds(server: ModelServer, instances: list[dict], count: int) -> list[float]:
    """Ask one after the other about one customer each, with reasons; return each wait in ms."""
    took = []
    with requests.Session() as session:
        for number in range(count):
            body = {"instances": [instances[number % len(instances)]]}
            started = time.perf_counter()
            done = session.post(f"{server.address}/predict", json=body, timeout=60)
            took.append(1000 * (time.perf_counter() - started))
            done.raise_for_status()
    return took


def model_alone(packages: Path, count: int = 1000) -> float:
    """Return the microseconds that the ONNX file takes for one customer, in one thread."""
    folder, note = served(packages)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(folder / library.packages.MODEL, options)
    columns = {column["name"]: column["values"] for column in note["columns"]}
    x = library.forest.as_numbers(pd.DataFrame(note["examples"]["instances"]), columns)
    started = time.perf_counter()
    for number in range(count):
        row = number % len(x)
        session.run(None, {"features": x[row : row + 1]})
    return 1e6 * (time.perf_counter() - started) / count


def one_round(packages: Path, count: int) -> dict[str, float]:
    """Start a server and return what a round measures; caller and server share the cores."""
    instances, started = served(packages)[1]["examples"]["instances"], time.perf_counter()
    with model_server(str(packages)) as server:
        requests.get(f"{server.address}/health", timeout=60).raise_for_status()
        cold = time.perf_counter() - started
        milliseconds(server, instances, 20)  # the first ones warm up
        alone = milliseconds(server, instances, count)
        began = time.perf_counter()
        with ThreadPoolExecutor(CALLERS) as callers:
            each = [count // CALLERS] * CALLERS
            found = callers.map(lambda n: milliseconds(server, instances, n), each)
            together = [took for waits in found for took in waits]
        wall = time.perf_counter() - began
    figures = {"cold_start_seconds": cold, "model_alone_us": model_alone(packages)}
    for name, took in (("one_caller", alone), ("callers", together)):
        for share in (50, 99):
            figures[f"{name}_p{share}_ms"] = float(np.percentile(took, share))
    figures["callers_per_second"] = len(together) / wall
    return {name: round(value, 3) for name, value in figures.items()}


def measure(packages: Path, rounds: int, announce: Callable[[str], None]) -> list[dict]:
    """Return the figures of each round."""
    measured = []
    for number in range(rounds):
        measured.append(one_round(packages, REQUESTS))
        announce(f"serving, round {number + 1}: p50 {measured[-1]['one_caller_p50_ms']:.1f} ms")
    return measured


def report_of(measured: list[dict], around: dict) -> dict:
    """Return the report: each round, and the medians over the rounds."""
    names = measured[0]
    medians = {name: round(statistics.median(r[name] for r in measured), 3) for name in names}
    known = {"callers": CALLERS, "requests": REQUESTS, "summary": medians, "rounds": measured}
    return {"benchmark": "serving", **around} | known
