"""The gate lets a better challenger through, and nobody else; each refusal says its rule."""

import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from churn.gate import (
    Check,
    Limits,
    Weight,
    acceptance_fingerprint,
    average_precisions,
    calibration_errors,
    compare,
    costs,
    drawn,
    group_checks,
    judge,
    paired,
    recalls,
)
from churn.programs import ModelError
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score

from churnlab import paths

LIMITS = Limits(min_average_precision=0.5, max_average_precision=0.85)
LIGHT = Weight(megabytes=1.0, nodes=10_000, seconds=0.05)
SAME = {"champion": 0.3, "challenger": 0.3}
CUSTOMERS = 1500


def customers(seed: int = 7, count: int = CUSTOMERS) -> tuple[pd.DataFrame, np.ndarray]:
    """Return customers with outcomes and groups, and the probability behind each outcome."""
    rng = np.random.default_rng(seed)
    truth = rng.beta(0.5, 1.3, count)
    rows = pd.DataFrame(
        {
            "customer_id": [f"c-{n:05d}" for n in range(count)],
            "churn": np.where(rng.uniform(size=count) < truth, "yes", "no"),
            "gender": rng.choice(["Female", "Male"], count),
            "senior_citizen": rng.choice(["0", "1"], count, p=[0.8, 0.2]),
            "contract": rng.choice(["Month-to-month", "One year", "Two year"], count),
        }
    )
    return rows, truth


ROWS, TRUTH = customers()
CHURNED = (ROWS["churn"] == "yes").to_numpy()
RNG = np.random.default_rng(11)
LOGIT = np.log(TRUTH / (1 - TRUTH))


def blurred(spread: float, seed: int) -> np.ndarray:
    """Return the probabilities of a model that errs by so much, on customers of its own."""
    noise = np.random.default_rng(seed).normal(0, spread, len(LOGIT))
    return 1 / (1 + np.exp(-(LOGIT + noise)))


CHAMPION = blurred(1.0, 1)


def refused_for(challenger: np.ndarray, weight=LIGHT, limits=LIMITS, thresholds=SAME) -> list[str]:
    """Return the rules that a challenger does not keep against the champion, in words."""
    pairs = ROWS.assign(champion=CHAMPION, challenger=challenger)
    comparison = compare(pairs, thresholds, limits, draws=500)
    checks = judge(pairs, comparison, thresholds, weight, limits)
    return [str(check) for check in checks if not check.holds]


def test_a_better_model_is_promoted():
    assert refused_for(blurred(0.2, 2)) == []


WOMEN = (ROWS["gender"] == "Female").to_numpy()
BETTER = blurred(0.2, 2)


@pytest.mark.parametrize(
    ("challenger", "rule"),
    [
        (blurred(2.5, 3), "the least gain in average precision"),
        (CHAMPION, "the least gain in average precision is 0, above 0 is asked"),
        (blurred(1.0, 4), "the least gain in average precision"),
        (RNG.uniform(0, 1, CUSTOMERS), "average precision is 0.2"),
        (np.clip(0.9 * CHURNED + 0.1 * TRUTH, 0, 1), "at most 0.85 is asked"),
        (BETTER**0.4, "the least loss in calibration"),
        (np.where(WOMEN, BETTER * 0.25, BETTER), "recall of gender Female"),
        (np.full(CUSTOMERS, np.nan), "the share of answers that are probabilities is 0"),
    ],
    ids=["worse", "same", "equal", "random", "leaked", "miscalibrated", "biased", "no numbers"],
)
def test_a_challenger_that_is_not_better_or_worse_somewhere_is_refused_by_its_rule(
    challenger, rule
):
    said = refused_for(challenger)
    assert any(rule in words for words in said), said


@pytest.mark.parametrize(
    ("weight", "rule"),
    [
        (replace(LIGHT, megabytes=21.0), "its size in MB is 21, at most 20 is asked"),
        (replace(LIGHT, nodes=300_000), "its number of nodes is 300,000, at most 200,000 is asked"),
        (replace(LIGHT, seconds=1.5), "its seconds for 1,000 is 1.5, at most 1 is asked"),
    ],
)
def test_a_better_model_that_is_too_large_or_too_slow_is_refused_for_that_alone(weight, rule):
    assert refused_for(BETTER, weight) == [rule]


