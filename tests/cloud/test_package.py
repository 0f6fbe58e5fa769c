"""`churnlab cloud package` packs the function for Terraform.

That the archive, unpacked, is served and does what the script does, is what tests/pipeline_function
sees: it serves nothing else.
"""

import os
import zipfile

import pytest

from churnlab import paths
from churnlab.cloud import package
from tests.cloud.conftest import churnlab


@pytest.fixture
def build(tmp_path, monkeypatch):
    """Another build folder."""
    monkeypatch.setattr(paths, "BUILD", tmp_path / "build")
    return tmp_path / "build"


def test_the_same_files_give_the_same_bytes(build, tmp_path, monkeypatch):
    first = package.write_archive(tmp_path / "first.zip").read_bytes()
    function = tmp_path / "pipeline_function.py"
    function.write_bytes(package.FILES["main.py"].read_bytes())
    os.utime(function, (0, 10**9))
    function.chmod(0o600)
    monkeypatch.setitem(package.FILES, "main.py", function)
    assert package.write_archive(tmp_path / "second.zip").read_bytes() == first
    function.write_text("changed = True\n")
    assert package.write_archive(tmp_path / "third.zip").read_bytes() != first


def test_the_archive_lies_where_terraform_looks_and_holds_the_locked_versions(build):
    assert churnlab("package").error is None
    with zipfile.ZipFile(build / "cloud" / "pipeline_function.zip") as archive:
        assert archive.namelist() == ["main.py", "requirements.txt", "training_pipeline.yaml"]
        locked = (paths.ROOT / "requirements" / "function.txt").read_bytes()
        assert archive.read("requirements.txt") == locked
    assert [each.name for each in (build / "cloud").iterdir()] == ["pipeline_function.zip"]


def test_a_dry_run_writes_nothing(build):
    assert "pipeline_function.zip with main.py" in churnlab("package", "--dry-run").text
    assert not build.exists()


def test_a_missing_file_is_named(build, monkeypatch):
    monkeypatch.setitem(package.FILES, "main.py", paths.SCRIPTS / "nothing.py")
    error = churnlab("package").error
    assert "scripts_generated/nothing.py is missing" in error.problem
    assert not build.exists()
