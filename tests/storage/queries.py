"""Every review query of the course, found where a reader finds it."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import nbformat

from churnlab import paths

ON_THE_COMMAND_LINE = re.compile(r"""churnlab sql (["'`])(SELECT [^…]+?)\1""", re.DOTALL)


class UnknownQuery(Exception):
    """A query that can't be read off the page."""


def course_queries(run: str) -> dict[str, str]:
    """Return the queries by where they are; a variable that ends in ``_id`` stands for the run.

    Raises UnknownQuery for a query that is put together elsewhere or of other variables.
    """
    found = {}
    for path in sorted(paths.NOTEBOOKS.glob("[0-9][0-9]-*.ipynb")):
        for number, cell in enumerate(nbformat.read(path, as_version=4).cells, start=1):
            place = f"{path.stem}, cell {number}"
            search = (
                in_code(cell.source, run) if cell.cell_type == "code" else in_prose(cell.source)
            )
            found |= {
                f"{place}: {i}": query for i, query in enumerate(named(place, search), start=1)
            }
    prose = [paths.ROOT / "README.md", *sorted((paths.ROOT / "book").glob("*.md"))]
    for path in [*prose, *sorted(Path(__file__).parents[2].joinpath("churnlab").rglob("*.py"))]:
        for i, query in enumerate(in_prose(path.read_text(encoding="utf-8")), start=1):
            found[f"{path.name}: {i}"] = query
    return found


def named(place: str, search: Iterator[str]) -> Iterator[str]:
    """Yield what a search finds; its error names the place."""
    try:
        yield from search
    except UnknownQuery as error:
        raise UnknownQuery(f"{place}: {error}") from None


def in_prose(text: str) -> Iterator[str]:
    """Yield the queries that a text tells the reader to ask by ``churnlab sql``."""
    for match in ON_THE_COMMAND_LINE.finditer(text):
        yield match[2]


def in_code(source: str, run: str) -> Iterator[str]:
    """Yield the queries that a cell hands to ``review``."""
    lines = ("" if line.lstrip()[:1] in ("%", "!") else line for line in source.splitlines())
    for node in ast.walk(ast.parse("\n".join(lines))):
        name = getattr(node, "func", None)
        if isinstance(node, ast.Call) and "review" in (
            getattr(name, "id", ""),
            getattr(name, "attr", ""),
        ):
            yield text_of(node.args[1], run)


def text_of(argument: ast.expr, run: str) -> str:
    """Return the text of a string or an f-string."""
    if isinstance(argument, ast.Constant):
        return argument.value
    if not isinstance(argument, ast.JoinedStr):
        raise UnknownQuery(f"write the query itself, not {ast.unparse(argument)}, into review(…)")
    return "".join(part_of(part, run) for part in argument.values)


def part_of(part: ast.expr, run: str) -> str:
    if isinstance(part, ast.Constant):
        return part.value
    variable = ast.unparse(part.value)
    if not variable.endswith("_id"):
        raise UnknownQuery(f"nobody knows what {{{variable}}} stands for")
    return run
