"""Every picture has a text for readers who cannot see it: a picture without one is a warning."""

from docutils import nodes
from sphinx.util import logging
from sphinxcontrib.mermaid import mermaid

logger = logging.getLogger(__name__)


def demand_texts(app, doctree):
    """`doctree-read`: warn of pictures and diagrams without a text."""
    for image in doctree.findall(nodes.image):
        if not image.get("alt", "").strip():
            _warn(
                app,
                image,
                f"The picture {_name(image)} has no alt text. In Markdown write ![text](file); in"
                " a notebook set `mystnb: {image: {alt: text}}` in the metadata of the cell that"
                " draws it.",
            )
    for diagram in doctree.findall(mermaid):
        if "accTitle" not in diagram["code"]:
            _warn(app, diagram, "A mermaid diagram has no text: add the line `accTitle: text`.")


def _name(image):
    uri = image.get("uri", "")
    return "of an output" if not uri or "jupyter_execute" in uri else uri


def _warn(app, node, message):
    logger.warning(
        message,
        type="picture_texts",
        location=node if node.source else app.env.docname,
    )


def setup(app):
    """Register the extension with Sphinx."""
    app.connect("doctree-read", demand_texts)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
