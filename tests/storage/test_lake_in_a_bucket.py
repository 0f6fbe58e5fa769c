"""The scripts on a lake in a bucket, with Google's own connector, against a server on loopback."""

import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from churn.contract import newest_landing
from churn.lake import (
    check_lake,
    create_text,
    delete_folder,
    exists,
    list_folders,
    names_below,
    read_text,
    write_text,
)
from churn.programs import StepError
from churn.review import review
from churn.runs import run_record
from churn.tables import TABLES, finished_attempts, read_table, write_table

from churnlab import paths
from churnlab.run.library import ARCHIVE
from churnlab.run.spark_submit import submit_environment
from churnlab.standins.storage import storage_server
from tests.quick_spark import QUICK_SETTINGS, UNCOMPILED
from tests.same_rows import approximately
from tests.storage.bucket import CONNECTOR, arrow_variables, spark_settings, storage_client
from tests.storage.chain import OF_OTHER_SCRIPTS, RUN, STEPS, arrival, options, records
from tests.storage.conftest import need

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("storage")]

LAKE, CODE = "gs://lake", "gs://code"
DATASET = f"{LAKE}/warehouse/churn"
OTHER_RUN = "yesterday"
SEVERAL = Path(__file__).with_name("several.py")


@dataclass
class Cloud:
    """A project with buckets: what its jobs need, and what they asked the server for."""

    requests: Path
    settings: dict[str, str]
    asked: list[str] = field(default_factory=list)

    def submit(self, step: str, folder: Path, *more: str) -> None:
        """Run a script of the code bucket as a batch does, from a working folder."""
        self._submit(step, ("churn.zip", "batch_scoring.py"), folder, options(step, LAKE, *more))

    def submit_several(self, steps: dict[str, list[str]], folder: Path) -> None:
        """Run scripts of the code bucket one after another, as one batch that starts Spark once."""
        words = json.dumps([[step, *options(step, LAKE, *more)] for step, more in steps.items()])
        self._submit("several", ("churn.zip", *(f"{step}.py" for step in steps)), folder, [words])

    def _submit(self, script: str, libraries, folder: Path, arguments: list[str]) -> None:
        spark_submit = str(Path(sys.executable).with_name("spark-submit"))
        conf = [word for pair in self.settings.items() for word in ("--conf", "=".join(pair))]
        conf += ["--py-files", ",".join(f"{CODE}/{name}" for name in libraries)]
        noted = self.requests.stat().st_size
        done = subprocess.run(
            [spark_submit, *conf, f"{CODE}/{script}.py", *arguments],
            env=submit_environment(),
            cwd=folder,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
        notes = self.requests.read_bytes()[noted:].decode(errors="replace")
        self.asked += re.findall(r'\\"([A-Z]+ /[^ ?\\]*)', notes)


@pytest.fixture(scope="module")
def cloud(tmp_path_factory):
    """Buckets for the lake and the code, the latter filled as `churnlab cloud upload` fills it."""
    need(CONNECTOR)
    folder = tmp_path_factory.mktemp("cloud")
    with pytest.MonkeyPatch.context() as patch, storage_server(300, folder / "requests") as url:
        for name, value in arrow_variables(url, folder).items():
            patch.setenv(name, value)
        patch.setenv("STORAGE_EMULATOR_HOST", url)
        patch.delenv("CHURNLAB_RAW_CSV", raising=False)
        for bucket in ("lake", "code"):
            storage_client().create_bucket(bucket)
        for script in [*paths.SCRIPTS.glob("*.py"), ARCHIVE, SEVERAL]:
            storage_client().bucket("code").blob(script.name).upload_from_filename(script)
        # Plans compiled, as a batch of the cloud does.
        fast = {name: v for name, v in QUICK_SETTINGS.items() if name not in UNCOMPILED}
        yield Cloud(folder / "requests", spark_settings(url) | fast)


def objects(prefix: str = "") -> dict[str, int]:
    """Return name and generation of the lake's objects."""
    found = storage_client().list_blobs("lake", prefix=prefix)
    return {blob.name: blob.generation for blob in found}


# Files and folders, without Spark


@pytest.fixture
def place(cloud, request):
    """A folder of the bucket for one test."""
    return f"{LAKE}/tests/{request.node.name.partition('[')[0]}"


def put(uri: str, *names: str) -> None:
    """Store objects as a program does that knows no folders."""
    for name in names:
        path = f"{uri}/{name}".removeprefix(f"{LAKE}/")
        storage_client().bucket("lake").blob(path).upload_from_string("content")


def test_a_small_file_is_written_read_and_replaced(place):
    write_text(f"{place}/new/facts.json", "old, long text")
    write_text(f"{place}/new/facts.json", "neu: ä")
    assert read_text(f"{place}/new/facts.json") == "neu: ä"
    assert names_below(place) == ["new/facts.json"]


def test_a_file_that_is_there_is_not_created_again(place):
    uri = f"{place}/claims/1"
    assert [create_text(uri, text) for text in ("first", "second", "first")] == [True, False, True]
    assert read_text(uri) == "first"
    assert names_below(place) == ["claims/1"]


def test_folders_are_seen_with_and_without_the_markers_that_some_programs_leave(place):
    put(place, "b/part", "marked/", "marked/part", "deep/er/part", "file", "a/")
    assert list_folders(place) == ["a", "b", "deep", "marked"]
    assert exists(f"{place}/deep") and not exists(f"{place}/dee")
    assert list_folders(f"{place}/missing") == []


@pytest.mark.parametrize("names", [("a/1", "a/b/2"), ("a/", "a/1"), ("a/b/", "a/b/1"), ()])
def test_a_folder_is_deleted_whoever_made_it(place, names):
    put(place, *names, "ab/3")
    delete_folder(f"{place}/a") if names else None
    assert names_below(place) == ["ab/3"]
    delete_folder(place)


def test_the_newest_finished_attempt_of_each_run_and_step_counts(place):
    run = "outcomes/pipeline_id=run-a/step=one"
    put(place, f"{run}/attempt=1-a/_SUCCESS", f"{run}/attempt=1-a/part", f"{run}/attempt=3-c/part")
    put(place, f"{run}/attempt=2-b/_SUCCESS", f"{run}-more/attempt=0-z/_SUCCESS")
    assert sorted(finished_attempts(place, "outcomes")) == [
        f"{place}/{run}-more/attempt=0-z",
        f"{place}/{run}/attempt=2-b",
    ]


def test_a_good_lake_is_left_as_it_was(cloud):
    before = objects()
    assert check_lake(f"{LAKE}/some/where") == f"{LAKE}/some/where"
    assert objects() == before


def test_a_misspelt_bucket_is_refused_and_not_made(cloud, monkeypatch):
    monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "demo")  # as it is in a notebook of Workbench
    with pytest.raises(StepError, match=r"Can't write to the lake gs://laek/churn: .*NOT_FOUND"):
        check_lake("gs://laek/churn")
    assert {bucket.name for bucket in storage_client().list_buckets()} == {"lake", "code"}


