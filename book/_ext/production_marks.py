"""Each cell that is exported says so, and leads to its line in the script that production runs.

What stays on the page has the class `tag_book-only`, which `course.css` draws.
"""

import ast
from pathlib import Path, PurePosixPath

from docutils import nodes
from script_pages import FOLDER
from sphinx.util import logging
from sphinx.util.nodes import make_refnode

from churnlab.author.exercises import STUB_TAG
from churnlab.author.exporter import LIBRARY, PAGE_TAGS, library_module, script_name

UNMARKED = PAGE_TAGS | {STUB_TAG, "parameters"}
DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
IMPORTS = (ast.Import, ast.ImportFrom)

logger = logging.getLogger(__name__)


def watch_scripts(app, docname, source):
    """`source-read`: a page is made anew when a script has changed, because lines have moved."""
    if _is_notebook(app, docname):
        for script in (Path(app.srcdir) / FOLDER).rglob("*.py"):
            app.env.note_dependency(str(script))


def mark_cells(app, doctree, docname):
    """`doctree-resolved`: put a mark under the code of each exported cell."""
    if app.builder.format != "html" or not _is_notebook(app, docname):
        return
    scripts = {}
    for cell in doctree.findall(_is_code_cell):
        path = script_of(cell["cell_metadata"].get("tags", []), PurePosixPath(docname).name)
        code = next(cell.findall(_is_input), None)
        if path is None or code is None:
            continue
        if path not in scripts:
            scripts[path] = Script.read(Path(app.srcdir) / path)
        if scripts[path] is None:
            if path.parent.name == LIBRARY:
                _warn(path, "is missing", docname)
            continue
        known_by = signs(next(code.findall(nodes.literal_block)).astext())
        line = next(filter(None, map(scripts[path].line_of, known_by)), None)
        if line:
            code += _mark(app, docname, path, line)
        elif known_by and not isinstance(
            known_by[0], IMPORTS
        ):  # it drops imports it has no use for
            begins = ast.unparse(known_by[0])[:60]
            _warn(path, f"lacks the cell that begins with `{begins}`", docname)


def script_of(tags, notebook):
    """The path of the script that a cell is exported to, or None if it stays on the page."""
    if UNMARKED & set(tags):
        return None
    module = library_module(tags)
    name = f"{LIBRARY}/{module}" if module else script_name(notebook)
    return PurePosixPath(FOLDER, f"{name}.py")


class Script:
    """The statements of a script; the formatter may have laid them out anew."""

    def __init__(self, text):
        self.lines = {}
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.stmt):
                for key in _keys(node):
                    self.lines.setdefault(key, []).append(node.lineno)

    @classmethod
    def read(cls, path):
        """The script in a file, or None if there is none."""
        return cls(path.read_text(encoding="utf-8")) if path.is_file() else None

    def line_of(self, statement):
        """The line of a statement; of one that the script has twice, the next one each time."""
        for key in _keys(statement):
            if lines := self.lines.get(key):
                return lines.pop(0) if len(lines) > 1 else lines[0]
        return None


def signs(source):
    """The statements that a cell is known by: the first that is no import, else its imports."""
    statements = ast.parse(source).body
    return [s for s in statements if not isinstance(s, IMPORTS)][:1] or statements


def _keys(node):
    """What a statement is known by: a definition by its name, an import by each name it brings."""
    if isinstance(node, DEFINITIONS):
        return [f"def {node.name}"]
    if isinstance(node, IMPORTS):
        origin = getattr(node, "module", "")
        return [f"import {origin} {alias.name} {alias.asname}" for alias in node.names]
    return [ast.dump(node)]


def _mark(app, docname, path, line):
    text = nodes.inline(text=f"runs in production: {path.name}, line {line}")
    page = str(path.with_suffix(""))
    link = make_refnode(app.builder, docname, page, f"L-{line}", [text])
    return nodes.paragraph("", "", link, classes=["course-production"])


def _is_notebook(app, docname):
    return Path(app.env.doc2path(docname)).suffix == ".ipynb"


def _is_code_cell(node):
    return isinstance(node, nodes.container) and node.get("nb_element") == "cell_code"


def _is_input(node):
    return isinstance(node, nodes.container) and node.get("nb_element") == "cell_code_source"


def _warn(path, problem, docname):
    logger.warning(
        "%s %s. Run `make export`.", path, problem, type="production_marks", location=docname
    )


def setup(app):
    """Register the extension with Sphinx."""
    app.connect("source-read", watch_scripts)
    app.connect("doctree-resolved", mark_cells)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
