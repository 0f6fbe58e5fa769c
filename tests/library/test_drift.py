"""Drift: chance raises few alarms whatever the size of a batch, and what was planted is found."""

import csv

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from churnlab.run.library import library
from tests.conftest import CUSTOMER

drift, outcomes = library.drift, library.outcomes
REFERENCE = 4900
FALSE_ALARMS = 0.01
BATCHES = 200


CUTS: dict[str, np.ndarray] = {}
"""Where amounts are cut: their tenths."""


def binned(values: np.ndarray, cuts: np.ndarray) -> np.ndarray:
    """Return the number of each value's bin."""
    return np.searchsorted(np.unique(cuts), values)


@pytest.fixture(scope="module")
def customers(real_csv) -> dict[str, np.ndarray]:
    """The real customers' amounts, and the numbers of their categories' values, by column."""
    with real_csv.open(newline="") as file:
        rows = list(csv.DictReader(file))
    found = {}
    for column in set(CUSTOMER) - {"customerID", "Churn"}:
        values = [row[column].strip() for row in rows]
        if column in ("tenure", "MonthlyCharges", "TotalCharges"):
            found[column] = np.array([float(value or 0) for value in values])
            CUTS[column] = np.quantile(found[column], np.arange(1, 10) / 10)
        else:
            found[column] = np.unique(values, return_inverse=True)[1]
    return found


@pytest.fixture(scope="module")
def population(customers) -> dict[str, np.ndarray]:
    """The bin of each real customer in each column."""
    return {name: binned(v, CUTS.get(name, v)) for name, v in customers.items()}


def samples(population: dict, batch_size: int, dice) -> dict[str, np.ndarray]:
    """Return reference and batch counts of each column, both drawn from the same customers."""
    everybody = len(next(iter(population.values())))
    chosen = [dice.integers(0, everybody, size) for size in (REFERENCE, batch_size)]
    return {
        name: np.stack([np.bincount(bins[who], minlength=bins.max() + 1) for who in chosen])
        for name, bins in population.items()
    }


def frame(counts: dict[str, np.ndarray]) -> pd.DataFrame:
    columns = [
        pd.DataFrame({"reference": both[0], "batch": both[1]}).assign(feature=name)
        for name, both in counts.items()
    ]
    table = pd.concat(columns)
    return table.assign(bin=table.index.astype(str))


@pytest.mark.real_data
@pytest.mark.parametrize("size", [100, 700, 10_000])
def test_chance_raises_no_more_alarms_than_stated(population, size):
    dice = np.random.default_rng(size)
    level = FALSE_ALARMS / len(population)
    alarms = 0
    for _ in range(BATCHES):
        counts = samples(population, size, dice)
        alarms += any(drift.chance(*both) < level for both in counts.values())
    assert alarms <= stats.binom.isf(0.001, BATCHES, FALSE_ALARMS)


@pytest.mark.real_data
def test_the_alarms_of_a_table_are_those_of_chance_where_the_shift_matters(population):
    counts = samples(population, 700, np.random.default_rng(1))
    table = drift.compare_columns(frame(counts), FALSE_ALARMS)
    for name, both in counts.items():
        assert table.loc[name, "p_value"] == pytest.approx(drift.chance(*both))
        expected = table.loc[name, "p_value"] < FALSE_ALARMS / len(counts)
        assert table.loc[name, "drifted"] == (expected and table.loc[name, "psi"] >= 0.01)


def some(share: float, value: int):
    """Return a change that gives one value to a share of customers."""
    return lambda values, dice: np.where(dice.random(len(values)) < share, value, values)


# The column, what happens to it, and a batch in which that is found: the smallest of 50, 100, 200,
# 400, 700, 1,500, 3,000 and 10,000 customers in which it was found at least 95 times in 100.
NEW = 99
PLANTED = {
    "a field is lost, all have the same value": ("PaperlessBilling", some(1.0, 0), 50),
    "one in ten pays in a new way": ("PaymentMethod", some(0.1, NEW), 100),
    "one in fifty pays in a new way": ("PaymentMethod", some(0.02, NEW), 400),
    "prices rise by a tenth": ("MonthlyCharges", lambda values, dice: values * 1.1, 200),
    "everybody stays three months longer": ("tenure", lambda values, dice: values + 3, 200),
    "a season: a fifth have no contract": ("Contract", some(0.2, 0), 1500),
    "everybody stays a month longer": ("tenure", lambda values, dice: values + 1, 10_000),
}


@pytest.mark.real_data
@pytest.mark.parametrize("case", PLANTED)
def test_what_was_planted_is_found_at_the_stated_size(customers, population, case):
    column, change, size = PLANTED[case]
    dice, values = np.random.default_rng(5), customers[column]
    found = 0
    for _ in range(50):
        learned, scored = (values[dice.integers(0, len(values), n)] for n in (REFERENCE, size))
        bins = [
            binned(sample, CUTS.get(column, values)) for sample in (learned, change(scored, dice))
        ]
        both = [np.bincount(b, minlength=max(map(np.max, bins)) + 1) for b in bins]
        found += drift.chance(*both) < FALSE_ALARMS / len(population)
    assert found >= 45, f"{found} of 50"


