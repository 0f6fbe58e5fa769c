"""The page is the job: a notebook and its exported script write the same tables.

The notebooks run on a cluster, the scripts by spark-submit on this machine, from the same raw file.
"""

from pathlib import Path

import pytest

from churnlab.run import spark_submit
from tests.quick_spark import QUICK_SETTINGS
from tests.same_rows import approximately, order
from tests.workbench.on_a_cluster import PARAMETERS
from tests.workbench.on_a_cluster import RUN as PAGE_RUN

# The pages run once, on a cluster, by the worker that tests that too.
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("cluster")]

JOB_RUN = "the-job"
STEPS = ("preprocessing", "model_training", "hyperparameter_tuning", "batch_scoring")
PAGE_DECISION = ("the reader of module 6", "best of its run in cross-validation")
# What names the run, and so differs between two runs of the same thing.
RUN_COLUMNS = {"pipeline_id", "pipeline_execution_ts", "model_version", "model_uri", "metrics_uri"}
RUN_COLUMNS |= {"data_pipeline_id", "decision"}
TABLES = (
    "training_data",
    "scoring_input",
    "scoring_outcomes",
    "quarantined_rows",
    "model_metrics",
    "metric_curves",
    "model_feature_importance_scores",
    "test_predictions",
    "model_registry",
    "tuning_trials",
    "batch_predictions",
)


def options(step: str) -> list[str]:
    """Return what a script is told so that it does what the page did with its parameters."""
    [parameters] = [p for name, p in PARAMETERS.items() if name.endswith(step.replace("_", "-"))]
    named = {
        f"--{name.replace('_', '-')}": str(value).lower() for name, value in parameters.items()
    }
    return [word for option in named.items() for word in option]


@pytest.fixture(scope="module")
def lake(on_a_cluster) -> Path:
    """A lake that the pages wrote by papermill, each with a driver and executors of its own."""
    return on_a_cluster.lake


@pytest.fixture(scope="module")
def closing_lines(lake) -> dict[str, str]:
    """Run every script by spark-submit on the input of the pages; return the last lines."""
    from churnlab.run.library import library

    root, lines = library.tables.dataset_root(str(lake), "churn"), {}
    for step in STEPS:
        if step == "batch_scoring":  # decided on the page by its reader, here by `churnlab promote`
            chosen = library.registry.best_candidate(root, JOB_RUN)
            library.registry.promote(chosen, root, JOB_RUN, *PAGE_DECISION)
        arguments = ["--pipeline-id", JOB_RUN, "--lake", str(lake), *options(step)]
        done = spark_submit.run_script(
            step, arguments, QUICK_SETTINGS, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr[-3000:]
        lines[step] = done.stdout.strip().splitlines()[-1]
    return lines


@pytest.fixture(scope="module")
def rows_of(spark, lake, closing_lines):
    """Return a function: a run's rows of a table, without run columns, in a fixed order."""
    from churnlab.run.library import library

    root = library.tables.dataset_root(str(lake), "churn")

    def rows_of(name: str, run: str) -> list[dict]:
        table = library.tables.read_table(spark, root, name, run)
        kept = [column for column in table.columns if column not in RUN_COLUMNS]
        rows = [row.asDict(recursive=True) for row in table.select(*kept).collect()]
        if name == "model_registry":  # who decides second also archives the first one's champion
            rows = [row for row in rows if row["stage"] != "archived"]
            rows = [row | {"step": row["step"].rstrip("0123456789")} for row in rows]
        return sorted(rows, key=order)

    return rows_of


@pytest.mark.parametrize("table", TABLES)
def test_notebook_and_script_write_the_same_rows(rows_of, table):
    page, job = rows_of(table, PAGE_RUN), rows_of(table, JOB_RUN)
    assert len(page) == len(job)
    assert page or table == "quarantined_rows"
    for of_page, of_job in zip(page, job, strict=True):
        assert of_page.keys() == of_job.keys()
        for column, value in of_page.items():
            assert value == approximately(of_job[column]), (column, of_page, of_job)


def test_a_trial_names_its_library_and_a_quick_search_has_all_five_folds(rows_of):
    """Scores of two libraries, or of other folds, must never be ranked together."""
    folds: dict[tuple, set] = {}
    for trial in rows_of("tuning_trials", PAGE_RUN):
        folds.setdefault((trial["search"], trial["library"]), set()).add(trial["fold"])
    kinds = [("grid", "Spark ML"), ("winner", "Spark ML"), ("halving", "scikit-learn")]
    assert folds == {kind: set(range(5)) for kind in kinds}


def test_the_closing_line_tells_time_jobs_and_stages(closing_lines):
    for line in closing_lines.values():
        assert " s, " in line and "Spark jobs" in line and "stages" in line
