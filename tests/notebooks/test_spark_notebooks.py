"""The step behind notebook 01: invented events, honest counts."""

from datetime import date
from types import SimpleNamespace

import pytest
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from churnlab.run.library import library

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("library")]

ROWS = 20_000


@pytest.fixture(scope="module")
def step(spark):
    """The exported script as a module."""
    return pytest.importorskip("spark_notebooks")


@pytest.fixture(scope="module")
def events(spark, step):
    """A small year of events."""
    frame = library.events.generate_events(spark, ROWS, 2025).cache()
    yield frame
    frame.unpersist()


def run(step, monkeypatch, lake, *options):
    """Run the script in this process and leave the session to the other tests."""
    monkeypatch.setattr(SparkSession, "stop", lambda session: None)
    step.main(["--pipeline-id", "run-1", "--lake", str(lake), "--rows", "2000", *options])


def test_the_events_have_the_public_table_s_columns(spark, step, events):
    wanted = spark.createDataFrame([], library.events.EVENT).schema
    assert [(f.name, f.dataType) for f in events.schema] == [(f.name, f.dataType) for f in wanted]


def test_the_same_events_come_out_whatever_the_partitioning(spark, step, events, library):
    in_seven = SimpleNamespace(
        range=lambda rows: spark.range(0, rows, 1, 7), createDataFrame=spark.createDataFrame
    )
    again = library.events.generate_events(in_seven, ROWS, 2025)
    assert again.rdd.getNumPartitions() != events.rdd.getNumPartitions()
    assert library.registry.data_fingerprint(again) == library.registry.data_fingerprint(events)


def test_a_longer_sample_begins_with_the_shorter_one(spark, step, events):
    shorter = library.events.generate_events(spark, 500, 2025)
    assert shorter.exceptAll(events.where("unique_key < 500")).isEmpty()


def test_every_column_of_every_event_has_a_value(events):
    nulls = events.select([F.count_if(F.col(name).isNull()) for name in events.columns]).first()
    assert set(nulls) == {0}


@pytest.mark.parametrize("year", [2024, 2025, 2028])
def test_all_events_fall_in_the_year_and_reach_its_ends(spark, step, year):
    days = library.events.generate_events(spark, ROWS, year).select(F.to_date("date").alias("day"))
    first, last = days.agg(F.min("day"), F.max("day")).first()
    assert (first, last) == (date(year, 1, 1), date(year, 12, 31))


def test_types_arrests_and_districts_have_the_shares_we_wrote_down(step, events):
    counted = events.groupBy("primary_type").agg(
        F.count("*").alias("n"), F.avg(F.col("arrest").cast("int")).alias("arrests")
    )
    found = {row["primary_type"]: row for row in counted.collect()}
    assert set(found) == set(library.events.TYPES)
    for name, (share, arrest_rate, *_) in library.events.TYPES.items():
        n = found[name]["n"]
        assert n / ROWS == pytest.approx(share, abs=0.012)
        assert found[name]["arrests"] == pytest.approx(arrest_rate, abs=2.5 / n**0.5)
    largest = events.groupBy("district").count().orderBy(F.desc("count")).first()["district"]
    assert largest == library.events.NUMBERS[0]


def test_day_and_night_have_their_own_rhythm(events):
    by_type = events.groupBy("primary_type").agg(
        F.avg(F.hour("date").between(10, 18).cast("int")).alias("daytime"),
        F.avg((F.weekday("date") >= 5).cast("int")).alias("weekend"),
    )
    found = {row["primary_type"]: row for row in by_type.collect()}
    assert found["THEFT"]["daytime"] > found["BATTERY"]["daytime"] + 0.2
    assert found["BATTERY"]["weekend"] > found["THEFT"]["weekend"] + 0.1


def test_counts_are_exact_and_unknown_arrests_count_for_nothing(spark, step):
    rows = [
        ("THEFT", "2025-01-31 23:59:59", True),
        ("THEFT", "2025-01-01 00:00:00", False),
        ("THEFT", "2025-01-02 00:00:00", None),
        ("THEFT", "2025-02-01 00:00:00", False),
        ("ROBBERY", "2025-02-01 00:00:00", True),
    ]
    crimes = spark.createDataFrame(rows, "primary_type STRING, date STRING, arrest BOOLEAN")
    counted = step.count_crimes(crimes.withColumn("date", F.to_timestamp("date")))
    found = {
        (r["primary_type"], r["month"]): (r["incidents"], r["arrest_rate"])
        for r in counted.collect()
    }
    assert found == {("THEFT", 1): (3, 0.5), ("THEFT", 2): (1, 0.0), ("ROBBERY", 2): (1, 1.0)}


def test_the_step_writes_its_table_and_replaces_it_when_run_again(
    spark, step, library, monkeypatch, lake, capsys
):
    for _ in range(2):
        run(step, monkeypatch, lake)
    tables = library.tables.dataset_root(str(lake), "churn")
    counts = library.tables.read_table(spark, tables, "crime_counts", "run-1")
    assert counts.agg(F.sum("incidents")).first()[0] == 2000
    assert "spark_notebooks: done in" in capsys.readouterr().out.splitlines()[-1]


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--events", "nonsense"], "nonsense"),
        (["--events", "a.b"], "a.b"),
        (["--rows", "0"], "--rows 0"),
        (["--year", "12"], "--year 12"),
    ],
)
def test_a_request_without_sense_is_named_and_writes_nothing(
    step, library, monkeypatch, lake, options, named
):
    with pytest.raises(library.programs.StepError, match=named):
        run(step, monkeypatch, lake, *options)
    assert not (lake / "warehouse").exists()