def test_two_columns_that_were_swapped_are_both_found():
    yes_no = {"partner": (2500, 2400), "dependents": (3400, 1500)}
    swapped = {"partner": (486, 214), "dependents": (357, 343)}
    table = drift.compare_columns(frame({n: np.array([yes_no[n], swapped[n]]) for n in yes_no}))
    assert table["drifted"].all()


def test_the_limit_is_the_one_that_chance_reaches_one_time_in_a_thousand():
    dice = np.random.default_rng(0)
    drawn = [dice.multinomial(size, np.full(10, 0.1), 20_000) for size in (REFERENCE, 700)]
    p, q = ((counts + 0.5) / (counts + 0.5).sum(axis=1, keepdims=True) for counts in drawn)
    indices = ((q - p) * np.log(q / p)).sum(axis=1)
    limit = drift.index_limit(10, REFERENCE, 700, 0.001)
    assert limit == pytest.approx(0.0455, abs=0.0001)
    assert (indices > limit).mean() < 0.0025


def test_rare_bins_go_together_and_no_customer_is_lost():
    reference, batch = [1000, 500, 3, 4, 2], [60, 40, 1, 0, 0]
    pooled = drift.pool_rare(np.array(reference), np.array(batch))
    assert pooled.sum(axis=1).tolist() == [sum(reference), sum(batch)]
    expected = pooled.sum(axis=0) * pooled[1].sum() / pooled.sum()
    assert (expected >= 5).all()
    assert pooled.shape == (2, 2)


def test_a_new_value_is_judged_by_counting_and_not_by_an_approximation():
    """One of 50 is dealt into the batch one time in a hundred: no reason for an alarm."""
    known = [3000, 1900]
    assert drift.chance([*known, 0], [30, 19, 1]) == pytest.approx(2 * 50 / 4950)
    dealt_two = (50 / 4950) * (49 / 4949)
    assert drift.chance([*known, 0], [30, 18, 2]) == pytest.approx(2 * dealt_two)


def test_a_column_with_one_value_on_both_sides_has_not_moved():
    assert drift.chance([5, 0], [9, 0]) == 1.0


def test_a_shift_that_is_certain_but_too_small_to_matter_is_no_alarm():
    both = np.array([[500_000, 500_000], [503_000, 497_000]])
    table = drift.compare_columns(frame({"partner": both}))
    assert table.loc["partner", "p_value"] < table.loc["partner", "p_limit"]
    assert not table.loc["partner", "drifted"]


def score_bins(p: np.ndarray, churned: np.ndarray) -> pd.DataFrame:
    """Return bins as the library's score_bins makes them in Spark."""
    rows = pd.DataFrame({"bin": np.floor(p * 10_000).astype(int), "churners": churned})
    rows["customers"], rows["squared_error"], rows["log_loss"] = 1, (p - churned) ** 2, 0.0
    return rows.groupby("bin", as_index=False).sum()


def batch_of(size: int, dice, more: float = 0.0, noise: float = 0.0) -> pd.DataFrame:
    """Return the bins of a batch with outcomes: some churn more, or are ranked with noise."""
    p = dice.beta(1, 2.8, size)
    churned = (dice.random(size) < np.clip(p + more, 0, 1)).astype(float)
    told = np.where(dice.random(size) < noise, dice.permutation(p), p)
    return score_bins(told, churned)


@pytest.mark.parametrize("size", [150, 700, 10_000])
def test_outcomes_like_those_of_the_test_raise_no_more_alarms_than_stated(size):
    dice = np.random.default_rng(size)
    alarms = sum(
        outcomes.outcome_checks(batch_of(size, dice), batch_of(1400, dice), FALSE_ALARMS)[
            "alarm"
        ].any()
        for _ in range(BATCHES)
    )
    assert alarms <= stats.binom.isf(0.001, BATCHES, FALSE_ALARMS)


@pytest.mark.parametrize(
    ("change", "check"), [({"more": 0.1}, "surplus"), ({"noise": 0.7}, "roc_auc")]
)
def test_labels_that_drift_alone_are_found_when_they_arrive(change, check):
    dice = np.random.default_rng(2)
    told = outcomes.outcome_checks(batch_of(700, dice, **change), batch_of(1400, dice), 0.01)
    assert told.loc[check, "alarm"]


def test_a_model_that_ranks_better_than_at_its_test_is_no_alarm():
    dice = np.random.default_rng(3)
    told = outcomes.outcome_checks(batch_of(700, dice), batch_of(1400, dice, noise=0.7), 0.01)
    assert not told.loc["roc_auc", "alarm"]


def test_the_error_of_an_area_is_that_of_repeated_samples():
    dice = np.random.default_rng(4)
    areas = [
        library.metrics.probability_metrics(batch_of(700, dice))["roc_auc"] for _ in range(300)
    ]
    bins = batch_of(700, dice)
    churners = bins["churners"].sum()
    error = outcomes.area_error(float(np.mean(areas)), churners, 700 - churners)
    assert error == pytest.approx(np.std(areas), rel=0.25)
