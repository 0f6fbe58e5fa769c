"""The growth: its slope, its figures from Spark's log, and the real scripts on few customers."""

import json
import sys
from collections import Counter
from contextlib import suppress

import psutil
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from benchmarks import __main__ as command
from benchmarks import (
    alone,
    arms,
    clustered,
    growth,
    reports,
    scoring_alone,
    shared_out,
    tables_alone,
    watched,
)
from churnlab.errors import CourseError
from churnlab.run.library import library
from tests.conftest import customer, write_raw
from tests.quick_spark import QUICK_JAVA

ROWS = 700
AROUND = {
    "date": "2026-11-29T10:00:00+00:00",
    "commit": "0123abc",
    "machine": {"cores": 2},
    "versions": {"pyspark": "3.5.9"},
    "trees": 100,
}


@pytest.mark.parametrize("power", [0.5, 1.0, 2.0])
def test_the_slope_is_the_exponent_by_which_seconds_grow(power):
    points = [(rows, 3 * rows**power) for rows in (100, 1000, 10_000)]
    assert growth.slope(points) == pytest.approx(power, abs=1e-3)


def test_one_size_has_no_slope():
    assert growth.slope([(100, 3.0)]) is None


def size(customers, seconds, **arm_seconds):
    """Return a measured size; all steps take the same."""
    steps = {name: {"seconds": seconds} for name in growth.STEPS}
    found = {name: {"seconds": value} for name, value in arm_seconds.items()}
    return {"rows": customers, "steps": steps} | ({"arms": found} if found else {})


def test_small_sizes_take_no_part_in_the_slope():
    measured = [size(10_000, 99.0), size(100_000, 10.0), size(1_000_000, 100.0)]
    assert growth.slopes(measured) == dict.fromkeys(growth.STEPS, 1.0) | {growth.FOREST: None}


def test_a_target_is_reached_or_not_and_an_unmeasured_one_is_left_out():
    measured = [size(1_000_000, 61.0, rows=599.0)]
    found = {entry["what"]: entry for entry in growth.targets(measured)}
    assert set(found) == {
        f"seconds of {growth.FOREST}, 1,000,000 customers",
        "seconds of scoring, 1,000,000 customers",
        "seconds of scoring by paths, 1,000,000 customers",
    }
    assert found[f"seconds of {growth.FOREST}, 1,000,000 customers"]["reached"]
    assert not found["seconds of scoring, 1,000,000 customers"]["reached"]


def test_what_was_measured_with_the_same_code_stays_beside_what_is_measured_again():
    [old] = growth.growth_report([size(10, 1.0)], AROUND)["sizes"]
    last = {**AROUND, "sizes": [old, old | {"rows": 20}], "older_sizes": []}
    report = growth.growth_report([size(20, 9.0), size(30, 3.0)], AROUND, last)
    assert [s["rows"] for s in report["sizes"]] == [10, 20, 30] and not report["older_sizes"]
    assert report["sizes"][1]["steps"]["training"]["seconds"] == 9.0


def test_figures_that_are_not_measured_again_stay_with_those_that_are():
    [old] = growth.growth_report([size(10, 1.0, rows=5.0, forest=6.0)], AROUND)["sizes"]
    again = {
        "rows": 10,
        "steps": {"training": {"seconds": 9.0}},
        "arms": {"rows": {"seconds": 7.0}},
    }
    [found] = growth.growth_report([again], AROUND, {**AROUND, "sizes": [old]})["sizes"]
    assert found["steps"]["training"]["seconds"] == 9.0
    assert found["steps"]["scoring"]["seconds"] == 1.0
    assert found["arms"] == {"rows": {"seconds": 7.0}, "forest": {"seconds": 6.0}}


@pytest.mark.parametrize("change", [{"library_tree": "other"}, {"machine": {"cores": 64}}])
def test_what_was_measured_otherwise_stays_apart_and_has_no_part_in_slopes(change):
    [old] = growth.growth_report([size(10_000_000, 290.0)], AROUND)["sizes"]
    last = {**AROUND, "sizes": [old | {"measured": old["measured"] | change}]}
    report = growth.growth_report([size(100_000, 5.0)], AROUND, last)
    assert [s["rows"] for s in report["older_sizes"]] == [10_000_000]
    assert report["slopes"]["preprocessing"] is None
    [target] = report["targets"]
    assert target["what"] == "seconds of preprocessing, 10,000,000 customers"


