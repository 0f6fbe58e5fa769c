"""Keys, places and tables: what a run writes replaces its own rows and nothing else."""

import os
import re
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from churn.lake import (
    check_lake,
    delete_folder,
    join_uri,
    list_folders,
    names_below,
    read_text,
    write_text,
)
from churn.programs import DataContractError, StepError, TableNotFoundError
from churn.review import review
from churn.runs import check_pipeline_id, new_pipeline_id
from churn.tables import (
    TABLES,
    dataset_root,
    finished_attempts,
    load_from_bigquery,
    outdated_attempts,
    own_or_newest_run,
    read_table,
    save_to_bigquery,
    table_columns,
    write_table,
    write_tables,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet as pq
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from churnlab import paths
from churnlab.run.library import library

pytestmark = pytest.mark.xdist_group("library")

OUTCOMES = TABLES["scoring_outcomes"]


def outcomes(spark, *ids, churn="yes"):
    """Return rows of the smallest table of the contract, in one file."""
    return spark.createDataFrame([(i, churn) for i in ids], OUTCOMES).coalesce(1)


def stored(spark, dataset, name="scoring_outcomes"):
    """Return (run, step, customer) of a table's rows, sorted."""
    rows = read_table(spark, dataset, name).select("pipeline_id", "step", "customer_id").collect()
    return sorted(map(tuple, rows))


@pytest.fixture
def dataset(tmp_path):
    return str(tmp_path / "churn")


# Keys of runs


def test_a_fresh_key_is_valid_tells_its_time_and_keys_of_one_moment_differ():
    keys = [new_pipeline_id() for _ in range(20)]  # a thousand would repeat one in 3 of 100
    assert all(check_pipeline_id(key) == key for key in keys)
    assert len(set(keys)) == 20
    made = datetime.strptime(keys[0][:15], "%Y%m%dt%H%M%S").replace(tzinfo=UTC)
    assert timedelta(0) <= datetime.now(UTC) - made < timedelta(minutes=1)


@pytest.mark.parametrize("key", ["a", "7", "20261123t051500-3f9c2a", "a" * 48, "the-page"])
def test_a_good_key_is_returned(key):
    assert check_pipeline_id(key) == key


@pytest.mark.parametrize(
    "key", ["", "-a", "A", "a b", "a/b", "..", "a_b", "ä", "a\n", "a" * 49, "a=b", "a'; DROP"]
)
def test_a_bad_key_is_refused_with_the_rule(key):
    with pytest.raises(StepError, match="at most 48 lower-case letters, digits and inner hyphens"):
        check_pipeline_id(key)


@settings(deadline=None)
@given(st.text())
def test_whatever_passes_as_a_key_names_one_folder_and_one_batch(text):
    try:
        assert re.fullmatch("[a-z0-9-]{1,48}", check_pipeline_id(text))
    except StepError as error:
        assert repr(text) in str(error)


# Places


@pytest.mark.parametrize(
    ("parts", "joined"),
    [
        (("/lake",), "/lake"),
        (("/lake/",), "/lake"),
        (("/lake", "raw", "customers"), "/lake/raw/customers"),
        (("/lake/", "/elsewhere"), "/elsewhere"),
        (("/lake", "gs://bucket/raw.csv"), "gs://bucket/raw.csv"),
        (("gs://bucket", "models", "m-1"), "gs://bucket/models/m-1"),
        (("gs://bucket/lake/", "raw/"), "gs://bucket/lake/raw"),
        (("/a lake/ä", "warehouse"), "/a lake/ä/warehouse"),
    ],
)
def test_parts_join_to_a_place(parts, joined):
    assert join_uri(*parts) == joined


def test_a_relative_lake_becomes_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert join_uri("lake", "raw") == f"{tmp_path}/lake/raw"


def test_a_dataset_is_a_folder_of_the_lake_or_bigquery():
    assert dataset_root("/lake", "churn") == "/lake/warehouse/churn"
    assert dataset_root("gs://bucket", "churn") == "gs://bucket/warehouse/churn"
    assert dataset_root("/lake", "bigquery://project.churn") == "bigquery://project.churn"


def test_a_small_file_is_replaced_as_a_whole(tmp_path):
    place = str(tmp_path / "new folder" / "facts.json")
    write_text(place, "old, long text")
    write_text(place, "neu: ä")
    assert read_text(place) == "neu: ä"
    assert os.listdir(tmp_path / "new folder") == ["facts.json"]


def test_what_lies_below_a_folder_is_named_from_there_on(tmp_path):
    write_text(str(tmp_path / "a lake" / "runs" / "a" / "step.json"), "{}")
    os.makedirs(tmp_path / "a lake" / "runs" / "empty")
    place = str(tmp_path / "a lake")
    assert names_below(place) == ["runs/", "runs/a/", "runs/a/step.json", "runs/empty/"]
    assert names_below(f"file://{tmp_path}/a%20lake/") == names_below(place)
    assert list_folders(f"{place}/runs") == ["a", "empty"]
    assert names_below(f"{place}/missing") == list_folders(f"{place}/missing") == []


def test_a_folder_that_is_gone_need_not_be_deleted_again(tmp_path):
    write_text(str(tmp_path / "folder" / "file"), "")
    for _ in range(2):
        delete_folder(str(tmp_path / "folder"))
    assert os.listdir(tmp_path) == []


def test_a_good_lake_is_returned_absolute_and_left_as_it_was(tmp_path):
    assert check_lake(str(tmp_path / "lake")) == str(tmp_path / "lake")
    assert os.listdir(tmp_path / "lake") == []


def test_a_lake_below_a_file_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StepError, match=r"Can't write to the lake .*/file/lake: .*--lake"):
        check_lake(str(tmp_path / "file" / "lake"))