def test_decisions_that_save_enough_make_up_for_an_equal_ranking():
    """The same ranking; the champion's threshold calls nobody, the challenger's calls well."""
    thresholds = {"champion": 0.99, "challenger": 0.2}
    assert refused_for(CHAMPION, thresholds=thresholds) == []
    dear = replace(LIMITS, min_saved=10_000)
    assert refused_for(CHAMPION, limits=dear, thresholds=thresholds) == [
        "the least gain in average precision is 0, above 0 is asked"
    ]


def test_an_equal_model_is_promoted_by_luck_in_at_most_5_of_100_cases():
    promoted = 0
    for seed in range(200):
        rows, truth = customers(seed, 300)
        rng = np.random.default_rng(seed)
        for name in SAME:
            rows[name] = np.clip(truth + rng.normal(0, 0.1, len(rows)), 0, 1)
        comparison = compare(rows, SAME, LIMITS, draws=300, seed=seed)
        promoted += (
            comparison.interval("average_precision")[0] > 0
            or comparison.interval("saved")[0] > LIMITS.min_saved
        )
    assert promoted <= 10, f"{promoted} of 200"


# What a group is, and when it counts


def test_recall_is_that_of_each_group_s_churners_and_of_groups_with_enough_of_them():
    rows = pd.DataFrame(
        [
            ("yes", "Female", "0", "One year", 0.9),
            ("yes", "Female", "0", "One year", 0.1),
            ("yes", "Male", "1", "Two year", 0.9),
            ("no", "Male", "1", "Two year", 0.1),
        ],
        columns=["churn", "gender", "senior_citizen", "contract", "challenger"],
    )
    assert recalls(rows, "challenger", 0.5, least=2) == {
        "gender Female": 0.5,
        "senior_citizen 0": 0.5,
        "contract One year": 0.5,
    }
    assert recalls(rows, "challenger", 0.5, least=1)["gender Male"] == 1.0


def test_a_group_that_the_champion_forgets_too_may_not_be_forgotten_much_more():
    seniors = (ROWS["senior_citizen"] == "1").to_numpy()
    forgetful = np.where(seniors, CHAMPION * 0.4, CHAMPION)
    pairs = ROWS.assign(champion=forgetful, challenger=forgetful)
    had = recalls(pairs, "champion", 0.3, least=1)["senior_citizen 1"]
    assert 0.1 < had < LIMITS.min_recall
    [same] = [c for c in group_checks(pairs, SAME, LIMITS) if c.rule.endswith("senior_citizen 1")]
    assert same.holds and same.limit == pytest.approx(had - 0.1)
    pairs["challenger"] = np.where(seniors, CHAMPION * 0.2, CHAMPION)
    [worse] = [c for c in group_checks(pairs, SAME, LIMITS) if c.rule.endswith("senior_citizen 1")]
    assert not worse.holds


# The numbers are those of others


@pytest.mark.parametrize("spread", [0.2, 1.0, 3.0])
def test_average_precision_is_scikit_learn_s_also_of_a_weighted_draw(spread):
    score = (np.floor(blurred(spread, 5) * 10_000) + 0.5) / 10_000  # ties, as the gate sees them
    draws = np.vstack([np.ones(CUSTOMERS, int), drawn(CUSTOMERS, 3, seed=1)])
    ours = average_precisions(draws, score, CHURNED)
    theirs = [average_precision_score(CHURNED, score, sample_weight=d) for d in draws]
    assert ours == pytest.approx(theirs)


def test_a_draw_takes_as_many_customers_as_there_are_and_the_same_for_the_same_seed():
    draws = drawn(50, 20, seed=3)
    assert (draws.sum(axis=1) == 50).all() and draws.max() > 1
    assert (draws == drawn(50, 20, seed=3)).all()
    assert (draws != drawn(50, 20, seed=4)).any()


def calibration_error(score: np.ndarray, churned: np.ndarray, groups: int = 10) -> float:
    [found] = calibration_errors(np.ones((1, len(score))), score, churned, groups)
    return float(found)