def test_of_a_size_measured_again_otherwise_only_what_it_lacks_stays_apart():
    [first] = growth.growth_report([size(10, 5.0, rows=5.0)], AROUND)["sizes"]
    [second] = growth.growth_report([size(10, 7.0)], AROUND)["sizes"]
    for number, old in enumerate((first, second)):
        old["measured"] = old["measured"] | {"library_tree": f"other {number}"}
    again = {"rows": 10, "steps": {"training": {"seconds": 9.0}}}
    last = {**AROUND, "sizes": [second], "older_sizes": [first, size(20, 3.0)]}
    report = growth.growth_report([again], AROUND, last)
    assert [s["steps"] for s in report["sizes"]] == [again["steps"]]
    newer, oldest, other = report["older_sizes"]
    assert set(newer["steps"]) == set(growth.STEPS) - {"training"} and "arms" not in newer
    assert newer["measured"]["library_tree"] == "other 1"
    assert oldest["steps"] == {} and oldest["arms"] == {"rows": {"seconds": 5.0}}
    assert other["rows"] == 20


def test_a_target_is_held_against_the_newest_figure():
    measured, older = [size(1_000_000, 61.0)], [size(1_000_000, 9.0, rows=601.0)]
    found = {entry["what"]: entry for entry in growth.targets(measured, older)}
    assert found["seconds of scoring, 1,000,000 customers"]["measured"] == 61.0
    assert found[f"seconds of {growth.FOREST}, 1,000,000 customers"]["measured"] == 601.0


def test_a_report_from_before_sizes_had_marks_is_older():
    last = {**AROUND, "library_tree": "other", "sizes": [size(10, 1.0)]}
    report = growth.growth_report([size(20, 1.0)], AROUND, last)
    assert report["older_sizes"][0]["measured"]["library_tree"] == "other"


def test_a_forest_of_another_size_leaves_nothing():
    last = {**AROUND, "trees": 3, "sizes": [size(10, 1.0)]}
    report = growth.growth_report([size(20, 1.0)], AROUND, last)
    assert [s["rows"] for s in report["sizes"]] == [20] and not report["older_sizes"]


@pytest.mark.parametrize(
    ("spans", "found"),
    [
        ([], {}),
        ([(0, 10), (10, 20)], {1: 20}),
        ([(0, 10), (5, 20), (30, 40)], {1: 25, 2: 5}),
        ([(0, 10)] * 3, {3: 10}),
    ],
)
def test_how_long_tasks_ran_beside_each_other(spans, found):
    assert watched.at_once_of(spans) == found


def task(shuffled, spilled, ran, stage=1, reason="Success", span=(2000, 3000)):
    """Return the event of a task's end as Spark logs it."""
    metrics = {
        "Executor Run Time": ran,
        "JVM GC Time": 500,
        "Disk Bytes Spilled": spilled,
        "Shuffle Write Metrics": {"Shuffle Bytes Written": shuffled},
        "Input Metrics": {"Bytes Read": 2**20},
        "Output Metrics": {"Bytes Written": 0},
    }
    end = {"Event": "SparkListenerTaskEnd", "Stage ID": stage}
    end["Task Info"] = dict(zip(("Launch Time", "Finish Time"), span, strict=True))
    return end | {"Task End Reason": {"Reason": reason}, "Task Metrics": metrics}


def test_the_event_log_is_summed_over_tasks(tmp_path):
    done = {"Stage ID": 1, "Stage Name": "collect at /a/b/trees.scala:9"}
    events = [
        {"Event": "SparkListenerApplicationStart", "Timestamp": 1000},
        {"Event": "SparkListenerExecutorAdded"},
        {"Event": "SparkListenerJobStart"},
        task(2**20, 0, 1500),
        task(2**20, 3 * 2**20, 500, reason="ExceptionFailure", span=(2500, 4000)),
        {"Event": "SparkListenerStageCompleted", "Stage Info": done},
        {"Event": "SparkListenerApplicationEnd", "Timestamp": 6000},
    ]
    (tmp_path / "local-1").write_text("\n".join(map(json.dumps, events)), encoding="utf-8")
    assert watched.read_events(tmp_path) == {
        "jobs": 1,
        "stages": 1,
        "tasks": 2,
        "failed_tasks": 1,
        "executors": 1,
        "shuffled_mb": 2.0,
        "spilled_mb": 3.0,
        "read_mb": 2.0,
        "written_mb": 0.0,
        "core_seconds": 2.0,
        "collector_seconds": 1.0,
        "application_seconds": 5.0,
        "at_once": {"1": 1.5, "2": 0.5},
        "longest_stages": [{"name": "trees.scala:9", "tasks": 2, "core_seconds": 2.0}],
    }