@pytest.mark.parametrize("lake", ["nonsense://bucket", "gs://two words/lake"])
def test_a_lake_that_is_no_place_is_refused(lake):
    with pytest.raises(StepError, match=r"Can't write to the lake .*--lake"):
        check_lake(lake)


def test_steps_that_start_together_all_find_the_lake_writable(tmp_path):
    lake, start = str(tmp_path / "lake"), threading.Barrier(8)

    def check_often(_):
        start.wait()
        return [check_lake(lake) for _ in range(300)]

    with ThreadPoolExecutor(8) as pool:
        assert {place for places in pool.map(check_often, range(8)) for place in places} == {lake}


# Writing and reading


def test_rows_come_back_with_their_run_step_and_time(spark, dataset):
    before = datetime.now(UTC) - timedelta(seconds=1)
    write_table(outcomes(spark, "c-1"), dataset, "scoring_outcomes", "run-a", "preprocessing")
    table = read_table(spark, dataset, "scoring_outcomes")
    assert table.schema == spark.createDataFrame([], table_columns("scoring_outcomes")).schema
    row = table.first()
    assert row[:4] == ("c-1", "yes", "run-a", "preprocessing")
    assert before <= row["pipeline_execution_ts"].astimezone(UTC) <= datetime.now(UTC)


@pytest.mark.parametrize("name", TABLES)
def test_every_table_carries_the_run_columns_last(spark, name):
    columns = spark.createDataFrame([], table_columns(name)).dtypes
    assert columns[-3:] == [
        ("pipeline_id", "string"),
        ("step", "string"),
        ("pipeline_execution_ts", "timestamp"),
    ]


def test_writing_again_replaces_the_rows_of_the_same_run_and_step_only(spark, dataset):
    write_table(outcomes(spark, "old-1", "old-2"), dataset, "scoring_outcomes", "run-a", "one")
    write_table(outcomes(spark, "kept"), dataset, "scoring_outcomes", "run-a", "two")
    write_table(outcomes(spark, "kept"), dataset, "scoring_outcomes", "run-b", "one")
    write_table(outcomes(spark, "new"), dataset, "scoring_outcomes", "run-a", "one")
    assert stored(spark, dataset) == [
        ("run-a", "one", "new"),
        ("run-a", "two", "kept"),
        ("run-b", "one", "kept"),
    ]


def test_who_asked_before_a_second_write_still_finds_the_rows_of_the_first(spark, dataset):
    write_table(outcomes(spark, "old"), dataset, "scoring_outcomes", "run-a", "preprocessing")
    asked_before = read_table(spark, dataset, "scoring_outcomes")
    write_table(outcomes(spark, "new"), dataset, "scoring_outcomes", "run-a", "preprocessing")
    assert [row["customer_id"] for row in asked_before.collect()] == ["old"]
    assert stored(spark, dataset) == [("run-a", "preprocessing", "new")]
    query = "SELECT customer_id FROM scoring_outcomes"
    assert review(dataset, query).values.tolist() == [["new"]]


