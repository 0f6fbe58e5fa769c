# Generated from notebooks/16-monitoring.ipynb by `make export`; do not edit.
"""Compare each scored batch with what its model learned from, and say in time that the world has
moved.
"""

import argparse
import html

import pandas as pd
from churn.alarms import raise_alarm, refused_challengers
from churn.contract import AMOUNTS, CATEGORIES, clean, judge, read_raw
from churn.drift import compare_columns
from churn.lake import check_lake, join_uri, write_text
from churn.metrics import score_bins
from churn.outcomes import outcome_checks
from churn.programs import StepError, run_program
from churn.registry import registered_model
from churn.runs import check_pipeline_id, close_run, run_record
from churn.tables import (
    dataset_root,
    own_or_newest_run,
    read_rows,
    read_table,
    write_table,
)
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F


def scoring_facts(lake: str, run: str) -> dict:
    """Return what the scoring step of a run said of itself. Raises StepError if it said nothing."""
    record = run_record(lake, run, "scoring")
    if not record:
        raise StepError(f"Run {run} has left no record of its scoring below {lake}. Score again.")
    return record["facts"]


TENTHS = [k / 10 for k in range(1, 10)]


def edges_of(rows: DataFrame, names: tuple[str, ...]) -> dict[str, list[float]]:
    """Return where to cut columns of amounts: the tenths of these rows, each once; one job."""
    tenths = [F.percentile_approx(name, TENTHS).alias(name) for name in names]
    return {name: sorted(set(cuts)) for name, cuts in rows.agg(*tenths).first().asDict().items()}


UNKNOWN = "(unknown)"


MISSING = "(missing)"


def category_bin(name: str) -> F.Column:
    """Return the bin of a category: its value, unknown, or missing."""
    blank = F.trim(F.coalesce(F.col(name), F.lit(""))) == ""
    known = F.when(F.col(name).isin(*CATEGORIES[name]), F.col(name)).otherwise(UNKNOWN)
    return F.when(blank, MISSING).otherwise(known)


def amount_bin(name: str, cuts: list[float]) -> F.Column:
    """Return the bin of an amount: how many cuts lie below it."""
    above = [F.when(F.col(name) > cut, 1).otherwise(0) for cut in cuts]
    number = F.format_string("%02d", sum(above, F.lit(0)))
    return F.when(F.col(name).isNull(), MISSING).otherwise(number)


def bins_of(rows: DataFrame, edges: dict[str, list[float]]) -> DataFrame:
    """Return (feature, bin) of each known category of ``rows`` and of each amount with edges."""
    bins = {name: category_bin(name) for name in CATEGORIES if name in rows.columns}
    bins |= {name: amount_bin(name, cuts) for name, cuts in edges.items()}
    pairs = [F.struct(F.lit(name).alias("feature"), b.alias("bin")) for name, b in bins.items()]
    return rows.select(F.inline(F.array(*pairs)))


def counts_of(inputs: DataFrame, scores: DataFrame, edges: dict, score_edges: dict) -> pd.Series:
    """Return customers by (feature, bin), of inputs and scores together; one job."""
    both = bins_of(inputs, edges).union(bins_of(scores.select("churn_probability"), score_edges))
    counted = both.groupBy("feature", "bin").count().toPandas()
    return counted.set_index(["feature", "bin"])["count"]


def quarantine_counts(learning: dict, scoring: dict) -> pd.DataFrame:
    """Return counts of kept and quarantined rows, from the facts of two steps."""
    sides = {
        side: {"kept": f["rows"] - f["quarantined"], "quarantined": f["quarantined"]}
        for side, f in (("reference", learning), ("batch", scoring))
    }
    return pd.DataFrame(sides).rename_axis("bin").reset_index().assign(feature="quarantine")


def bins_with_labels(predictions: DataFrame) -> pd.DataFrame:
    """Return the score bins of predictions with a column ``churn``."""
    label = (F.col("churn") == "yes").cast("double").alias("label")
    return score_bins(predictions.select("churn_probability", label)).toPandas()


