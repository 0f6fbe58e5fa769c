"""Metrics from binned scores agree with scikit-learn, and decisions with the metrics about them."""

import math

import numpy as np
import pandas as pd
import pytest
from churn.folds import cross_validate, mean_and_spread
from churn.metrics import (
    BINS,
    calibration,
    cheapest_threshold,
    curve_points,
    decision_column,
    decision_metrics,
    probability_metrics,
    score_bins,
    with_probability,
)
from churn.programs import StepError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyspark.ml.functions import array_to_vector
from pyspark.sql import functions as F
from sklearn.metrics import (
    accuracy_score,
    average_precision_score,
    brier_score_loss,
    confusion_matrix,
    f1_score,
    log_loss,
    precision_score,
    recall_score,
    roc_auc_score,
    roc_curve,
)

pytestmark = pytest.mark.xdist_group("metrics")

# The same examples on every machine, however busy it is.
calmly = settings(deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])

# Scores stand in the middle of a bin, so that no rounding moves one over an edge.
SCORES = st.integers(0, BINS - 1).map(lambda number: (number + 0.5) / BINS)
THRESHOLDS = st.integers(0, BINS).map(lambda number: number / BINS)


@st.composite
def evaluations(draw):
    """Return the scores and labels of customers of both kinds, with many ties."""
    few = draw(st.lists(SCORES, min_size=1, max_size=20))
    score = st.sampled_from(few)
    both = [(draw(score), 0), (draw(score), 1)]
    more = draw(st.lists(st.tuples(score, st.integers(0, 1)), max_size=60))
    scores, labels = zip(*both, *more, strict=True)
    return np.array(scores), np.array(labels)


def binned(scores, labels) -> pd.DataFrame:
    """Return the bins of scores, as ``score_bins`` makes them in Spark."""
    p, label = np.asarray(scores, float), np.asarray(labels, float)
    safe = p.clip(1e-15, 1 - 1e-15)
    rows = pd.DataFrame(
        {
            "bin": np.minimum(np.floor(p * BINS), BINS - 1).astype(int),
            "customers": 1,
            "churners": label,
            "squared_error": (p - label) ** 2,
            "log_loss": -label * np.log(safe) - (1 - label) * np.log(1 - safe),
        }
    )
    return rows.groupby("bin", as_index=False).sum()


EDGES = [0.0, 1.0, 0.29, 0.2899, 0.28995, 0.29001, 0.0029, 0.57, 0.58, 0.5, 0.9999, 1e-16]


@pytest.fixture(scope="module")
def predictions(spark):
    """Scores at the edges of bins, each of a churner and of another customer, in two groups."""
    rows = [(p, float(label), p < 0.5) for p in EDGES for label in (0, 1)]
    return spark.createDataFrame(
        rows, "churn_probability DOUBLE, label DOUBLE, low BOOLEAN"
    ).coalesce(1)


def test_spark_bins_scores_as_numpy_does(predictions):
    found = score_bins(predictions).toPandas().sort_values("bin", ignore_index=True)
    expected = binned([p for p in EDGES for _ in "01"], [0, 1] * len(EDGES))
    pd.testing.assert_frame_equal(found[expected.columns], expected, check_dtype=False, rtol=1e-12)
    assert math.isfinite(found["log_loss"].sum())


def test_groups_are_binned_apart(predictions):
    bins = score_bins(predictions, "low").toPandas()
    assert bins.groupby("low")["customers"].sum().to_dict() == {True: 14, False: 10}


def test_a_probability_is_taken_from_the_second_place_of_the_vector(spark):
    rows = spark.createDataFrame([([0.75, 0.25],)], "both ARRAY<DOUBLE>")
    scored = with_probability(rows.select(array_to_vector("both").alias("probability")))
    assert scored.first()["churn_probability"] == 0.25


@calmly
@given(evaluations())
def test_probability_metrics_are_scikit_learn_s(evaluation):
    scores, labels = evaluation
    assert probability_metrics(binned(scores, labels)) == pytest.approx(
        {
            "roc_auc": roc_auc_score(labels, scores),
            "average_precision": average_precision_score(labels, scores),
            "log_loss": log_loss(labels, scores),
            "brier": brier_score_loss(labels, scores),
        },
        abs=1e-9,
    )


