"""`churnlab cloud upload` brings what differs, and nothing else."""

import pytest

from churnlab import paths
from churnlab.cloud.upload import code_items
from tests.cloud.conftest import PROFILE, churnlab
from tests.conftest import customer, write_raw

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("cloud commands")]


def objects(cloud, bucket: str) -> dict[str, bytes]:
    """Return the objects of a bucket by their names."""
    storage = cloud.clients().storage
    return {blob.name: blob.download_as_bytes() for blob in storage.list_blobs(bucket)}


def test_scripts_pipeline_and_dag_arrive_as_they_are(cloud):
    done = churnlab("upload")
    assert (
        done.error is None and "Written: gs://demo-code/scripts/preprocessing.py (new)" in done.text
    )
    files = [*paths.SCRIPTS.glob("*.py"), paths.SCRIPTS / "churn.zip"]
    scripts = {f"scripts/{path.name}": path.read_bytes() for path in files}
    template = (paths.SCRIPTS / "training_pipeline.yaml").read_bytes()
    assert objects(cloud, "demo-code") == scripts | {"pipelines/training_pipeline.yaml": template}
    dag = (paths.SCRIPTS / "scoring_dag.py").read_bytes()
    assert objects(cloud, "demo-composer") == {"dags/scoring_dag.py": dag}


def test_a_second_upload_writes_only_what_has_changed(cloud):
    first = churnlab("upload")
    cloud.project.changes.clear()
    assert "Written" not in churnlab("upload").text
    assert cloud.project.changes == []
    bucket = cloud.clients().storage.bucket("demo-code")
    bucket.blob("scripts/preprocessing.py").upload_from_string("print('old')")
    lines = churnlab("upload").text.splitlines()
    assert lines[0] == "Written: gs://demo-code/scripts/preprocessing.py (changed)"
    assert len(lines) == 2 < len(first.text.splitlines())
    old = (paths.SCRIPTS / "preprocessing.py").read_bytes()
    assert objects(cloud, "demo-code")["scripts/preprocessing.py"] == old


def test_a_dry_run_says_the_same_and_writes_nothing(cloud, tmp_path):
    raw = write_raw(tmp_path / "lake", [customer(1)])
    said = churnlab("upload", "--dry-run", "--data", str(raw)).text
    assert cloud.project.changes == []
    written = churnlab("upload", "--data", str(raw)).text
    assert said.replace("Would write", "Written:") == written


def test_without_composer_there_is_no_dag_to_bring():
    names = [item.path.name for item in code_items(PROFILE)]
    assert names.count("scoring_dag.py") == 1  # among the scripts
    assert [item.path.name for item in code_items(PROFILE, "gs://x/dags")].count(
        "scoring_dag.py"
    ) == 2


def test_an_object_that_somebody_else_changes_meanwhile_is_not_overwritten(cloud, monkeypatch):
    from churnlab.cloud import upload

    compare = upload.compare

    def and_meanwhile(clients, items):
        compared = compare(clients, items)
        bucket = clients.storage.bucket("demo-code")
        bucket.blob("scripts/batch_scoring.py").upload_from_string("print('theirs')")
        return compared

    monkeypatch.setattr(upload, "compare", and_meanwhile)
    assert "batch_scoring.py" in churnlab("upload").error.problem
    assert objects(cloud, "demo-code")["scripts/batch_scoring.py"] == b"print('theirs')"


def test_the_raw_customers_land_where_preprocessing_reads(cloud, tmp_path):
    raw = write_raw(tmp_path / "lake", [customer(1), customer(2)])
    assert churnlab("upload", "--data", str(raw)).error is None
    assert objects(cloud, "demo-lake") == {"raw/customers/customers.csv": raw.read_bytes()}
    assert "customers.csv" not in churnlab("upload", "--data", str(raw)).text  # the same


@pytest.mark.parametrize(
    ("text", "words"),
    [(None, "There is no file"), ("", "it is empty"), ("a,b\n1,2\n", "lacks customerID")],
)
def test_a_file_that_is_not_the_raw_customers_is_refused(cloud, tmp_path, text, words):
    file = tmp_path / "customers.csv"
    if text is not None:
        file.write_text(text)
    assert words in churnlab("upload", "--data", str(file)).error.problem
    assert objects(cloud, "demo-lake") == {}


def test_customers_that_a_batch_has_landed_are_not_mixed_with_others(cloud, tmp_path):
    bucket = cloud.clients().storage.bucket("demo-lake")
    bucket.blob("raw/customers/part-00000.csv").upload_from_string("customerID\n")
    raw = write_raw(tmp_path / "lake", [customer(1)])
    error = churnlab("upload", "--data", str(raw)).error
    assert "holds part-00000.csv already" in error.problem
    assert "churnlab cloud submit customer_data" in error.mend
    assert list(objects(cloud, "demo-lake")) == ["raw/customers/part-00000.csv"]