def test_memory_is_that_of_the_largest_process_and_of_the_whole_tree(tmp_path):
    hold = "held = b'x' * 90_000_000; import time; time.sleep(1.5)"
    child = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {hold!r}])"
    program = f"{child}; print('warning'); print('{{\"trees\": 3}}'); print('bye')"
    figures, said = watched.run_watched([sys.executable, "-c", program], tmp_path)
    assert 85 < figures["driver_mb"] < figures["total_mb"] and said == {"trees": 3}


def test_a_command_that_fails_is_an_error_with_the_end_of_what_it_said(tmp_path):
    with pytest.raises(CourseError, match=r"status 1:\n.*no such customers"):
        watched.run_watched([sys.executable, "-c", "exit('no such customers')"], tmp_path)


def test_a_command_that_hangs_is_ended_with_all_that_it_started(tmp_path):
    with pytest.raises(CourseError, match="status 3 s without an end"):
        watched.run_watched(["sh", "-c", "sleep 600 & echo $!; wait"], tmp_path, patience=3)
    with suppress(psutil.NoSuchProcess):  # or dead, and not yet missed
        left = psutil.Process(int((tmp_path / "process.log").read_text()))
        assert left.status() == psutil.STATUS_ZOMBIE


@pytest.mark.parametrize(
    ("spark", "other", "kind", "rows"),
    [
        ({100: 10.0, 200: 11.0}, {100: 2.0, 200: 9.0}, "projected", 233),
        ({100: 10.0, 200: 11.0}, {100: 2.0, 200: 12.0}, "measured", 200),
        ({100: 10.0, 200: 20.0}, {100: 1.0, 200: 2.0}, "nowhere that these lines show", None),
    ],
)
def test_the_crossover_is_measured_projected_or_not_there(spark, other, kind, rows):
    assert arms.crossover(spark, other) == {"kind": kind, "rows": rows}


def test_crossings_compare_spark_with_one_process_in_training_and_preprocessing():
    small = size(100, 5.0, rows=10.0, forest=2.0, duckdb=1.0)
    large = size(200, 6.0, rows=11.0, forest=9.0, duckdb=9.0)
    found = arms.crossings([small, large, size(300, 7.0)])
    assert found["training"]["kind"] == "projected"
    assert found["preprocessing"] == {"kind": "measured", "rows": 200}
    assert arms.crossings([small]) == {}


def test_sizes_are_numbers_between_commas():
    assert command.chosen_sizes("10000,100000") == [10_000, 100_000]
    assert command.chosen_sizes("") == []
    done = CliRunner().invoke(command.app, ["--rows", "10000,many"])
    assert done.exit_code == 1 and "10000,many" in done.output


def test_a_benchmark_that_fails_is_told_at_the_end_and_the_others_are_written(
    tmp_path, monkeypatch
):
    def run_one(name, *others):
        if name == "quality":
            raise CourseError("the disk is full", "Make room.")
        figures = {"process_seconds": 4.0, "class_data_archive": True}
        return reports.start_up_report([{"without": figures, "with": figures}], AROUND)

    monkeypatch.setattr(command, "run_one", run_one)
    monkeypatch.setenv("CHURNLAB_RAW_CSV", str(write_raw(tmp_path / "lake", [customer(1)])))
    options = ["--steps", "quality,start-up", "--output", str(tmp_path / "results")]
    done = CliRunner().invoke(command.app, options)
    assert done.exit_code == 1 and "quality: the disk is full" in done.output
    assert "Not all was measured: quality failed" in done.output
    assert list(reports.read(tmp_path / "results")) == ["start-up"]


def test_an_arm_whose_package_is_missing_is_left_out_and_one_that_fails_is_named(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(arms, "ARMS", ("xgboost", "no such arm"))
    monkeypatch.setitem(alone.EXTRA, "xgboost", "no_such_package")
    found = size(ROWS, 1.0)
    arms.run_arms(tmp_path, found, print, 2)
    said = capsys.readouterr().out
    assert "xgboost is left out: no_such_package is not installed; `make bench` installs" in said
    assert "no such arm FAILED and is left out" in said and "KeyError" in said
    assert found["arms"] == {} and found["failed"] == ["no such arm"]


def broken_customers():
    """Return raw customers, each with another fault, and good ones of whom two were repeated."""
    faults = [
        {"customerID": ""},
        {"customerID": 'a,"b'},
        {"Contract": "weekly"},
        {"SeniorCitizen": None},
        {"tenure": "-1"},
        {"tenure": "2.5"},
        {"MonthlyCharges": "NaN"},
        {"MonthlyCharges": None},
        {"TotalCharges": "1e3"},
        {"TotalCharges": ""},
        {"tenure": "0", "TotalCharges": " "},
        {"tenure": " 3 ", "MonthlyCharges": "20."},
        {"tenure": None},
        {"Churn": "maybe"},
    ]
    rows = [customer(number, **fault) for number, fault in enumerate(faults)]
    return [*rows, customer(50), customer(50), *map(customer, range(60, 80))]


@pytest.fixture
def broken_lake(tmp_path):
    """A lake with a landed Parquet file of broken and good customers."""
    folder = tmp_path / "broken" / "raw" / "customers"
    folder.mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist(broken_customers()), folder / "customers.parquet")
    return tmp_path / "broken"