HOUR = 3600 * 10**9  # nanoseconds


def attempt_of(hours: float, mark="000000") -> str:
    """Return the name of an attempt that began so many hours ago."""
    return f"attempt={time.time_ns() - int(hours * HOUR)}-{mark}"


def test_what_a_reader_of_the_last_day_may_have_found_stays_and_older_attempts_go(tmp_path):
    old, of_a_day_ago, replaced, newest = map(attempt_of, (72, 49, 23, 1))
    for name in (old, of_a_day_ago, replaced, newest):
        write_text(str(tmp_path / name / "_SUCCESS"), "")
    assert outdated_attempts(str(tmp_path)) == [str(tmp_path / old)]


def test_an_attempt_that_may_still_be_written_stays_for_a_day(tmp_path):
    killed, killed_later, written, finished = map(attempt_of, (50, 25, 23, 48))
    for name in (killed, killed_later, written):
        write_text(str(tmp_path / name / "part-0.parquet"), "")
    write_text(str(tmp_path / finished / "_SUCCESS"), "")
    assert outdated_attempts(str(tmp_path)) == [
        str(tmp_path / name) for name in (killed, killed_later)
    ]


def test_a_week_of_writes_keeps_the_last_day_s_and_the_one_before(spark, dataset):
    for number in range(3):
        write_table([(f"c-{number}", "no")], dataset, "scoring_outcomes", "run-a", "one")
        [attempt] = finished_attempts(dataset, "scoring_outcomes")
        run = attempt.rpartition("/")[0]
        if number < 2:
            os.rename(attempt, f"{run}/{attempt_of(96 - 48 * number)}")
    assert len(list_folders(run)) == 2
    assert stored(spark, dataset) == [("run-a", "one", "c-2")]


def test_runs_at_once_do_not_disturb_each_other(spark, dataset):
    start = threading.Barrier(2)

    def one_run(run):
        start.wait()
        for attempt in ("first", "second"):
            rows = outcomes(spark, f"{run}-{attempt}")
            write_table(rows, dataset, "scoring_outcomes", run, "preprocessing")

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(one_run, ["run-a", "run-b"]))
    assert stored(spark, dataset) == [
        (run, "preprocessing", f"{run}-second") for run in ("run-a", "run-b")
    ]


def kill_a_write(dataset, run, name="attempt=9999999999999999999-000000"):
    """Leave behind what a killed job leaves: data files of a newer attempt without the marker."""
    folder = os.path.join(
        dataset, "scoring_outcomes", f"pipeline_id={run}", "step=preprocessing", name
    )
    os.makedirs(os.path.join(folder, "_temporary", "0"))
    with open(os.path.join(folder, "part-00000.snappy.parquet"), "wb") as stream:
        stream.write(b"PAR1 half a file")
    return folder


def test_an_unfinished_attempt_is_not_read(spark, dataset):
    write_table(outcomes(spark, "old"), dataset, "scoring_outcomes", "run-a", "preprocessing")
    kill_a_write(dataset, "run-a")
    kill_a_write(dataset, "run-b")
    assert stored(spark, dataset) == [("run-a", "preprocessing", "old")]
    assert review(dataset, "SELECT customer_id FROM scoring_outcomes").values.tolist() == [["old"]]


def test_a_table_with_nothing_but_an_unfinished_attempt_is_not_there(spark, dataset):
    kill_a_write(dataset, "run-a")
    with pytest.raises(TableNotFoundError, match=r"No run has written scoring_outcomes in .*churn"):
        read_table(spark, dataset, "scoring_outcomes")


def test_the_next_write_clears_away_what_a_killed_one_left(spark, dataset):
    left = kill_a_write(dataset, "run-a", "attempt=1-000000")
    write_table(outcomes(spark, "new"), dataset, "scoring_outcomes", "run-a", "preprocessing")
    assert not os.path.exists(left)
    assert stored(spark, dataset) == [("run-a", "preprocessing", "new")]


