"""Opening the pages of the book in a browser."""

from pathlib import Path

DESKTOP = {"width": 1366, "height": 900}
PHONE = {"width": 360, "height": 780}

DRAWN = """() =>
    [...document.querySelectorAll('pre.mermaid')].every(node => node.querySelector('svg'))
    && [...document.querySelectorAll('main .math')]
        .every(node => node.querySelector('mjx-container'))
"""


def page_names(book: Path) -> list[str]:
    """The pages of the book, without the redirect at its root."""
    names = [path.relative_to(book).as_posix() for path in book.rglob("*.html")]
    return sorted(name for name in names if not name.startswith("_") and name != "index.html")


def new_page(browser):
    """Return a fresh page at desktop width, patient on a machine that does much else."""
    page = browser.new_page(viewport=DESKTOP)
    page.set_default_timeout(300_000)
    return page


def open_page(page, address: str) -> None:
    """Open a page and wait until its diagrams and formulas are drawn."""
    page.goto(address, wait_until="networkidle")
    page.wait_for_function(DRAWN)
