# Generated from notebooks/07-tables-and-runs.ipynb by `make export`; do not edit.
"""How a program begins and ends: its errors in one line, its parameters by their types, and the
numbers that a page quotes.
"""

import os
import sys


class StepError(Exception):
    """A step can't go on; the message says what is wrong, where, and what to do."""


class DataContractError(StepError):
    """The input is not what the data contract promises."""


class TableNotFoundError(StepError):
    """No run has written the table that a step needs."""


class ModelError(StepError):
    """The model registry or a stored model can't be used."""


def expected_reason(error: Exception) -> str:
    """Return what is said of an error that its reader can mend, or "" for any other error."""
    if "No space left on device" in str(error):
        return "The disk is full. Free some of it (`df -h` shows which), or name another --lake."
    google = {k.__name__ for k in type(error).__mro__} & {"GoogleAPIError", "GoogleAuthError"}
    return str(error) if google or isinstance(error, StepError) else ""


def run_program(main) -> None:
    """Run ``main``; an expected error ends the process with one line and status 1.

    CHURNLAB_DEBUG=1 in the environment shows the trace instead.
    """
    try:
        main()
    except Exception as error:
        from pyspark.sql import SparkSession  # here: a server takes these errors, and no Spark

        reason = expected_reason(error)
        if not reason or os.environ.get("CHURNLAB_DEBUG"):
            raise
        if session := SparkSession.getActiveSession():
            session.stop()
        sys.exit(f"error: {' '.join(reason.split())}")


def check_parameters(names: dict) -> None:
    """Check a page's parameters, the annotated of its ``names``, against their types.

    A whole number is taken for a float. Raises StepError for any other value of another type.
    """
    for name, kind in names["__annotations__"].items():
        if kind is float and type(names[name]) is int:
            names[name] = float(names[name])
        if type(names[name]) is not kind:
            raise StepError(
                f"The parameter {name} is {names[name]!r}, which is no {kind.__name__}. Write "
                "true or false for a bool; papermill's -r hands a text over as it is."
            )


def glue(name: str, value) -> None:
    """Store a value under a name in the notebook's outputs, for the text of the page to quote."""
    from IPython.display import display

    prefix = "application/papermill.record/"
    metadata = {"scrapbook": {"name": name, "mime_prefix": prefix}}
    display({f"{prefix}text/plain": repr(value)}, raw=True, metadata=metadata)
