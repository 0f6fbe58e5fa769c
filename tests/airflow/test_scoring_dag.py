"""The scoring DAG as a file: how Airflow reads it, and what its tasks decide."""

import json
from pathlib import Path

import pytest

from churnlab.standins.airflow import land_todays_customers
from tests.airflow.conftest import WITHOUT_CHURN, AirflowHome, various
from tests.conftest import write_raw

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("airflow")]

LIMITS = {"max_quarantined": 0.02, "min_offers": 0.1, "max_offers": 0.5}
GOOD = {
    "source": "a.csv",
    "rows": 100,
    "quarantined": 2,
    "predictions": 98,
    "offers": 30,
    "out_of_range": 0,
}


def case(record: dict | None = None, **facts) -> tuple[dict, dict]:
    """Return a record with some facts changed, and the limits to judge it by."""
    return {"pipeline_id": "run", "step": "scoring", "facts": GOOD | facts} | (record or {}), LIMITS


CASES = {
    "good": (case(), []),
    "nobody": (
        case(rows=3, quarantined=3, predictions=0),
        ["no customer of a.csv has a prediction"],
    ),
    "empty file": (
        case(rows=0, quarantined=0, predictions=0),
        ["no customer of a.csv has a prediction"],
    ),
    "bad rows": (case(quarantined=3, predictions=97), ["3.0% of the rows are bad"]),
    "probability": (case(out_of_range=1), ["1 probabilities are not between 0 and 1"]),
    "few offers": (case(offers=1), ["1.0% of the customers get an offer"]),
    "many offers": (case(offers=98), ["100.0% of the customers get an offer"]),
    "lost customers": (case(predictions=90), ["100 rows gave 90 predictions"]),
    "another run": (case({"pipeline_id": "other"}), ["the record is of scoring in run other"]),
    "another step": (case({"step": "training"}), ["the record is of training in run run"]),
    "two": (
        case(out_of_range=2, quarantined=50, predictions=50),
        [
            "2 probabilities are not between 0 and 1",
            "50.0% of the rows are bad",
            "60.0% of the customers get an offer",
        ],
    ),
}


def look(folder: Path, drop: tuple[str, ...] = (), **variables: str) -> dict:
    """Look at the DAG from inside Airflow's environment, as if no stand-in existed."""
    lake = folder / "lake"
    lake.mkdir(parents=True)
    home = AirflowHome(folder / "airflow", lake)
    (home.home / "config" / "airflow_local_settings.py").unlink()  # it imports what parsing must
    for name in drop:
        del home.env[name]
    program = Path(__file__).with_name("in_airflow.py")
    cases = json.dumps({name: case for name, (case, _) in CASES.items()})
    done = home.run(str(program), str(home.home / "dags"), str(lake), cases, **variables)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout.splitlines()[-1]) | {"lake": str(lake)}


def execution_of(seen: dict) -> dict:
    """Return how the DAG's batch runs."""
    return seen["batch"]["environment_config"]["execution_config"]


@pytest.fixture(scope="module")
def seen(tmp_path_factory) -> dict:
    """What Airflow sees of the DAG."""
    return look(tmp_path_factory.mktemp("seen"))


def test_airflow_reads_the_file_without_errors_network_or_variables(seen):
    assert seen["errors"] == []


def test_reading_the_file_twice_gives_the_same_dag(seen):
    assert seen["same"]


def test_reading_the_file_takes_little_processor_time_once_airflow_is_imported(seen, tmp_path):
    best = seen["seconds"]
    for attempt in range(3):  # a shared core is a slow one
        if best >= 2:
            best = min(best, look(tmp_path / str(attempt))["seconds"])
    assert best < 2


def test_the_check_stands_between_the_batch_and_its_readers_and_watching_comes_after(seen):
    assert seen["arrows"] == [
        ["check_quality", "publish"],
        ["judge", "alert"],
        ["judge", "nobody_watched"],
        ["judge", "retrain"],
        ["monitor", "judge"],
        ["publish", "judge"],
        ["publish", "monitor"],
        ["score", "check_quality"],
        ["wait_for_customers", "score"],
    ]
    rules = {name for name, rule in seen["rules"].items() if rule != "all_success"}
    assert rules == {"judge"}  # it answers for a monitor that has failed, too


@pytest.mark.parametrize(
    ("verdict", "task"),
    [
        ("fine", None),
        ("alert", "alert"),
        ("retrain", "retrain"),
        ("failed", "nobody_watched"),
        ("scored again", "nobody_watched"),
        ("retrain another version", "alert"),
    ],
)
def test_the_run_branches_by_the_monitor_s_verdict(seen, verdict, task):
    assert seen["tasks"]["judged"][verdict] == task


def test_an_alarm_says_what_has_moved(seen):
    alarm = seen["tasks"]["judged"]["alarm"]
    assert (alarm["pipeline_id"], alarm["moved"]) == (seen["tasks"]["key"], ["tenure"])


def test_without_a_function_a_retraining_is_an_alert_that_says_so(seen):
    alarm = seen["tasks"]["judged"]["without a function"]
    assert "CHURNLAB_FUNCTION_URL is not set" in alarm["retraining"]["error"]


def test_an_alarm_about_a_version_that_was_named_says_why_nothing_is_trained(seen):
    alarm = seen["tasks"]["judged"]["about another version"]
    assert alarm["retraining"] == {"error": "v6 was named, and is not the champion: alert only."}


