"""A person's decisions: which model scores and answers from now on, and the way back."""

import getpass
from collections.abc import Iterator
from contextlib import contextmanager

from churnlab.errors import CourseError
from churnlab.run.library import library


def promote(version: str, reason: str, by: str, lake: str, dataset: str) -> tuple[dict, str]:
    """Make a registered model the champion; return its row of the registry and the run's key.

    Without ``version`` it is the best candidate, by cross-validation, of the run that registered
    last. The decision is a run of its own. Raises CourseError if there is no such model, and for a
    decision without a reason.
    """
    root = library.tables.dataset_root(lake, dataset)
    run = library.runs.new_pipeline_id()
    with said_in_one_line():
        known = (
            library.registry.registered_model(root, version)
            if version
            else library.registry.best_candidate(root)
        )
        return library.registry.promote(known, root, run, by or getpass.getuser(), reason), run


def rollback(reason: str, by: str, lake: str, dataset: str) -> tuple[dict, str]:
    """Make the former champion the champion again; return its row and the run's key.

    Raises CourseError if there is none, and for a decision without a reason.
    """
    root = library.tables.dataset_root(lake, dataset)
    run = library.runs.new_pipeline_id()
    with said_in_one_line():
        row = library.registry.rollback(lake, root, run, by or getpass.getuser(), reason)
        return row, run


def serve(version: str, lake: str) -> str:
    """Let servers take up a version's newest package; return its place, or "" if it has none.

    Raises CourseError if servers can't be told: the registry has decided by then.
    """
    packages = library.packages
    try:
        if place := packages.newest_package(lake, version):
            packages.serve_package(lake, place)
    except OSError as error:
        problem = f"{version} is the champion, but servers could not be told: {error}"
        mend = "`churnlab package` tells them, once the lake can be written."
        raise CourseError(problem, mend) from error
    return place


@contextmanager
def said_in_one_line() -> Iterator[None]:
    """Turn an error of the library into one of the command line, with its mend."""
    try:
        yield
    except library.programs.StepError as error:
        mend = "`churnlab sql 'SELECT DISTINCT model_version FROM model_registry'` lists versions."
        raise CourseError(str(error), mend) from error
