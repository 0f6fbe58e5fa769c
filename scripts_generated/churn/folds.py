# Generated from notebooks/04-model-training.ipynb by `make export`; do not edit.
"""Folds by a hash of the customer, and cross-validation on them."""

from concurrent.futures import ThreadPoolExecutor

import pandas as pd
from churn.metrics import probability_metrics, score_bins, with_probability
from churn.programs import DataContractError
from churn.splitting import hash_bucket
from pyspark.sql import DataFrame
from pyspark.sql import functions as F


def fold_column(repeat: int = 0, folds: int = 5) -> F.Column:
    """Return the customer's fold in [0, folds); another ``repeat`` sorts the customers anew."""
    return hash_bucket("customer_id", f"fold-{repeat}", folds)


def check_classes(rows: DataFrame, folds: int = 5) -> None:
    """Raise DataContractError if the test or a fold of the training has not both classes; one job.

    ``rows`` has customer_id, split and label, and should be cached.
    """
    place = F.when(F.col("split") == "train", fold_column(0, folds)).otherwise(F.col("split"))
    found = F.collect_set(F.struct(place, "label"))
    groups, customers, churners = rows.agg(found, F.count("*"), F.sum("label")).first()
    if len(groups) < 2 * (folds + 1):
        raise DataContractError(
            f"{customers} customers, {churners or 0:.0f} of them churners, are too few to train "
            f"on: each of {folds} folds and the test need some of both. Preprocess more customers."
        )


def cross_validate(
    estimator, rows: DataFrame, folds: int = 5, repeat: int = 0, parallelism: int = 5
):
    """Return the score bins of held-out predictions, a pandas DataFrame with a column ``fold``.

    ``rows`` has customer_id, features and label, and should be cached.
    """
    folded = rows.withColumn("fold", fold_column(repeat, folds))

    def one_fold(fold: int):
        model = estimator.fit(folded.where(F.col("fold") != fold))
        held_out = model.transform(folded.where(F.col("fold") == fold))
        return score_bins(with_probability(held_out)).toPandas().assign(fold=fold)

    at_once = max(1, parallelism // rows.rdd.getNumPartitions())  # else memory runs short
    with ThreadPoolExecutor(at_once) as pool:
        return pd.concat(pool.map(one_fold, range(folds)), ignore_index=True)


def mean_and_spread(bins) -> tuple[dict[str, float], dict[str, float]]:
    """Return the mean and the standard deviation over folds of each probability metric."""
    folds = pd.DataFrame([probability_metrics(rows) for _, rows in bins.groupby("fold")])
    return folds.mean().to_dict(), folds.std().to_dict()