def test_a_write_that_fails_leaves_the_old_rows(spark, dataset):
    write_table(outcomes(spark, "old"), dataset, "scoring_outcomes", "run-a", "preprocessing")
    failure = F.raise_error(F.lit("the disk is full")).cast("string")
    broken = outcomes(spark, "new").withColumn("churn", failure)
    with pytest.raises(Exception, match="the disk is full"):  # Spark's own, whichever it is
        write_table(broken, dataset, "scoring_outcomes", "run-a", "preprocessing")
    assert stored(spark, dataset) == [("run-a", "preprocessing", "old")]


def test_rows_that_lack_a_column_are_refused(spark, dataset):
    with pytest.raises(DataContractError, match=r"scoring_outcomes lack customer_id, .*churn"):
        write_table(spark.range(1), dataset, "scoring_outcomes", "run-a", "preprocessing")
    assert not os.path.exists(dataset)


def test_rows_whose_values_do_not_fit_are_refused(spark, dataset):
    text = spark.createDataFrame(
        [("m-1", "tenure", "much")], "model_version STRING, feature STRING, importance STRING"
    )
    with pytest.raises(DataContractError, match="importance"):
        write_table(text, dataset, "model_feature_importance_scores", "run-a", "training")
    assert not os.path.exists(dataset)


def test_columns_beyond_the_contract_are_left_out_and_order_does_not_matter(spark, dataset):
    rows = outcomes(spark, "c-1").select(F.lit(1).alias("extra"), "churn", "customer_id")
    write_table(rows, dataset, "scoring_outcomes", "run-a", "preprocessing")
    table = read_table(spark, dataset, "scoring_outcomes")
    assert table.columns[:3] == ["customer_id", "churn", "pipeline_id"]
    assert table.first()[:2] == ("c-1", "yes")


def test_an_empty_table_says_none_and_a_missing_one_says_nothing(spark, dataset):
    with pytest.raises(TableNotFoundError, match="Run its step first"):
        read_table(spark, dataset, "scoring_outcomes")
    write_table(outcomes(spark), dataset, "scoring_outcomes", "run-a", "preprocessing")
    assert stored(spark, dataset) == []


def test_a_bad_key_writes_nothing(spark, dataset):
    with pytest.raises(StepError, match="not a key of a run"):
        write_table(outcomes(spark, "c-1"), dataset, "scoring_outcomes", "../up", "preprocessing")
    assert not os.path.exists(dataset)


def test_one_run_is_read_alone_the_own_one_before_the_one_that_wrote_last(spark, dataset):
    for run in ("run-a", "run-c", "run-b"):
        write_table(outcomes(spark, run), dataset, "scoring_outcomes", run, "preprocessing")
    only_b = read_table(spark, dataset, "scoring_outcomes", "run-b")
    assert [row["customer_id"] for row in only_b.collect()] == ["run-b"]
    assert own_or_newest_run(spark, dataset, "scoring_outcomes", "run-b") == "run-b"
    assert own_or_newest_run(spark, dataset, "scoring_outcomes", "run-x") == "run-b"


def test_a_run_that_kept_no_rows_is_a_run_and_no_run_is_an_error(spark, dataset):
    with pytest.raises(TableNotFoundError, match=r"has no rows. Run its step first"):
        own_or_newest_run(spark, dataset, "scoring_outcomes", "run-a")
    write_table(outcomes(spark), dataset, "scoring_outcomes", "run-a", "preprocessing")
    assert own_or_newest_run(spark, dataset, "scoring_outcomes", "run-a") == "run-a"
    assert read_table(spark, dataset, "scoring_outcomes", "run-a").isEmpty()
    assert read_table(spark, dataset, "scoring_outcomes", "run-b").isEmpty()


def test_a_killed_attempt_makes_no_run_the_newest(spark, dataset):
    write_table(outcomes(spark, "c-1"), dataset, "scoring_outcomes", "run-b", "preprocessing")
    write_table(outcomes(spark, "c-1"), dataset, "scoring_outcomes", "run-a", "preprocessing")
    [attempt] = finished_attempts(dataset, "scoring_outcomes", "run-a")
    os.remove(f"{attempt}/_SUCCESS")
    assert own_or_newest_run(spark, dataset, "scoring_outcomes", "run-x") == "run-b"


