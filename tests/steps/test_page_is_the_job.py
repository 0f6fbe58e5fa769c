"""The page is the job: a notebook and its exported script write the same tables."""

import shutil
from pathlib import Path

import pytest

from churnlab.run import spark_submit
from tests.conftest import environment_without_java
from tests.course import course_in
from tests.same_rows import approximately, order

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("job")]

PAGE_RUN, JOB_RUN = "the-page", "the-job"
STEPS = {
    "preprocessing": [],
    "model_training": ["--num-trees", "30"],  # as `churnlab run --quick` does
    "hyperparameter_tuning": ["--quick", "true"],
    "batch_scoring": [],
    "explain": [],
}
PAGE_DECISION = ("the reader of module 6", "best of its run in cross-validation")
# What names the run, and so differs between two runs of the same thing.
RUN_COLUMNS = {"pipeline_id", "pipeline_execution_ts", "model_version", "model_uri", "metrics_uri"}
RUN_COLUMNS |= {"data_pipeline_id"}
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
    "model_explanations",
)


@pytest.fixture(scope="module")
def lake(tmp_path_factory) -> Path:
    """A lake that the pages wrote by papermill, on few customers, without any Java but the lock's."""
    folder = tmp_path_factory.mktemp("page")
    pages = course_in(folder, environment_without_java(folder / "no-java"))
    landed = pages.lake / "raw" / "customers"
    landed.mkdir(parents=True)
    shutil.copy(pages.customers(), landed)
    modules = [step.replace("_", "-") for step in STEPS]
    done = pages.churnlab("run", *modules, "--quick", "-p", f"pipeline_id={PAGE_RUN}")
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return pages.lake


@pytest.fixture(scope="module")
def closing_lines(lake) -> dict[str, str]:
    """Run every script by spark-submit on the input of the pages; return the last lines."""
    from churnlab.run.library import library

    root, lines = library.tables.dataset_root(str(lake), "churn"), {}
    for step, options in STEPS.items():
        if step == "batch_scoring":  # decided on the page by its reader, here by `churnlab promote`
            chosen = library.registry.best_candidate(root, JOB_RUN)
            library.registry.promote(chosen, root, JOB_RUN, *PAGE_DECISION)
        arguments = ["--pipeline-id", JOB_RUN, "--lake", str(lake), *options]
        done = spark_submit.run_script(step, arguments, capture_output=True, text=True)
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
