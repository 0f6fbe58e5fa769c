"""The built book on a local server and a browser to read it with."""

import functools
import http.server
import os
import sys
import threading
from pathlib import Path

import pytest

from churnlab import paths
from tests.book.browsing import new_page
from tests.book.small_book import SmallBook

sys.path.insert(0, str(paths.ROOT / "book" / "_ext"))


@pytest.fixture
def small_book(tmp_path):
    """A book that builds without a warning."""
    return SmallBook(tmp_path)


@pytest.fixture(scope="session")
def book(request) -> Path:
    """The folder of the built book: made of the notebooks as nbmake ran them, or the one CHURNLAB_BOOK names."""
    if named := os.environ.get("CHURNLAB_BOOK"):
        return Path(named)
    return request.getfixturevalue("course").book()


@pytest.fixture(scope="session")
def site(book):
    """The address of the book on a loopback server."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args):
            """Say nothing of each request."""

    handler = functools.partial(Quiet, directory=str(book))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture
def page(browser):
    """A fresh page at desktop width."""
    page = new_page(browser)
    yield page
    page.close()
