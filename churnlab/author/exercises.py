"""Exercises: the author writes a solution and its check, the learner's copy gets the task instead.

An exercise is three cells of a notebook:

* the task, a Markdown cell tagged ``exercise``;
* the solution, tagged ``solution``: imports, signature and docstring are given, what stands between
  the lines ``### BEGIN SOLUTION`` and ``### END SOLUTION`` (nbgrader's) is the learner's to write;
* the check, tagged ``check``: assertions whose messages say what is wrong, not what is right.

Both code cells bring their own imports, so that they run without the rest of the notebook.
"""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from churnlab.author.plain_markdown import glued_values, plain_markdown
from churnlab.errors import CourseError

BEGIN, END = "### BEGIN SOLUTION", "### END SOLUTION"
TASK = "# Write your code here."
YOUR_TURN = 'raise NotImplementedError("your turn")'
EXERCISE_TAG = "exercise"
SOLUTION_TAG = "solution"
CHECK_TAG = "check"
STUB_TAG = "exercise-stub"
MEMORY = "churnlab"


def stub(source: str) -> str:
    """What a learner starts from: `source` with a task in place of each part between markers.

    >>> print(stub("def one():\\n    ### BEGIN SOLUTION\\n    return 1\\n    ### END SOLUTION"))
    def one():
        # Write your code here.
        raise NotImplementedError("your turn")
    """
    lines = []
    for line, solved in _marked(source):
        if not solved:
            lines.append(line)
        elif line.strip() == BEGIN:
            indent = line[: len(line) - len(line.lstrip())]
            lines.append(indent + TASK)
            lines += [indent + YOUR_TURN] if indent else []  # a function needs a body
    return "\n".join(lines)


def without_markers(source: str) -> str:
    """Return a solution as a reader sees it."""
    return "\n".join(line for line, _ in _marked(source) if line.strip() not in (BEGIN, END))


def _marked(source: str) -> list[tuple[str, bool]]:
    """Return each line and whether it is part of the solution; the markers are."""
    lines, inside, parts = [], False, 0
    for line in source.splitlines():
        if line.strip() == (BEGIN if inside else END):
            raise _unmarked(f"`{line.strip()}` without the other marker before it")
        if line.strip() == BEGIN:
            inside, parts = True, parts + 1
        lines.append((line, inside))
        if line.strip() == END:
            inside = False
    if inside or not parts:
        raise _unmarked(f"no `{END}`" if inside else f"no `{BEGIN}`")
    return lines


def _unmarked(what: str) -> CourseError:
    return CourseError(
        f"A solution has {what}.", f"Put `{BEGIN}` and `{END}` around what the learner is to write."
    )


def is_solution(cell: NotebookNode) -> bool:
    """Whether `cell` solves an exercise."""
    return _is_code(cell, SOLUTION_TAG)


def is_check(cell: NotebookNode) -> bool:
    """Whether `cell` judges what a learner wrote."""
    return _is_code(cell, CHECK_TAG)


def _is_code(cell: NotebookNode, tag: str) -> bool:
    return cell.cell_type == "code" and tag in cell.metadata.get("tags", [])


def with_stubs(
    cells: Iterable[NotebookNode], solved: Callable[[NotebookNode], NotebookNode]
) -> list[NotebookNode]:
    """Return the cells with a stub in the place of each solution.

    What ``solved`` makes of the solution comes after the check, so that in a learner's copy the
    check judges what the learner wrote.
    """
    shown, waiting = [], []
    for cell in cells:
        if not is_check(cell):
            shown, waiting = shown + waiting, []
        if is_solution(cell):
            cell, waiting = stub_cell(cell), [solved(cell)]
        shown.append(cell)
    return shown + waiting


def stub_cell(solution: NotebookNode) -> NotebookNode:
    """The code cell a learner fills in, made from the `solution` cell."""
    cell = nbformat.v4.new_code_cell(stub(solution.source), metadata={"tags": [STUB_TAG]})
    # An id made from the solution's keeps copies equal from one run to the next.
    cell["id"] = f"{solution.get('id', 'solution')[:59]}-stub"
    return cell