# The steps


@pytest.fixture(scope="module")
def finished(cloud, spark, local_lake, raw_file, tmp_path_factory) -> Cloud:
    """All steps from the raw file on, beside the rows of another run."""
    elsewhere, other = tmp_path_factory.mktemp("elsewhere"), tmp_path_factory.mktemp("other")
    bucket = storage_client().bucket("lake")
    some = read_table(spark, f"{local_lake}/warehouse/churn", "training_data").limit(3)
    write_table(some, f"{other}/warehouse/churn", "training_data", OTHER_RUN, "preprocessing")
    for path in filter(Path.is_file, other.rglob("*")):
        bucket.blob(str(path.relative_to(other))).upload_from_filename(path)
    bucket.blob("incoming/customers.csv").upload_from_filename(raw_file)
    bucket.blob("arrivals/shop.csv").upload_from_string(arrival(raw_file))
    source = ["--source", f"{LAKE}/incoming/customers.csv"]
    cloud.submit_several({"customer_data": source} | {step: [] for step in STEPS}, elsewhere)
    assert os.listdir(elsewhere) == []
    return cloud


def rows(lake: str, table: str) -> list[dict]:
    """Return the run's rows of a table, with the lake's own name and its landing's left out."""
    found = review(f"{lake}/warehouse/churn", f"SELECT * FROM {table} WHERE pipeline_id = '{RUN}'")
    if "source" in found:
        source = found["source"].str.removeprefix(lake)
        found["source"] = source.str.replace(r"/attempt=[\w-]+", "", regex=True)
    return records(found)


