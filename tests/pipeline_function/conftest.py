"""A cloud that keeps pipeline jobs without running them, and the function in front of it."""

import pytest

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
