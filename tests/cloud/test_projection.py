"""The projection: arithmetic that one can check by hand, and its reconciliation with a real batch."""

from dataclasses import replace
from types import SimpleNamespace

import pytest

from churnlab.cloud import projection
from churnlab.cloud.projection import Assumptions, project

PLAIN = Assumptions(
    customers=10_000_000,
    executors=2,
    cores=4,
    memory_gb=16,
    disk_gb=100,
    efficiency=1.0,
    speed=1.0,
    start_seconds=100,
)


def test_work_is_shared_by_all_cores_and_every_machine_is_billed_from_the_start():
    found = project(80.0, PLAIN)  # 800 core seconds on 8 cores, after 100 seconds
    assert found.seconds == 200
    assert found.dcu_hours == pytest.approx(3 * 4 * 200 / 3600)
    assert found.shuffle_storage_gb_seconds == 3 * 100 * 200
    used = found.dcu_hours * 0.06 + 3 * 100 * 200 / 3600 * 5.4795e-05
    assert found.cost().total.usd == pytest.approx(used)


def test_a_batch_is_billed_for_a_minute_at_least():
    assert project(0.0, replace(PLAIN, start_seconds=5)).seconds == 60


def test_slow_and_idle_cores_take_longer():
    slow = project(80.0, replace(PLAIN, speed=0.5, efficiency=0.5))
    assert slow.seconds == 100 + 4 * 100


def test_ten_times_the_executors_are_quicker_and_cost_about_the_same():
    few, many = (project(8000.0, replace(PLAIN, executors=n, start_seconds=0)) for n in (4, 40))
    assert many.seconds == pytest.approx(few.seconds / 10)
    assert many.cost().total.usd < few.cost().total.usd


def test_the_range_is_that_of_an_optimist_and_a_pessimist_on_the_same_machines():
    low, high = projection.project_range(80.0, PLAIN)
    assert low.seconds < high.seconds
    assert low.milli_dcu_seconds / low.seconds == high.milli_dcu_seconds / high.seconds


def test_what_a_million_takes_is_the_difference_of_the_two_largest_sizes():
    sizes = [(10_000, 9.0), (100_000, 20.0), (1_100_000, 120.0)]
    names = ("preprocessing", "training", "scoring")
    steps = [
        {"rows": rows, "steps": {name: {"core_seconds": spent} for name in names}}
        for rows, spent in sizes
    ]
    assert projection.core_seconds_a_million({"sizes": steps})["scoring"] == 100.0
    assert projection.core_seconds_a_million({"sizes": steps[:1]})["scoring"] == 900.0


def test_a_real_batch_is_held_against_its_projection():
    expected = project(80.0, PLAIN)
    usage = SimpleNamespace(
        milli_dcu_seconds=2 * expected.milli_dcu_seconds,
        shuffle_storage_gb_seconds=2 * expected.shuffle_storage_gb_seconds,
        milli_accelerator_seconds=0,
    )
    assert projection.reconcile(usage, 80.0, PLAIN) == pytest.approx(2.0)
