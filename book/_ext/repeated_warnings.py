"""A page that had a warning is read again by the next build, so that the warning comes again.

Sphinx keeps what it has read, warnings or not: under `-W` the first build would fail, and the
second one, with nothing mended, pass.
"""

from pathlib import Path


def forget(app, exception):
    """`build-finished`: after a build with warnings, drop what Sphinx would remember of it."""
    if exception or app._warncount:
        (Path(app.doctreedir) / "environment.pickle").unlink(missing_ok=True)


def setup(app):
    """Register the extension with Sphinx."""
    app.connect("build-finished", forget)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
