"""A lake that the scripts have written on this machine, for storage and BigQuery to compare with."""

import importlib
from collections.abc import Callable
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from churnlab import paths
from churnlab.errors import CourseError
from churnlab.standins.storage import find_package_file
from tests.storage.chain import CUSTOMERS, RUN, STEPS, arrival, options


def need(package_file: str) -> None:
    """Skip a test if the environment of the cloud's checks is not there."""
    try:
        find_package_file(package_file)
    except CourseError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def run_step(spark) -> Callable[..., None]:
    """Run a script's main with its arguments in the session of the tests, which it must not stop."""
    scripts = ("hyperparameter_tuning.py", "batch_scoring.py", "explain.py")
    for file in ("churn.zip", *scripts):  # for Python workers
        spark.sparkContext.addPyFile(str(paths.SCRIPTS / file))

    def run(step: str, arguments: list[str]) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(SparkSession, "stop", lambda session: None)
            try:
                importlib.import_module(step).main(arguments)
            finally:
                spark.catalog.clearCache()

    return run


@pytest.fixture(scope="session")
def raw_file(spark, tmp_path_factory) -> Path:
    """Generated customers and one broken row, as a file that somebody hands us."""
    from churn.contract import RAW_COLUMNS
    from churn.generator import generate_customers

    method_limit = "spark.sql.codegen.hugeMethodLimit"
    before = spark.conf.get(method_limit)
    rows = generate_customers(spark, CUSTOMERS, 2026).toPandas()
    spark.conf.set(method_limit, before)
    rows.loc[0, "MonthlyCharges"] = -1
    path = tmp_path_factory.mktemp("handed over") / "customers.csv"
    rows[list(RAW_COLUMNS)].to_csv(path, index=False)
    return path


@pytest.fixture(scope="session")
def local_lake(run_step, raw_file, tmp_path_factory) -> str:
    """A lake on this machine with every table of the contract, written by the scripts."""
    from churnlab.run.library import library

    lake = str(tmp_path_factory.mktemp("local") / "lake")
    run_step("customer_data", options("customer_data", lake, "--source", str(raw_file)))
    library.lake.write_text(f"{lake}/arrivals/shop.csv", arrival(raw_file))
    for step in STEPS:
        run_step(step, options(step, lake))
    counting = ["--pipeline-id", RUN, "--lake", lake, "--rows", "2000"]
    run_step("spark_notebooks", counting)
    few = ["--model-version", f"{RUN}-training", "--repeats", "2", "--points", "3"]
    run_step("explain", options("explain", lake, *few))
    run_step("monitoring", options("monitoring", lake))
    return lake


@pytest.fixture(scope="session")
def local_rows(local_lake) -> Callable:
    """Return the answer to a query over the tables of that lake, as a pandas DataFrame."""
    from churnlab.run.library import library

    root = library.tables.dataset_root(local_lake, "churn")
    return lambda query: library.review.review(root, query)
