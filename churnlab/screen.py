"""What the terminal shows: data as data.

A value such as ``70 [/month]`` or ``:smile:`` is neither markup nor an emoji, and a control
character in a file must not reach the terminal. Everything that prints data prints it by this.
"""

import re
from collections.abc import Iterable

from rich.console import Console
from rich.table import Table
from rich.text import Text

CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")  # all but the tab and the new line


def screen(stderr: bool = False, **options) -> Console:
    """Return a console that takes text as it is; options are those of rich's Console."""
    return Console(stderr=stderr, markup=False, emoji=False, highlight=False, **options)


def printable(value: object) -> str:
    """Return a value as text, NULL for none, control characters as their escapes."""
    text = "NULL" if value is None else str(value)
    return CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", text)


def table_of(columns: Iterable[str], rows: Iterable[Iterable[object]] = (), **options) -> Table:
    """Return a table of data; a cell that is a rich Text keeps its style."""
    table = Table(**options)
    for column in columns:
        table.add_column(_cell(column))
    for row in rows:
        table.add_row(*map(_cell, row))
    return table


def _cell(value: object) -> Text:
    return value if isinstance(value, Text) else Text(printable(value))


def say(text: str, style: str = "", stderr: bool = False) -> None:
    """Print a line, or several, as long as they are."""
    screen(stderr).print(printable(text), style=style or None, soft_wrap=True)


def report_error(problem: str, mend: str = "") -> None:
    """Print an error to the standard error: one line, and one that says what to do."""
    error = Text.assemble(("error:", "red"), f" {printable(problem)}")
    screen(stderr=True).print(error, soft_wrap=True)
    if mend:
        say(mend, stderr=True)
