"""Every benchmark, on few customers, small forests and one round: none may rot."""

import importlib
import json
import random
import shutil
import sys

import pytest
from pyspark import cloudpickle
from typer.testing import CliRunner

from benchmarks import __main__ as command
from benchmarks import equality, programs, reports, rounds, timed_step
from tests.conftest import customer, write_raw
from tests.quick_spark import QUICK_JAVA, UNCOMPILED

CUSTOMERS = 300

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("benchmarks")]


def some_customer(number, dice):
    """Return a raw customer; the longer the contract and the time, the fewer leave."""
    contract = dice.choice(["Month-to-month", "One year", "Two year"])
    tenure, charge = dice.randint(1, 72), dice.randint(20, 110)
    leaves = dice.random() < (0.6 if contract == "Month-to-month" else 0.1) * (1 - tenure / 100)
    return customer(
        number,
        Contract=contract,
        tenure=str(tenure),
        MonthlyCharges=f"{charge}.5",
        TotalCharges=str(tenure * charge),
        InternetService=dice.choice(["DSL", "Fiber optic"]),
        Churn="Yes" if leaves else "No",
    )


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    """A lake with raw customers, two of them days old: they have paid nothing yet."""
    dice, lake = random.Random(7), tmp_path_factory.mktemp("benchmarks") / "raw-lake"
    rows = [some_customer(number, dice) for number in range(CUSTOMERS)]
    for row, blank in zip(rows, (" ", ""), strict=False):
        row |= {"tenure": "0", "TotalCharges": blank}
    write_raw(lake, rows)
    return lake


@pytest.fixture(scope="module")
def here(spark):
    """A runner for this process and its session, by the driver that measures.

    What spark-submit ships by --py-files goes to Python's workers by value.
    """
    shipped = []
    before = {name: spark.conf.get(name) for name in UNCOMPILED}
    for name, value in UNCOMPILED.items():
        spark.conf.set(name, value)

    def run(program, folder):
        for file in program.files:
            sys.path.insert(0, str(file.parent))
            module = importlib.import_module(file.stem)
            sys.path.remove(str(file.parent))
            if file.stem not in cloudpickle.list_registry_pickle_by_value():
                cloudpickle.register_pickle_by_value(module)
                shipped.append(module)
        figures = timed_step.measure(program.module, list(program.arguments))
        spark.catalog.clearCache()  # a session that stops would have done it
        return figures | {"process_seconds": figures["seconds"]}

    yield run
    for name, value in before.items():
        spark.conf.set(name, value)
    for module in shipped:
        cloudpickle.unregister_pickle_by_value(module)


@pytest.fixture(scope="module")
def bench(raw, here):
    """A bench of small forests in this process."""
    return rounds.Bench(raw.parent, raw, here, quick=True)


@pytest.mark.parametrize("step", rounds.STEPS)
def test_a_step_of_both_sides_runs_and_computes_the_same(bench, step):
    measured = bench.compare(step, 1, announce=print)
    equal = equality.compare(step, *(bench.done[side, step] for side in rounds.SIDES))
    assert equal["equal"] and all(equal["equal"].values()), equal
    around = {"data": {"real": False}, "quick": True}
    report = reports.step_report(step, measured, equal, around)
    assert reports.table_row(json.loads(json.dumps(report)))[0] == step
    for side in rounds.SIDES:
        figures = measured[0][side]
        assert figures["jobs"] > 0 and figures["stages"] >= figures["jobs"]
        assert sum(job["count"] for job in figures["longest_jobs"]) <= figures["jobs"]
        assert 0 < figures["seconds_in_jobs"] <= figures["seconds"]


def test_the_tuned_winner_is_cross_validated_apart_from_its_choice(bench):
    report = command.run_one(
        "quality", bench, 1, {"data": {"real": False}, "quick": True}, lambda text: None
    )
    assert report["evaluation"] == "1x2 cross-validation" and report["reached"] is None
    splits = equality.course_table(bench.done["course", "preprocessing"], "training_data")
    assert report["customers"] == len(splits)
    assert 0 < report["standard_deviation"]["roc_auc"] and 0.5 < report["mean"]["roc_auc"] < 1


def test_the_server_is_measured_from_its_start_to_several_callers(bench, monkeypatch):
    monkeypatch.setattr(command.serving, "REQUESTS", 8)
    report = command.run_one("serving", bench, 1, {}, lambda text: None)
    took = report["summary"]
    assert 0 < took["one_caller_p50_ms"] <= took["one_caller_p99_ms"]
    assert 0 < took["callers_p50_ms"] <= took["callers_p99_ms"]
    assert took["callers_per_second"] > 0 and took["cold_start_seconds"] > 0
    assert took["model_alone_us"] < 1000 * took["one_caller_p50_ms"]
    [line] = reports.remarks({"serving": report})
    assert "4 callers" in line


@pytest.fixture
def tiny(raw, monkeypatch):
    """What `make bench` finds around it: few customers, and a Java that is quick to start."""
    monkeypatch.setenv("CHURNLAB_RAW_CSV", str(raw / "raw" / "customers" / "customers.csv"))
    monkeypatch.setenv("JAVA_TOOL_OPTIONS", QUICK_JAVA)


def test_the_command_measures_in_fresh_machines_and_writes_what_it_found(tiny, tmp_path):
    options = ["--steps", "start-up", "--rounds", "1", "--output", str(tmp_path)]
    done = CliRunner().invoke(command.app, options)
    assert done.exit_code == 0, done.output
    report = reports.read(tmp_path)["start-up"]
    assert report["data"]["rows"] == CUSTOMERS and not report["data"]["real"]
    assert str(tmp_path) not in json.dumps(report)
    [turn] = report["rounds"]
    assert not turn["without"]["class_data_archive"]
    for figures in turn.values():
        assert figures["process_seconds"] > figures["session_seconds"] > 0
    assert "300 rows" in done.output and "start-up of an empty session" in done.output


def test_the_slow_side_runs_by_spark_submit_on_the_defaults_of_pyspark(raw, tiny, tmp_path):
    folder, defaults = tmp_path / "run", tmp_path / "spark-defaults"
    shutil.copytree(raw, folder)
    program = programs.straightforward_step("preprocessing", folder, True, defaults)
    figures = programs.submit(program, folder)
    assert [file.name for file in defaults.iterdir()] == ["log4j2.properties"]
    assert sum(figures["facts"].values()) == CUSTOMERS and figures["jobs"] > 0
    assert figures["process_seconds"] > figures["seconds"] > 0
    assert (figures["peak_memory_mb"] or 1000) > 100


def test_an_unknown_benchmark_is_an_error_that_names_the_known_ones():
    done = CliRunner().invoke(command.app, ["--steps", "trainig"])
    assert done.exit_code == 1 and "'trainig'" in done.output and "quality" in done.output
