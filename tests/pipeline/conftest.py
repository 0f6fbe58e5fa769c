"""What the tests of the training pipeline share: a small lake, and a cloud on this machine."""

import json
from pathlib import Path

import pytest

from tests.conftest import customer, write_raw
from tests.local_cloud import cloud, start_function  # noqa: F401
from tests.quick_spark import QUICK_JAVA_OPTIONS

CUSTOMERS = 160  # few: a tree of few customers has few levels, and each level is a job
SHA = "0" * 63 + "1"
IMAGE = "us-central1-docker.pkg.dev/demo/churnlab/batch:course"  # brings what packaging needs


@pytest.fixture(scope="module", autouse=True)
def quick_spark():
    """Let every Spark below start quickly: no plan here runs twice."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JAVA_TOOL_OPTIONS", QUICK_JAVA_OPTIONS)
        yield


@pytest.fixture(scope="module")
def lake(tmp_path_factory) -> Path:
    """A lake in which few customers have landed: those with fibre leave."""
    lake = tmp_path_factory.mktemp("pipeline") / "lake"
    fibre = {"InternetService": "Fiber optic", "Churn": "Yes"}
    rows = [customer(n, **(fibre if n % 3 == 0 else {})) for n in range(CUSTOMERS)]
    write_raw(lake, rows)
    note = {"source": "a test", "rows": CUSTOMERS, "sha256": SHA}
    (lake / "raw" / "customers_source.json").write_text(json.dumps(note))
    return lake
