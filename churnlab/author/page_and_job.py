"""The page is the job: change a page, and see that its cells and its script write the same rows."""

from __future__ import annotations

import contextlib
import inspect
import io
import tempfile
from collections.abc import Callable
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from churnlab.author.exercises import EXERCISE_TAG
from churnlab.author.exporter import PAGE_TAGS, export_notebook
from churnlab.errors import CourseError
from churnlab.run.library import library

NOT_THE_PAGE_S = PAGE_TAGS | {"script-only"}
# What names the run, and so differs between two runs of the same thing.
RUN_COLUMNS = {"pipeline_id", "pipeline_execution_ts"}
TABLES = ("training_data", "quarantined_rows", "scoring_input", "scoring_outcomes")
CUSTOMER = {
    "gender": "Female", "SeniorCitizen": "0", "Partner": "Yes", "Dependents": "No", "tenure": "2",
    "PhoneService": "No", "MultipleLines": "No phone service", "InternetService": "DSL",
    "OnlineSecurity": "No", "OnlineBackup": "Yes", "DeviceProtection": "No", "TechSupport": "No",
    "StreamingTV": "No", "StreamingMovies": "No", "Contract": "Month-to-month",
    "PaperlessBilling": "Yes", "PaymentMethod": "Electronic check",
}  # fmt: skip


def differences(step: str, change: Callable, after: str, folder: Path | None = None) -> list[str]:
    """Return in what the changed page and the script that is exported from it differ.

    ``change`` is a learner's function of ``customers``; it goes into the notebook of ``step`` in
    ``folder``, or the working folder, behind the cell that holds ``after``. An export that is
    refused is a difference, too.
    """
    [path] = (folder or Path.cwd()).glob(f"*-{step}.ipynb")
    page = changed(nbformat.read(path, as_version=4), change, after)
    with tempfile.TemporaryDirectory() as lake, contextlib.redirect_stdout(io.StringIO()):
        write_customers(Path(lake))
        try:
            script = export_notebook(page, path.stem)
        except CourseError as error:
            return [str(error)]
        run_page(page, {"lake": lake, "pipeline_id": "the-page"})
        run_job(script, ["--lake", lake, "--pipeline-id", "the-job"])
        return differing_rows(lake)


def changed(notebook: NotebookNode, change: Callable, after: str) -> NotebookNode:
    """Return the notebook up to its exercises with a learner's step in it."""
    tags = [set(cell.metadata.get("tags", [])) for cell in notebook.cells]
    end = next((n for n, found in enumerate(tags) if EXERCISE_TAG in found), len(tags))
    cells = notebook.cells[:end]
    [place] = [n for n, c in enumerate(cells) if after in c.source and not tags[n] & PAGE_TAGS]
    step = [
        "from pyspark.sql import DataFrame\nfrom pyspark.sql import functions as F",
        inspect.getsource(change),
        f"customers = {change.__name__}(customers)",
    ]
    cells[place + 1 : place + 1] = map(nbformat.v4.new_code_cell, step)
    return nbformat.v4.new_notebook(cells=cells)


def run_page(page: NotebookNode, values: dict[str, str]) -> None:
    """Run the cells of a page one after the other, with these values of its parameters."""
    names = {"__name__": "__page__"}
    for cell in page.cells:
        tags = set(cell.metadata.get("tags", []))
        if cell.cell_type == "code" and not tags & NOT_THE_PAGE_S:
            exec(compile(cell.source, "the page", "exec", dont_inherit=True), names)
            names.update(values if "parameters" in tags else {})


def run_job(script: str, options: list[str]) -> None:
    """Run a script's main function with its command line's options."""
    names = {"__name__": "__job__"}
    exec(compile(script, "the job", "exec", dont_inherit=True), names)
    names["main"](options)


def differing_rows(lake: str) -> list[str]:
    """Return a line for each table in which the two runs have other rows."""
    found = []
    root = library.tables.dataset_root(lake, "churn")
    for table in TABLES:
        rows: dict[str, list[str]] = {"the-page": [], "the-job": []}
        for row in library.tables.read_rows(root, table):
            kept = {name: value for name, value in row.items() if name not in RUN_COLUMNS}
            rows[row["pipeline_id"]].append(repr(kept))
        if sorted(rows["the-page"]) != sorted(rows["the-job"]):
            found.append(f"{table}: {len(rows['the-page'])} and {len(rows['the-job'])} rows")
    return found


def write_customers(lake: Path, number: int = 60) -> None:
    """Land some customers; two of them pay much."""
    folder = lake / "raw" / "customers"
    folder.mkdir(parents=True)
    header = ["customerID", *CUSTOMER, "MonthlyCharges", "TotalCharges", "Churn"]
    lines = [",".join(header)]
    for n in range(number):
        bill = 118.0 if n in (7, 31) else 20.0 + n
        values = [f"{n:04d}-TRIED", *CUSTOMER.values(), f"{bill}", f"{2 * bill}"]
        lines.append(",".join([*values, "Yes" if n % 4 == 0 else "No"]))
    (folder / "customers.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
