"""The text of a page as plain Markdown: JupyterLab shows no directives and roles of MyST."""

import ast
import html
import re
from collections.abc import Callable
from pathlib import Path

import nbformat

from churnlab.errors import CourseError

UNKNOWN_VALUE = "(the value you just computed)"
DIRECTIVE = re.compile(
    r"^(?P<fence>`{3,}|:{3,})\{(?P<name>[\w:+-]+)\}[ ]*(?P<title>[^\n]*)\n"
    r"(?P<options>(?::[\w-]+:[^\n]*\n)*)(?P<text>.*?)\n*^(?P=fence)[ ]*$",
    re.DOTALL | re.MULTILINE,
)
# Code is looked for first: in `{tag}` of a command there is no role.
ROLE = re.compile(
    r"^(?P<fence>`{3,}|~{3,})[^\n]*\n.*?^(?P=fence)[ ]*$"
    r"|\{(?P<name>[a-z][\w:+-]*)\}(?P<tick>`+)(?P<text>[^`]+)(?P=tick)"
    r"|(?P<code>`+)(?!`).+?(?<!`)(?P=code)(?!`)",
    re.DOTALL | re.MULTILINE,
)
LABEL = re.compile(r"^\([\w-]+\)=\n", re.MULTILINE)
NAMED = re.compile(r"(?P<text>.+?)\s*<(?P<target>[^>]+)>$", re.DOTALL)
ADMONITIONS = ("attention", "caution", "danger", "hint", "important", "note", "tip", "warning")


def plain_markdown(source: str, values: dict[str, object]) -> str:
    """Return a page's text with its directives and roles in words that any Markdown can show.

    ``values`` are what the text quotes. Raises CourseError for a directive or role that it can't
    say plainly.
    """
    text = DIRECTIVE.sub(_plain_directive, LABEL.sub("", source))
    return ROLE.sub(lambda found: _plain_role(found, values), text)


def glued_values(executed: Path) -> dict[str, object]:
    """Return the values that a notebook's last run stored for its text."""
    notebook = nbformat.read(executed, as_version=4)
    values = {}
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            stored = output.get("metadata", {}).get("scrapbook")
            if stored:
                kept = output.data.get(f"{stored['mime_prefix']}text/plain", "")
                values[stored["name"]] = ast.literal_eval(kept) if kept else UNKNOWN_VALUE
    return values


def _plain_directive(found: re.Match) -> str:
    name, title = found["name"], found["title"].strip()
    text = DIRECTIVE.sub(_plain_directive, found["text"].strip())  # one may stand in another
    if name == "dropdown":
        return f"<details><summary>{html.escape(title)}</summary>\n\n{text}\n\n</details>"
    if name in ADMONITIONS or name == "admonition":
        lines = f"**{title or name.capitalize()}.** {text}".splitlines()
        return "\n".join(f"> {line}".rstrip() for line in lines)
    if name in ("figure", "image"):
        alt = re.search(r"^:alt: *(.*)$", found["options"], re.MULTILINE)
        return f"![{alt[1] if alt else ''}]({title})\n\n{text}".rstrip()
    if name == "math":
        return f"$$\n{text or title}\n$$"
    raise _unknown(f"directive {{{name}}}")


def _plain_role(found: re.Match, values: dict[str, object]) -> str:
    if not found["name"]:  # code
        return found[0]
    if found["name"] not in ROLES:
        raise _unknown(f"role {{{found['name']}}}")
    return ROLES[found["name"]](found["text"].strip(), values)


def _quoted(text: str, values: dict[str, object]) -> str:
    name, _, format_spec = text.partition(":")
    return format(values[name], format_spec) if name in values else UNKNOWN_VALUE


def _named(text: str, values: dict[str, object]) -> str:
    found = NAMED.match(text)
    return found["text"] if found else text


def _document(text: str, values: dict[str, object]) -> str:
    found = NAMED.match(text)
    target = found["target"] if found else text
    return f"[{found['text'] if found else target.rpartition('/')[2]}]({target}.md)"


ROLES: dict[str, Callable[[str, dict[str, object]], str]] = {
    "glue": _quoted,
    "glue:text": _quoted,
    "term": _named,
    "ref": _named,
    "numref": _named,
    "abbr": lambda text, values: text,
    "doc": _document,
    "math": lambda text, values: f"${text}$",
}


def _unknown(what: str) -> CourseError:
    return CourseError(
        f"JupyterLab can't show the {what}.",
        "Say it in plain Markdown, or teach churnlab/author/plain_markdown.py to.",
    )
