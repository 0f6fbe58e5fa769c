# Generated from notebooks/15-registry-and-gate.ipynb by `make export`; do not edit.
"""The gate: rules that a challenger has to keep, judged on the customers that both models were
asked about.
"""

import hashlib
import math
from dataclasses import dataclass

import numpy as np
import pandas as pd
from churn.programs import ModelError


@dataclass(frozen=True)
class Limits:
    """What a challenger has to keep. Costs and savings are counted in offers."""

    min_average_precision: float = 0.6
    max_average_precision: float = 0.85  # better than that is a leak, until somebody proves it
    min_saved: float = 100.0  # for 1,000 customers
    max_calibration_loss: float = 0.01  # beyond luck
    min_recall: float = 0.5  # of each group with enough churners
    max_recall_loss: float = 0.1  # where the champion itself is not above min_recall
    min_churners: int = 30
    max_megabytes: float = 20.0
    max_nodes: int = 200_000
    max_seconds: float = 1.0  # to score 1,000 customers
    missed_churner_cost: float = 5.0
    offer_cost: float = 1.0


@dataclass(frozen=True)
class Check:
    """One rule of the gate, what was found, and what is asked."""

    rule: str
    value: float
    asked: str  # at least, at most or above
    limit: float

    @property
    def holds(self) -> bool:
        """Tell whether the value keeps the limit; a value that is no number does not."""
        compared = {"at least": self.value >= self.limit, "at most": self.value <= self.limit}
        return math.isfinite(self.value) and compared.get(self.asked, self.value > self.limit)

    def __str__(self) -> str:
        """Return the check in words: rule, value, limit."""
        numbers = (self.value, self.limit)
        found, limit = (f"{n:,.0f}" if abs(n) >= 1000 else f"{n:.4g}" for n in numbers)
        return f"{self.rule} is {found}, {self.asked} {limit} is asked"


def acceptance_fingerprint(answers: pd.DataFrame) -> str:
    """Return a fingerprint of customer_id and churn that ignores the order of the rows."""
    rows = sorted(zip(answers["customer_id"], answers["churn"], strict=True))
    return f"{len(rows)}-{hashlib.sha256(repr(rows).encode()).hexdigest()[:16]}"


def paired(champion: pd.DataFrame, challenger: pd.DataFrame) -> pd.DataFrame:
    """Return the challenger's rows with the probabilities ``champion`` and ``challenger``.

    Both frames have customer_id, churn and churn_probability. Raises ModelError if they are not
    about the same customers with the same outcomes.
    """
    prints = [acceptance_fingerprint(answers) for answers in (champion, challenger)]
    if prints[0] != prints[1]:
        raise ModelError(
            f"The models were tested on different customers: the champion's set is {prints[0]}, "
            f"the challenger's {prints[1]}. Let both answer about the same set."
        )
    theirs = champion[["customer_id", "churn_probability"]]
    pairs = challenger.rename(columns={"churn_probability": "challenger"})
    return pairs.merge(theirs.rename(columns={"churn_probability": "champion"}), on="customer_id")


BINS = 10_000


def average_precisions(draws: np.ndarray, score: np.ndarray, churned: np.ndarray) -> np.ndarray:
    """Return the average precision of each draw; draws is draws × customers, how often each."""
    tie = np.floor(score * BINS)
    order = np.argsort(-tie, kind="stable")
    last = np.flatnonzero(np.diff(tie[order], append=-1))
    found = np.cumsum(draws[:, order] * churned[order], axis=1)[:, last]
    called = np.cumsum(draws[:, order], axis=1)[:, last]
    recall = found / np.maximum(found[:, -1:], 1)
    return (np.diff(recall, prepend=0, axis=1) * found / np.maximum(called, 1)).sum(axis=1)


def drawn(customers: int, draws: int, seed: int) -> np.ndarray:
    """Return draws × customers: how often a draw with replacement took each customer."""
    taken = np.random.default_rng(seed).integers(0, customers, (draws, customers))
    taken += customers * np.arange(draws)[:, None]
    return np.bincount(taken.ravel(), minlength=draws * customers).reshape(draws, customers)


def costs(draws: np.ndarray, called: np.ndarray, churned: np.ndarray, limits: Limits) -> np.ndarray:
    """Return what each draw costs for 1,000 customers: churners not called, and offers."""
    each = np.where(called, limits.offer_cost, churned * limits.missed_churner_cost)
    return 1000 * draws @ each / draws.sum(axis=1)