def test_reading_one_run_lists_no_other_run_s_folders(spark, dataset, monkeypatch):
    for run in ("run-a", "run-b"):
        write_table(outcomes(spark, run), dataset, "scoring_outcomes", run, "preprocessing")
    listed = []
    names_below = library.lake.names_below
    monkeypatch.setattr(
        library.tables, "names_below", lambda uri: listed.append(uri) or names_below(uri)
    )
    read_table(spark, dataset, "scoring_outcomes", "run-a")
    own_or_newest_run(spark, dataset, "scoring_outcomes", "run-a")
    assert listed and all(uri.endswith("/pipeline_id=run-a") for uri in listed)


def test_tables_that_are_written_side_by_side_are_all_there(spark, dataset):
    frames = {"scoring_outcomes": outcomes(spark, "c-1", "c-2"), "quarantined_rows": None}
    frames["quarantined_rows"] = spark.createDataFrame(
        [("a file", "a reason", "a row")], TABLES["quarantined_rows"]
    )
    write_tables(frames, dataset, "run-a", "preprocessing")
    assert read_table(spark, dataset, "scoring_outcomes", "run-a").count() == 2
    assert read_table(spark, dataset, "quarantined_rows", "run-a").count() == 1


def test_one_table_that_does_not_fit_is_told_and_the_others_are_whole(spark, dataset):
    frames = {"quarantined_rows": outcomes(spark, "c-1"), "scoring_outcomes": outcomes(spark, "c")}
    with pytest.raises(DataContractError, match="Rows for quarantined_rows lack source"):
        write_tables(frames, dataset, "run-a", "preprocessing")
    assert read_table(spark, dataset, "scoring_outcomes", "run-a").count() == 1


def test_a_dataset_can_be_named_by_a_uri(spark, tmp_path):
    dataset = f"file://{tmp_path}/churn"
    write_table(outcomes(spark, "old"), dataset, "scoring_outcomes", "run-a", "preprocessing")
    write_table(outcomes(spark, "new"), dataset, "scoring_outcomes", "run-a", "preprocessing")
    assert stored(spark, dataset) == [("run-a", "preprocessing", "new")]
    assert review(dataset, "SELECT customer_id FROM scoring_outcomes").values.tolist() == [["new"]]


# Review SQL, in BigQuery's dialect


@pytest.fixture(scope="module")
def reviewed(spark, tmp_path_factory):
    """Two runs of predictions, with their reasons."""
    dataset = str(tmp_path_factory.mktemp("review") / "churn")
    schema = TABLES["batch_predictions"]
    reasons = [("contract", 0.25), ("tenure", -0.125)]
    said = (["month-to-month contract"], ["customer for 70 months"], 0.25, "shap")
    march = [("m-1", "c-1", 0.75, "yes", reasons), ("m-1", "c-2", 0.25, "no", reasons[:1])]
    march = [(*row, *said) for row in march]
    april = [("m-1", "c-1", 0.5, "no", [], [], [], 0.25, "path")]
    for run, rows in {"march": march, "april": april}.items():
        frame = spark.createDataFrame(rows, schema).coalesce(1)
        write_table(frame, dataset, "batch_predictions", run, "scoring")
    return dataset


def test_a_column_that_came_later_is_null_in_the_rows_of_earlier_runs(spark, tmp_path):
    dataset = str(tmp_path / "churn")
    write_table([("THEFT", 1, 2, 0.5)], dataset, "crime_counts", "early", "counting")
    [early] = Path(dataset).glob("crime_counts/pipeline_id=early/**/*.parquet")
    table = pq.read_table(early)
    pq.write_table(table.drop_columns(["arrest_rate"]), early)
    later = spark.createDataFrame(
        [("THEFT", 2, 3)], "primary_type STRING, month INT, incidents LONG"
    )
    later = later.withColumn("arrest_rate", F.lit(0.25))
    write_table(later, dataset, "crime_counts", "later", "counting")
    answer = review(dataset, "SELECT month, arrest_rate FROM crime_counts ORDER BY month")
    assert answer["arrest_rate"].isna().tolist() == [True, False]


