"""The growth: its slope, its figures from Spark's log, and the real scripts on few customers."""

import json
import sys

import pytest
from typer.testing import CliRunner

from benchmarks import __main__ as command
from benchmarks import alone, arms, growth, reports, shared_out, watched
from churnlab.errors import CourseError

ROWS = 700


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
    }
    assert found[f"seconds of {growth.FOREST}, 1,000,000 customers"]["reached"]
    assert not found["seconds of scoring, 1,000,000 customers"]["reached"]


def task(shuffled, spilled, ran, stage=1, reason="Success"):
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
    return end | {"Task End Reason": {"Reason": reason}, "Task Metrics": metrics}


def test_the_event_log_is_summed_over_tasks(tmp_path):
    done = {"Stage ID": 1, "Stage Name": "collect at /a/b/trees.scala:9"}
    events = [
        {"Event": "SparkListenerJobStart"},
        task(2**20, 0, 1500),
        task(2**20, 3 * 2**20, 500, reason="ExceptionFailure"),
        {"Event": "SparkListenerStageCompleted", "Stage Info": done},
        {"Event": "SparkListenerApplicationEnd"},
    ]
    (tmp_path / "local-1").write_text("\n".join(map(json.dumps, events)), encoding="utf-8")
    assert watched.read_events(tmp_path) == {
        "jobs": 1,
        "stages": 1,
        "tasks": 2,
        "failed_tasks": 1,
        "shuffled_mb": 2.0,
        "spilled_mb": 3.0,
        "read_mb": 2.0,
        "written_mb": 0.0,
        "core_seconds": 2.0,
        "collector_seconds": 1.0,
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


@pytest.fixture(scope="module")
def grown(tmp_path_factory):
    """The figures of one small size, and its lake."""
    folder = tmp_path_factory.mktemp("growth")
    with pytest.MonkeyPatch.context() as patch:
        # Java's warning about this variable is no line of a program's own.
        options = "-XX:TieredStopAtLevel=1 -XX:ReservedCodeCacheSize=240m"
        patch.setenv("JAVA_TOOL_OPTIONS", options)
        [measured] = growth.grow([ROWS], folder, print, trees=2)
    return measured, folder / f"lake-{ROWS}"


@pytest.mark.slow
@pytest.mark.xdist_group("benchmarks")
class TestFewCustomers:
    """One small size through the real scripts, and the arms on what they left."""

    def test_every_step_runs_by_spark_submit_and_says_what_it_took(self, grown):
        measured, _ = grown
        assert list(measured["steps"]) == list(growth.STEPS)
        for figures in measured["steps"].values():
            assert figures["stages"] >= figures["jobs"] > 0 and figures["failed_tasks"] == 0
            assert 100 < figures["driver_mb"] <= figures["total_mb"]
            assert figures["longest_stages"] and figures["rows_per_second"] > 0
        steps = measured["steps"]
        assert sum(steps["preprocessing"][name] for name in growth.COUNTED) == ROWS
        assert 0.5 < steps["training"]["roc_auc"] < 1
        assert steps["scoring"]["predictions"] == ROWS

    def test_the_report_names_no_path_and_knows_the_library(self, grown):
        measured, lake = grown
        around = reports.circumstances({"label": "few", "rows": ROWS, "real": False}, True, "")
        text = json.dumps(growth.growth_report([measured], 2, around))
        assert str(lake.parent) not in text and '"library_tree": "' in text

    def test_duckdb_alone_makes_the_same_splits(self, grown, tmp_path):
        measured, lake = grown
        sizes = alone.preprocess(str(lake), str(tmp_path))["sizes"]
        counted = measured["steps"]["preprocessing"]
        assert sizes == {name: counted[name] for name in growth.COUNTED}

    @pytest.mark.parametrize("arm", ["forest", "histogram"])
    def test_a_model_is_fitted_alone(self, grown, arm):
        figures = alone.fit(arm, str(grown[1]), 3)
        assert 0.5 < figures["roc_auc"] < 1 and figures["fit_seconds"] > 0

    @pytest.mark.parametrize("arm", ["rows", "fits"])
    def test_a_forest_is_shared_out_by_spark(self, grown, spark, arm):
        figures = shared_out.ARMS[arm](spark, str(grown[1]), 3)
        assert 0.5 < figures["roc_auc"] < 1 and figures["fit_seconds"] > 0

    def test_the_scan_reads_the_waiting_customers(self, grown, spark):
        assert shared_out.scan(spark, str(grown[1]), 0)["work_seconds"] > 0
