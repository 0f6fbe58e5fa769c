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


def xgboost(trees: int):
    """Return XGBoost's boosting by histograms, on all cores."""
    from xgboost import XGBClassifier

    shape = {"max_depth": 5, "learning_rate": 0.1, "tree_method": "hist"}
    return XGBClassifier(n_estimators=trees, **shape, n_jobs=-1, random_state=7)


MODELS = {
    "forest": lambda trees: forest(trees, 7, -1),
    "histogram": histogram,
    "xgboost": xgboost,
}


def is_installed(arm: str) -> bool:
    """Tell whether an arm can run here: XGBoost is no part of the course's environment."""
    return arm != "xgboost" or find_spec("xgboost") is not None


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
    times = {"load_seconds": loaded - started, "fit_seconds": fitted - loaded}
    return {name: round(value, 2) for name, value in times.items()} | tested


def quoted(values) -> str:
    """Return SQL texts, separated by commas."""
    return ", ".join("'" + value.replace("'", "''") + "'" for value in values)


def raw_names() -> dict[str, str]:
    """Return the raw names of the columns by those of the tables."""
    return {library.contract.snake_case(name): name for name in library.contract.RAW_COLUMNS}


def reason_sql() -> str:
    """Return the data contract's rules as SQL of DuckDB: the first reason, or null."""
    contract = library.contract
    whole = r"\d{1,9}"
    amount = r"\d{1,12}(\.\d*)?"
    rules = {
        "customer_id is missing": "coalesce(trim(customer_id), '') = ''",
        "customer_id is not an id": r"""NOT regexp_full_match(customer_id, '[^\s",]+')""",
        "customer_id is not unique": "repeated",
    }
    for name, values in contract.CATEGORIES.items():
        rules[f"{name} is unknown"] = f"NOT coalesce({name} IN ({quoted(values)}), false)"
    for name in contract.AMOUNTS:
        pattern = whole if name == "tenure" else amount
        good = f"coalesce(regexp_full_match(trim({name}), '{pattern}'), false)"
        if name == "total_charges":
            good = f"({good} OR (trim(tenure) = '0' AND coalesce(trim({name}), '') = ''))"
        rules[f"{name} is not an amount"] = f"NOT {good}"
    rules["churn is unknown"] = f"NOT coalesce(churn IN ({quoted(contract.YES_NO)}), false)"
    cases = " ".join(f"WHEN {sql} THEN '{why}'" for why, sql in rules.items())
    return f"CASE {cases} END"


def preprocess(lake: str, target: str) -> dict:
    """Do with DuckDB what the course's preprocessing does: judge, split, write four tables."""
    import duckdb

    started = time.monotonic()
    landed = library.contract.newest_landing(f"{lake}/raw/customers")
    names = raw_names()
    texts = ", ".join(f'CAST("{raw}" AS VARCHAR) AS {name}' for name, raw in names.items())
    salt = library.splitting.SPLIT_SALT
    bucket = f"CAST('0x' || substr(md5('{salt}:' || customer_id), 1, 8) AS BIGINT) % 100"
    categories = ", ".join(library.contract.CATEGORIES)
    known = ", ".join(name for name in names if name != "churn")
    base = duckdb.connect(f"{target}/alone.duckdb")
    base.execute(f"CREATE VIEW raw AS SELECT {texts} FROM read_parquet('{landed}/*.parquet')")
    base.execute(
        "CREATE TABLE repeats AS SELECT customer_id, true AS repeated FROM raw "
        "GROUP BY customer_id HAVING count(*) > 1"
    )
    base.execute(
        f"CREATE TABLE judged AS SELECT raw.*, {reason_sql()} AS reason, CASE WHEN {bucket} < 70 "
        f"THEN 'train' WHEN {bucket} < 90 THEN 'test' ELSE 'scoring' END AS split "
        "FROM raw LEFT JOIN repeats USING (customer_id)"
    )
    good = "FROM judged WHERE reason IS NULL AND split"
    amounts = (
        "CAST(trim(tenure) AS INT) AS tenure, CAST(trim(monthly_charges) AS DOUBLE) AS "
        "monthly_charges, coalesce(CAST(nullif(trim(total_charges), '') AS DOUBLE), 0) AS total"
    )
    tables = {
        "training_data": f"SELECT customer_id, {categories}, {amounts}, lower(churn), split {good} "
        "<> 'scoring'",
        "scoring_input": f"SELECT {known}, concat_ws(',', {known}) AS raw_text {good} = 'scoring'",
        "scoring_outcomes": f"SELECT customer_id, lower(churn) AS churn {good} = 'scoring'",
        "quarantined_rows": "SELECT * FROM judged WHERE reason IS NOT NULL",
    }
    for name, query in tables.items():
        base.execute(f"COPY ({query}) TO '{target}/{name}.parquet'")
    counted = base.execute(
        "SELECT count(reason), count_if(reason IS NULL AND split = 'train'), "
        "count_if(reason IS NULL AND split = 'test'), "
        "count_if(reason IS NULL AND split = 'scoring') FROM judged"
    ).fetchone()
    sizes = dict(zip(("quarantined", "train", "test", "scoring"), counted, strict=True))
    return {"work_seconds": round(time.monotonic() - started, 2), "sizes": sizes}


def main(arguments: list[str]) -> None:
    """Run an arm and print its figures."""
    arm, lake, number = arguments
    found = preprocess(lake, os.getcwd()) if arm == "duckdb" else fit(arm, lake, int(number))
    print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
