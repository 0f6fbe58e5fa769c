"""How a program ends: in one line where its reader can mend the error."""

from pathlib import Path

import pytest
from google.api_core.exceptions import BadRequest
from google.auth.exceptions import DefaultCredentialsError


def write_to_a_full_disk():
    with Path("/dev/full").open("w") as full:  # Linux's device that is always full
        full.write("a row")


def refused_by_google():
    raise BadRequest("Schedule is wrong.")


def nobody_logged_in():
    raise DefaultCredentialsError("Your default credentials were not found.")


@pytest.mark.parametrize(
    ("main", "line"),
    [
        pytest.param(
            write_to_a_full_disk,
            "error: The disk is full. Free some",
            marks=pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here"),
        ),
        (refused_by_google, "error: 400 Schedule is wrong."),
        (nobody_logged_in, "error: Your default credentials were not found."),
    ],
)
@pytest.mark.usefixtures("as_a_program")
def test_what_a_reader_can_mend_is_one_line(library, main, line):
    with pytest.raises(SystemExit) as end:
        library.programs.run_program(main)
    assert end.value.code.startswith(line) and "\n" not in end.value.code


@pytest.mark.parametrize(("kind", "value"), [(bool, "no"), (int, True), (str, 7), (float, "2")])
def test_a_page_refuses_a_parameter_of_another_type(library, kind, value):
    with pytest.raises(library.programs.StepError, match="The parameter x is"):
        library.programs.check_parameters({"x": value, "__annotations__": {"x": kind}})


def test_a_page_takes_a_whole_number_for_a_float(library):
    names = {"x": 2, "__annotations__": {"x": float}}
    library.programs.check_parameters(names)
    assert type(names["x"]) is float
