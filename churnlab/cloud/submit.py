"""Submit a batch to the services of a profile, and follow it to its end."""

import contextlib
from collections.abc import Iterator
from contextlib import contextmanager

from google.api_core.exceptions import NotFound
from google.cloud import dataproc_v1 as dataproc

from churnlab.cloud.batches import Plan
from churnlab.cloud.profile import Profile
from churnlab.cloud.refusals import explained
from churnlab.errors import CourseError
from churnlab.run.library import course_module, library


def run_batch(plan: Plan, profile: Profile) -> Iterator[tuple[str, str]]:
    """Submit a batch; yield state and new output at each change until it ends.

    An interrupt cancels the batch. Raises CourseError if it does not succeed or can't be submitted.
    """
    serverless = course_module("serverless_batches")
    with profile.clients() as clients, explained(f"Submitting {plan.batch_id}"), in_our_words():
        client = clients.batches
        with cancelled_by_an_interrupt(client, plan.name):
            submit = serverless.CALL["retry"](serverless.submit_batch)  # it finds its own batch
            submit(client, plan.parent, plan.batch_id, plan.request)
            for batch, text in serverless.follow_batch(client, plan.name, profile.pause):
                yield batch.state.name, text
            serverless.check_succeeded(batch)
    yield batch.state.name, f"{plan.batch_id}: about {serverless.run_cost(batch):.3f} US dollars"


@contextmanager
def cancelled_by_an_interrupt(client: dataproc.BatchControllerClient, name: str) -> Iterator[None]:
    """Cancel a batch if we are interrupted, or whoever reads us is (then we are closed)."""
    serverless = course_module("serverless_batches")
    try:
        yield
    except (KeyboardInterrupt, GeneratorExit):
        with contextlib.suppress(NotFound):
            serverless.cancel_batch(client, client.get_batch(name=name, **serverless.CALL))
        raise


@contextmanager
def in_our_words() -> Iterator[None]:
    """Turn a failed or refused step, as the course's scripts say it, into a CourseError."""
    try:
        yield
    except library.programs.StepError as error:
        raise CourseError(str(error)) from error
