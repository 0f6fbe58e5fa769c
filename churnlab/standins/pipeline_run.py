"""Run one submitted pipeline job: ``python -m churnlab.standins.pipeline_run FOLDER ROOT``.

FOLDER holds ``job.json``, the job as it was submitted. The compiled pipeline in it runs unchanged,
by kfp.local. The folder gets ``tasks.jsonl``, a line at the start and the end of each task, and
``error.txt`` if a task failed; the exit status is then 1.
"""

import json
import os
import signal
import sys
import threading
import warnings
from datetime import UTC, datetime
from pathlib import Path

import yaml
from kfp import components, local
from kfp.local import (
    executor_input_utils,
    placeholder_utils,
    subprocess_task_handler,
)
from kfp.local.orchestrator import task_executor
from kfp.local.status import Status


def main(folder: Path, root: str) -> int:
    """Run the job of a folder with its output below ``root``; return the exit status."""
    signal.signal(signal.SIGTERM, stop)
    job = json.loads((folder / "job.json").read_text())
    spec = job["pipelineSpec"]
    # A component asks for what is installed here, in the course's own versions: nothing is loaded.
    os.environ.setdefault("PIP_NO_INDEX", "1")
    allow_containers()
    resolve_nested_placeholders()
    executor_input_utils.get_local_pipeline_resource_name = lambda name: job_id(job)
    report_tasks(folder / "tasks.jsonl")
    warnings.simplefilter("ignore", RuntimeWarning)  # about images, which mean nothing here
    local.init(runner=local.SubprocessRunner(use_venv=False), pipeline_root=root)
    pipeline = components.load_component_from_text(yaml.safe_dump(spec))
    try:
        pipeline(**arguments(spec, job["runtimeConfig"].get("parameterValues", {})))
    except Exception as error:
        (folder / "error.txt").write_text(plain(str(error)))
        return 1
    return 0


def stop(*_) -> None:
    """End by SIGTERM like any program, but after the tasks, which got the signal as well."""
    raise SystemExit(128 + signal.SIGTERM)


def job_id(job: dict) -> str:
    """Return the last part of a job's name."""
    return job["name"].rpartition("/")[2]


def plain(text: str) -> str:
    """Return a message of kfp without the colours of its console."""
    import re

    return re.sub(r"\x1b\[[0-9;]*m", "", text)


def arguments(spec: dict, values: dict) -> dict:
    """Return parameter values as kfp takes them: protobuf made a float of every number."""
    defined = spec["root"].get("inputDefinitions", {}).get("parameters", {})
    whole = {name for name in values if defined[name]["parameterType"] == "NUMBER_INTEGER"}
    return {name: int(value) if name in whole else value for name, value in values.items()}


def allow_containers() -> None:
    """Run the command of a container component: kfp.local's SubprocessRunner refuses them.

    Our only ones are the Dataproc components, whose launcher is a Python module installed here.
    """
    handler = subprocess_task_handler.SubprocessTaskHandler
    handler.validate_not_container_component = lambda self, command: None


def resolve_nested_placeholders() -> None:
    """Replace placeholders twice: the components' JSON payload holds some within some."""
    replace = placeholder_utils.replace_placeholders

    def replace_twice(full_command: list[str], **options) -> list[str]:
        return replace(full_command=replace(full_command=full_command, **options), **options)

    placeholder_utils.replace_placeholders = replace_twice


def report_tasks(path: Path) -> None:
    """Write a line when a task starts and when it ends."""
    execute, lock = task_executor.execute_single_task, threading.Lock()

    def write(task: str, state: str) -> None:
        event = {"task": task, "state": state, "time": datetime.now(UTC).isoformat()}
        with lock, path.open("a") as stream:
            stream.write(json.dumps(event) + "\n")

    def execute_and_report(task_name: str, **options):
        write(task_name, "RUNNING")
        state = "FAILED"
        try:
            outputs, status = execute(task_name=task_name, **options)
            state = "SUCCEEDED" if status == Status.SUCCESS else "FAILED"
        finally:
            write(task_name, state)
        return outputs, status

    task_executor.execute_single_task = execute_and_report


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2]))
