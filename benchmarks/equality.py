"""Do both sides compute the same? What each run of a step left, compared.

Where both compute the same thing it must be equal; where they may differ (the forests see other
features) both numbers stand side by side. Scikit-learn is the third party: each side's own metrics
are held against its metrics of the same predictions.
"""

from pathlib import Path

import pandas as pd
from sklearn.metrics import average_precision_score, roc_auc_score

from benchmarks.rounds import SIDES, Measured
from churnlab.run.library import library

RUN_COLUMNS = ["pipeline_id", "step", "pipeline_execution_ts"]


def course_table(done: Measured, name: str) -> pd.DataFrame:
    """Return the rows that a run of the course wrote to a table, without the run's columns."""
    dataset = str(done.folder / "warehouse" / "churn")
    attempts = library.tables.finished_attempts(dataset, name, done.run)
    rows = pd.concat([read_parquet(Path(attempt)) for attempt in attempts])
    return rows.drop(columns=RUN_COLUMNS, errors="ignore")


def straightforward_table(done: Measured, name: str) -> pd.DataFrame:
    """Return a table of the slow side."""
    return read_parquet(done.folder / "tables" / name)


def read_parquet(folder: Path) -> pd.DataFrame:
    """Return the rows of all Parquet files below a folder."""
    files = sorted(folder.rglob("*.parquet"))
    return pd.concat([pd.read_parquet(file, partitioning=None) for file in files])


def same_words(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table of the slow side under the course's names, churn in lower case, by id."""
    named = table.rename(columns=library.contract.snake_case)
    if "churn" in named:
        named = named.assign(churn=named["churn"].str.lower())
    return named.set_index("customer_id").sort_index()


def differing_cells(one: pd.DataFrame, other: pd.DataFrame) -> int:
    """Return how many cells differ between two tables by id; customers of one side count whole."""
    one, other = one.sort_index(), other.sort_index()
    missing = len(one.index.symmetric_difference(other.index))
    shared = one.index.intersection(other.index)
    left, right = one.loc[shared], other.loc[shared, one.columns]
    different = (left != right) & ~(left.isna() & right.isna())
    return int(different.to_numpy().sum()) + missing * len(one.columns)


def preprocessing(slow: Measured, fast: Measured) -> dict:
    """Compare the cleaned rows, the splits and the labels."""
    ours = course_table(fast, "training_data").set_index("customer_id")
    theirs = same_words(straightforward_table(slow, "training_data"))
    sizes = {
        side: rows["split"].value_counts().sort_index().to_dict()
        for side, rows in zip(SIDES, (theirs, ours), strict=True)
    }
    waiting = {
        "straightforward": len(straightforward_table(slow, "scoring_input")),
        "course": len(course_table(fast, "scoring_input")),
    }
    outcomes = [
        same_words(straightforward_table(slow, "scoring_outcomes")),
        course_table(fast, "scoring_outcomes").set_index("customer_id"),
    ]
    cells, labels = differing_cells(ours, theirs), differing_cells(*outcomes)
    return {
        "equal": {
            "cleaned rows, labels and splits": cells == 0,
            "scoring customers and their outcomes": labels == 0,
            "sizes of the splits": sizes["straightforward"] == sizes["course"],
        },
        "differing_cells": cells + labels,
        "split_sizes": {side: sizes[side] | {"scoring": waiting[side]} for side in SIDES},
    }


def exact_metrics(predictions: pd.DataFrame) -> dict[str, float]:
    """Return scikit-learn's metrics of test predictions (churn_probability, label)."""
    label, score = predictions["label"], predictions["churn_probability"]
    return {
        "roc_auc": round(float(roc_auc_score(label, score)), 6),
        "average_precision": round(float(average_precision_score(label, score)), 6),
    }


def forest(step: str, slow: Measured, fast: Measured) -> dict:
    """Compare what training or tuning says of the test customers."""
    ours = course_table(fast, "test_predictions").set_index("customer_id")
    ours = ours.assign(label=(ours["churn"] == "yes").astype(float))
    theirs = straightforward_table(slow, f"{step}_test_predictions").rename(
        columns={"customerID": "customer_id", "probability": "churn_probability"}
    )
    theirs = theirs.set_index("customer_id")
    own = course_table(fast, "model_metrics").query("evaluation == 'test'")
    said = {
        "straightforward": slow.figures["facts"]["areaUnderROC"],
        "course": float(own.set_index("metric")["value"]["roc_auc"]),
    }
    exact = {"straightforward": exact_metrics(theirs), "course": exact_metrics(ours)}
    off = {side: round(abs(said[side] - exact[side]["roc_auc"]), 6) for side in SIDES}
    # Customers of one bin count as tied.
    count = library.metrics.BINS
    bins = (ours["churn_probability"] * count).astype(int).clip(upper=count - 1)
    of_bins = float(roc_auc_score(ours["label"], bins))
    return {
        "equal": {
            "test customers and their labels": not differing_cells(
                ours[["label"]], theirs[["label"]]
            ),
            "ROC AUC by Spark's evaluator and by scikit-learn": off["straightforward"] < 1e-6,
            "ROC AUC by the course and by scikit-learn, of the same bins": (
                abs(said["course"] - of_bins) < 1e-6
            ),
        },
        "test_customers": {"straightforward": len(theirs), "course": len(ours)},
        "test_metrics": exact,
        "roc_auc_off_scikit_learn": off,
    }


def scoring(slow: Measured, fast: Measured) -> dict:
    """Compare whom the sides scored, and how."""
    ours = course_table(fast, "batch_predictions").set_index("customer_id")
    theirs = straightforward_table(slow, "batch_predictions").set_index("customerID")
    shared = ours.index.intersection(theirs.index)
    apart = (ours.loc[shared, "churn_probability"] - theirs.loc[shared, "probability"]).abs()
    return {
        "equal": {
            "scored customers": set(ours.index) == set(theirs.index),
            "three reasons for each": set(ours["reasons"].map(len)) == {3}
            and set(theirs["reasons"].map(len)) == {3},
        },
        "scored_customers": {"straightforward": len(theirs), "course": len(ours)},
        "mean_probability": {
            "straightforward": round(float(theirs["probability"].mean()), 6),
            "course": round(float(ours["churn_probability"].mean()), 6),
        },
        "mean_difference_of_probability": round(float(apart.mean()), 6),
    }


def compare(step: str, slow: Measured, fast: Measured) -> dict:
    """Return what the two sides' runs of a step have in common.

    Under "equal" stands what has to be true.
    """
    if step in ("training", "tuning"):
        return forest(step, slow, fast)
    return {"preprocessing": preprocessing, "scoring": scoring}[step](slow, fast)
