"""Exercises made from their solutions: only the solution is written, the stub follows from it."""

from __future__ import annotations

import ast
import copy
import hashlib
import textwrap
from dataclasses import dataclass, field
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from churnlab.author.quizzes import with_folded_answers
from churnlab.errors import CourseError

TASK = "# Write your code here."
SOLUTION_TAG = "solution"
STUB_TAG = "exercise-stub"
MAGIC_MARKS = ("%", "!", "?")
MEMORY = "churnlab"

Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
ELLIPSIS = ast.Expr(ast.Constant(...))


def stub(source: str) -> str:
    """What a reader starts from: imports, signatures and docstrings of `source`, the rest a task.

    >>> print(stub("import math\\narea = math.pi * 2**2\\narea"))
    import math
    <BLANKLINE>
    # Write your code here.
    """
    python = _without_magics(source)
    try:
        body = ast.parse(python).body
    except SyntaxError as error:
        raise CourseError(
            f"A solution is not valid Python: {error.msg} in its line {error.lineno}.",
            "Run the solution cell in its notebook and mend it there.",
        ) from error
    return "\n".join(_outline(body, python) or [TASK]) + "\n"


def learner_copy(notebook: NotebookNode) -> NotebookNode:
    """A copy of `notebook` to work in: a stub before each solution, the solution folded away.

    The solution stays and runs, so that the cells after it work before the exercise is solved.
    Answers of quizzes are folded as JupyterLab can fold them.
    """
    learner = copy.deepcopy(notebook)
    cells = []
    for cell in learner.cells:
        if is_solution(cell):
            cells.append(stub_cell(cell))
            folded = {**cell.metadata.get("jupyter", {}), "source_hidden": True}
            cell.metadata["jupyter"] = folded
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
        if cell.cell_type == "markdown":
            cell.source = with_folded_answers(cell.source)
        cells.append(cell)
    learner.cells = cells
    return learner


def is_solution(cell: NotebookNode) -> bool:
    """Whether `cell` solves an exercise."""
    return cell.cell_type == "code" and SOLUTION_TAG in cell.metadata.get("tags", [])


def stub_cell(solution: NotebookNode) -> NotebookNode:
    """The code cell a reader fills in, made from the `solution` cell."""
    cell = nbformat.v4.new_code_cell(
        stub(solution.source).rstrip("\n"), metadata={"tags": [STUB_TAG]}
    )
    # An id made from the solution's keeps copies equal from one run to the next.
    cell["id"] = f"{solution.get('id', 'solution')[:59]}-stub"
    return cell


@dataclass
class LearnerCopies:
    """What `write_learner_copies` did, each a path in the target folder.

    `kept` are the copies that the reader has changed; they stay as they are.
    """

    written: list[Path] = field(default_factory=list)
    current: list[Path] = field(default_factory=list)
    kept: list[Path] = field(default_factory=list)


def write_learner_copies(source_dir: Path, target_dir: Path) -> LearnerCopies:
    """Put a working copy of each notebook of `source_dir` into `target_dir`.

    A copy whose cells the reader has changed is never overwritten. Running it is no change; a copy
    that was only run is replaced when its notebook has a new version, and kept otherwise.
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
        fresh = learner_copy(nbformat.read(source, as_version=4))
        fresh.metadata[MEMORY] = {"cells_sha256": _fingerprint(fresh)}
        target = target_dir / source.name
        if not target.exists():
            fate = copies.written
        elif (known := _untouched_fingerprint(target)) is None:
            fate = copies.kept
        elif known == _fingerprint(fresh):
            fate = copies.current
        else:
            fate = copies.written
        if fate is copies.written:
            nbformat.write(fresh, target)
        fate.append(target)
    return copies


def _untouched_fingerprint(path: Path) -> str | None:
    """The fingerprint of a copy that has the cells we wrote; None where the reader changed it."""
    try:
        notebook = nbformat.read(path, as_version=4)
    except Exception:  # whatever is in that file, we did not write it
        return None
    fingerprint = _fingerprint(notebook)
    written = notebook.metadata.get(MEMORY, {}).get("cells_sha256")
    return fingerprint if fingerprint == written else None


def _fingerprint(notebook: NotebookNode) -> str:
    """A digest of what a reader writes: the cells, without outputs and counts."""
    digest = hashlib.sha256()
    for cell in notebook.cells:
        for part in (cell.cell_type, cell.source):
            digest.update(part.encode())
            digest.update(b"\0")
    return digest.hexdigest()


def _without_magics(source: str) -> str:
    """`source` with IPython's magic lines as `pass`, each line in its place."""
    if source.lstrip().startswith("%%"):
        return "pass"
    lines = []
    for line in source.splitlines():
        code = line.lstrip()
        if code.startswith(MAGIC_MARKS):
            line = line[: len(line) - len(code)] + "pass"
        lines.append(line)
    return "\n".join(lines)


def _outline(body: list[ast.stmt], source: str, indent: str = "") -> list[str]:
    """The kept lines of `body`, and one task line wherever something was taken out."""
    outline: list[str] = []
    last_kind = None
    for statement in body:
        if isinstance(statement, ast.Pass):
            continue
        elif isinstance(statement, ast.Import | ast.ImportFrom):
            kind, kept = "import", ast.get_source_segment(source, statement).splitlines()
        elif isinstance(statement, DEFINITIONS):
            kind, kept = "definition", _definition(statement, source, indent)
        else:
            kind, kept = "task", [indent + TASK]
        if kind == last_kind == "task":
            continue
        if outline and (kind != last_kind or kind == "definition"):
            outline += [""] * (2 if "definition" in (kind, last_kind) and not indent else 1)
        outline += kept
        last_kind = kind
    return outline


def _definition(node: Definition, source: str, indent: str) -> list[str]:
    """The decorators, signature and docstring of `node`, then its task."""
    deeper = indent + "    "
    if node.body[0].lineno == node.lineno:
        # Written on one line: laid out anew, so that the task has a line of its own.
        node = copy.copy(node)
        node.body = [part for part in node.body if _is_docstring(part)] + [ELLIPSIS]
        laid_out = textwrap.indent(ast.unparse(node), indent).splitlines()
        return [*laid_out[:-1], deeper + TASK, laid_out[-1]]
    lines = [line.rstrip() for line in source.splitlines()]
    head = lines[_first_line(node) - 1 : _end_of_signature(node, lines)]
    body = list(node.body)
    if _is_docstring(body[0]):
        docstring = body.pop(0)
        head += lines[docstring.lineno - 1 : docstring.end_lineno]
    if isinstance(node, ast.ClassDef) and any(isinstance(part, DEFINITIONS) for part in body):
        gap = [""] if _is_docstring(node.body[0]) else []
        return [*head, *gap, *_outline(body, source, deeper)]
    return [*head, deeper + TASK, deeper + "..."]


def _is_docstring(node: ast.stmt) -> bool:
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )


def _first_line(node: ast.stmt) -> int:
    """The line a statement starts in, its decorators included."""
    decorators = getattr(node, "decorator_list", [])
    return min([node.lineno, *(decorator.lineno for decorator in decorators)])


def _end_of_signature(node: Definition, lines: list[str]) -> int:
    """The number of the line that ends with the colon of a signature."""
    end = _first_line(node.body[0]) - 1
    while end > node.lineno and not lines[end - 1].split("#")[0].rstrip().endswith(":"):
        end -= 1
    return end