def folded_solution(solution: NotebookNode) -> NotebookNode:
    """A Markdown cell to open, which shows the solution and doesn't run it."""
    code = without_markers(solution.source)
    text = f"<details><summary>Solution</summary>\n\n```python\n{code}\n```\n\n</details>"
    cell = nbformat.v4.new_markdown_cell(text)
    cell["id"] = f"{solution.get('id', 'solution')[:55]}-solution"
    return cell


def learner_copy(notebook: NotebookNode, values: dict[str, str] | None = None) -> NotebookNode:
    """A copy of `notebook` to work in: tasks to solve, and solutions to open.

    Nothing of it is for the script only, and its text is plain Markdown, which JupyterLab can show;
    ``values`` are what the text quotes from the last run.
    """
    learner = copy.deepcopy(notebook)
    kept = [c for c in learner.cells if "script-only" not in c.metadata.get("tags", [])]
    for cell in kept:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
        if cell.cell_type == "markdown":
            cell.source = plain_markdown(cell.source, values or {})
        if is_check(cell):  # "Run all" goes on after an exercise that is open
            cell.metadata.tags = [*cell.metadata.tags, "raises-exception"]
    learner.cells = with_stubs(kept, folded_solution)
    return learner


@dataclass
class LearnerCopies:
    """What `write_learner_copies` did, each a path in the target folder.

    `kept` are the copies that the reader has changed; they stay as they are.
    """

    written: list[Path] = field(default_factory=list)
    current: list[Path] = field(default_factory=list)
    kept: list[Path] = field(default_factory=list)


def write_learner_copies(
    source_dir: Path, target_dir: Path, executed_dir: Path | None = None
) -> LearnerCopies:
    """Put a working copy of each notebook of `source_dir` into `target_dir`.

    A copy whose cells the reader has changed is never overwritten. Running it is no change; a copy
    that was only run is replaced when its notebook has a new version, and kept otherwise. The
    values that its text quotes come from `executed_dir`.
    """
    sources = sorted(Path(source_dir).glob("*.ipynb"))
    if not sources:
        raise CourseError(
            f"There are no notebooks in {source_dir}.",
            "Run this from a complete checkout of the course.",
        )
    target_dir = Path(target_dir)
    target_dir.mkdir(parents=True, exist_ok=True)
    copies = LearnerCopies()
    for source in sources:
        executed = executed_dir and Path(executed_dir) / source.name
        values = glued_values(executed) if executed and executed.is_file() else {}
        fresh = _fresh_copy(nbformat.read(source, as_version=4), values)
        target = target_dir / source.name
        if not target.exists():
            fate = copies.written
        elif (known := _untouched_memory(target)) is None:
            fate = copies.kept
        elif known["notebook_sha256"] == fresh.metadata[MEMORY]["notebook_sha256"]:
            fate = copies.current
        else:
            fate = copies.written
        if fate is copies.written:
            nbformat.write(fresh, target)
        fate.append(target)
    return copies


def _fresh_copy(notebook: NotebookNode, values: dict[str, str]) -> NotebookNode:
    """A copy that knows what it was made of: quoted values alone make no new version."""
    fresh = learner_copy(notebook, values)
    fresh.metadata[MEMORY] = {
        "cells_sha256": _fingerprint(fresh),
        "notebook_sha256": _fingerprint(learner_copy(notebook)),
    }
    return fresh


def _untouched_memory(path: Path) -> dict | None:
    """What a copy knows of itself; None where the reader changed it."""
    try:
        notebook = nbformat.read(path, as_version=4)
    except Exception:  # whatever is in that file, we did not write it
        return None
    memory = {"notebook_sha256": ""} | notebook.metadata.get(MEMORY, {})
    return memory if memory.get("cells_sha256") == _fingerprint(notebook) else None


def _fingerprint(notebook: NotebookNode) -> str:
    """A digest of what a reader writes: the cells, without outputs and counts."""
    digest = hashlib.sha256()
    for cell in notebook.cells:
        for part in (cell.cell_type, cell.source):
            digest.update(part.encode())
            digest.update(b"\0")
    return digest.hexdigest()
