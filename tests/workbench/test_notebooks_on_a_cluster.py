"""The notebooks run on a cluster that shares nothing with them but the lake, as in a session."""

import re
from pathlib import Path

import pytest

from tests.workbench.cluster import can_cover
from tests.workbench.on_a_cluster import RUN

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("cluster")]
SEPARATE_DISKS = pytest.mark.skipif(
    not can_cover(), reason="without the right to mount all processes here see one disk"
)
STEPS = {"preprocessing", "training", "tuning", "scoring"}


def test_notebooks_03_to_06_run_unmodified_and_write_to_the_lake(on_a_cluster):
    runs = on_a_cluster.lake / "runs" / RUN
    assert {record.stem for record in runs.iterdir()} == STEPS
    tables = on_a_cluster.lake / "warehouse" / "churn"
    assert list(tables.glob(f"batch_predictions/pipeline_id={RUN}/**/*.parquet"))


def test_nothing_stays_in_the_kernels_folder_nor_of_the_examples_in_the_lake(on_a_cluster):
    assert list((on_a_cluster.folder / "kernel" / "home").iterdir()) == []
    assert [path for path in on_a_cluster.lake.glob("examples/**/*") if path.is_file()] == []


@SEPARATE_DISKS
def test_executors_have_the_library_that_was_sent_but_no_file_of_the_kernel(on_a_cluster):
    _, asked = on_a_cluster.asked
    master, *files = asked.outputs[0].text.split()
    assert re.match(r"spark://127\.0\.0\.1:\d+$", master)
    below = [Path(file).relative_to(on_a_cluster.folder / "cluster").parts[:2] for file in files]
    assert below == [("worker-0", "work"), ("worker-1", "work")]
    assert [output.output_type for output in asked.outputs] == ["stream"]
    assert "SparkFileNotFoundException" in on_a_cluster.last_words


def test_executors_miss_a_library_that_was_not_sent(on_a_cluster):
    asked, _ = on_a_cluster.asked
    assert [output.output_type for output in asked.outputs] == ["error"]
    assert "No module named 'churn'" in asked.outputs[0].evalue