@calmly
@given(evaluations(), THRESHOLDS)
def test_decision_metrics_are_scikit_learn_s(evaluation, threshold):
    scores, labels = evaluation
    decided = scores >= threshold
    tn, fp, fn, tp = confusion_matrix(labels, decided, labels=[0, 1]).ravel()
    assert decision_metrics(binned(scores, labels), threshold) == pytest.approx(
        {
            "true_positives": tp,
            "false_positives": fp,
            "false_negatives": fn,
            "true_negatives": tn,
            "precision": precision_score(labels, decided, zero_division=0),
            "recall": recall_score(labels, decided),
            "f1": f1_score(labels, decided),
            "accuracy": accuracy_score(labels, decided),
            "always_no_accuracy": 1 - labels.mean(),
        },
        abs=1e-9,
    )


@calmly
@given(evaluations())
def test_the_order_of_the_bins_does_not_matter(evaluation):
    bins = binned(*evaluation)
    turned = bins[::-1]
    assert probability_metrics(turned) == pytest.approx(probability_metrics(bins))
    points, again = (pd.DataFrame(curve_points(b)) for b in (bins, turned))
    pd.testing.assert_frame_equal(again, points)


@pytest.mark.parametrize("labels", [[0, 0], [1, 1], []], ids=["no churners", "only", "nobody"])
def test_ranking_needs_both_kinds_of_customers(labels):
    with pytest.raises(StepError, match="need churners and others"):
        probability_metrics(binned([0.25, 0.75][: len(labels)], labels))


def total_cost(scores, labels, threshold, missed_churner, offer):
    """Count what a threshold costs, customer by customer."""
    cost = 0.0
    for score, label in zip(scores, labels, strict=True):
        cost += offer if score >= threshold else missed_churner * label
    return cost


PRICES = st.integers(1, 20).map(float)


@calmly
@given(evaluations(), PRICES, PRICES)
def test_the_cheapest_threshold_is_the_cheapest_of_all(evaluation, missed_churner, offer):
    scores, labels = evaluation
    chosen = cheapest_threshold(binned(scores, labels), missed_churner, offer)
    # Every decision a threshold can make: offers to nobody, to those from a score on, to all.
    thresholds = [1.0, *scores, 0.0]
    costs = [total_cost(scores, labels, at, missed_churner, offer) for at in thresholds]
    assert total_cost(scores, labels, chosen, missed_churner, offer) == min(costs)


def test_the_cheapest_threshold_of_several_folds_is_that_of_their_merged_bins():
    """A threshold cannot take one fold's customers of a bin and leave another's."""
    folds = [binned([0.5, 0.2], [1, 0]), binned([0.5, 0.5, 0.2], [0, 0, 1])]
    one_by_one = pd.concat(folds, ignore_index=True)
    merged = one_by_one.groupby("bin", as_index=False).sum()
    assert len(merged) < len(one_by_one)
    for prices in ((2.0, 1.0), (1.2, 1.0), (3.0, 1.0)):
        assert cheapest_threshold(one_by_one, *prices) == cheapest_threshold(merged, *prices)


def test_an_offer_for_a_tenth_of_the_price_of_a_churner_goes_to_all_who_might_leave():
    bins = binned([0.85, 0.65, 0.45, 0.25], [1, 0, 1, 0])
    assert cheapest_threshold(bins, missed_churner=10.0, offer=1.0) == 0.45
    assert cheapest_threshold(bins, missed_churner=1.5, offer=1.0) == 0.85


@pytest.mark.parametrize("threshold", [0.0, 0.0029, 0.2899, 0.29, 0.57, 0.58, 0.9999, 1.0])
def test_decisions_are_those_that_the_metrics_are_about(predictions, threshold):
    decided = predictions.where(decision_column(threshold) == "yes").count()
    metrics = decision_metrics(score_bins(predictions).toPandas(), threshold)
    assert decided == metrics["true_positives"] + metrics["false_positives"]


