"""`churnlab cloud costs` prices what batches have used."""

from datetime import UTC, datetime

import pytest
from google.cloud import dataproc_v1 as dataproc

from churnlab.cloud.bills import bills, total
from churnlab.cloud.costs import batch_cost
from tests.cloud.conftest import churnlab

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("cloud commands")]

STATE = dataproc.Batch.State


def batch(name: str, state: STATE, **info) -> dataproc.Batch:
    """Return a batch of the course."""
    found = dataproc.Batch(name=f"projects/demo/locations/us-central1/batches/{name}")
    found.state, found.labels["course"] = state, "churnlab"
    found.runtime_info = dataproc.RuntimeInfo(**info)
    found.create_time = found.state_time = datetime.now(UTC)
    return found


ENDED = batch(
    "ended",
    STATE.SUCCEEDED,
    approximate_usage={"milli_dcu_seconds": 7_200_000_000, "shuffle_storage_gb_seconds": 36_000},
)
RUNS = batch("runs", STATE.RUNNING, current_usage={"milli_dcu": 12_000, "shuffle_storage_gb": 1200})


def test_an_ended_batch_costs_what_its_usage_costs():
    [bill] = bills([ENDED])
    assert (bill.dcu_hours, bill.shuffle_gb_hours) == (2000, 10)
    assert bill.cost == batch_cost(ENDED.runtime_info.approximate_usage).total
    assert not bill.an_hour


def test_a_running_batch_is_priced_by_the_hour_and_not_added_up():
    [ended, runs] = bills([ENDED, RUNS])
    assert runs.an_hour and (runs.dcu_hours, runs.shuffle_gb_hours) == (12, 1200)
    assert total([ended, runs]) == ended.cost


@pytest.fixture
def kept(cloud):
    """Batches that the service knows, one of them not of the course."""
    for found in (ENDED, RUNS, other := batch("other", STATE.SUCCEEDED)):
        cloud.batches._batches[found.name] = found
    del other.labels["course"]
    yield cloud
    cloud.batches._batches.clear()


def test_the_table_lists_the_course_s_batches(kept):
    text = churnlab("costs").text
    assert "ended" in text and "an hour" in text and "other" not in text
    assert f"Ended ones together: {next(bills([ENDED])).cost}" in text


def test_one_batch_may_be_named(kept):
    assert "runs" not in churnlab("costs", "ended").text
    error = churnlab("costs", "nobody").error
    assert "Reading the batch nobody: not found" in error.problem
