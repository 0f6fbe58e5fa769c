"""What the tests of the images share: the environment that has hadolint and onnxruntime."""

from pathlib import Path

import pytest

from churnlab import paths


@pytest.fixture(scope="session")
def infra_tools() -> Path:
    """The programs of the cloud's checks; tests are skipped, with the reason, without them."""
    tools = paths.INFRA_CHECKS / "bin"
    if not (tools / "hadolint").exists():
        pytest.skip(f"no hadolint in {paths.INFRA_CHECKS.name}: run `make .venv-infra/ready`")
    return tools
