"""The directive `{contract-tables}`: every table of the course, from the file Terraform reads."""

import json
from pathlib import Path

from course_status import table
from docutils import nodes
from sphinx.util.docutils import SphinxDirective

DEFINITIONS = Path(__file__).resolve().parents[2] / "infra" / "bigquery_tables.json"
RUN_COLUMNS = ("pipeline_id", "step", "pipeline_execution_ts")  # told once, above the tables


class ContractTables(SphinxDirective):
    """A section per table: what one row is, and its columns."""

    def run(self):
        """The nodes of the directive."""
        self.env.note_dependency(str(DEFINITIONS))
        definitions = json.loads(DEFINITIONS.read_text(encoding="utf-8"))
        return [self._section(name, contract) for name, contract in definitions.items()]

    def _section(self, name, contract):
        section = nodes.section(ids=[nodes.make_id(f"table-{name}")], names=[name])
        section += nodes.title("", "", nodes.literal(text=name))
        section += nodes.paragraph(text=contract["description"])
        columns = [
            [nodes.literal(text=column["name"]), column_type(column)]
            for column in contract["schema"]
            if column["name"] not in RUN_COLUMNS
        ]
        section += table(["Column", "Type"], columns, widths=[50, 50])
        return section


def column_type(column):
    """A column's type in words: STRING, or a list of records with their fields."""
    fields = ", ".join(f"{part['name']} {part['type']}" for part in column.get("fields", []))
    words = f"{column['type']} ({fields})" if fields else column["type"]
    return f"list of {words}" if column["mode"] == "REPEATED" else words


def setup(app):
    """Register the extension with Sphinx."""
    app.add_directive("contract-tables", ContractTables)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