@pytest.mark.slow
@pytest.mark.parametrize("way", tables_alone.WAYS)
def test_a_way_without_spark_rejects_the_same_customers_for_the_same_reasons(
    way, broken_lake, tmp_path, spark
):
    if package := alone.missing_package(way):
        pytest.skip(f"{package} is not installed: `make bench` does it")
    judge, raw = library.contract.judge, f"{broken_lake}/raw/customers"
    rejected = judge(library.contract.read_raw(spark, raw)).where("reason IS NOT NULL")
    expected = Counter((row.customer_id, row.reason) for row in rejected.collect())
    assert len({reason for _, reason in expected}) >= 9
    found = tables_alone.WAYS[way](str(broken_lake), str(tmp_path))
    own = pq.read_table(tmp_path / "quarantined_rows.parquet").to_pylist()
    assert Counter((row["customer_id"], row["reason"]) for row in own) == expected
    good = len(broken_customers()) - expected.total()
    assert found["sizes"]["quarantined"] == expected.total()
    assert sum(found["sizes"][name] for name in ("train", "test", "scoring")) == good


@pytest.fixture(scope="module")
def grown(tmp_path_factory):
    """The figures of one small size, its lake, and what was kept after each measurement."""
    folder, kept = tmp_path_factory.mktemp("growth"), []
    with pytest.MonkeyPatch.context() as patch:
        # Java's warning about this variable is no line of a program's own.
        patch.setenv("JAVA_TOOL_OPTIONS", QUICK_JAVA)
        [measured] = growth.grow(
            [ROWS], folder, print, trees=2, keep=lambda size: kept.append(json.dumps(size))
        )
    return measured, folder / f"lake-{ROWS}", kept