def calibration_errors(
    draws: np.ndarray, score: np.ndarray, churned: np.ndarray, groups: int = 10
) -> np.ndarray:
    """Return the expected calibration error of each draw, in equally large groups by score."""
    gap = np.zeros((len(score), groups))
    for group, part in enumerate(np.array_split(np.argsort(score, kind="stable"), groups)):
        gap[part, group] = score[part] - churned[part]
    return np.abs(draws @ gap).sum(axis=1) / draws.sum(axis=1)


@dataclass(frozen=True)
class Comparison:
    """Differences of the two models, one a draw: positive where the challenger is better."""

    average_precision: np.ndarray
    calibration: np.ndarray
    saved: np.ndarray

    def interval(self, name: str, level: float = 0.95) -> tuple[float, float]:
        """Return the interval that holds the middle ``level`` of a difference."""
        tail = (1 - level) / 2
        low, high = np.quantile(getattr(self, name), [tail, 1 - tail])
        return float(low), float(high)


def measured(
    draws: np.ndarray, score: np.ndarray, called: np.ndarray, churned: np.ndarray, limits: Limits
) -> np.ndarray:
    """Return three rows, one number a draw: average precision, calibration error, costs."""
    ranked = average_precisions(draws, score, churned)
    calibrated = calibration_errors(draws, score, churned)
    return np.stack([ranked, calibrated, costs(draws, called, churned, limits)])


def compare(
    pairs: pd.DataFrame, thresholds: dict, limits: Limits, draws: int = 2000, seed: int = 7
) -> Comparison:
    """Return the paired bootstrap of two models; ``thresholds`` is by champion and challenger."""
    churned, blocks = (pairs["churn"] == "yes").to_numpy(), []
    size = max(1, 4_000_000 // len(pairs))
    for first in range(0, draws, size):
        taken = drawn(len(pairs), min(size, draws - first), seed + first)
        found = {}
        for name in ("champion", "challenger"):
            score = pairs[name].to_numpy(float)
            found[name] = measured(taken, score, score >= thresholds[name], churned, limits)
        blocks.append(found["challenger"] - found["champion"])
    ranked, calibrated, cost = np.concatenate(blocks, axis=1)
    return Comparison(ranked, -calibrated, -cost)


GROUPS = ("gender", "senior_citizen", "contract")


def recalls(pairs: pd.DataFrame, model: str, threshold: float, least: int) -> dict[str, float]:
    """Return a model's recall by group, of the groups with at least ``least`` churners."""
    churners, found = pairs[pairs["churn"] == "yes"], {}
    for column in GROUPS:
        for value, group in churners.groupby(column):
            if len(group) >= least:
                found[f"{column} {value}"] = float((group[model] >= threshold).mean())
    return found


def group_checks(pairs: pd.DataFrame, thresholds: dict, limits: Limits) -> list[Check]:
    """Return a check of the challenger's recall for each group with enough churners."""
    theirs, ours = (recalls(pairs, m, thresholds[m], limits.min_churners) for m in thresholds)
    least = {g: min(limits.min_recall, r - limits.max_recall_loss) for g, r in theirs.items()}
    return [Check(f"recall of {g}", r, "at least", least[g]) for g, r in ours.items()]


@dataclass(frozen=True)
class Weight:
    """What a saved model weighs, and the seconds that 1,000 customers take."""

    megabytes: float
    nodes: int
    seconds: float


def judge(
    pairs: pd.DataFrame, comparison: Comparison, thresholds: dict, weight: Weight, limits: Limits
) -> list[Check]:
    """Return a check for each rule about a challenger, from ``paired`` rows and ``compare``."""
    churned = (pairs["churn"] == "yes").to_numpy()
    score, everybody = pairs["challenger"].to_numpy(float), np.ones((1, len(pairs)))
    [ap] = average_precisions(everybody, score, churned).tolist()
    lost = -comparison.interval("calibration")[1]
    gain, _ = comparison.interval("average_precision")
    better = Check("the least gain in average precision", gain, "above", 0.0)
    saved = Check("the least saving", comparison.interval("saved")[0], "above", limits.min_saved)
    sound = float(np.mean((score >= 0) & (score <= 1)))
    return [
        Check("the share of answers that are probabilities", sound, "at least", 1.0),
        Check("average precision", ap, "at least", limits.min_average_precision),
        Check("average precision", ap, "at most", limits.max_average_precision),
        saved if saved.holds else better,
        Check("the least loss in calibration", lost, "at most", limits.max_calibration_loss),
        *group_checks(pairs, thresholds, limits),
        Check("its size in MB", weight.megabytes, "at most", limits.max_megabytes),
        Check("its number of nodes", weight.nodes, "at most", limits.max_nodes),
        Check("its seconds for 1,000", weight.seconds, "at most", limits.max_seconds),
    ]