@pytest.mark.slow
@pytest.mark.parametrize("table", [name for name in TABLES if name not in OF_OTHER_SCRIPTS])
def test_a_bucket_holds_the_rows_that_a_local_run_writes(finished, local_lake, table):
    here, there = rows(local_lake, table), rows(LAKE, table)
    assert here
    assert there == approximately(here)


@pytest.mark.slow
def test_the_raw_customers_are_landed_in_the_bucket_as_they_came(finished, raw_file):
    place = newest_landing(f"{LAKE}/raw/customers").removeprefix(f"{LAKE}/")
    assert re.fullmatch("raw/customers/_landings/attempt=[0-9]+-[0-9a-f]{6}", place)
    landed = storage_client().bucket("lake").blob(f"{place}/customers.csv")
    assert landed.download_as_bytes() == raw_file.read_bytes()
    assert json.loads(read_text(f"{LAKE}/raw/customers_source.json"))["rows"] == 400
    assert {name for name in objects("raw/") if not name.endswith("/")} == {
        "raw/customers_source.json",
        f"{place}/customers.csv",
        f"{place}/_source.json",
    }


@pytest.mark.slow
def test_models_metrics_and_records_are_in_the_bucket(finished):
    for entry in review(DATASET, "SELECT * FROM model_registry").to_dict("records"):
        assert entry["model_uri"].startswith(f"models/{entry['model_version']}/attempt=")
        model, metrics = (f"{LAKE}/{entry[name]}" for name in ("model_uri", "metrics_uri"))
        stages = list_folders(f"{model}/stages")
        assert [name.partition("_")[2].rpartition("_")[0] for name in stages][-1] == (
            "RandomForestClassifier"
        )
        assert json.loads(read_text(metrics))["model_version"] == entry["model_version"]
    for step, name in {"preprocessing": "preprocessing", "model_training": "training"}.items():
        record = run_record(LAKE, RUN, name)
        assert record["script"] == f"{step}.py"
        assert re.fullmatch("[0-9a-f]{40}", record["library_tree"])


@pytest.mark.slow
def test_the_jobs_ask_for_objects_and_never_for_the_bucket(finished):
    """A service account may write to the lake by a role on objects alone."""
    assert len(finished.asked) > 1000
    assert [
        request for request in finished.asked if request.endswith(("/b", "/b/lake", "/b/code"))
    ] == []


@pytest.mark.slow
def test_a_second_run_replaces_its_own_rows_and_nothing_else(finished, tmp_path):
    def of_both_runs() -> list[list]:
        query = "SELECT pipeline_id, COUNT(*) FROM training_data GROUP BY 1 ORDER BY 1"
        return review(DATASET, query).values.tolist()

    before, old, counts = objects(), rows(LAKE, "training_data"), of_both_runs()
    assert counts == [[RUN, len(old)], [OTHER_RUN, 3]]
    finished.submit("preprocessing", tmp_path)
    after = objects()
    assert rows(LAKE, "training_data") == approximately(old)
    assert of_both_runs() == counts
    ours = re.compile(rf".*pipeline_id={RUN}/step=preprocessing/|runs/{RUN}/preprocessing/")
    assert {n: g for n, g in after.items() if not ours.match(n)} == {
        n: g for n, g in before.items() if not ours.match(n)
    }
    for table in ("training_data", "scoring_input", "scoring_outcomes", "quarantined_rows"):
        folder = f"{DATASET}/{table}/pipeline_id={RUN}/step=preprocessing"
        first, second = list_folders(folder)
        assert f"{folder}/{first}/_SUCCESS".removeprefix(f"{LAKE}/") in before
        assert f"{folder}/{second}/_SUCCESS".removeprefix(f"{LAKE}/") in after
