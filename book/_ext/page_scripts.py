"""Scripts of a page: only what the page needs, and nothing from another host."""

from sphinxcontrib.mermaid import mermaid

MERMAID = "vendor/mermaid.tiny.js"
# sphinx-thebe, which Jupyter Book always loads, names a content delivery network in an inline
# script and, added twice, is an error in the browser's console.
NEVER = ["thebe"]


def choose_scripts(app, pagename, templatename, context, doctree):
    """`html-page-context`: drop what the page does not use, load mermaid where it does."""
    unwanted = list(NEVER)
    if doctree is not None and doctree.next_node(mermaid):
        app.add_js_file(MERMAID, priority=400)
    else:
        unwanted.append("mermaid")
    context["script_files"][:] = [
        script
        for script in context["script_files"]
        if not any(word in _text(script) for word in unwanted)
    ]


def _text(script):
    """Where a script is from and, of an inline script, its text."""
    return (
        f"{getattr(script, 'filename', '')} {getattr(script, 'attributes', {}).get('body') or ''}"
    )


def setup(app):
    """Register the extension with Sphinx."""
    # After every other extension has added its scripts.
    app.connect("html-page-context", choose_scripts, priority=900)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
