"""A book of a page or two, to try an extension on."""

import io
import json
import re

import nbformat
from sphinx.application import Sphinx
from sphinx.util.docutils import docutils_namespace

EXTENSIONS = [
    "contract_tables",
    "cost_tables",
    "course_status",
    "executed_notebooks",
    "folded_cells",
    "glossary_links",
    "page_icons",
    "page_scripts",
    "picture_links",
    "picture_texts",
    "production_marks",
    "projection_tables",
    "repeated_warnings",
    "script_pages",
    "speed_results",
    "version_tables",
]


class SmallBook:
    """A book in a temporary folder, with one notebook and its executed copy."""

    def __init__(self, root):
        self.root = root
        self.write("notebooks/01-areas.ipynb", self.notebook())
        self.write("_build/executed/01-areas.ipynb", self.notebook(result="12.57"))
        self.write_index("")

    def write(self, name, content):
        """Write a file, a notebook or JSON."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, nbformat.NotebookNode):
            content = nbformat.writes(content)
        path.write_text(content if isinstance(content, str) else json.dumps(content))

    def write_index(self, text):
        """Write the first page."""
        toc = "```{toctree}\nnotebooks/01-areas\n```"
        self.write("index.md", f"# A small book\n\n{text}\n\n{toc}\n")

    def notebook(self, result=None, source="area = 3.14159 * 2**2\narea", tags=(), **metadata):
        """A notebook of a title and a cell, with the outcome of the cell if it has been run."""
        cell = nbformat.v4.new_code_cell(source, metadata={"tags": list(tags), **metadata})
        if isinstance(result, str):
            cell.outputs = [
                nbformat.v4.new_output(
                    "execute_result", data={"text/plain": result}, execution_count=1
                )
            ]
        elif result:
            cell.outputs = [result]
        title = nbformat.v4.new_markdown_cell("# Areas")
        notebook = nbformat.v4.new_notebook(cells=[title, cell])
        notebook.metadata.kernelspec = {"name": "python3", "display_name": "Python 3"}
        notebook.metadata.language_info = {"name": "python"}
        return notebook

    def both(self, **options):
        """Write notebook and executed copy with the same cells."""
        self.write("_build/executed/01-areas.ipynb", self.notebook(**options))
        self.write("notebooks/01-areas.ipynb", self.notebook(**{**options, "result": None}))

    def build(self, extensions=EXTENSIONS):
        """Build the book; return its warnings."""
        warnings = io.StringIO()
        with docutils_namespace():
            self.app = Sphinx(
                self.root,
                None,
                self.root / "_build" / "html",
                self.root / "_build" / "doctrees",
                "html",
                confoverrides={
                    "extensions": ["myst_nb", "sphinxcontrib.mermaid", *extensions],
                    "exclude_patterns": ["_build"],
                    "html_theme": "basic",
                    "myst_fence_as_directive": ["mermaid"],
                    "nb_execution_mode": "off",
                    "nitpicky": True,
                    "executed_notebooks_dir": "_build/executed",
                },
                status=None,
                warning=warnings,
            )
            self.app.build()
        return re.sub(r"\x1b\[[0-9;]*m", "", warnings.getvalue())

    def page(self, name="notebooks/01-areas"):
        """The HTML of a built page."""
        return (self.root / "_build" / "html" / f"{name}.html").read_text()
