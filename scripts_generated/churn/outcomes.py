# Generated from notebooks/16-monitoring.ipynb by `make export`; do not edit.
"""Outcomes: is a model still as good as at its test, now that the truth about a batch is known?"""

import numpy as np
import pandas as pd
from churn.metrics import BINS, probability_metrics
from scipy import stats


def area_error(area: float, churners: float, others: float) -> float:
    """Return the standard error of an area under the ROC curve (Hanley and McNeil, 1982)."""
    both_above, both_below = area / (2 - area), 2 * area**2 / (1 + area)
    spread = area * (1 - area) + (churners - 1) * (both_above - area**2)
    spread += (others - 1) * (both_below - area**2)
    return float(np.sqrt(spread / (churners * others)))


def surplus(bins: pd.DataFrame) -> tuple[float, float]:
    """Return churners above what was predicted, as a share of customers, and its standard error.

    ``bins`` is the pandas DataFrame of ``score_bins`` for one group.
    """
    p = (bins["bin"] + 0.5) / BINS
    customers = bins["customers"].sum()
    variance = (bins["customers"] * p * (1 - p)).sum()
    share = (bins["churners"] - p * bins["customers"]).sum() / customers
    return float(share), float(np.sqrt(variance) / customers)


def outcome_checks(batch: pd.DataFrame, test: pd.DataFrame, false_alarms: float) -> pd.DataFrame:
    """Compare the outcomes of a batch with the test; rows: roc_auc, surplus.

    Both are bins of ``score_bins``. Columns: value, limit (roc_auc: at least; surplus: at most,
    by size), alarm (bool). Raises StepError if a side has churners only, or none.
    """
    areas, errors = [], []
    for bins in (batch, test):
        areas.append(probability_metrics(bins)["roc_auc"])
        churners = float(bins["churners"].sum())
        errors.append(area_error(areas[-1], churners, float(bins["customers"].sum()) - churners))
    least = areas[1] - stats.norm.isf(false_alarms / 2) * float(np.hypot(*errors))
    (now, error), (then, error_then) = surplus(batch), surplus(test)
    most = stats.norm.isf(false_alarms / 4) * float(np.hypot(error, error_then))
    rows = {"roc_auc": (areas[0], least, areas[0] < least)}
    rows["surplus"] = (now - then, most, abs(now - then) > most)
    return pd.DataFrame.from_dict(rows, orient="index", columns=["value", "limit", "alarm"])