def verdict(drift: pd.DataFrame, checks: pd.DataFrame) -> str:
    """Return "fine", "alert" or "retrain" from the comparison of columns and the outcomes."""
    moved = set(drift.index[drift["drifted"].astype(bool)])
    if "churn_probability" in moved or checks["alarm"].astype(bool).any():
        return "retrain"
    return "alert" if moved else "fine"


def metric_rows(version: str, drift: pd.DataFrame, checks: pd.DataFrame) -> list[tuple]:
    """Return the rows of drift_metrics: version, feature, statistic, value, threshold, alarm."""
    rows = []
    for feature, at in drift.iterrows():
        alarm = "yes" if at["drifted"] else "no"
        values = {"psi": "psi_limit", "jensen_shannon": None, "p_value": "p_limit"}
        for name, limit in values.items():
            threshold = float(at[limit]) if limit else None
            rows.append((version, feature, name, float(at[name]), threshold, alarm))
    for name, at in checks.iterrows():
        values = (float(at["value"]), float(at["limit"]), "yes" if at["alarm"] else "no")
        rows.append((version, "outcomes", name, *values))
    return rows


def report_page(title: str, drift: pd.DataFrame, checks: pd.DataFrame) -> str:
    """Return the report as one HTML page without scripts or links."""
    top, lines = max(drift["psi"].max(), drift["psi_limit"].max()), []
    for feature, at in drift.iterrows():
        colour = "#c0392b" if at["drifted"] else "#2471a3"
        bar = f'<div style="width:{300 * at["psi"] / top:.0f}px;background:{colour}">&nbsp;</div>'
        numbers = f"<td>{at['psi']:.4f}</td><td>{at['psi_limit']:.4f}</td>"
        said = "moved" if at["drifted"] else ""
        lines.append(f"<tr><th>{html.escape(feature)}</th>{numbers}<td>{bar}</td><td>{said}</td>")
    head = "<tr><th>column</th><th>PSI</th><th>limit</th><th>how far</th><th></th>"
    body = f"<h1>{html.escape(title)}</h1><table>{head}{''.join(lines)}</table>"
    found = f"<h2>Outcomes</h2>{checks.to_html(float_format='%.4f')}" if len(checks) else ""
    style = "body{font:16px sans-serif}th{text-align:left}td,th{padding:2px 8px}"
    start = f'<!doctype html><html lang="en"><meta charset="utf-8"><style>{style}</style>'
    return f"{start}<title>{html.escape(title)}</title>{body}{found}</html>"


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line; a missing or wrong option ends it with status 2."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument(
        "--pipeline-id",
        type=str,
        required=True,
        help="key of this run in every table, such as 20261123t051500-3f9c2a",
    )
    parser.add_argument(
        "--lake", type=str, required=True, help="root of the lake: a folder or gs://bucket/path"
    )
    parser.add_argument(
        "--dataset",
        type=str,
        default="churn",
        help="the tables: below the lake's warehouse, or bigquery://project.dataset (default: %(default)s)",
    )
    parser.add_argument(
        "--false-alarms",
        type=float,
        default=0.01,
        help="share of batches without any drift that may raise an alarm (default: %(default)s)",
    )
    parser.add_argument(
        "--least-psi",
        type=float,
        default=0.01,
        help="population stability index below which a shift is too small to matter (default: %(default)s)",
    )
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> None:
    """Run the steps of notebooks/16-monitoring.ipynb."""
    options = parse_arguments(arguments)
    pipeline_id = options.pipeline_id
    lake = options.lake
    dataset = options.dataset
    false_alarms = options.false_alarms
    least_psi = options.least_psi

    # Spark counts; SciPy knows the distributions.
    spark = SparkSession.builder.appName("monitoring").getOrCreate()

    # If there is nothing scored yet, the step stops with the name of what is missing.
    check_pipeline_id(pipeline_id)
    lake = check_lake(lake)
    tables = dataset_root(lake, dataset)
    scored_run = own_or_newest_run(spark, tables, "batch_predictions", pipeline_id)
    scoring = scoring_facts(lake, scored_run)
    entry = registered_model(tables, scoring["model_version"])

    # The reference of the inputs is what the version was trained on. The reference of its answers
    # must not be its answers on those customers, which it knows by heart: we take the test's.
    learned = read_table(spark, tables, "training_data", entry["data_pipeline_id"])
    learned = learned.where("split = 'train'")
    tested = read_table(spark, tables, "test_predictions").where(
        F.col("model_version") == entry["model_version"]
    )
    answers = read_table(spark, tables, "batch_predictions", scored_run)

    # The batch's customers are read as scoring read them, by the same rules: a category that nobody
    # knows is kept, and that is what we want to see.
    if scoring["source"] == "scoring_input":
        raw = read_table(spark, tables, "scoring_input", scoring["customers_run"])
        raw = raw.withColumn("malformed", F.lit(None).cast("string"))
    else:
        raw = read_raw(spark, join_uri(lake, scoring["source"]), labelled=False)
    waiting = clean(judge(raw, labelled=False, known_categories=False), labelled=False)

    # Bins
    # Amounts are cut where the reference has its tenths. A tenth that many share, such as a tenure
    # of 1, is one edge.
    edges = edges_of(learned, AMOUNTS)
    score_edges = edges_of(tested, ("churn_probability",))

    # Reference and batch, side by side:
    sides = {"reference": (learned, tested), "batch": (waiting, answers)}
    counted = {side: counts_of(*frames, edges, score_edges) for side, frames in sides.items()}
    counts = pd.DataFrame(counted).fillna(0).reset_index()

    # Rows that broke the contract have no columns to compare, but their share is a column of its
    # own. Preprocessing and scoring have counted them.
    learning = run_record(lake, entry["data_pipeline_id"], "preprocessing").get("facts")
    if learning:
        counts = pd.concat([counts, quarantine_counts(learning, scoring)], ignore_index=True)

    # Has anything moved?
    drift = compare_columns(counts, false_alarms, least_psi)

    # Outcomes land in a table of their own. A batch from a file has none yet, and then this part
    # has nothing to say.
    checks = pd.DataFrame(columns=["value", "limit", "alarm"])
    if scoring["source"] == "scoring_input":
        outcomes = read_table(spark, tables, "scoring_outcomes", scoring["customers_run"])
        known = bins_with_labels(
            answers.join(outcomes.select("customer_id", "churn"), "customer_id")
        )
        checks = outcome_checks(known, bins_with_labels(tested), false_alarms)

    # The verdict
    # Three words are enough for whoever runs this at night. Fine: publish and sleep. Alert:
    # something has moved; a person looks. Retrain: the model's answers have moved, or the outcomes
    # say that it is worse; a challenger should be trained. It does not become the champion by that:
    # the gate decides.
    said = verdict(drift, checks)

    # Write
    # Each column and statistic is a row of drift_metrics, so that a slow drift shows over weeks of
    # batches. Where a statistic has no limit of its own, none is written.
    rows = metric_rows(entry["model_version"], drift, checks)
    write_table(rows, tables, "drift_metrics", pipeline_id, "monitoring")

    # It lies beside the metrics of the models, by the key of the run.
    report = f"reports/{pipeline_id}/drift.html"
    title = f"{said}: {scoring['predictions']} customers of run {scored_run}"
    write_text(join_uri(lake, report), report_page(title, drift, checks))

    # Now the facts, in all three places.
    moved = sorted(drift.index[drift["drifted"].astype(bool)])
    facts = {"scored_run": scored_run, "model_version": entry["model_version"], "report": report}
    facts |= {"verdict": said, "moved": moved, "customers": scoring["predictions"]}
    facts["refused"] = refused_challengers(
        read_rows(tables, "model_registry"), entry["model_version"]
    )
    raise_alarm(lake, pipeline_id, facts)
    print(f"monitoring: {said} {' '.join(moved)}".rstrip())
    print(close_run(spark, "monitoring", lake, pipeline_id, **facts), flush=True)

    spark.stop()


if __name__ == "__main__":
    run_program(main)
