"""What the tests of the stand-ins share."""

import pytest

from tests.local_cloud import cloud  # noqa: F401
from tests.standins import tiny_pipelines


@pytest.fixture(scope="session")
def compiled(tmp_path_factory):
    """Return the compiled files of the small pipelines by name."""
    return tiny_pipelines.compile_all(tmp_path_factory.mktemp("compiled"))
