"""Run the notebooks in order with papermill and record what came of it."""

import json
import os
import platform
import subprocess
import time
from collections.abc import Iterable
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from multiprocessing import get_context
from pathlib import Path

import nbformat
import papermill
from papermill.exceptions import PapermillExecutionError

from churnlab import paths
from churnlab.environment import environment_with
from churnlab.errors import CourseError
from churnlab.run import spark_home
from churnlab.run.library import library
from churnlab.run.parameters import read_parameters, read_value

# Whose tables and files a notebook reads; who stands on nobody may run at any time.
STANDS_ON = {
    "03-preprocessing": "02-customer-data",
    "04-model-training": "03-preprocessing",
    "05-hyperparameter-tuning": "04-model-training",
    "06-batch-scoring": "05-hyperparameter-tuning",
    "08-serverless-batches": "02-customer-data",
    "09-training-pipeline": "02-customer-data",
    "12-scoring-dag": "06-batch-scoring",
    "13-scale": "02-customer-data",
    "14-explain": "06-batch-scoring",
    "15-registry-and-gate": "06-batch-scoring",
    "16-monitoring": "06-batch-scoring",
    "17-online-serving": "06-batch-scoring",
    "18-streaming": "06-batch-scoring",
    "19-cost-and-clean-up": "06-batch-scoring",
}
SHOWN_VERSIONS = ("pyspark", "pandas", "pyarrow", "scikit-learn", "papermill", "jupyter-book")
JAVA_TRACE = "\n\tat "  # where a Java exception's message ends


@dataclass(frozen=True)
class ModuleRun:
    """How one notebook ran."""

    name: str
    title: str
    seconds: float
    headline: str


def find_notebooks(wanted: Iterable[str] = ()) -> list[Path]:
    """Return the notebooks in reading order: all, or those named by number, name or file.

    Raises CourseError for a name that no notebook has.
    """
    notebooks = sorted(paths.NOTEBOOKS.glob("[0-9][0-9]-*.ipynb"))
    names = [Path(name).stem for name in wanted]
    for name in names:
        if not any(_is_called(path, name) for path in notebooks):
            known = ", ".join(path.stem for path in notebooks)
            raise CourseError(f"There is no module {name!r}.", f"Modules are {known}.")
    return [p for p in notebooks if not names or any(_is_called(p, name) for name in names)]


def _is_called(notebook: Path, name: str) -> bool:
    number, _, rest = notebook.stem.partition("-")
    return name.replace("_", "-") in (number, rest, notebook.stem, str(int(number)))


def run_notebook(
    notebook: Path, parameters: dict, output: Path, lake: str, progress: bool = True
) -> ModuleRun:
    """Run one notebook from a fresh kernel and keep the executed copy.

    Only parameters that the notebook declares are handed over. A run that fails raises
    CourseError, leaves an earlier executed copy alone and its own beside it.
    """
    declared = declared_parameters(notebook)
    partial = output.with_suffix(".failed.ipynb")
    output.parent.mkdir(parents=True, exist_ok=True)
    raw = os.environ.get("CHURNLAB_RAW_CSV", "")
    variables = {
        # The kernel runs elsewhere, so a path has to be absolute.
        "CHURNLAB_RAW_CSV": str(Path(raw).resolve()) if raw and "://" not in raw else raw,
        "CHURNLAB_LAKE": lake,
        "CHURNLAB_CODE": str(paths.SCRIPTS),
        "CHURNLAB_COMMIT": _commit() or "",
        "IPYTHONDIR": str(paths.BUILD / "ipython"),  # not the reader's home
    }
    started = time.monotonic()
    try:
        with environment_with(variables):
            papermill.execute_notebook(
                str(notebook),
                str(partial),
                parameters={k: v for k, v in parameters.items() if k in declared},
                cwd=str(notebook.parent),
                progress_bar=progress,
                extra_arguments=["--IPKernelApp.log_level=ERROR"],
            )
    except PapermillExecutionError as error:
        said = library.programs.expected_reason(OSError(error.evalue))  # such as a full disk
        said = said or f"{error.ename}: {' '.join(error.evalue.partition(JAVA_TRACE)[0].split())}"
        raise CourseError(
            f"{notebook.name}, cell {error.cell_index + 1}: {said}",
            f"The run up to there is in {partial}.",
        ) from error
    partial.replace(output)
    return module_run(output, time.monotonic() - started)


def module_run(executed: Path, seconds: float) -> ModuleRun:
    """Return what an executed copy says of the run that made it."""
    notebook = nbformat.read(executed, as_version=4)
    return ModuleRun(executed.stem, _title(notebook), seconds, glued(notebook, "headline"))


def declared_parameters(notebook: Path) -> dict[str, str]:
    """Return the names of a notebook's parameters, each with its type as the cell writes it."""
    cells = nbformat.read(notebook, as_version=4).cells
    sources = [c.source for c in cells if "parameters" in c.metadata.get("tags", [])]
    return {p.name: p.type for source in sources for p in read_parameters(source, notebook.name)}