def test_the_calibration_error_is_the_distance_of_predicted_and_observed_churn():
    churned = np.array([True] * 30 + [False] * 70)
    assert calibration_error(np.full(100, 0.3), churned, groups=1) == pytest.approx(0)
    assert calibration_error(np.full(100, 0.5), churned, groups=1) == pytest.approx(0.2)
    halves = np.array([0.1] * 50 + [0.9] * 50)  # 20 % of the first left, and all of the others
    churned = np.array([True] * 10 + [False] * 40 + [True] * 50)
    assert calibration_error(halves, churned, groups=2) == pytest.approx(0.1)
    assert calibration_error(TRUTH, CHURNED) < 0.05 < calibration_error(TRUTH**0.3, CHURNED)


# Signs


decisions = st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=30)
prices = st.floats(0, 100)


@given(decisions, prices, prices)
def test_one_more_missed_churner_and_one_more_needless_offer_never_earn_anything(
    decided, missed, offer
):
    limits = replace(LIMITS, missed_churner_cost=missed, offer_cost=offer)

    def total(rows):
        called, churned = (np.array(column) for column in zip(*rows, strict=True))
        draw = np.ones((1, len(rows)))
        return float(costs(draw, called, churned, limits)[0]) * len(rows) / 1000

    before = total(decided)
    assert before >= 0
    assert total([*decided, (False, True)]) == pytest.approx(before + missed)
    assert total([*decided, (True, False)]) == pytest.approx(before + offer)
    assert total([*decided, (False, False)]) == pytest.approx(before)


def test_calling_a_churner_in_time_saves_and_forgetting_one_does_not():
    pairs = pd.DataFrame({"churn": ["yes"] * 40, "champion": 0.1, "challenger": 0.9})
    assert compare(pairs, SAME, LIMITS, draws=50).interval("saved") == (4000.0, 4000.0)
    swapped = pairs.rename(columns={"champion": "challenger", "challenger": "champion"})
    assert compare(swapped, SAME, LIMITS, draws=50).interval("saved") == (-4000.0, -4000.0)


# The same customers


def answered(rows: pd.DataFrame, score) -> pd.DataFrame:
    return rows.assign(churn_probability=score)


def test_answers_are_joined_by_customer_whatever_their_order():
    ours, theirs = answered(ROWS, BETTER), answered(ROWS, CHAMPION).sample(frac=1, random_state=1)
    pairs = paired(theirs, ours)
    assert acceptance_fingerprint(theirs) == acceptance_fingerprint(ours)
    assert (pairs["challenger"] == BETTER).all() and (pairs["champion"] == CHAMPION).all()


def lose_one(rows):
    return rows.iloc[1:]


def change_an_outcome(rows):
    return rows.assign(
        churn=["no", *rows["churn"][1:]] if CHURNED[0] else ["yes", *rows["churn"][1:]]
    )


def repeat_one(rows):
    return pd.concat([rows, rows.iloc[:1]])


@pytest.mark.parametrize("change", [lose_one, change_an_outcome, repeat_one])
def test_answers_about_different_customers_are_not_compared(change):
    with pytest.raises(
        ModelError, match=r"different customers: the champion's set is \d+-[0-9a-f]+"
    ):
        paired(answered(change(ROWS), 0.5), answered(ROWS, 0.5))


# Checks


@pytest.mark.parametrize(
    ("value", "asked", "holds"),
    [
        (0.3, "at least", True), (0.29, "at least", False), (0.3, "at most", True),
        (0.31, "at most", False), (0.31, "above", True), (0.3, "above", False),
        (float("nan"), "at most", False), (float("inf"), "at least", False),
    ],
)  # fmt: skip
def test_a_check_holds_up_to_its_limit_and_never_for_what_is_no_number(value, asked, holds):
    assert Check("recall", value, asked, 0.3).holds is holds


def test_the_gate_itself_needs_no_spark():
    program = "import sys, json, churn.gate; print(json.dumps('pyspark' in sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=paths.SCRIPTS, capture_output=True, text=True
    )
    assert json.loads(done.stdout) is False, done.stderr
