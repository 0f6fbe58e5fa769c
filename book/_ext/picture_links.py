"""A picture that a cell has drawn is a link to itself: alone it fills the screen of a phone."""

import re

DRAWN = re.compile(r'<img [^>]*src="([^"]*_images/[0-9a-f]{64}\.\w+)"[^>]*>')


def link_pictures(app, pagename, templatename, context, doctree):
    """`html-page-context`: put each picture of a cell into a link to its file."""
    if "body" in context:
        context["body"] = DRAWN.sub(
            r'<a class="course-picture" href="\1">\g<0></a>', context["body"]
        )


def setup(app):
    """Register the extension with Sphinx."""
    app.connect("html-page-context", link_pictures)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