def typed_parameters(notebooks: list[Path], texts: dict[str, str]) -> dict:
    """Return parameters with the types that the notebooks declare, read as the scripts read them.

    Raises CourseError for a value of another type, and for a parameter that no notebook declares:
    papermill takes unknown names without a word, and the default would run instead.
    """
    declared = {
        name: kind for path in notebooks for name, kind in declared_parameters(path).items()
    }
    if unknown := sorted(set(texts) - set(declared)):
        raise CourseError(
            f"No module to run has the parameter {', '.join(unknown)}.",
            f"They have {', '.join(sorted(declared))}.",
        )
    return {name: read_value(name, text, declared[name]) for name, text in texts.items()}


def glued(notebook: nbformat.NotebookNode, name: str) -> str:
    """Return a value that a notebook glued under a name, or "" if it did not."""
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            if output.get("metadata", {}).get("scrapbook", {}).get("name") == name:
                return output["data"]["application/papermill.record/text/plain"].strip("'\"")
    return ""


def write_record(
    modules: list[ModuleRun], started: datetime, lake: str, folder: Path | None = None
) -> Path:
    """Write what the status page of the book shows: run times, data source, versions.

    ``folder`` has the executed copies; those of the course if it is None.
    """
    target = (folder or paths.EXECUTED) / "run.json"
    known = json.loads(target.read_text(encoding="utf-8")) if target.exists() else {}
    ran = {run["name"]: run for run in known.get("modules", [])}
    ran |= {module.name: asdict(module) for module in modules}
    names = [path.stem for path in find_notebooks()]
    data = library.contract.provenance(library.lake.join_uri(lake, "raw", "customers"))
    record = {
        "started": started.isoformat(timespec="seconds"),
        "seconds": sum(run["seconds"] for run in ran.values()),
        "data_source": data.get("label", "unknown"),
        "rows": data.get("rows", 0),
        "modules": [ran[name] for name in names if name in ran],
        "versions": _versions(),
        "commit": _commit(),
    }
    target.write_text(json.dumps(record, indent=2), encoding="utf-8")
    return target


def run_course(
    wanted: Iterable[str],
    parameters: dict,
    lake: str,
    announce,
    progress: bool = True,
    side_by_side: int = 1,
) -> list[ModuleRun]:
    """Run the wanted modules under one pipeline id; ``announce`` is called before each.

    At most ``side_by_side`` run at a time, none before what it stands on. The runs come back in
    reading order. If one fails, those that are under way end, and CourseError is raised.
    """
    notebooks = find_notebooks(wanted)
    parameters = {"pipeline_id": library.runs.new_pipeline_id(), "lake": lake} | parameters
    library.runs.check_pipeline_id(parameters["pipeline_id"])
    started, runs, failures = datetime.now(UTC), [], []
    waiting, under_way = sorted(notebooks, key=_length_of_chain, reverse=True), {}
    # A process each: a run sets environment variables of its own.
    with ProcessPoolExecutor(side_by_side, get_context("spawn")) as pool:
        while waiting or under_way:
            unfinished = {path.stem for path in [*waiting, *under_way.values()]}
            ready = [path for path in waiting if STANDS_ON.get(path.stem) not in unfinished]
            for notebook in ready[: side_by_side - len(under_way)]:
                announce(notebook.stem)
                output = paths.EXECUTED / notebook.name
                shown = progress and side_by_side == 1
                run = pool.submit(run_notebook, notebook, parameters, output, lake, shown)
                under_way[run] = notebook
                waiting.remove(notebook)
            for run in wait(under_way, return_when=FIRST_COMPLETED).done:
                del under_way[run]
                try:
                    runs.append(run.result())
                    write_record(runs, started, lake)
                except CourseError as error:
                    failures.append(error)
                    waiting.clear()
    if failures:
        raise failures[0]
    return sorted(runs, key=lambda run: run.name)


def _length_of_chain(notebook: Path) -> int:
    """Return how long the longest chain is of notebooks of which each waits for the one before."""
    length, names = 0, {notebook.stem}
    while names := {name for name, before in STANDS_ON.items() if before in names}:
        length += 1
    return length


def _title(notebook: nbformat.NotebookNode) -> str:
    sources = (cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    lines = (line for source in sources for line in source.splitlines())
    return next((line.lstrip("# ") for line in lines if line.startswith("# ")), "")


def _versions() -> dict[str, str]:
    found = {name: version(name) for name in SHOWN_VERSIONS}
    java = spark_home.java_version(spark_home.java_home())
    return {"python": platform.python_version(), "java": java} | found


def _commit() -> str | None:
    command = ["git", "-C", str(paths.ROOT), "rev-parse", "--short", "HEAD"]
    try:
        return subprocess.run(command, capture_output=True, text=True).stdout.strip() or None
    except OSError:
        return None
