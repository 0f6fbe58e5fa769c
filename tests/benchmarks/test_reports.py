"""Files and tables of the benchmarks, from literal figures."""

import json
import re

import pytest

from benchmarks import reports
from churnlab import paths

AROUND = {"data": {"label": "ten customers", "rows": 10, "real": True}, "quick": False}
SIDE = {"seconds": 40.0, "process_seconds": 45.0, "jobs": 80, "stages": 120}


def step(name="training", ratio=2.0, **figures):
    """Return the report of a step: one round, the course as much faster as ``ratio`` says."""
    fast = {key: value / ratio for key, value in SIDE.items()} | figures
    equality = {"equal": {"test customers": True, "ROC AUC": ratio > 1}}
    return reports.step_report(name, [{"straightforward": SIDE, "course": fast}], equality, AROUND)


def test_the_table_has_the_steps_in_the_order_of_the_course():
    found = {name: step(name) for name in ("scoring", "preprocessing")}
    assert [row[0] for row in reports.table_rows(found)] == ["preprocessing", "scoring"]


def test_a_row_holds_medians_ratio_and_what_is_to_reach():
    row = dict(zip(reports.HEAD, reports.table_row(step()), strict=True))
    assert row == {
        "step": "training",
        "straightforward": "40.0 s",
        "course": "20.0 s",
        "ratio": "2.0 (2.0 to 2.0)",
        "to reach": "2.5",
        "whole process": "45.0 → 22.5 s",
        "Spark jobs": "80 → 40",
        "stages": "120 → 60",
    }


def test_what_falls_short_is_told_with_its_profile():
    longest = [{"job": "collect at RandomForest.scala:663", "count": 8, "seconds": 4.5}]
    times = {"seconds_in_jobs": 12.0, "seconds_between_jobs": 8.0, "longest_jobs": longest}
    [line] = reports.remarks({"training": step(**times), "tuning": step("tuning", ratio=8.0)})
    assert line.startswith("training falls short of 2.5: 12.0 s with a Spark job running")
    assert "collect at RandomForest.scala:663 4.5 s (8×)" in line


def test_a_step_with_more_jobs_than_spark_keeps_has_no_profile():
    [line] = reports.remarks({"training": step(jobs=1434)})
    assert "too few of its 1434 jobs" in line


def test_what_differs_between_the_sides_is_named():
    assert reports.unequal([step(), step("scoring", ratio=0.5)]) == ["scoring: ROC AUC"]


@pytest.mark.parametrize("in_use", [True, False])
def test_the_start_up_says_whether_there_was_an_archive(in_use):
    figures = {"process_seconds": 4.0, "class_data_archive": in_use}
    turn = {"without": {"process_seconds": 6.0, "class_data_archive": False}, "with": figures}
    report = reports.start_up_report([turn], AROUND)
    assert report["archive_in_use"] == in_use and report["summary"]["ratio"] == 1.5
    [line] = reports.remarks({"start-up": report})
    assert "6.0 s without" in line and ("there is no archive" in line) != in_use


def quality(around, roc_auc=0.846):
    """Return the report of a winner's quality."""
    mean = {"roc_auc": roc_auc, "average_precision": 0.66}
    facts = {"evaluation": "5x5 cross-validation", "mean": mean}
    return reports.quality_report({"seconds": 60.0, "facts": facts}, around)


def test_the_quality_is_held_against_its_floors():
    assert quality(AROUND)["reached"] == {"roc_auc": True, "average_precision": True}
    assert quality(AROUND, roc_auc=0.8449)["reached"]["roc_auc"] is False
    assert "roc_auc 0.8460 (to reach 0.845)" in reports.remarks({"quality": quality(AROUND)})[0]


@pytest.mark.parametrize("change", [{"quick": True}, {"data": {"real": False}}])
def test_the_floors_are_those_of_the_real_customers_and_of_a_whole_search(change):
    report = quality(AROUND | change)
    assert report["reached"] is None
    assert "to reach" not in reports.remarks({"quality": report})[0]


def test_a_report_takes_the_place_of_the_last_one(tmp_path):
    for ratio in (2.0, 4.0):
        reports.write(step(ratio=ratio), tmp_path / "results")
    assert reports.read(tmp_path / "results")["training"]["summary"]["ratio"] == 4.0
    assert [file.name for file in (tmp_path / "results").iterdir()] == ["training.json"]


def test_what_surrounds_a_measurement_names_no_host_and_no_path():
    around = reports.circumstances(AROUND["data"], False, "PySpark's defaults")
    text = json.dumps(around)
    assert around["machine"]["cores"] >= 1 and around["versions"]["java"].startswith("17")
    assert not re.search(r"/(home|root|tmp|work|Users)\b", text) and str(paths.ROOT) not in text
