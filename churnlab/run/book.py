"""Build and serve the book."""

import functools
import http.server
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from churnlab import paths
from churnlab.errors import CourseError


def build() -> Path:
    """Build the book strictly from the executed notebooks; return its first page.

    Raises CourseError if Sphinx has anything to warn about.
    """
    jupyter_book = Path(sys.executable).with_name("jupyter-book")
    log = paths.BUILD / "book.log"
    log.parent.mkdir(exist_ok=True)
    shutil.rmtree(paths.BOOK, ignore_errors=True)  # pages of renamed modules would stay
    command = [jupyter_book, "build", paths.ROOT, "--path-output", paths.BUILD / "book"]
    with log.open("w", encoding="utf-8") as stream:
        built = subprocess.run(
            [*map(str, command), "--all", "-n", "-W", "--keep-going", "-q"],
            stdout=stream,
            stderr=subprocess.STDOUT,
            cwd=paths.ROOT,
        )
    if built.returncode:
        lines = log.read_text(encoding="utf-8").splitlines()
        warnings = [line for line in lines if "WARNING" in line or "ERROR" in line]
        shown = "\n".join(dict.fromkeys(warnings[:8])) or "\n".join(lines[-8:])
        raise CourseError(f"The book was not built.\n{shown}", f"The whole log is {log}.")
    return paths.BOOK / "index.html"


def serve(port: int, announce: Callable[[str], None]) -> None:
    """Serve the built book on loopback until interrupted; a taken port gives way to a free one.

    Raises CourseError if there is no book.
    """
    if not (paths.BOOK / "index.html").exists():
        raise CourseError("There is no book yet.", "Run `make course`, or `make book`.")
    handler = functools.partial(_QuietHandler, directory=str(paths.BOOK))
    try:
        server = http.server.ThreadingHTTPServer(("127.0.0.1", port), handler)
    except OSError:
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    announce(f"http://127.0.0.1:{server.server_port}/")
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        server.server_close()


class _QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_) -> None:
        """Say nothing: a page asks for dozens of files."""
