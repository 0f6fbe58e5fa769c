"""Quizzes as a reader answers them: real choices, made of the plain text that the notebook holds.

A quiz is written so that it reads well anywhere::

    ## Quiz

    Which of the two is a promise?

    a) A comment.
    b) A test.

    ```{dropdown} Answer
    b). A comment can be untrue for years.
    ```
"""

import html
import re
from itertools import count

from markdown_it import MarkdownIt
from nbformat import NotebookNode

from churnlab.errors import CourseError

HEADING = "## Quiz"
QUESTION = re.compile(
    r"(?P<question>.+?)\n\s*(?P<choices>(?:^[a-z]\) [^\n]+\n\s*)+)"
    r"^```\{dropdown\} Answer\n(?P<answer>.+?)\n```\s*",
    re.DOTALL | re.MULTILINE,
)
CHOICE = re.compile(r"^(?P<letter>[a-z])\) (?P<text>.+)$", re.MULTILINE)
RIGHT = "Right. The answer says why."
WRONG = "Not that one. Try another, or open the answer."

_markdown = MarkdownIt("commonmark")


def has_quiz(cell: NotebookNode) -> bool:
    """Tell whether a cell holds a quiz."""
    return cell.cell_type == "markdown" and bool(re.search(rf"^{HEADING}$", cell.source, re.M))


def with_choices(source: str) -> str:
    """Return a cell's text with its quiz as radio buttons, each with an answer to open.

    They need no script: the browser groups them, and the style sheet shows whether the choice is
    right. Raises CourseError for a quiz that is not written as this module describes.
    """
    before, _, rest = source.partition(f"{HEADING}\n")
    quiz, heading, after = re.match(
        r"(.*?)(^## |\Z)(.*)\Z", rest, re.DOTALL | re.MULTILINE
    ).groups()
    numbers = count(1)
    shown = QUESTION.sub(lambda found: _fieldset(found, next(numbers)), quiz.strip() + "\n")
    if "{dropdown}" in shown or "<fieldset" not in shown:
        raise CourseError(
            f"A quiz can't be read: {quiz.strip()[:60]!r}.",
            "Write the question, lines such as `a) …`, and a dropdown named Answer.",
        )
    return f"{before}{HEADING}\n\n{shown.strip()}\n\n{heading}{after}".rstrip() + "\n"


def _fieldset(found: re.Match, number: int) -> str:
    """Return the HTML of one question; a blank line inside would end it."""
    choices = list(CHOICE.finditer(found["choices"]))
    right = found["answer"].lstrip()[0]
    if right not in [choice["letter"] for choice in choices]:
        raise CourseError(
            f"No choice is right in the quiz {found['question'].strip()[:60]!r}.",
            "Begin the answer with the letter of the right choice, such as `b).`",
        )
    lines = ['<fieldset class="course-quiz">', f"<legend>{_inline(found['question'])}</legend>"]
    for choice in choices:
        mark = ' class="right"' if choice["letter"] == right else ""
        lines.append(
            f'<label{mark}><input type="radio" name="quiz-{number}" '
            f'value="{choice["letter"]}"> {choice["letter"]}) {_inline(choice["text"])}</label>'
        )
    lines += [
        f'<p class="said said-right" role="status">{html.escape(RIGHT)}</p>',
        f'<p class="said said-wrong" role="status">{html.escape(WRONG)}</p>',
        f"<details><summary>Answer</summary><p>{_inline(found['answer'])}</p></details>",
        "</fieldset>",
    ]
    return "\n".join(lines) + "\n\n"


def _inline(text: str) -> str:
    """Return the HTML of a text with Markdown's inline marks."""
    return _markdown.renderInline(" ".join(text.split()))
