"""`churnlab check`: what a learner wrote passes, is wrong for a reason, or is not begun."""

import ast
import time

import nbformat
import pytest
from typer.testing import CliRunner

from churnlab import paths
from churnlab.author.checks import (
    NOT_BEGUN,
    NOT_YET,
    PASSED,
    Exercise,
    Verdict,
    exercises_in,
    fault,
    judge,
    judge_copy,
)
from churnlab.author.exercises import BEGIN, END, YOUR_TURN, learner_copy, stub
from churnlab.cli import app
from churnlab.errors import CourseError
from tests.author.wrong_answers import WRONG_ANSWERS

SOLUTION = f"""\
def half(number):
    {BEGIN}
    return number / 2
    {END}"""
CHECK = """\
assert half(4) == 2, "half of 4 is not what your function says"
"passed\""""


def cell(kind, source, tag):
    make = getattr(nbformat.v4, f"new_{kind}_cell")
    return make(source, metadata={"tags": [tag]} if tag else {})


def a_notebook(solution=SOLUTION):
    cells = [
        cell("code", "1 / 0", ""),  # what comes before is not run
        cell("markdown", "## Exercise: halves\n\nWrite `half`.", "exercise"),
        cell("code", solution, "solution"),
        cell("code", CHECK, "check"),
    ]
    return nbformat.v4.new_notebook(cells=cells)


def verdict_on(body: str) -> Verdict:
    return judge(Exercise("halves", f"def half(number):\n{body}", CHECK), seconds=2)


def test_the_exercise_of_a_notebook_is_its_title_its_work_and_its_check():
    assert exercises_in(a_notebook()) == [Exercise("halves", SOLUTION, CHECK)]


def test_in_a_copy_the_cells_that_the_learner_added_belong_to_the_work():
    copy = learner_copy(a_notebook())
    copy.cells[2].source = "def half(number):\n    return ours(number)"
    copy.cells.insert(2, cell("code", "def ours(number):\n    return number / 2", ""))
    [exercise] = exercises_in(copy)
    assert judge(exercise) == Verdict("halves", PASSED)


def test_the_solution_passes_and_the_untouched_stub_is_not_begun():
    [solved], [untouched] = exercises_in(a_notebook()), exercises_in(learner_copy(a_notebook()))
    assert judge(solved).state == PASSED
    assert judge(untouched) == Verdict("halves", NOT_BEGUN)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("    return number", "half of 4 is not what your function says"),
        ("    return", "half of 4 is not what your function says"),
        ("    return pi", "NameError: name 'pi' is not defined (line 2 of your cell)"),
        ("    return (", r"SyntaxError: '(' was never closed"),
        ("    raise SystemExit", "SystemExit:  (line 2 of your cell)"),
        ("    assert number < 0", "line 2 of your cell failed without a word"),
        ("    while True:\n        pass", "it took longer than 2 seconds"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(body, reason):
    verdict = verdict_on(body)
    assert verdict.state == NOT_YET
    assert verdict.reason.startswith(reason)


def test_a_loop_that_holds_every_error_ends_too_and_an_alarm_that_was_set_goes_on():
    began = time.monotonic()
    assert (
        "longer than"
        in verdict_on(
            "    while True:\n        try:\n            1 / 0\n        except Exception:\n            pass"
        ).reason
    )
    assert time.monotonic() - began < 20


def test_a_copy_that_is_not_there_is_an_error(tmp_path):
    with pytest.raises(CourseError, match=r"no lab/04-x.ipynb"):
        list(judge_copy(tmp_path / "lab" / "04-x.ipynb"))


def test_a_copy_without_checks_says_how_to_get_one_with_them(tmp_path):
    copy = a_notebook()
    copy.cells.pop()
    nbformat.write(copy, tmp_path / "04-x.ipynb")
    with pytest.raises(CourseError, match="no exercise with a check") as error:
        list(judge_copy(tmp_path / "04-x.ipynb"))
    assert "make lab" in error.value.mend


def test_the_command_says_a_line_for_each_exercise_and_ends_with_1_while_one_is_open(
    tmp_path, monkeypatch
):
    notebooks, lab = tmp_path / "notebooks", tmp_path / "lab"
    notebooks.mkdir()
    lab.mkdir()
    monkeypatch.setattr(paths, "NOTEBOOKS", notebooks)
    monkeypatch.setattr(paths, "LAB", lab)
    nbformat.write(a_notebook(), notebooks / "04-halves.ipynb")
    copy = learner_copy(a_notebook())

    def checked(work: str):
        copy.cells[2].source = work
        nbformat.write(copy, lab / "04-halves.ipynb")
        found = CliRunner().invoke(app, ["check", "04"])
        return found.exit_code, found.stdout.splitlines()

    assert checked(stub(SOLUTION)) == (1, ["04-halves", "  not begun halves"])
    wrong = SOLUTION.replace("/ 2", "/ 3")
    reason = "half of 4 is not what your function says"
    assert checked(wrong) == (1, ["04-halves", f"  not yet   halves: {reason}"])
    assert checked(SOLUTION) == (0, ["04-halves", "  passed    halves"])


# The exercises of the course.

EXERCISES = [
    pytest.param(exercise, id=f"{path.stem}: {exercise.title}")
    for path in sorted(paths.NOTEBOOKS.glob("*.ipynb"))
    for exercise in exercises_in(nbformat.read(path, as_version=4))
]
every_exercise = pytest.mark.parametrize("exercise", EXERCISES)


@pytest.fixture
def judged(request):
    """Return a function that judges some work; Spark's is done in the session of the tests."""

    def judged(exercise: Exercise, work: str) -> str:
        if "SparkSession" in exercise.check:
            request.getfixturevalue("spark")
        return fault(work, exercise.check, paths.NOTEBOOKS)

    return judged


@every_exercise
def test_the_course_s_solution_passes(judged, exercise):
    assert judged(exercise, exercise.work) == ""


@every_exercise
def test_an_untouched_stub_does_not_pass(judged, exercise):
    assert "your turn" in judged(exercise, stub(exercise.work))


@every_exercise
def test_a_function_that_returns_nothing_hears_what_is_missing(judged, exercise):
    said = judged(exercise, stub(exercise.work).replace(YOUR_TURN, "return None"))
    assert said and "Error" not in said, said


@every_exercise
def test_a_check_has_words_for_everything_it_refuses_and_says_that_it_passed(exercise):
    nodes = list(ast.walk(ast.parse(exercise.check)))
    asserts = [node for node in nodes if isinstance(node, ast.Assert)]
    assert asserts and all(node.msg for node in asserts)
    assert exercise.check.endswith('print("Passed.")')


def test_every_module_has_exercises_and_no_title_comes_twice():
    titles = [exercise.values[0].title for exercise in EXERCISES]
    assert len(set(titles)) == len(titles)


@pytest.mark.parametrize(("title", "right", "wrong", "words"), WRONG_ANSWERS)
def test_a_typical_mistake_is_named(judged, title, right, wrong, words):
    [exercise] = [e.values[0] for e in EXERCISES if e.values[0].title == title]
    assert right in exercise.work
    said = judged(exercise, exercise.work.replace(right, wrong))
    assert words in said and "your cell" not in said


def test_a_typical_mistake_is_tried_in_every_exercise():
    assert {title for title, *_ in WRONG_ANSWERS} == {e.values[0].title for e in EXERCISES}