def test_a_run_that_nobody_watched_fails_after_it_has_said_so(seen):
    judged = seen["tasks"]["judged"]
    assert judged["nobody"].startswith("AirflowFailException: Published, but nobody watched")
    assert (judged["file"]["verdict"], judged["file"]["moved"]) == ("unwatched", [])


def test_the_monitor_is_a_batch_like_the_other_about_the_same_run(seen):
    score, monitor = seen["batch"], seen["monitor"]
    ours = score["pyspark_batch"] | {"args": monitor["pyspark_batch"]["args"]}
    ours["main_python_file_uri"] = ours["main_python_file_uri"].replace(
        "batch_scoring", "monitoring"
    )
    labels = score["labels"] | {"step": "monitoring"}
    assert monitor == score | {"pyspark_batch": ours, "labels": labels}
    words = monitor["pyspark_batch"]["args"]
    assert words == score["pyspark_batch"]["args"][: len(words)]
    assert words[::2] == ["--pipeline-id", "--lake", "--dataset"]


def test_it_runs_daily_one_run_at_a_time_and_never_catches_up(seen):
    assert (seen["schedule"], seen["settings"]) == ("@daily", [False, 1])


def test_every_parameter_has_a_description_and_a_type(seen):
    assert set(seen["params"]) == {
        "customers", "model_version", "max_quarantined", "min_offers", "max_offers",
    }  # fmt: skip
    assert all(text and schema["type"] for text, schema in seen["params"].values())


def test_lake_and_dataset_belong_to_the_environment_and_not_to_who_starts_a_run(seen):
    words = seen["batch"]["pyspark_batch"]["args"]
    fixed = dict(zip(words[::2], words[1::2], strict=True))
    assert "{{" not in fixed["--lake"] + fixed["--dataset"]


def test_deferring_bucket_and_key_are_left_to_the_environment(seen, tmp_path):
    assert seen["deferrable"] is False
    assert not {"staging_bucket", "kms_key"} & execution_of(seen).keys()
    key = "projects/demo/locations/us-central1/keyRings/course/cryptoKeys/data"
    other = look(
        tmp_path / "x",
        AIRFLOW__OPERATORS__DEFAULT_DEFERRABLE="True",
        CHURNLAB_STAGING_BUCKET="demo-staging",
        CHURNLAB_KMS_KEY=key,
        CHURNLAB_BATCH_IMAGE="host/demo/images/batch:v1",
    )
    assert other["deferrable"] is True
    execution = execution_of(other)
    assert (execution["staging_bucket"], execution["kms_key"]) == ("demo-staging", key)
    runtime = {"version": "2.3", "container_image": "host/demo/images/batch:v1"}
    assert other["batch"]["runtime_config"] == other["monitor"]["runtime_config"] == runtime


def test_a_missing_setting_is_an_import_error_that_names_it(tmp_path):
    [error] = look(tmp_path / "x", drop=("CHURNLAB_CODE_URI",))["errors"]
    assert "CHURNLAB_CODE_URI is not set" in error


def test_the_batch_has_a_ttl_labels_an_account_and_a_runtime_version(seen):
    batch = seen["batch"]
    execution = batch["environment_config"]["execution_config"]
    assert execution["ttl"] == {"seconds": 3600} and "@" in execution["service_account"]
    assert batch["labels"]["course"] == "churnlab"
    assert batch["runtime_config"] == {"version": "2.3"}


def test_the_key_of_a_run_sorts_by_its_time_and_follows_from_the_run(seen):
    assert seen["tasks"]["key"] == "20261123t051500-19b04f"


def test_the_sensor_finds_the_file_of_the_day_when_it_has_landed(seen):
    before, after, found = seen["tasks"]["sensed"]
    assert (before, after) == (False, True)
    assert found.endswith(f"{seen['lake']}/incoming/2026-11-23.csv")


def test_the_sensor_gives_its_worker_back_while_it_waits(seen):
    assert seen["reschedules"] is True


@pytest.mark.parametrize("name", CASES)
def test_the_check_names_all_that_speaks_against_publishing(seen, name):
    assert seen["problems"][name] == CASES[name][1]


def test_a_run_without_a_record_fails_for_good(seen):
    assert seen["tasks"]["no_record"].startswith("AirflowFailException: Not published: the batch")


def test_readers_are_pointed_to_the_run_that_was_checked(seen):
    first = json.loads(seen["tasks"]["first"])
    assert (first["pipeline_id"], first["predictions"]) == (seen["tasks"]["key"], 9)


def test_an_older_run_does_not_take_readers_back_in_time(seen):
    assert seen["tasks"]["late"].startswith("AirflowSkipException: Readers already have the newer")


def test_a_publish_that_dies_leaves_the_old_pointer_whole(seen):
    assert seen["tasks"]["killed"].startswith("TypeError")  # it died before the move
    assert seen["tasks"]["pointer"]["pipeline_id"] == "20270101t000000-000000"


def test_make_airflow_lands_customers_of_today_once_and_without_churn(tmp_path):
    write_raw(tmp_path, [various(number) for number in range(20)])
    landed = land_todays_customers(tmp_path, rows=5)
    header, *rows = landed.read_text(encoding="utf-8").splitlines()
    assert header.split(",") == WITHOUT_CHURN and len(rows) == 5
    assert [file.name for file in landed.parent.iterdir()] == [landed.name]
    assert land_todays_customers(tmp_path) is None
