"""A cloud that keeps pipeline jobs without running them, and the function in front of it."""

from tests.local_cloud import function, start_function, waiting_cloud  # noqa: F401