@calmly
@given(evaluations(), THRESHOLDS)
def test_every_bin_s_own_threshold_decides_for_that_bin(evaluation, threshold):
    bins = binned(*evaluation)
    for number in bins["bin"]:
        chosen = decision_metrics(bins, number / BINS)
        above = bins.loc[bins["bin"] >= number, "customers"].sum()
        assert chosen["true_positives"] + chosen["false_positives"] == above


# Curves


@calmly
@given(evaluations())
def test_the_roc_curve_is_scikit_learn_s(evaluation):
    scores, labels = evaluation
    points = [p for p in curve_points(binned(scores, labels)) if p[0] == "roc"]
    fall_out, recall, _ = roc_curve(labels, scores, drop_intermediate=False)
    assert [p[2] for p in points] == pytest.approx(list(fall_out))
    assert [p[3] for p in points] == pytest.approx(list(recall))
    assert [p[1] for p in points] == list(range(len(points)))


@calmly
@given(evaluations())
def test_every_point_of_the_pr_curve_is_what_its_threshold_gives(evaluation):
    bins = binned(*evaluation)
    for curve, _, recall, precision, threshold in curve_points(bins):
        if curve == "pr":
            at = decision_metrics(bins, threshold)
            assert (recall, precision) == pytest.approx((at["recall"], at["precision"]))


def test_a_long_curve_is_thinned_out_but_keeps_its_ends():
    scores = (np.arange(5000) + 0.5) / BINS
    points = [p for p in curve_points(binned(scores, np.arange(5000) % 2)) if p[0] == "roc"]
    assert len(points) == 201
    assert points[0][2:] == (0.0, 0.0, 1.0)
    assert points[-1][2:4] == (1.0, 1.0)


def test_calibration_compares_what_was_said_with_what_came():
    bins = binned([0.11005, 0.18995, 0.95005, 1.0], [0, 1, 1, 1])
    groups = calibration(bins)
    assert [group for said in groups for group in said] == pytest.approx(
        [0.15, 0.5, 0.1, 0.975, 1.0, 0.9], abs=1e-4
    )


@calmly
@given(evaluations())
def test_a_calibration_point_lies_in_its_group(evaluation):
    for said, came, edge in calibration(binned(*evaluation)):
        assert edge <= said <= edge + 0.1
        assert 0 <= came <= 1


# Cross-validation


class Memory:
    """An estimator that knows the customers it was fitted on, and no others."""

    def fit(self, rows):
        model = Memory()
        model.seen = [row["customer_id"] for row in rows.select("customer_id").collect()]
        return model

    def transform(self, rows):
        knows = F.col("customer_id").isin(self.seen).cast("double")
        return rows.withColumn("probability", array_to_vector(F.array(1 - knows, knows)))


def test_every_customer_is_predicted_once_by_a_model_that_never_saw_him(spark):
    rows = spark.range(100).select(
        F.col("id").cast("string").alias("customer_id"),
        (F.col("id") % 4 == 0).cast("double").alias("label"),
    )
    bins = cross_validate(Memory(), rows.coalesce(1), folds=4)
    assert bins["customers"].sum() == 100
    assert bins["churners"].sum() == 25
    assert set(bins["bin"]) == {0}
    assert sorted(bins["fold"]) == [0, 1, 2, 3]


def test_mean_and_spread_are_those_of_the_folds():
    folds = [([0.75, 0.25], [1, 0]), ([0.25, 0.75], [1, 0]), ([0.75, 0.25], [1, 0])]
    bins = pd.concat(binned(*fold).assign(fold=n) for n, fold in enumerate(folds))
    mean, spread = mean_and_spread(bins)
    assert mean["roc_auc"] == pytest.approx(2 / 3)
    assert spread["roc_auc"] == pytest.approx(np.std([1, 0, 1], ddof=1))
    assert list(mean) == ["roc_auc", "average_precision", "log_loss", "brier"]