@pytest.mark.parametrize(
    ("sql", "answer"),
    [
        (
            "SELECT pipeline_id, COUNTIF(prediction = 'yes') AS churners, COUNT(*) AS customers "
            "FROM batch_predictions GROUP BY pipeline_id ORDER BY pipeline_id",
            [["april", 0, 1], ["march", 1, 2]],
        ),
        (
            "SELECT reason.feature, ROUND(SUM(reason.contribution), 3) FROM batch_predictions, "
            "UNNEST(reasons) AS reason GROUP BY 1 ORDER BY 1",
            [["contract", 0.5], ["tenure", -0.125]],
        ),
        (
            "SELECT customer_id, ARRAY_LENGTH(reasons) AS n FROM `batch_predictions` "
            "WHERE pipeline_id = 'march' ORDER BY customer_id",
            [["c-1", 2], ["c-2", 1]],
        ),
        (
            "SELECT word, COUNT(*) FROM batch_predictions, UNNEST(lowers) AS word GROUP BY 1",
            [["customer for 70 months", 2]],
        ),
        ("SELECT IFNULL(SAFE_DIVIDE(COUNT(*), 0), -1.0) FROM batch_predictions", [[-1.0]]),
        (
            "SELECT customer_id, churn_probability FROM batch_predictions QUALIFY "
            "ROW_NUMBER() OVER (PARTITION BY customer_id ORDER BY churn_probability DESC) = 1 "
            "ORDER BY customer_id",
            [["c-1", 0.75], ["c-2", 0.25]],
        ),
        (
            "SELECT DISTINCT EXTRACT(YEAR FROM pipeline_execution_ts) >= 2026, "
            "pipeline_execution_ts > TIMESTAMP '2026-01-01', "
            "TIMESTAMP_DIFF(CURRENT_TIMESTAMP(), pipeline_execution_ts, DAY) FROM batch_predictions",
            [[True, True, 0]],
        ),
        (
            "SELECT * EXCEPT (reasons, raises, lowers, base_probability, pipeline_execution_ts, "
            "step) FROM batch_predictions "
            "WHERE pipeline_id = 'april'",
            [["m-1", "c-1", 0.5, "no", "path", "april"]],
        ),
    ],
    ids=[
        "COUNTIF",
        "UNNEST",
        "ARRAY_LENGTH",
        "words",
        "SAFE_DIVIDE",
        "QUALIFY",
        "timestamps",
        "EXCEPT",
    ],
)
def test_review_sql_is_bigquery_s_dialect(reviewed, sql, answer):
    assert review(reviewed, sql).values.tolist() == answer


# BigQuery: what Spark's connector is told; tests/storage/test_bigquery.py has the rest


class Connector:
    """The end of Spark's interface that the connector stands behind: notes what it is told."""

    def __init__(self, rows=None):
        self.rows, self.told = rows, {}

    def format(self, name):
        return self.options(format=name)

    def mode(self, name):
        return self.options(mode=name)

    def options(self, **options):
        self.told |= options
        return self

    def save(self, table):
        self.told["table"] = table

    def load(self, table):
        self.told["table"] = table
        return self.rows


# https://github.com/GoogleCloudDataproc/spark-bigquery-connector#properties, accessed 2026-11-24


def test_the_connector_is_told_to_append_directly_on_the_project_s_account(spark, monkeypatch):
    connector = Connector()
    monkeypatch.setattr(DataFrame, "write", property(lambda rows: connector))
    save_to_bigquery(outcomes(spark, "c-1"), "project.churn.outcomes__run_a")
    assert connector.told == {
        "format": "bigquery",
        "mode": "append",
        "writeMethod": "direct",
        "parentProject": "project",
        "table": "project.churn.outcomes__run_a",
    }


def test_the_connector_is_told_to_read_what_is_there_now(spark, monkeypatch):
    connector = Connector(rows=outcomes(spark, "c-1"))
    monkeypatch.setattr(SparkSession, "read", property(lambda session: connector))
    assert load_from_bigquery(spark, "project.churn.outcomes") is connector.rows
    assert connector.told == {
        "format": "bigquery",
        "enableReadSessionCaching": "false",
        "parentProject": "project",
        "table": "project.churn.outcomes",
    }


def test_only_two_functions_of_the_library_know_the_connector():
    sources = [path.read_text() for path in (paths.SCRIPTS / "churn").glob("*.py")]
    assert sum(source.count('format("bigquery")') for source in sources) == 2
