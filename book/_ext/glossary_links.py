"""The first use of a term of the glossary on the page of a notebook leads to the glossary.

Prose only: code, titles, quotes, outputs and what is a link already stay as they are. Where the
author wrote `{term}`, that link is the page's link to the term.
"""

import re
from pathlib import Path

from docutils import nodes
from sphinx import addnodes
from sphinx.util.nodes import make_refnode

# Words that often mean something else than the glossary does: these need a `{term}`.
ORDINARY = {
    *("act as", "batches", "cache", "candidate", "core", "explain", "job", "lift", "role"),
    *("shuffles", "split", "stage", "state", "task"),
}
NO_PROSE = (
    addnodes.pending_xref,
    addnodes.download_reference,
    nodes.block_quote,
    nodes.caption,
    nodes.literal,
    nodes.literal_block,
    nodes.math,
    nodes.raw,
    nodes.reference,
    nodes.table,
    nodes.title,
)


def link_first_uses(app, doctree, docname):
    """`doctree-resolved`: link the first use of each term."""
    if app.builder.format != "html" or Path(app.env.doc2path(docname)).suffix != ".ipynb":
        return
    terms = terms_of(app.env)
    done = {link.get("refuri", "").rpartition("#")[2] for link in doctree.findall(nodes.reference)}
    left = {name for name, (_, anchor) in terms.items() if anchor not in done}
    pattern = pattern_of(terms)

    def link(written, name):
        left.remove(name)
        node = make_refnode(app.builder, docname, *terms[name], [nodes.inline(text=written)])
        node["classes"].append("course-term")
        return node

    for text in list(doctree.findall(nodes.Text)):
        if left and _is_prose(text):
            _replace(text, pattern, left, link)


def terms_of(env):
    """Page and anchor of each term, by the term as it is written."""
    objects = env.get_domain("std").objects.items()
    return {name: place[:2] for (kind, name), place in objects if kind == "term"}


def _replace(text, pattern, left, link):
    """Put links into a text, for the terms that are left.

    A term that is not left is passed over as a whole: no shorter one is found in it.
    """
    pieces, written, end = [], text.astext(), 0
    for found in pattern.finditer(written):
        name = next((name for name in left if re.fullmatch(_word(name), found[1])), None)
        if name and not {name.lower(), found[0].lower()} & ORDINARY:
            pieces += [nodes.Text(written[end : found.start()]), link(found[0], name)]
            end = found.end()
    if pieces:
        text.parent.replace(
            text, [piece for piece in [*pieces, nodes.Text(written[end:])] if piece]
        )


def pattern_of(names):
    """A pattern of any of the terms, the longer first, in the plural as well."""
    words = sorted(names, key=len, reverse=True)
    return re.compile(rf"(?<![\w.-])({'|'.join(map(_word, words)) or '(?!)'})(?:e?s)?(?![\w-])")


def _word(name):
    """A term of small letters may begin a sentence; capitals are never small."""
    spaced = r"\s+".join(map(re.escape, name.split()))
    return spaced if name != name.lower() else f"(?i:{spaced})"


def _is_prose(text):
    node, in_paragraph = text.parent, False
    while node is not None:
        if isinstance(node, NO_PROSE) or "cell_output" in node.get("classes", []):
            return False
        in_paragraph = in_paragraph or isinstance(node, nodes.paragraph)
        node = node.parent
    return in_paragraph


def setup(app):
    """Register the extension with Sphinx."""
    # Before the marks of cells and other texts of ours are added.
    app.connect("doctree-resolved", link_first_uses, priority=400)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
