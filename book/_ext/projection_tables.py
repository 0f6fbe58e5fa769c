"""The directives of the projection's page: `{projection-table}` and `{projection-calculator}`.

Both are computed at the build, from the measured growth and the prices, by churnlab's own code.
"""

import json
from html import escape

from cost_tables import CostDirective, words
from course_status import duration, table
from docutils import nodes

from churnlab import paths
from churnlab.cloud import projection
from churnlab.facts import published

SCRIPT = paths.ROOT / "book" / "_static" / "projection.js"
ASSUMED = projection.Assumptions()
STEPS = ("preprocessing", "scoring")  # what every customer needs; training takes a sample
# name, label, value, least, step of the calculator's fields
FIELDS = (
    ("customers", "customers", ASSUMED.customers, 1, 1),
    ("core_seconds", "core seconds a million customers", None, 0, "any"),
    ("executors", "executors", ASSUMED.executors, 2, 1),
    ("cores", "cores of each", ASSUMED.cores, 4, 4),
    ("memory_gb", "memory of each, GB", ASSUMED.memory_gb, 1, "any"),
    ("disk_gb", "shuffle disk of each, GB", ASSUMED.disk_gb, 0, "any"),
    ("efficiency", "share of the time that cores work, 0 to 1", ASSUMED.efficiency, 0.01, 0.01),
    ("speed", "speed of a cloud core, ours is 1", ASSUMED.speed, 0.01, 0.01),
    ("start_seconds", "seconds to start", ASSUMED.start_seconds, 0, 1),
    ("milli_dcu_seconds", "a real batch's milliDcuSeconds, if you have one", 0, 0, 1),
    ("shuffle_gb_seconds", "its shuffleStorageGbSeconds", 0, 0, 1),
)


class ProjectionDirective(CostDirective):
    """A directive that depends on the growth as well."""

    def run(self):
        """The nodes, or a sentence where nothing was measured."""
        for file in (projection.GROWTH, SCRIPT):
            self.env.note_dependency(str(file))
        if not projection.GROWTH.exists():
            return [words("Nothing has been measured on this copy of the course.")]
        return super().run()


class ProjectionTable(ProjectionDirective):
    """A row a step: core seconds, minutes, compute units and dollars, each as a range."""

    def content_nodes(self, prices):
        """The table."""
        head = ["Step", "Core seconds a million", "Time", "DCU-hours", "US dollars"]
        measured = projection.core_seconds_a_million(projection.read_growth(projection.GROWTH))
        rows = [row(step, seconds, prices) for step, seconds in measured.items()]
        return [table(head, rows, widths=[20, 20, 24, 18, 18])]


def row(step, seconds, prices):
    """The cells of a step."""
    low, high = projection.project_range(seconds, ASSUMED)
    usd = [found.cost(prices).total.usd for found in (low, high)]
    return [
        step,
        f"{seconds:,.0f}",
        f"{duration(low.seconds)} to {duration(high.seconds)}",
        f"{low.dcu_hours:,.0f} to {high.dcu_hours:,.0f}",
        f"{usd[0]:,.2f} to {usd[1]:,.2f}",
    ]


class ProjectionCalculator(ProjectionDirective):
    """A form that computes while one types, without a server."""

    def content_nodes(self, prices):
        """The form, its facts and its script, as HTML."""
        measured = projection.core_seconds_a_million(projection.read_growth(projection.GROWTH))
        core_seconds = round(sum(measured[step] for step in STEPS), 1)
        return [nodes.raw("", calculator(core_seconds, prices), format="html")]


def calculator(core_seconds, prices):
    """The HTML of the calculator."""
    known = dict(published().values("spark-compute-units"))
    known |= {"least_seconds": published().values("spark-minimum-charge")["seconds"]}
    known |= {"usd_per_dcu_hour": prices["spark-dcu"].usd(1)}
    known |= {"usd_per_gb_hour": prices["spark-shuffle"].usd(1)}
    script = SCRIPT.read_text(encoding="utf-8")
    fields = [
        field(name, label, core_seconds if value is None else value, least, step)
        for name, label, value, least, step in FIELDS
    ]
    return "\n".join(
        [
            '<form id="projection" aria-label="Calculator of a batch\'s time and cost"'
            ' style="display: grid; gap: 0.5rem; max-width: 40rem">',
            *fields,
            '<output aria-live="polite" style="font-weight: 600"></output></form>',
            f'<script type="application/json" id="projection-facts">{json.dumps(known)}</script>',
            f"<script>{script}</script>",
        ]
    )


def field(name, label, value, least, step):
    """The HTML of a field with its label."""
    shown = f"{value:d}" if isinstance(value, int) else f"{value:g}"
    return (
        '<label style="display: flex; flex-wrap: wrap; justify-content: space-between">'
        f'{escape(label)} <input type="number" name="{name}" value="{shown}" min="{least}"'
        f' step="{step}" required style="width: 11rem"></label>'
    )


def setup(app):
    """Register the extension with Sphinx."""
    app.add_directive("projection-table", ProjectionTable)
    app.add_directive("projection-calculator", ProjectionCalculator)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