@pytest.mark.slow
@pytest.mark.xdist_group("benchmarks")
class TestFewCustomers:
    """One small size through the real scripts, and the arms on what they left."""

    def test_every_step_runs_by_spark_submit_and_says_what_it_took(self, grown):
        measured, _, _ = grown
        assert list(measured["steps"]) == list(growth.STEPS)
        for figures in measured["steps"].values():
            assert figures["stages"] >= figures["jobs"] > 0 and figures["failed_tasks"] == 0
            assert 100 < figures["driver_mb"] <= figures["total_mb"]
            assert figures["longest_stages"] and figures["rows_per_second"] > 0
            assert figures["seconds"] > figures["application_seconds"]
            assert figures["application_seconds"] >= sum(figures["at_once"].values()) > 0
        steps = measured["steps"]
        assert sum(steps["preprocessing"][name] for name in growth.COUNTED) == ROWS
        assert 0.5 < steps["training"]["roc_auc"] < 1
        assert steps["scoring"]["predictions"] == ROWS
        assert steps["scoring by paths"]["mean_probability"] == pytest.approx(
            steps["scoring"]["mean_probability"]
        )

    def test_whoever_interrupts_a_growth_keeps_what_was_measured(self, grown):
        steps = [list(json.loads(text)["steps"]) for text in grown[2]]
        assert steps == [list(growth.STEPS)[: n + 1] for n in range(len(growth.STEPS))]

    def test_the_report_names_no_path_and_knows_the_library(self, grown):
        measured, lake, _ = grown
        around = reports.circumstances({"label": "few", "rows": ROWS, "real": False}, True, "")
        text = json.dumps(growth.growth_report([measured], around | {"trees": 2}))
        assert str(lake.parent) not in text and '"library_tree": "' in text

    @pytest.mark.parametrize("way", tables_alone.WAYS)
    def test_a_way_without_spark_makes_the_same_splits(self, grown, tmp_path, way):
        if package := alone.missing_package(way):
            pytest.skip(f"{package} is not installed: `make bench` does it")
        measured, lake, _ = grown
        figures = tables_alone.WAYS[way](str(lake), str(tmp_path))
        assert arms.checked(way, figures, measured["steps"]) == {"equal": True}
        figures["sizes"]["train"] += 1
        with pytest.raises(CourseError, match="something else than the course's step: train"):
            arms.checked(way, figures, measured["steps"])

    @pytest.mark.parametrize("arm", alone.MODELS)
    def test_a_model_is_fitted_alone(self, grown, arm):
        if package := alone.missing_package(arm):
            pytest.skip(f"{package} is not installed: `make bench` does it")
        figures = alone.fit(arm, str(grown[1]), 3)
        assert 0.5 < figures["roc_auc"] < 1 and figures["fit_seconds"] > 0

    @pytest.mark.parametrize("arm", ["rows", "fits", "xgboost_in_spark"])
    def test_a_fit_is_shared_out_by_spark(self, grown, spark, arm):
        if package := alone.missing_package(arm):
            pytest.skip(f"{package} is not installed: `make bench` does it")
        figures = shared_out.ARMS[arm](spark, str(grown[1]), 3)
        assert 0.5 < figures["roc_auc"] < 1 and figures["fit_seconds"] > 0

    def test_the_scan_reads_the_waiting_customers(self, grown, spark):
        assert shared_out.scan(spark, str(grown[1]), 0)["work_seconds"] > 0

    def test_as_one_file_the_forest_gives_each_customer_what_the_scoring_step_gave(
        self, grown, tmp_path
    ):
        measured, lake, _ = grown
        figures = scoring_alone.score(str(lake), str(tmp_path))
        quick = {"scoring by paths": measured["steps"]["scoring by paths"]}
        assert arms.checked("onnx", figures, quick) == {"equal": True}  # all that a large size has
        ours = probabilities(pq.read_table(tmp_path / "probabilities.parquet"))
        assert ours == pytest.approx(scored(lake), abs=1e-9)

    @pytest.mark.parametrize("arm", ["transform", "onnx_in_spark"])
    def test_spark_gives_them_the_same_by_its_model_and_by_the_file(self, grown, spark, arm):
        lake = grown[1]
        shared_out.ARMS[arm](spark, str(lake), 0)
        ours = probabilities(pq.read_table(lake / f"arm-{arm}" / "probabilities"))
        assert ours == pytest.approx(scored(lake), abs=1e-9)

    def test_arms_run_in_processes_of_their_own_and_leave_nothing(self, grown, monkeypatch):
        monkeypatch.setenv("JAVA_TOOL_OPTIONS", QUICK_JAVA)
        monkeypatch.setattr(arms, "ARMS", ("duckdb", "scan"))
        measured, lake, _ = grown
        before, found = set(lake.iterdir()), {"rows": ROWS, "steps": measured["steps"]}
        arms.run_arms(lake, found, print, 2)
        assert "failed" not in found and set(lake.iterdir()) == before
        assert found["arms"]["duckdb"]["equal"] and found["arms"]["scan"]["jobs"] > 0

    def test_a_script_runs_on_a_cluster_of_two_workers(self, grown, monkeypatch):
        monkeypatch.setenv("JAVA_TOOL_OPTIONS", QUICK_JAVA)
        monkeypatch.setattr(clustered, "WORKERS", (2,))
        monkeypatch.setattr(clustered, "STEPS", ("preprocessing",))
        measured, lake, _ = grown
        before, found = set(lake.parent.rglob("*")), {"rows": ROWS}
        clustered.run_on_clusters(lake, found, print, 2, only=ROWS)
        assert "failed" not in found and set(lake.parent.rglob("*")) == before
        figures, here = found["clusters"]["2"]["preprocessing"], measured["steps"]["preprocessing"]
        assert figures["executors"] == 2 and here["executors"] == 1
        for name in growth.COUNTED:
            assert figures[name] == here[name]


def test_only_one_size_runs_on_clusters(tmp_path):
    found = {"rows": 5}
    clustered.run_on_clusters(tmp_path, found, print, 2)
    assert found == {"rows": 5} and list(tmp_path.iterdir()) == []


def probabilities(table):
    """Return the probability of each customer."""
    rows = table.select(["customer_id", "churn_probability"]).to_pylist()
    return {row["customer_id"]: row["churn_probability"] for row in rows}


def scored(lake):
    """Return the probability that the first run of the scoring step gave each customer."""
    folder, *_ = library.tables.finished_attempts(f"{lake}/warehouse/churn", "batch_predictions")
    return probabilities(ds.dataset(folder, format="parquet").to_table())
