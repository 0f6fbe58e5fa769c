"""The directive `{course-status}`: the last run of the course, its times and its results."""

import json
from datetime import datetime
from pathlib import Path

import nbformat
from docutils import nodes
from sphinx import addnodes
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective

from churnlab.author.reading import minutes_to_the_first_model

RECORD = "run.json"
MEND = "Run `make course` to execute the notebooks."

logger = logging.getLogger(__name__)


class CourseStatus(SphinxDirective):
    """Tables made from the record that the last run of the notebooks left."""

    def run(self):
        """The nodes of the directive."""
        folder = self.config.executed_notebooks_dir
        path = Path(self.env.srcdir) / folder / RECORD
        self.env.note_dependency(str(path))
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
            return self._tables(record)
        except FileNotFoundError:
            return self._problem(f"There is no record of a run at {folder}/{RECORD}.")
        except (ValueError, KeyError, TypeError) as error:
            return self._problem(
                f"The record of the run, {folder}/{RECORD}, is damaged: {error!r}."
            )

    def _problem(self, message):
        logger.warning("%s %s", message, MEND, type="course_status", location=self.get_location())
        return [nodes.paragraph("", "", nodes.Text(f"{message} {MEND}"))]

    def _tables(self, record):
        started = datetime.fromisoformat(record["started"])
        run = [
            ("Started", f"{started.day} {started:%B %Y, %H:%M} {started.tzname() or ''}"),
            ("Modules together", duration(record["seconds"])),
            ("Data", f"{record['data_source']} ({record['rows']:,} rows)"),
        ]
        notebooks = sorted((Path(self.env.srcdir) / "notebooks").glob("*.ipynb"))
        before = minutes_to_the_first_model(nbformat.read(path, as_version=4) for path in notebooks)
        if before is not None:
            run.append(("First model", f"after {before:.0f} minutes of reading"))
        if record.get("commit"):
            run.append(("Commit", record["commit"][:12]))
        modules = [
            [self._module(module), duration(module["seconds"]), module["headline"]]
            for module in record["modules"]
        ]
        return [
            nodes.rubric(text="The run"),
            table(None, run),
            nodes.rubric(text="Modules"),
            table(["Module", "Time", "Result"], modules, widths=[40, 15, 45]),
            nodes.rubric(text="Versions"),
            table(["Software", "Version"], sorted(record["versions"].items(), key=by_name)),
        ]

    def _module(self, module):
        """The title of a module, a link to its page."""
        return addnodes.pending_xref(
            "",
            nodes.inline(text=module["title"]),
            refdoc=self.env.docname,
            refdomain="std",
            reftype="doc",
            reftarget=f"/notebooks/{module['name']}",
            refexplicit=True,
        )


def by_name(item):
    """Sort key: names of software without regard to case."""
    return item[0].lower()


def duration(seconds):
    """`seconds` in the words of a reader: 42 s, 3 min 5 s, 1 h 2 min."""
    seconds = round(seconds)
    if seconds < 60:
        return f"{seconds} s"
    minutes, seconds = divmod(seconds, 60)
    if minutes < 60:
        return f"{minutes} min {seconds} s" if seconds else f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if minutes else f"{hours} h"


def table(head, rows, widths=(30, 70)):
    """A docutils table; a cell is a text or a node."""
    group = nodes.tgroup(cols=len(widths))
    group += [nodes.colspec(colwidth=width) for width in widths]
    if head:
        group += nodes.thead("", _row(head))
    group += nodes.tbody("", *(_row(row) for row in rows))
    return nodes.table("", group, classes=["course-status"])


def _row(cells):
    row = nodes.row()
    for cell in cells:
        content = cell if isinstance(cell, nodes.Node) else nodes.Text(str(cell))
        row += nodes.entry("", nodes.paragraph("", "", content))
    return row


def setup(app):
    """Register the extension with Sphinx."""
    app.add_directive("course-status", CourseStatus)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
