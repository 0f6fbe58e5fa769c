"""Quizzes that can be answered: each question has its choices, and one of them is right."""

import nbformat
import pytest

from churnlab import paths
from churnlab.author.quizzes import has_quiz, with_choices
from churnlab.errors import CourseError

QUIZ = """An exercise before it.

## Quiz

Is `1 < 2`?

a) Yes.

b) *Sometimes*.

```{dropdown} Answer
a). It always
is.
```

And `2 < 1`?

a) Yes.
b) No.

```{dropdown} Answer
b). See above.
```

## Take-away

- One line.
"""


def test_a_quiz_becomes_radio_buttons_and_an_answer_to_open():
    shown = with_choices(QUIZ)
    assert shown.startswith("An exercise before it.\n\n## Quiz\n\n<fieldset")
    assert shown.endswith("</fieldset>\n\n## Take-away\n\n- One line.\n")
    assert shown.count("<fieldset") == shown.count("</fieldset>") == 2
    assert shown.count('name="quiz-1"') == shown.count('name="quiz-2"') == 2
    assert '<label class="right"><input type="radio" name="quiz-1" value="a">' in shown
    assert '<label class="right"><input type="radio" name="quiz-2" value="b">' in shown
    assert "<legend>Is <code>1 &lt; 2</code>?</legend>" in shown
    assert "<em>Sometimes</em>" in shown and "<p>a). It always is.</p>" in shown


def test_no_blank_line_ends_a_question_before_its_end():
    fieldset = with_choices(QUIZ).partition("<fieldset")[2].partition("</fieldset>")[0]
    assert "\n\n" not in fieldset


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("b). See above.", "c). See above.", "No choice is right"),
        ("```{dropdown} Answer\nb)", "```{dropdown} Solution\nb)", "can't be read"),
        ("a) Yes.\nb) No.\n", "", "can't be read"),
    ],
)
def test_a_quiz_that_is_written_otherwise_is_an_error(old, new, problem):
    assert old in QUIZ
    with pytest.raises(CourseError, match=problem):
        with_choices(QUIZ.replace(old, new))


@pytest.mark.parametrize("path", sorted(paths.NOTEBOOKS.glob("*.ipynb")), ids=lambda p: p.stem)
def test_every_module_has_a_quiz_with_one_right_choice_a_question(path):
    [cell] = [cell for cell in nbformat.read(path, as_version=4).cells if has_quiz(cell)]
    shown = with_choices(cell.source)
    questions = shown.count("<fieldset")
    assert questions == cell.source.count("{dropdown} Answer") >= 1
    assert shown.count('<label class="right">') == questions
    assert shown.count("<label") >= 3 * questions
