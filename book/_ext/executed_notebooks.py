"""The page of `notebooks/x.ipynb` is made from its executed copy, `_build/executed/x.ipynb`.

The committed notebooks have no outputs. papermill runs them into `executed_notebooks_dir`; the text
that Sphinx reads for the page is that copy, prepared for reading. A copy that is missing, failed or
was made from other cells is a warning, hence an error under `-W`.
"""

import json
import re
from pathlib import Path

import nbformat
from course_status import RECORD, duration
from sphinx.util import logging

from churnlab import paths
from churnlab.author.exercises import with_stubs, without_markers
from churnlab.author.quizzes import has_quiz, with_choices
from churnlab.author.reading import reading_minutes

MEND = "Run `make course` to execute the notebooks again."
FAILURE_TAG = "papermill-error-cell-tag"
INJECTED_TAG = "injected-parameters"
TIME = re.compile(r"(- \*\*Time:\*\* ).*")

logger = logging.getLogger(__name__)


def show_executed_copy(app, docname, source):
    """`source-read`: replace the text of a notebook by its executed copy."""
    if Path(app.env.doc2path(docname)).suffix != ".ipynb":
        return
    committed = nbformat.reads(source[0], as_version=4)
    notebook = _executed_copy(app, docname, committed) or committed
    say_times(notebook, run_seconds(app, Path(docname).name))
    source[0] = nbformat.writes(for_reading(notebook))


def say_times(notebook, seconds):
    """Write into a notebook's opening how long it takes to read, and how long it last ran."""
    minutes = max(1, round(reading_minutes(notebook.cells)))
    ran = f", {duration(seconds)} to run when this page was made" if seconds else ""
    opening = notebook.cells[0]
    unit = "minute" if minutes == 1 else "minutes"
    opening.source = TIME.sub(rf"\g<1>{minutes} {unit} to read{ran}.", opening.source)


def run_seconds(app, name):
    """How long a notebook last ran, by the record of the run; None if the record does not say."""
    record = Path(app.srcdir) / app.config.executed_notebooks_dir / RECORD
    try:
        modules = json.loads(record.read_text(encoding="utf-8"))["modules"]
        return next((m["seconds"] for m in modules if m["name"] == name), None)
    except (OSError, ValueError, KeyError, TypeError):
        return None  # the page of the status says what is wrong with it


def for_reading(notebook):
    """The notebook as its page shows it: stubs, checks, folded solutions, quizzes to answer."""
    for cell in notebook.cells:
        cell.metadata.pop("papermill", None)
        if INJECTED_TAG in cell.metadata.get("tags", []):
            cell.metadata.tags = [*cell.metadata.tags, "remove-cell"]
        for output in cell.get("outputs", []):
            if page := output.get("data", {}).get("text/html"):
                output.data["text/html"] = for_everybody(page)
        if has_quiz(cell):
            cell.source = with_choices(cell.source)
    notebook.cells = with_stubs(notebook.cells, _folded)
    # Interactive widgets would load their scripts from another host.
    notebook.metadata.pop("widgets", None)
    notebook.metadata.pop("papermill", None)
    return notebook


def _folded(solution):
    """The solution's cell, to be opened by the reader and without the markers."""
    solution.source = without_markers(solution.source)
    tags = [tag for tag in solution.metadata.tags if not tag.startswith("hide-")]
    solution.metadata.tags = [*tags, "hide-cell"]
    solution.metadata.setdefault("mystnb", {}).update(
        code_prompt_show="Show the solution", code_prompt_hide="Hide the solution"
    )
    return solution


def for_everybody(table):
    """A table of pandas without headers that have no text, which a screen reader would read out."""
    table = re.sub(r"<th></th>", "<td></td>", table)
    return re.sub(r"<style scoped>.*?</style>\s*", "", table, flags=re.DOTALL)


def _executed_copy(app, docname, committed):
    """The executed copy of a notebook, or None with a warning that says what is wrong with it."""
    folder = Path(app.srcdir) / app.config.executed_notebooks_dir
    path = folder / f"{Path(docname).name}.ipynb"
    app.env.note_dependency(str(path))
    shown = f"{app.config.executed_notebooks_dir}/{path.name}"

    def warn(problem, subtype):
        logger.warning(
            "%s %s", problem, MEND, type="executed_notebooks", subtype=subtype, location=docname
        )

    if not path.is_file():
        warn(f"This notebook has no executed copy at {shown}.", "missing")
        return None
    try:
        executed = nbformat.read(path, as_version=4)
    except (ValueError, nbformat.ValidationError) as error:
        warn(f"The executed copy {shown} cannot be read ({error}).", "unreadable")
        return None
    if failure := _failure(executed):
        warn(f"The executed copy {shown} ends in an error: {failure}.", "failed")
    elif _cells_to_compare(executed) != _cells_to_compare(committed):
        warn(f"The executed copy {shown} is stale: its cells differ from the notebook.", "stale")
    return executed


def _cells_to_compare(notebook):
    return [
        (cell.cell_type, cell.source.strip())
        for cell in notebook.cells
        if not {INJECTED_TAG, FAILURE_TAG} & set(cell.metadata.get("tags", []))
    ]


def _failure(notebook):
    """The first error of a notebook, other than those a cell is there to show."""
    for cell in notebook.cells:
        if "raises-exception" in cell.metadata.get("tags", []):
            continue
        for output in cell.get("outputs", []):
            if output.output_type == "error":
                return f"{output.ename}: {output.evalue}"
    return None


def setup(app):
    """Register the extension with Sphinx."""
    app.add_config_value("executed_notebooks_dir", str(paths.EXECUTED), "env", str)
    app.connect("source-read", show_executed_copy)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
