"""How long a page takes to read, counted by its words and its lines of code."""

import re
from collections.abc import Iterable

from nbformat import NotebookNode

# The mean of adults who read English non-fiction silently: M. Brysbaert, "How many words do we read
# per minute?", Journal of Memory and Language 109 (2019), 104047.
WORDS_A_MINUTE = 238
SECONDS_A_LINE = 2.0  # of code: our own guess, about eight of its words at that pace
QUIZ = re.compile(r"^## Quiz\n.*?(?=^## |\Z)", re.MULTILINE | re.DOTALL)
# Folded, or for later: nobody has to read it in order to go on.
FOLDED_TAGS = {"remove-cell", "hide-input", "remove-input", "solution", "check", "exercise"}
FITS = re.compile(r"\.fit\((folded|train)\b")  # the names of customers that a model may learn from


def reading_minutes(cells: Iterable[NotebookNode]) -> float:
    """Return the minutes that cells take to read; what is folded, and exercises and quizzes, do not
    count.
    """
    words = lines = 0
    for cell in cells:
        if FOLDED_TAGS.intersection(cell.metadata.get("tags", [])):
            continue
        if cell.cell_type == "markdown":
            text = QUIZ.sub("", cell.source)
            words += len(re.sub(r"\]\([^)]*\)", "]", text).split())  # links without targets
        else:
            lines += sum(bool(line.strip()) for line in cell.source.splitlines())
    return words / WORDS_A_MINUTE + lines * SECONDS_A_LINE / 60


def minutes_to_the_first_model(notebooks: Iterable[NotebookNode]) -> float | None:
    """Return the minutes of reading until a cell fits a model to customers; None if none does."""
    before = []
    for notebook in notebooks:
        for cell in notebook.cells:
            before.append(cell)
            if cell.cell_type == "code" and FITS.search(cell.source):
                return reading_minutes(before)
    return None
