"""Every benchmark, on few customers, small forests and one round: none may rot."""

import importlib
import json
import random
import sys

import pytest
from pyspark import cloudpickle
from typer.testing import CliRunner

from benchmarks import __main__ as command
from benchmarks import equality, reports, rounds, timed_step
from tests.conftest import customer, write_raw

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

    def run(program, folder):
        for file in program.files:
            sys.path.insert(0, str(file.parent))
            module = importlib.import_module(file.stem)
            sys.path.remove(str(file.parent))
            if file.stem not in cloudpickle.list_registry_pickle_by_value():
                cloudpickle.register_pickle_by_value(module)
                shipped.append(module)
        figures = timed_step.measure(program.module, list(program.arguments))
        return figures | {"process_seconds": figures["seconds"]}

    yield run
    for module in shipped:
        cloudpickle.unregister_pickle_by_value(module)


@pytest.fixture(scope="module")
def bench(raw, here):
    """A bench of small forests in this process."""
    return rounds.Bench(raw.parent, raw, here, quick=True)


@pytest.mark.parametrize("step", rounds.STEPS)
def test_a_step_of_both_sides_runs_and_computes_the_same(bench, step):
    measured = bench.compare(step, 1, announce=lambda text: None)
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


def test_the_command_measures_in_fresh_machines_and_writes_what_it_found(
    raw, tmp_path, monkeypatch
):
    monkeypatch.setenv("CHURNLAB_RAW_CSV", str(raw / "raw" / "customers" / "customers.csv"))
    options = ["--steps", "preprocessing,start-up", "--rounds", "1", "--quick"]
    done = CliRunner().invoke(command.app, [*options, "--output", str(tmp_path)])
    assert done.exit_code == 0, done.output
    found = reports.read(tmp_path)
    assert set(found) == {"preprocessing", "start-up"}
    assert found["preprocessing"]["data"]["rows"] == CUSTOMERS
    assert str(tmp_path) not in json.dumps(found)
    [turn] = found["start-up"]["rounds"]
    assert not turn["without"]["class_data_archive"]
    for figures in [*turn.values(), *found["preprocessing"]["rounds"][0].values()]:
        assert figures["process_seconds"] > figures["session_seconds"] > 0
    assert "preprocessing" in done.output and "start-up of an empty session" in done.output


def test_an_unknown_benchmark_is_an_error_that_names_the_known_ones():
    done = CliRunner().invoke(command.app, ["--steps", "trainig"])
    assert done.exit_code == 1 and "'trainig'" in done.output and "quality" in done.output
