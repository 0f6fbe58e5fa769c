"""What one process does alone, without Spark: `python -m benchmarks.alone ARM LAKE TREES`.

It reads what the course's preprocessing has read or written, and prints its figures as JSON.
"""

import json
import os
import sys
import time
from importlib.util import find_spec

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from churnlab.run.library import library


def splits(lake: str) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return features (customers × 19: places in the contract, amounts) and labels by split."""
    contract = library.contract
    [folder] = library.tables.finished_attempts(f"{lake}/warehouse/churn", "training_data")
    names = [*contract.CATEGORIES, *contract.AMOUNTS]
    table = ds.dataset(folder, format="parquet").to_table([*names, "churn", "split"])
    x = np.empty((table.num_rows, len(names)), dtype=np.float32)
    for position, name in enumerate(names):
        values = contract.CATEGORIES.get(name)
        column = table.column(name)
        column = pc.index_in(column, pa.array(values)) if values else column
        x[:, position] = column.to_numpy()
    y = pc.equal(table.column("churn"), "yes").to_numpy().astype(int)
    split = table.column("split").to_numpy()
    return {name: (x[split == name], y[split == name]) for name in ("train", "test")}


def forest(trees: int, seed: int, jobs: int | None = None):
    """Return scikit-learn's forest with the parameters of the course's."""
    from sklearn.ensemble import RandomForestClassifier

    shape = {"max_depth": 8, "min_samples_leaf": 10, "max_features": 1 / 3}
    return RandomForestClassifier(trees, **shape, random_state=seed, n_jobs=jobs)


def histogram(trees: int):
    """Return scikit-learn's boosting by histograms, which takes categories as they are."""
    from sklearn.ensemble import HistGradientBoostingClassifier

    categories = list(range(len(library.contract.CATEGORIES)))
    shape = {"max_depth": 5, "early_stopping": False}
    return HistGradientBoostingClassifier(
        max_iter=trees, **shape, categorical_features=categories, random_state=7
    )


BOOSTING = {"max_depth": 5, "learning_rate": 0.1, "tree_method": "hist"}  # XGBoost's, both arms


def xgboost(trees: int):
    """Return XGBoost's boosting by histograms, on all cores."""
    from xgboost import XGBClassifier

    return XGBClassifier(n_estimators=trees, **BOOSTING, n_jobs=-1, random_state=7)


MODELS = {
    "forest": lambda trees: forest(trees, 7, -1),
    "histogram": histogram,
    "xgboost": xgboost,
}


# No part of the course's environment: `make bench` installs them.
EXTRA = {"xgboost": "xgboost", "xgboost_in_spark": "xgboost", "polars": "polars"}


def missing_package(arm: str) -> str:
    """Return the package that an arm lacks here, or ""."""
    package = EXTRA.get(arm, "")
    return package if package and find_spec(package) is None else ""


def quality(y: np.ndarray, probability: np.ndarray) -> dict[str, float]:
    """Return ROC AUC and average precision."""
    from sklearn.metrics import average_precision_score, roc_auc_score

    return {
        "roc_auc": float(roc_auc_score(y, probability)),
        "average_precision": float(average_precision_score(y, probability)),
    }


def fit(arm: str, lake: str, trees: int) -> dict:
    """Load, fit and test a model in this process."""
    started = time.monotonic()
    parts = splits(lake)
    loaded = time.monotonic()
    model = MODELS[arm](trees).fit(*parts["train"])
    fitted = time.monotonic()
    x, y = parts["test"]
    tested = quality(y, model.predict_proba(x)[:, 1])
    return fit_times(started, loaded, fitted) | tested


def fit_times(started: float, loaded: float, fitted: float) -> dict[str, float]:
    """Return the seconds of loading and of fitting."""
    return {"load_seconds": round(loaded - started, 2), "fit_seconds": round(fitted - loaded, 2)}


def newest_model(lake: str) -> dict:
    """Return what the registry says of the model that was registered last."""
    return library.tables.read_rows(f"{lake}/warehouse/churn", "model_registry")[-1]


def onnx_of(lake: str) -> tuple[bytes, dict[str, list[str]]]:
    """Return the newest forest as an ONNX file, and the columns that it saw."""
    nodes, columns = library.registry.registered_forest(newest_model(lake), lake)
    return library.onnx_forest.forest_to_onnx(nodes, columns).SerializeToString(), columns


def onnx_session(content: bytes, threads: int = 0):
    """Return a session of ONNX Runtime with so many threads, by default one a core."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def work(arm: str, lake: str, trees: int) -> dict:
    """Run an arm in the current folder and return its figures.

    An arm imports what it alone needs: starting a process is a part of what is measured.
    """
    if arm in MODELS:
        return fit(arm, lake, trees)
    if arm == "onnx":
        from benchmarks import scoring_alone

        return scoring_alone.score(lake, os.getcwd())
    from benchmarks import tables_alone

    return tables_alone.WAYS[arm](lake, os.getcwd())


def main(arguments: list[str]) -> None:
    """Run an arm and print its figures."""
    arm, lake, number = arguments
    print(json.dumps(work(arm, lake, int(number))), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
