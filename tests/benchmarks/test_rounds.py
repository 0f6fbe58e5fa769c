"""Medians, ratios and differences, on figures that one can check by hand."""

import pandas as pd
import pytest

from benchmarks import customers, equality, straightforward, timed_step
from benchmarks.programs import Program, read_defaults, submit
from benchmarks.rounds import Bench, medians, start_ups, summarise
from churnlab.errors import CourseError

ROUNDS = [
    {"straightforward": {"seconds": 12.0, "jobs": 50}, "course": {"seconds": 4.0, "jobs": 9}},
    {"straightforward": {"seconds": 15.0, "jobs": 52}, "course": {"seconds": 3.0, "jobs": 9}},
    {"straightforward": {"seconds": 11.0, "jobs": 50}, "course": {"seconds": 5.0, "jobs": 8}},
]


def test_the_ratio_is_that_of_the_medians_and_the_rounds_stand_beside_it():
    summary = summarise(ROUNDS)
    assert summary["straightforward"] == {"seconds": 12.0, "jobs": 50}
    assert summary["course"] == {"seconds": 4.0, "jobs": 9}
    assert summary["ratio"] == 3.0
    assert summary["ratio_of_rounds"] == [2.2, 5.0]


def test_a_figure_that_a_run_lacks_has_no_median_and_a_truth_is_no_number():
    runs = [{"seconds": 1.0, "memory": None, "archive": True, "busy": 2.0}, {"seconds": 2.0}]
    assert medians(runs) == {"seconds": 1.5}


def in_turn(figures):
    """Return a runner that starts nothing, and the list of what it was asked to run."""
    asked = []

    def run(program, folder):
        asked.append((program.module or "session", folder.name))
        return figures

    return run, asked


def test_the_sides_take_turns_on_what_the_step_before_left(tmp_path):
    runner, asked = in_turn({"seconds": 1.0})
    (tmp_path / "raw").mkdir()
    bench = Bench(tmp_path, tmp_path / "raw", runner)
    measured = bench.compare("training", 2, announce=lambda text: None)
    assert [name for name, _ in asked] == [
        *("straightforward", "preprocessing"),  # once each, not measured
        *("straightforward", "model_training"),
        *("model_training", "straightforward"),
    ]
    assert [list(turn) for turn in measured] == [["straightforward", "course"]] * 2
    assert len({folder for _, folder in asked}) == len(asked)


def test_each_run_has_a_lake_and_a_key_of_its_own(tmp_path):
    runner, _ = in_turn({"seconds": 1.0})
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "customers.csv").touch()
    bench = Bench(tmp_path, tmp_path / "raw", runner)
    runs = [bench.run("course", "preprocessing", label) for label in ("1", "2")]
    assert runs[0].run != runs[1].run and runs[0].folder != runs[1].folder
    assert all((done.folder / "customers.csv").exists() for done in runs)


def test_the_sessions_start_with_and_without_the_archive_in_turn(tmp_path):
    runner, asked = in_turn({"process_seconds": 1.0})
    start_ups(tmp_path, runner, 2, announce=lambda text: None)
    assert [folder for _, folder in asked] == [
        *("start-up-without-1", "start-up-with-1", "start-up-with-2", "start-up-without-2")
    ]


def test_time_with_a_running_job_counts_overlaps_once():
    assert timed_step.covered([(0, 10), (5, 15), (20, 30), (22, 25)]) == 25
    assert timed_step.covered([]) == 0


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("first at /tmp/a-b/common_utils.py:943", "first at common_utils.py:943"),
        ("count at <unknown>:0", "count"),
        ("collect at treeModels.scala:549", "collect at treeModels.scala:549"),
    ],
)
def test_a_job_is_named_without_folders(name, shown):
    assert timed_step.call_site(name) == shown


def test_cells_that_differ_are_counted_and_gaps_are_equal():
    one = pd.DataFrame({"a": [1, 2, 3], "b": ["x", None, "z"]}, index=["p", "q", "r"])
    assert equality.differing_cells(one, one.loc[["r", "p", "q"]]) == 0
    other = one.assign(b=["x", "y", "z"])
    assert equality.differing_cells(one, other) == 1
    assert equality.differing_cells(one, one.drop(index="p")) == 2


def test_contributions_follow_the_path_and_add_up():
    leaf, amount = (-1, []), (-1, [5.0])
    tree = {
        0: (1, amount, 1, 2, 0.3),
        1: (-1, leaf, -1, -1, 0.1),
        2: (0, (2, [1.0]), 3, 4, 0.5),
        3: (-1, leaf, -1, -1, 0.9),
        4: (-1, leaf, -1, -1, 0.2),
    }
    moved = straightforward.contributions({0: tree}, ["contract", "tenure"], [1.0, 9.0])
    assert moved == pytest.approx({"tenure": 0.2, "contract": 0.4})
    moved = straightforward.contributions({0: tree}, ["contract", "contract"], [0.0, 9.0])
    assert moved == pytest.approx({"contract": -0.1})


def test_the_roc_curve_of_the_slow_side_ends_at_the_upper_right():
    points = straightforward.roc_points([(0.9, 1.0), (0.8, 0.0), (0.7, 1.0), (0.1, 0.0)])
    assert points == [(0.0, 0.5), (0.5, 0.5), (0.5, 1.0), (1.0, 1.0)]


def test_settings_are_read_and_comments_are_not(tmp_path):
    file = tmp_path / "spark-defaults.conf"
    file.write_text("# a comment\nspark.master   local[*]\n\nspark.x  -a -b\n")
    assert read_defaults(file) == {"spark.master": "local[*]", "spark.x": "-a -b"}


def test_rows_are_counted_without_headers_and_only_in_files_that_spark_reads(tmp_path):
    (tmp_path / "part-1.csv").write_text("id,churn\n1,Yes\n2,No\n")
    (tmp_path / "part-2.csv").write_text("id,churn\n3,Yes\n")
    (tmp_path / "_SUCCESS").write_text("a\nb\n")
    assert customers.count(tmp_path) == 3
    assert not customers.is_real(tmp_path)


def test_a_program_that_fails_is_an_error_with_the_end_of_its_log(tmp_path, monkeypatch):
    monkeypatch.setattr("sys.executable", str(tmp_path / "python"))
    spark_submit = tmp_path / "spark-submit"
    spark_submit.write_text("#!/bin/sh\necho no such customers >&2\nexit 3\n")
    spark_submit.chmod(0o755)
    with pytest.raises(CourseError, match=r"status 3:\n.*no such customers"):
        submit(Program("preprocessing"), tmp_path)
