"""A person's decision: which model scores from now on."""

import getpass

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
    try:
        known = (
            library.registry.registered_model(root, version)
            if version
            else library.registry.best_candidate(root)
        )
        return library.registry.promote(known, root, run, by or getpass.getuser(), reason), run
    except library.programs.StepError as error:
        mend = "`churnlab sql 'SELECT DISTINCT model_version FROM model_registry'` lists versions."
        raise CourseError(str(error), mend) from error
