"""A page for each exported script: a link to `../scripts_generated/x.py` opens it in the book.

The same Markdown link works in JupyterLab, where it opens the file itself.
"""

import re
from html import escape
from pathlib import Path, PurePosixPath

from sphinx import addnodes
from sphinx.highlighting import PygmentsBridge
from sphinx.util import logging
from sphinx.util.nodes import make_refnode

FOLDER = "scripts_generated"
ORIGIN = re.compile(r"# Generated from (notebooks/[\w-]+)\.ipynb")

logger = logging.getLogger(__name__)


def link_to_pages(app, doctree, docname):
    """`doctree-resolved`: turn links to script files into links to their pages."""
    if app.builder.format != "html":
        return
    for link in list(doctree.findall(addnodes.download_reference)):
        path = _script(link.get("reftarget", ""), docname)
        if path is None:
            continue
        page = make_refnode(
            app.builder, docname, str(path.with_suffix("")), None, list(link.children)
        )
        link.replace_self(page)


def pages(app):
    """`html-collect-pages`: a page for each script."""
    highlighter = PygmentsBridge("html", app.config.pygments_style)
    for script in sorted((Path(app.srcdir) / FOLDER).rglob("*.py")):
        text = script.read_text(encoding="utf-8")
        # Each line has an anchor, L-1 and so on.
        code = highlighter.highlight_block(text, "python", linespans="L")
        notebook = _notebook_of(app, text)
        pagename = script.relative_to(app.srcdir).with_suffix("").as_posix()
        origin = ""
        if notebook:
            href = escape(app.builder.get_relative_uri(pagename, notebook))
            title = escape(app.env.titles[notebook].astext())
            origin = f'Exported from <a class="reference internal" href="{href}">{title}</a>. '
        body = (
            f"<h1>{escape(script.name)}</h1>\n<p>{origin}It runs under plain"
            " <code>spark-submit</code>. To change it, edit its notebook and run"
            f" <code>make export</code>.</p>\n{code}"
        )
        yield pagename, {"title": script.name, "body": body, "parents": []}, "page.html"


def _script(target, docname):
    """The path of the script that a link from `docname` names, or None."""
    path = PurePosixPath(target.lstrip("/"))
    if ".." in path.parts:
        path = PurePosixPath(docname).parent / path
        parts = []
        for part in path.parts:
            parts.pop() if part == ".." and parts else parts.append(part)
        path = PurePosixPath(*parts)
    return path if path.parts[:1] == (FOLDER,) and path.suffix == ".py" else None


def _notebook_of(app, text):
    """The page a script comes from: the notebook that its first line names."""
    if origin := ORIGIN.match(text):
        return origin[1] if origin[1] in app.env.found_docs else None
    return None


def setup(app):
    """Register the extension with Sphinx."""
    app.connect("doctree-resolved", link_to_pages)
    app.connect("html-collect-pages", pages)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
