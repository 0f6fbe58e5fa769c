# Generated from notebooks/04-model-training.ipynb by `make export`; do not edit.
"""Metrics, curves and thresholds from a few thousand bins of probabilities."""

import numpy as np
from churn.programs import StepError
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

BINS = 10_000


def with_probability(predictions: DataFrame) -> DataFrame:
    """Add ``churn_probability``, taken from the vector column ``probability`` of a model."""
    from pyspark.ml.functions import vector_to_array

    return predictions.withColumn("churn_probability", vector_to_array("probability")[1])


def score_bins(predictions: DataFrame, *groups: str) -> DataFrame:
    """Aggregate ``churn_probability`` and ``label`` (0.0 or 1.0) into bins, per group.

    A row of the result: groups, bin, customers, churners, squared_error, log_loss (sums).
    """
    p, label = F.col("churn_probability"), F.col("label")
    safe = F.greatest(F.least(p, F.lit(1 - 1e-15)), F.lit(1e-15))
    bin_number = F.least(F.floor(p * BINS), F.lit(BINS - 1)).alias("bin")
    return predictions.groupBy(*groups, bin_number).agg(
        F.count("*").alias("customers"),
        F.sum("label").alias("churners"),
        F.sum((p - label) ** 2).alias("squared_error"),
        F.sum(-label * F.log(safe) - (1 - label) * F.log(1 - safe)).alias("log_loss"),
    )


def ranking(bins) -> dict[str, np.ndarray]:
    """Return, from the highest bin down: threshold, true and false positives, bin sizes.

    ``bins`` is the pandas DataFrame of ``score_bins`` for one group.
    """
    ordered = bins.sort_values("bin", ascending=False)
    churners = ordered["churners"].to_numpy(float)
    others = ordered["customers"].to_numpy(float) - churners
    return {
        "threshold": ordered["bin"].to_numpy(float) / BINS,
        "true_positives": churners.cumsum(),
        "false_positives": others.cumsum(),
    }


def probability_metrics(bins) -> dict[str, float]:
    """Return roc_auc, average_precision, log_loss and brier of one group of bins.

    Customers of one bin count as tied. Formulas: scikit-learn's user guide, section 3.4.4.
    Raises StepError if the bins hold only churners or none.
    """
    rank = ranking(bins)
    tp, fp, n = rank["true_positives"], rank["false_positives"], bins["customers"].sum()
    if len(tp) == 0 or tp[-1] == 0 or fp[-1] == 0:
        raise StepError("Ranking metrics need churners and others: this evaluation has one kind.")
    recall, fall_out = tp / tp[-1], fp / fp[-1]
    precision = tp / (tp + fp)
    return {
        "roc_auc": float(np.trapezoid(np.r_[0, recall], np.r_[0, fall_out])),
        "average_precision": float(np.sum(np.diff(recall, prepend=0) * precision)),
        "log_loss": float(bins["log_loss"].sum() / n),
        "brier": float(bins["squared_error"].sum() / n),
    }


def decision_metrics(bins, threshold: float) -> dict[str, float]:
    """Return the confusion matrix and the metrics of deciding "churns" from a threshold on."""
    chosen = bins[bins["bin"] >= round(threshold * BINS)]
    tp = float(chosen["churners"].sum())
    fp = float(chosen["customers"].sum()) - tp
    churners, n = float(bins["churners"].sum()), float(bins["customers"].sum())
    fn, tn = churners - tp, n - churners - fp
    return {
        "true_positives": tp, "false_positives": fp, "false_negatives": fn, "true_negatives": tn,
        "precision": tp / (tp + fp) if tp + fp else 0.0,
        "recall": tp / churners,
        "f1": 2 * tp / (2 * tp + fp + fn),
        "accuracy": (tp + tn) / n,
        "always_no_accuracy": (n - churners) / n,
    }  # fmt: skip


def decision_column(threshold: float) -> F.Column:
    """Return "yes" for a ``churn_probability`` from the threshold's bin on, else "no"."""
    bin_number = F.least(F.floor(F.col("churn_probability") * BINS), F.lit(BINS - 1))
    return F.when(bin_number >= round(threshold * BINS), "yes").otherwise("no")


def cheapest_threshold(bins, missed_churner: float, offer: float) -> float:
    """Return the threshold with the least total cost, of all folds together.

    Every customer above it gets an offer at the price ``offer``; every churner below it is lost
    at the price ``missed_churner``. Threshold 1 means that nobody gets an offer.
    """
    rank = ranking(bins.groupby("bin", as_index=False)[["customers", "churners"]].sum())
    threshold = np.r_[1.0, rank["threshold"]]
    tp, fp = np.r_[0, rank["true_positives"]], np.r_[0, rank["false_positives"]]
    cost = (tp[-1] - tp) * missed_churner + (tp + fp) * offer
    return float(threshold[cost.argmin()])


def curve_points(bins, points: int = 200) -> list[tuple[str, int, float, float, float]]:
    """Return (curve, point, x, y, threshold) of the roc, pr and calibration curves of one group."""
    rank = ranking(bins)
    tp, fp = rank["true_positives"], rank["false_positives"]
    keep = np.unique(np.linspace(0, len(tp) - 1, points).round().astype(int))
    recall, fall_out = tp[keep] / tp[-1], fp[keep] / fp[-1]
    precision, threshold = tp[keep] / (tp + fp)[keep], rank["threshold"][keep]
    roc = zip(np.r_[0, fall_out], np.r_[0, recall], np.r_[1, threshold], strict=True)
    pr = zip(recall, precision, threshold, strict=True)
    curves = {"roc": roc, "pr": pr, "calibration": calibration(bins)}
    return [
        (curve, number, float(x), float(y), float(at))
        for curve, values in curves.items()
        for number, (x, y, at) in enumerate(values)
    ]


def calibration(bins, groups: int = 10) -> list[tuple[float, float, float]]:
    """Return (mean prediction, observed churn rate, lower edge) of equal-width groups."""
    group = (bins["bin"] * groups // BINS).clip(upper=groups - 1)
    middle = (bins["bin"] + 0.5) / BINS * bins["customers"]
    sums = (
        bins.assign(predicted=middle).groupby(group)[["predicted", "churners", "customers"]].sum()
    )
    rates = sums[["predicted", "churners"]].div(sums["customers"], axis=0)
    return [(r.predicted, r.churners, g / groups) for g, r in rates.iterrows()]
