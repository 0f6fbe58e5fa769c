"""A cloud that keeps pipeline jobs without running them, with a scheduler and the function."""

import pytest

from churnlab.standins.scheduler import local_scheduler
from tests.local_cloud import function, start_function, waiting_cloud  # noqa: F401


@pytest.fixture
def scheduler(cloud):
    """Cloud Scheduler: the service and its address."""
    with local_scheduler() as running:
        yield running
