"""A cloud that keeps pipeline jobs without running them, with a scheduler and the function."""

import pytest

from churnlab.standins.scheduler import local_scheduler
from tests.local_cloud import local_cloud, start_function  # noqa: F401


@pytest.fixture(scope="module")
def cloud(tmp_path_factory):
    """The stand-ins, of which the tests want to know what they are sent."""
    with local_cloud(tmp_path_factory.mktemp("cloud"), execute_pipelines=False) as addresses:
        yield addresses


@pytest.fixture(scope="module")
def function(start_function):  # noqa: F811
    """The exported function, as it is deployed."""
    return start_function()


@pytest.fixture
def scheduler(cloud):
    """Cloud Scheduler: the service and its address."""
    with local_scheduler() as running:
        yield running
