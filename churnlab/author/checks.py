"""Judge exercises: run what a learner wrote, then its check, without the rest of the notebook."""

from __future__ import annotations

import contextlib
import io
import linecache
import re
import signal
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from churnlab import paths
from churnlab.author.exercises import EXERCISE_TAG, YOUR_TURN, is_check
from churnlab.errors import CourseError
from churnlab.run.library import let_import_scripts

PASSED, NOT_YET, NOT_BEGUN = "passed", "not yet", "not begun"
SECONDS = 120  # a Spark session may have to start in them
WORK, CHECK = "your cell", "the check"


@dataclass(frozen=True)
class Exercise:
    """What is judged: all code between the task and its check, and the check."""

    title: str
    work: str
    check: str


@dataclass(frozen=True)
class Verdict:
    """What came of an exercise, and for one that did not pass the reason."""

    title: str
    state: str
    reason: str = ""


class TooSlow(BaseException):
    """An exercise took its time; no `except Exception` of a learner's can hold this."""


def exercises_in(notebook: NotebookNode) -> list[Exercise]:
    """Return the exercises of a notebook, the course's or a learner's copy, in order."""
    exercises, title, work = [], "", []
    for cell in notebook.cells:
        if cell.cell_type == "markdown" and EXERCISE_TAG in cell.metadata.get("tags", []):
            heading = re.search(r"^#+ (?:Exercise: )?(.+)$", cell.source, re.MULTILINE)
            title, work = heading[1] if heading else "an exercise without a title", []
        elif title and is_check(cell):
            exercises.append(Exercise(title, "\n\n".join(work), cell.source))
            title = ""
        elif title and cell.cell_type == "code":
            work.append(cell.source)
    return exercises


def judge_copy(path: Path) -> Iterator[Verdict]:
    """Yield the verdict on each exercise of a learner's copy. Raises CourseError if it has none."""
    if not path.is_file():
        raise CourseError(
            f"There is no {path.parent.name}/{path.name}.", "`make lab` makes your copy of it."
        )
    exercises = exercises_in(nbformat.read(path, as_version=4))
    if not exercises:  # a copy of an earlier course, or one whose checks were deleted
        raise CourseError(
            f"{path.parent.name}/{path.name} holds no exercise with a check.",
            "Rename it, and `make lab` makes a fresh copy beside it.",
        )
    for exercise in exercises:
        yield judge(exercise, path.parent)


def judge(exercise: Exercise, folder: Path = paths.NOTEBOOKS, seconds: float = SECONDS) -> Verdict:
    """Run an exercise and its check in a folder, and say what came of it."""
    if YOUR_TURN in exercise.work:
        return Verdict(exercise.title, NOT_BEGUN)
    reason = fault(exercise.work, exercise.check, folder, seconds)
    return Verdict(exercise.title, NOT_YET if reason else PASSED, reason)


def fault(work: str, check: str, folder: Path, seconds: float = SECONDS) -> str:
    """Return what is wrong with somebody's work according to its check; "" if nothing is."""
    names = {"__name__": "__exercise__"}
    let_import_scripts()
    try:
        with (
            contextlib.chdir(folder),
            contextlib.redirect_stdout(io.StringIO()),
            time_limit(seconds),
        ):
            _run(work, WORK, names)
            _run(check, CHECK, names)
    except AssertionError as error:
        return str(error) or f"{_place(error)} failed without a word"
    except TooSlow:
        return f"it took longer than {seconds:g} seconds"
    except (Exception, SystemExit) as error:
        said = next(iter(str(error).splitlines()), "")
        return f"{type(error).__name__}: {said} ({_place(error)})"
    return ""


def _run(source: str, name: str, names: dict) -> None:
    """Execute a text whose lines tracebacks and `inspect` can find."""
    linecache.cache[name] = (len(source), None, source.splitlines(keepends=True), name)
    exec(compile(source, name, "exec", dont_inherit=True), names)


def _place(error: BaseException) -> str:
    """Where an error arose, in lines of the learner's cell if it went through it."""
    if isinstance(error, SyntaxError) and error.filename in (WORK, CHECK):
        return f"line {error.lineno} of {error.filename}"
    frames = [f for f in traceback.extract_tb(error.__traceback__) if f.filename in (WORK, CHECK)]
    return f"line {frames[-1].lineno} of {frames[-1].filename}" if frames else "nowhere of yours"


@contextlib.contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raise TooSlow in the main thread when the time is over; an alarm that was set goes on."""

    def stop(signum, frame):
        raise TooSlow

    handler = signal.signal(signal.SIGALRM, stop)
    remaining, interval = signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, remaining, interval)
        signal.signal(signal.SIGALRM, handler)
