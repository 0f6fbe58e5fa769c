"""The text of a page in JupyterLab: nothing of MyST is left, and nothing else is touched."""

import pytest

from churnlab.author.plain_markdown import UNKNOWN_VALUE, plain_markdown
from churnlab.errors import CourseError


def plain(source, **values):
    return plain_markdown(source, values)


def test_a_dropdown_becomes_a_part_to_open():
    shown = plain("Before.\n\n```{dropdown} Answer < 2\nb). *Because*.\n```\n\nAfter.")
    assert shown == (
        "Before.\n\n<details><summary>Answer &lt; 2</summary>\n\nb). *Because*.\n\n</details>"
        "\n\nAfter."
    )


def test_a_note_becomes_a_quotation_that_names_its_kind():
    assert plain("```{caution}\nOne.\n\nTwo.\n```") == "> **Caution.** One.\n>\n> Two."
    assert plain(":::{admonition} So it is\n:class: tip\nYes.\n:::") == "> **So it is.** Yes."


def test_a_directive_in_another_is_said_plainly_too():
    shown = plain("````{dropdown} More\n```{note}\nInside.\n```\n````")
    assert "> **Note.** Inside." in shown and "{" not in shown


def test_a_figure_and_a_formula_are_markdown():
    assert (
        plain("```{figure} a.svg\n:alt: A flow.\nIt flows.\n```")
        == "![A flow.](a.svg)\n\nIt flows."
    )
    assert plain("```{math}\na = b\n```") == "$$\na = b\n$$"


def test_a_quoted_value_is_that_of_the_last_run_or_said_to_be_the_reader_s_own():
    source = "It took {glue:text}`seconds:.1f` s, {glue:text}`jobs` jobs."
    assert plain(source, seconds=2.345, jobs="7") == "It took 2.3 s, 7 jobs."
    assert plain(source, seconds=2.345) == f"It took 2.3 s, {UNKNOWN_VALUE} jobs."


@pytest.mark.parametrize(
    ("role", "words"),
    [
        ("{term}`lake`", "lake"),
        ("{term}`the lake <lake>`", "the lake"),
        ("{ref}`below <some-label>`", "below"),
        ("{doc}`the costs <../book/costs>`", "[the costs](../book/costs.md)"),
        ("{doc}`../book/costs`", "[costs](../book/costs.md)"),
        ("{math}`a^2`", "$a^2$"),
    ],
)
def test_a_role_becomes_its_words(role, words):
    assert plain(f"(label)=\nSee {role}.") == f"See {words}."


@pytest.mark.parametrize(
    "source",
    [
        "`image:{tag}` the batch runs in `{other}`",
        "```sh\necho {glue}`x`\n```",
        "A {brace} and ``{doc}`x` ``.",
        "| a | b |\n| - | - |\n| `1` | $x$ |",
    ],
)
def test_what_is_code_or_plain_already_stays_as_it_is(source):
    assert plain(source) == source


@pytest.mark.parametrize("source", ["```{mermaid}\na\n```", "{kbd}`x`"])
def test_what_can_t_be_said_plainly_is_an_error(source):
    with pytest.raises(CourseError, match="JupyterLab can't show"):
        plain(source)
