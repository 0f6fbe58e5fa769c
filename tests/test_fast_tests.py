"""What `make test-fast` leaves out before it is imported is slow, all of it."""

from types import SimpleNamespace

import pytest

from tests.conftest import pytest_ignore_collect

SLOW = "import pytest\n\npytestmark = [pytest.mark.xdist_group('x'), pytest.mark.slow]\n"
MIXED = "import pytest\n\n\n@pytest.mark.slow\ndef test_x(): ...\n\n\ndef test_y(): ...\n"


def left_out(path, words="not slow") -> bool:
    """Tell whether a file or folder is left out where these marks are asked for."""
    return bool(
        pytest_ignore_collect(path, SimpleNamespace(option=SimpleNamespace(markexpr=words)))
    )


@pytest.fixture
def folder(tmp_path):
    """A folder with a slow file and one of helpers."""
    (tmp_path / "test_slow.py").write_text(SLOW)
    (tmp_path / "conftest.py").write_text("import nothing_that_there_is\n")
    return tmp_path


def test_a_slow_file_and_a_folder_of_slow_files_are_left_out(folder):
    assert left_out(folder / "test_slow.py")
    assert left_out(folder)


def test_a_file_with_one_fast_test_is_read_and_so_is_its_folder(folder):
    (folder / "test_mixed.py").write_text(MIXED)
    assert not left_out(folder / "test_mixed.py")
    assert not left_out(folder)


@pytest.mark.parametrize("words", ["", "slow", "not slow and not real_data"])
def test_nothing_is_left_out_where_anything_else_is_asked_for(folder, words):
    assert not left_out(folder / "test_slow.py", words)


def test_helpers_are_no_tests(folder):
    assert not left_out(folder / "conftest.py")
