"""The course's preprocessing in one process, without Spark: by DuckDB's SQL, and by Polars.

Both read the landed Parquet, judge by the data contract, split, and write four tables.
"""

import hashlib
import time
from collections.abc import Callable

from churnlab.run.library import library

WHOLE, AMOUNT = r"[0-9]{1,9}", r"[0-9]{1,12}(\.[0-9]*)?"  # months, and money
COUNTED = ("quarantined", "train", "test", "scoring")


def raw_names() -> dict[str, str]:
    """Return the raw names of the columns by those of the tables."""
    return {library.contract.snake_case(name): name for name in library.contract.RAW_COLUMNS}


def landed_files(lake: str) -> str:
    """Return the pattern of the newest landing's files."""
    return f"{library.contract.newest_landing(f'{lake}/raw/customers')}/*.parquet"


def amount_pattern(name: str) -> str:
    """Return what an amount looks like, as a regular expression."""
    return WHOLE if name == "tenure" else AMOUNT


def quoted(values) -> str:
    """Return SQL texts, separated by commas."""
    return ", ".join("'" + value.replace("'", "''") + "'" for value in values)


def reason_sql() -> str:
    """Return the data contract's rules as SQL of DuckDB: the first reason, or null."""
    contract = library.contract
    rules = {
        "customer_id is missing": "coalesce(trim(customer_id), '') = ''",
        "customer_id is not an id": r"""NOT regexp_full_match(customer_id, '[^\s",]+')""",
        "customer_id is not unique": "repeated",
    }
    for name, values in contract.CATEGORIES.items():
        rules[f"{name} is unknown"] = f"NOT coalesce({name} IN ({quoted(values)}), false)"
    for name in contract.AMOUNTS:
        good = f"coalesce(regexp_full_match(trim({name}), '{amount_pattern(name)}'), false)"
        if name == "total_charges":
            good = f"({good} OR (trim(tenure) = '0' AND coalesce(trim({name}), '') = ''))"
        rules[f"{name} is not an amount"] = f"NOT {good}"
    rules["churn is unknown"] = f"NOT coalesce(churn IN ({quoted(contract.YES_NO)}), false)"
    cases = " ".join(f"WHEN {sql} THEN '{why}'" for why, sql in rules.items())
    return f"CASE {cases} END"


def by_duckdb(lake: str, target: str) -> dict:
    """Preprocess with DuckDB; return the seconds, and the sizes of splits and quarantine."""
    import duckdb

    started = time.monotonic()
    names = raw_names()
    texts = ", ".join(f'CAST("{raw}" AS VARCHAR) AS {name}' for name, raw in names.items())
    salt = library.splitting.SPLIT_SALT
    bucket = f"CAST('0x' || substr(md5('{salt}:' || customer_id), 1, 8) AS BIGINT) % 100"
    categories = ", ".join(library.contract.CATEGORIES)
    known = ", ".join(name for name in names if name != "churn")
    base = duckdb.connect(f"{target}/alone.duckdb")
    base.execute(f"CREATE VIEW raw AS SELECT {texts} FROM read_parquet('{landed_files(lake)}')")
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
    return {
        "work_seconds": round(time.monotonic() - started, 2),
        "sizes": dict(zip(COUNTED, counted, strict=True)),
    }


def reason_polars():
    """Return the data contract's rules as an expression of Polars: the first reason, or null."""
    import polars as pl

    contract = library.contract

    def trimmed(name: str) -> pl.Expr:
        return pl.col(name).str.strip_chars(" ")

    rules = {
        "customer_id is missing": trimmed("customer_id").fill_null("") == "",
        "customer_id is not an id": ~pl.col("customer_id").str.contains(r'^[^\s",]+$'),
        "customer_id is not unique": pl.col("repeated"),
    }
    for name, values in contract.CATEGORIES.items():
        rules[f"{name} is unknown"] = ~pl.col(name).is_in(values).fill_null(False)
    for name in contract.AMOUNTS:
        good = trimmed(name).str.contains(f"^{amount_pattern(name)}$").fill_null(False)
        if name == "total_charges":
            blank = trimmed(name).fill_null("") == ""
            good = good | ((trimmed("tenure") == "0").fill_null(False) & blank)
        rules[f"{name} is not an amount"] = ~good
    rules["churn is unknown"] = ~pl.col("churn").is_in(contract.YES_NO).fill_null(False)
    return pl.coalesce([pl.when(bad).then(pl.lit(why)) for why, bad in rules.items()])


def buckets(ids) -> list[int | None]:
    """Return the bucket of each customer in [0, 100), by the hash of the course's split.

    Polars has no MD5 of its own, so Python computes one after the other.
    """
    salt = f"{library.splitting.SPLIT_SALT}:"
    return [
        None
        if value is None
        else int(hashlib.md5(f"{salt}{value}".encode()).hexdigest()[:8], 16) % 100
        for value in ids
    ]


def by_polars(lake: str, target: str) -> dict:
    """Preprocess with Polars; return the seconds, and the sizes of splits and quarantine."""
    import polars as pl

    started = time.monotonic()
    names = raw_names()
    raw = pl.scan_parquet(landed_files(lake))
    raw = raw.select([pl.col(known).cast(pl.String).alias(n) for n, known in names.items()])
    several = raw.group_by("customer_id").len().filter(pl.col("len") > 1)
    repeats = several.select("customer_id", repeated=pl.lit(True))
    bucket = pl.col("customer_id").map_batches(
        lambda ids: pl.Series(buckets(ids), dtype=pl.Int32), return_dtype=pl.Int32
    )
    place = pl.col("bucket")
    split = pl.when(place < 70).then(pl.lit("train")).when(place < 90).then(pl.lit("test"))
    judged = (
        raw.join(repeats, on="customer_id", how="left")
        .with_columns(reason=reason_polars(), bucket=bucket)
        .with_columns(split=split.otherwise(pl.lit("scoring")))
        .drop("bucket")
        .collect()
    )
    good = judged.filter(pl.col("reason").is_null())
    waiting = good.filter(pl.col("split") == "scoring")
    known = [name for name in names if name != "churn"]
    total = pl.col("total_charges").str.strip_chars(" ").replace("", "0").cast(pl.Float64)
    amounts = {
        "tenure": pl.col("tenure").str.strip_chars(" ").cast(pl.Int32),
        "monthly_charges": pl.col("monthly_charges").str.strip_chars(" ").cast(pl.Float64),
        "total_charges": total.fill_null(0.0),
    }
    label = pl.col("churn").str.to_lowercase()
    text = pl.concat_str(known, separator=",", ignore_nulls=True).alias("raw_text")
    tables = {
        "training_data": good.filter(pl.col("split") != "scoring").select(
            "customer_id", *library.contract.CATEGORIES, **amounts, churn=label, split="split"
        ),
        "scoring_input": waiting.select(*known, text),
        "scoring_outcomes": waiting.select("customer_id", churn=label),
        "quarantined_rows": judged.filter(pl.col("reason").is_not_null()),
    }
    for name, table in tables.items():
        table.write_parquet(f"{target}/{name}.parquet")
    found = dict(good.group_by("split").len().iter_rows())
    found["quarantined"] = len(tables["quarantined_rows"])
    return {
        "work_seconds": round(time.monotonic() - started, 2),
        "sizes": {name: found.get(name, 0) for name in COUNTED},
    }


WAYS: dict[str, Callable[[str, str], dict]] = {"duckdb": by_duckdb, "polars": by_polars}
