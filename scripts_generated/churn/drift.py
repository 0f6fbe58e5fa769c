# Generated from notebooks/16-monitoring.ipynb by `make export`; do not edit.
"""Drift: how far two samples of customers are apart, and how far they would be by chance."""

import numpy as np
import pandas as pd
from scipy import stats
from scipy.spatial.distance import jensenshannon


def shares(counts: np.ndarray) -> np.ndarray:
    """Return the shares of bins; half a customer more in each keeps them above 0."""
    smooth = np.asarray(counts, float) + 0.5
    return smooth / smooth.sum()


def stability_index(reference: np.ndarray, batch: np.ndarray) -> float:
    """Return the population stability index of two samples' counts in the same bins."""
    p, q = shares(reference), shares(batch)
    return float(((q - p) * np.log(q / p)).sum())


def index_limit(bins: int, reference: int, batch: int, false_alarms: float) -> float:
    """Return the PSI that two samples of these sizes exceed by chance in a share of cases.

    Approximation of Yurdakul (2018), https://scholarworks.wmich.edu/dissertations/3208.
    """
    return float((1 / reference + 1 / batch) * stats.chi2.isf(false_alarms, max(1, bins - 1)))


LEAST_EXPECTED = 5


def pool_rare(reference: np.ndarray, batch: np.ndarray) -> np.ndarray:
    """Return both samples' counts (2 × bins), those bins together that expect few of the batch."""
    both = np.stack([reference, batch]).astype(float)
    expected = both.sum(axis=0) * both[1].sum() / both.sum()
    rare = expected < LEAST_EXPECTED
    if rare.any() and expected[rare].sum() < LEAST_EXPECTED and not rare.all():
        rare[np.where(rare, np.inf, expected).argmin()] = True  # the smallest takes them in
    return np.c_[both[:, ~rare], both[:, rare].sum(axis=1)] if rare.any() else both


def chance(reference: np.ndarray, batch: np.ndarray) -> float:
    """Return how probable samples this far apart, or further, are if nothing has moved."""
    reference, batch = np.asarray(reference), np.asarray(batch)
    known, everybody = reference > 0, reference.sum() + batch.sum()
    table, p = pool_rare(reference[known], batch[known]), 1.0
    if table.shape[1] > 1 and table[1].any():
        p = float(stats.chi2_contingency(table, correction=False).pvalue)
    if new := batch[~known].sum():
        all_in_batch = stats.hypergeom.sf(new - 1, everybody, new, batch.sum())
        p = min(1.0, 2 * min(p, float(all_in_batch)))
    return p


def compare_columns(
    counts: pd.DataFrame, false_alarms: float = 0.01, least_psi: float = 0.01
) -> pd.DataFrame:
    """Compare reference and batch, column by column; the farthest apart comes first.

    ``counts`` has feature, bin, reference, batch (customers). A row of the result, by feature:
    psi, psi_limit, jensen_shannon (bits), p_value, p_limit, drifted (bool).
    """
    columns, found = counts.groupby("feature"), {}
    level = false_alarms / max(1, columns.ngroups)
    for feature, bins in columns:
        reference, batch = bins["reference"].to_numpy(float), bins["batch"].to_numpy(float)
        index, p = stability_index(reference, batch), chance(reference, batch)
        limit = index_limit(len(bins), reference.sum(), batch.sum(), level)
        distance = float(jensenshannon(shares(reference), shares(batch), 2) ** 2)
        drifted = p < level and index >= least_psi
        found[feature] = (index, max(limit, least_psi), distance, p, level, drifted)
    names = ["psi", "psi_limit", "jensen_shannon", "p_value", "p_limit", "drifted"]
    table = pd.DataFrame.from_dict(found, orient="index", columns=names).rename_axis("feature")
    return table.sort_values("psi", ascending=False)
