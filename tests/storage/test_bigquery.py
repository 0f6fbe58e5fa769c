"""BigQuery's side of the tables, by Google's own client, against an emulator on loopback.

Spark's connector is not to be had here. Two functions are all that names it, and in their place the
same rows go by the client; test_tables.py looks at the options that they pass.
"""

import re
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import nbformat
import pandas as pd
import pytest
from churn.challenge import acceptance_set
from churn.gate import acceptance_fingerprint
from churn.programs import DataContractError, StepError, TableNotFoundError
from churn.registry import promote, registered_model
from churn.review import review
from churn.tables import (
    TABLES,
    own_columns,
    own_or_newest_run,
    read_rows,
    read_table,
    write_table,
)
from google.api_core.exceptions import BadRequest, GoogleAPICallError
from google.cloud import bigquery
from pyspark.sql import DataFrame

from churnlab import paths
from churnlab.run import lineage
from churnlab.run.library import library
from tests.same_rows import approximately
from tests.storage.chain import OF_OTHER_SCRIPTS, RUN, options, plain, records
from tests.storage.conftest import need
from tests.storage.emulator import PACKAGE, PROJECT, Client, bigquery_server, create_tables, load
from tests.storage.queries import UnknownQuery, course_queries, in_code

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("storage")]

QUERIES = course_queries(RUN)
OUTCOMES = "scoring_outcomes"


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    """A client of the emulator, and every client of the library is one as well."""
    need(PACKAGE)
    with (
        pytest.MonkeyPatch.context() as patch,
        bigquery_server(tmp_path_factory.mktemp("bq")) as url,
    ):
        patch.setenv("BIGQUERY_EMULATOR_HOST", url)
        patch.setattr(bigquery, "Client", Client)
        yield Client()


# Spark's connector, as far as the library asks for it


def save_by_the_client(rows: DataFrame, table: str) -> None:
    load(Client(), table, rows.toArrow() if hasattr(rows, "toArrow") else arrow_of(rows))


def arrow_of(rows: DataFrame):
    """Return rows as Arrow, with the types of Spark's schema also where there is no row."""
    import pyarrow
    from pyspark.sql.pandas.types import to_arrow_schema

    found = [row.asDict(recursive=True) for row in rows.collect()]
    return pyarrow.Table.from_pylist(found, to_arrow_schema(rows.schema))


def load_by_the_client(spark, table: str) -> DataFrame:
    """Return rows with the types that the connector gives them: every integer is a long."""
    name = table.rpartition(".")[2].partition("__")[0]
    schema = re.sub(r"\bINT\b", "BIGINT", library.tables.table_columns(name))
    rows = [row.values() for row in Client().list_rows(Client().get_table(table))]
    return spark.createDataFrame(rows, schema)


@pytest.fixture
def connector(client, monkeypatch):
    monkeypatch.setattr(library.tables, "save_to_bigquery", save_by_the_client)
    monkeypatch.setattr(library.tables, "load_from_bigquery", load_by_the_client)


# The rows of a local run, and the questions of the course


@pytest.fixture(scope="module")
def warehouse(client, spark, local_lake) -> str:
    """A dataset with the tables of Terraform and the rows of the local run."""
    create_tables(client, "churn")
    for table in TABLES:
        rows = read_table(spark, f"{local_lake}/warehouse/churn", table)
        assert load(client, f"{PROJECT}.churn.{table}", arrow_of(rows)) == rows.count() > 0
    return f"bigquery://{PROJECT}.churn"


@pytest.mark.slow
@pytest.mark.parametrize("table", TABLES)
def test_a_table_of_terraform_takes_the_rows_that_the_scripts_write(warehouse, local_rows, table):
    everything = f"SELECT * FROM {table}"
    there = review(warehouse, everything)
    assert list(there) == list(local_rows(everything))
    assert records(there, but=set()) == approximately(records(local_rows(everything), but=set()))


@pytest.mark.slow
@pytest.mark.parametrize("place", QUERIES)
def test_bigquery_answers_a_question_of_the_course_as_duckdb_does(warehouse, local_rows, place):
    there, here = review(warehouse, QUERIES[place]), local_rows(QUERIES[place])
    assert list(there) == list(here)
    answers = [[list(row.values()) for row in frame.to_dict("records")] for frame in (there, here)]
    there, here = (plain(answer) for answer in answers)
    if "ORDER BY" not in QUERIES[place]:
        there, here = sorted(there), sorted(here)
    assert here
    assert there == approximately(here)


def test_every_review_of_the_notebooks_is_found():
    pages = [nbformat.read(path, as_version=4) for path in paths.NOTEBOOKS.glob("[0-9]*.ipynb")]
    code = [cell.source for page in pages for cell in page.cells if cell.cell_type == "code"]
    calls = sum(len(re.findall(r"(?<!def )(?<!\w)review\(", source)) for source in code)
    assert len([place for place in QUERIES if ", cell " in place]) == calls > 5
    assert {"README.md: 1", "how-to-use.md: 1"} <= set(QUERIES)


@pytest.mark.parametrize(
    "call", ["review(tables, query)", "library.review.review(tables, f'SELECT {what}')"]
)
def test_a_query_that_nobody_can_read_off_the_page_is_an_error(call):
    with pytest.raises(UnknownQuery, match=r"write the query itself|\{what\} stands for"):
        list(in_code(call, RUN))


@pytest.mark.slow
def test_lineage_is_the_same_from_bigquery(warehouse, local_lake):
    there = lineage.trace(local_lake, warehouse, RUN)
    here = lineage.trace(local_lake, "churn", RUN)
    assert (there.labels, there.edges) == (here.labels, here.edges)


# Writing and reading


@pytest.fixture
def dataset(client, connector, request):
    """A dataset of one test, with the tables of Terraform."""
    name = re.sub(r"\W", "_", request.node.name)
    create_tables(client, name)
    yield f"bigquery://{PROJECT}.{name}"
    client.delete_dataset(name, delete_contents=True)


def outcomes(spark, *ids, churn="yes"):
    return spark.createDataFrame([(i, churn) for i in ids], TABLES[OUTCOMES]).coalesce(1)


def stored(dataset) -> list[list]:
    query = f"SELECT pipeline_id, step, customer_id FROM {OUTCOMES} ORDER BY 1, 2, 3"
    return review(dataset, query).values.tolist()


def tables(client, dataset) -> set[str]:
    return {table.table_id for table in client.list_tables(dataset.removeprefix("bigquery://"))}


def test_rows_of_the_same_run_and_step_are_replaced_and_no_others(spark, client, dataset):
    writes = [("run-a", "one", "old"), ("run-a", "two", "kept"), ("run-b", "one", "kept")]
    for run, step, customer_id in [*writes, ("run-a", "one", "new")]:
        write_table(outcomes(spark, customer_id), dataset, OUTCOMES, run, step)
    assert stored(dataset) == [
        ["run-a", "one", "new"],
        ["run-a", "two", "kept"],
        ["run-b", "one", "kept"],
    ]
    assert tables(client, dataset) == set(TABLES)


def test_a_run_that_finds_nothing_the_second_time_leaves_nothing(spark, dataset):
    write_table(outcomes(spark, "old"), dataset, OUTCOMES, "run-a", "one")
    write_table(outcomes(spark), dataset, OUTCOMES, "run-a", "one")
    assert stored(dataset) == []


def test_a_transaction_that_fails_leaves_the_old_rows_and_no_staging_table(
    spark, client, dataset, monkeypatch
):
    write_table(outcomes(spark, "old"), dataset, OUTCOMES, "run-a", "one")

    def broken(self, query, **options):
        return Client.query(
            self, query.replace("SELECT `customer_id`", "SELECT ERROR('no room')"), **options
        )

    monkeypatch.setattr(bigquery, "Client", type("Broken", (Client,), {"query": broken}))
    with pytest.raises(GoogleAPICallError, match="no room"):
        write_table(outcomes(spark, "new"), dataset, OUTCOMES, "run-a", "one")
    assert stored_by(client, dataset) == ["old"]
    assert tables(client, dataset) == set(TABLES)


def stored_by(client, dataset) -> list[str]:
    table = f"{dataset.removeprefix('bigquery://')}.{OUTCOMES}"
    return [row["customer_id"] for row in client.list_rows(table)]


def test_a_write_that_fails_leaves_the_old_rows_and_no_staging_table(
    spark, client, dataset, monkeypatch
):
    write_table(outcomes(spark, "old"), dataset, OUTCOMES, "run-a", "one")

    def half_a_write(rows, table):
        save_by_the_client(rows.limit(1), table)
        raise OSError("a worker is gone")

    monkeypatch.setattr(library.tables, "save_to_bigquery", half_a_write)
    with pytest.raises(OSError, match="a worker is gone"):
        write_table(outcomes(spark, "new-1", "new-2"), dataset, OUTCOMES, "run-a", "one")
    assert stored(dataset) == [["run-a", "one", "old"]]
    assert tables(client, dataset) == set(TABLES)


def test_what_a_killed_job_leaves_harms_nobody_and_expires(spark, client, dataset, monkeypatch):
    """A staging table has a name of its own, and BigQuery deletes it after a day."""
    staged = []
    create_table = Client.create_table
    monkeypatch.setattr(
        Client, "create_table", lambda *a, **k: staged.append(a[1]) or create_table(*a, **k)
    )

    class Killed(BaseException):
        pass

    def die(rows, table):
        save_by_the_client(rows, table)
        raise Killed

    with monkeypatch.context() as killed, pytest.raises(Killed):
        killed.setattr(library.tables, "save_to_bigquery", die)
        killed.setattr(Client, "delete_table", lambda *arguments, **options: None)
        write_table(outcomes(spark, "half"), dataset, OUTCOMES, "run-a", "one")
    write_table(outcomes(spark, "new"), dataset, OUTCOMES, "run-a", "one")
    assert stored(dataset) == [["run-a", "one", "new"]]
    [left] = tables(client, dataset) - set(TABLES)
    assert re.fullmatch(rf"{OUTCOMES}__run_a_one_[0-9a-f]{{6}}", left)
    lifetimes = [table.expires - datetime.now(UTC) for table in staged]
    assert len(lifetimes) == 2
    assert all(timedelta(hours=23) < time <= timedelta(hours=24) for time in lifetimes)


def test_runs_at_once_do_not_disturb_each_other(spark, dataset):
    start = threading.Barrier(2)

    def one_run(run):
        start.wait()
        for attempt in ("first", "second"):
            write_table(outcomes(spark, f"{run}-{attempt}"), dataset, OUTCOMES, run, "one")

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(one_run, ["run-a", "run-b"]))
    assert stored(dataset) == [[run, "one", f"{run}-second"] for run in ("run-a", "run-b")]


@pytest.mark.parametrize(
    "message",
    [
        # https://github.com/estuary/connectors/issues/111
        "Query error: Transaction is aborted due to concurrent update against table demo:a.b.",
        # https://github.com/confluentinc/kafka-connect-bigquery/issues/127
        "Could not serialize access to table demo:a.b due to concurrent update",
    ],
)
def test_a_transaction_that_loses_against_another_is_asked_again(
    spark, dataset, monkeypatch, message
):
    """BigQuery cancels one of two transactions that change a table; the emulator never does."""
    asked = []

    def lose_once(self, query, **options):
        asked.append(query)
        if len(asked) == 1:
            raise BadRequest(message)
        return Client.query(self, query, **options)

    with monkeypatch.context() as race:
        race.setattr(bigquery, "Client", type("Loser", (Client,), {"query": lose_once}))
        write_table(outcomes(spark, "new"), dataset, OUTCOMES, "run-a", "one")
    assert stored(dataset) == [["run-a", "one", "new"]]
    assert len(asked) == 2


def test_a_transaction_names_what_it_deletes_by_parameters(spark, dataset, monkeypatch):
    asked = []

    def note(self, query, job_config=None, **options):
        asked.append((query, {p.name: p.value for p in job_config.query_parameters}))
        return Client.query(self, query, job_config=job_config, **options)

    monkeypatch.setattr(bigquery, "Client", type("Noting", (Client,), {"query": note}))
    write_table(outcomes(spark, "new"), dataset, OUTCOMES, "run-a", "one")
    [(query, values)] = asked
    assert values == {"pipeline_id": "run-a", "step": "one"}
    assert "run-a" not in query


def test_a_bad_key_never_reaches_bigquery(spark, monkeypatch):
    monkeypatch.setattr(bigquery, "Client", None)
    with pytest.raises(StepError, match="not a key of a run"):
        write_table(outcomes(spark, "c-1"), "bigquery://demo.churn", OUTCOMES, "a`; DROP", "one")


def test_a_table_that_nobody_made_is_named_before_spark_starts(spark, client, dataset, monkeypatch):
    monkeypatch.setattr(library.tables, "save_to_bigquery", None)
    monkeypatch.setattr(library.tables, "load_from_bigquery", None)
    client.delete_table(f"{dataset.removeprefix('bigquery://')}.{OUTCOMES}")
    missing = rf"BigQuery has no table demo\.\w+\.{OUTCOMES}\. Apply infra/"
    with pytest.raises(TableNotFoundError, match=missing):
        write_table(outcomes(spark, "c-1"), dataset, OUTCOMES, "run-a", "one")
    with pytest.raises(TableNotFoundError, match=missing):
        read_table(spark, dataset, OUTCOMES)


def test_a_dataset_that_nobody_made_is_named_as_well(spark, client, connector):
    with pytest.raises(TableNotFoundError, match=r"no table demo\.nowhere\.scoring_outcomes"):
        read_table(spark, "bigquery://demo.nowhere", OUTCOMES)


def test_a_table_older_than_the_contract_is_refused(spark, client, dataset, monkeypatch):
    monkeypatch.setitem(TABLES, OUTCOMES, f"{TABLES[OUTCOMES]}, seen TIMESTAMP")
    rows = spark.sql("SELECT 'c-1' AS customer_id, 'yes' AS churn, current_timestamp() AS seen")
    lacks = rf"{OUTCOMES} lacks seen. Export the notebooks and apply infra/ again"
    with pytest.raises(DataContractError, match=lacks):
        write_table(rows, dataset, OUTCOMES, "run-a", "one")
    with pytest.raises(DataContractError, match=lacks):
        read_table(spark, dataset, OUTCOMES)
    assert tables(client, dataset) == set(TABLES)


def test_a_table_with_other_columns_in_another_order_is_written_and_read_by_name(
    spark, client, connector
):
    columns = ["step", "extra", "churn", "pipeline_id", "pipeline_execution_ts", "customer_id"]
    kinds = {"pipeline_execution_ts": "TIMESTAMP", "extra": "INTEGER"}
    schema = [bigquery.SchemaField(name, kinds.get(name, "STRING")) for name in columns]
    client.create_dataset("by_hand", exists_ok=True)
    client.create_table(bigquery.Table(f"demo.by_hand.{OUTCOMES}", schema=schema))
    write_table(outcomes(spark, "c-1"), "bigquery://demo.by_hand", OUTCOMES, "run-a", "one")
    assert stored("bigquery://demo.by_hand") == [["run-a", "one", "c-1"]]


def test_nulls_and_empty_lists_go_in_and_come_back(spark, dataset):
    schema = TABLES["batch_predictions"]
    given = [
        ("m", "c-1", None, None, [], [], [], None, None),
        ("m", "c-2", 0.5, "no", [("tenure", None)], ["no tech support"], [], 0.25, "shap"),
    ]
    rows = spark.createDataFrame(given, schema)
    write_table(rows, dataset, "batch_predictions", "run-a", "scoring")
    found = read_table(spark, dataset, "batch_predictions", "run-a").drop("pipeline_execution_ts")
    assert sorted(tuple(row)[:9] for row in found.collect()) == given


def test_what_is_read_has_the_contract_s_types_and_run(spark, dataset):
    rows = spark.createDataFrame([("THEFT", 1, 2, 0.5)], TABLES["crime_counts"])
    for run in ("run-b", "run-a"):
        write_table(rows, dataset, "crime_counts", run, "counting")
    found = read_table(spark, dataset, "crime_counts")
    assert found.schema == library.tables.contract_schema("crime_counts")
    assert read_table(spark, dataset, "crime_counts", "run-a").count() == 1
    assert own_or_newest_run(spark, dataset, "crime_counts", "run-x") == "run-a"


def test_an_empty_table_has_no_newest_run_and_no_model(spark, dataset):
    assert read_table(spark, dataset, OUTCOMES).count() == 0
    with pytest.raises(TableNotFoundError, match="has no rows"):
        own_or_newest_run(spark, dataset, OUTCOMES, "run-a")
    with pytest.raises(library.programs.ModelError, match="No model is the champion yet"):
        registered_model(dataset)


def test_the_gate_asks_about_the_same_customers_as_in_a_lake(warehouse, local_lake):
    there = acceptance_set(warehouse, RUN)
    here = acceptance_set(f"{local_lake}/warehouse/churn", RUN)
    assert len(here) > 0
    pd.testing.assert_frame_equal(there, here, check_dtype=False)
    assert acceptance_fingerprint(there) == acceptance_fingerprint(here)


def candidates(dataset: str, *versions: str) -> None:
    for version in versions:
        known = {"model_version": version, "stage": "candidate", "model_uri": f"models/{version}"}
        row = tuple(known.get(name) for name in own_columns("model_registry"))
        write_table([row], dataset, "model_registry", f"run-{version}", "training")


def test_of_two_that_promote_at_once_bigquery_lets_one_win_and_the_other_is_told(
    dataset, monkeypatch
):
    candidates(dataset, "a", "b")
    start, write = threading.Barrier(2), library.registry.write_decision
    # The emulator lets two transactions run into each other, of which BigQuery would cancel one.
    one_at_a_time = threading.Lock()

    def both_have_looked(*arguments):
        start.wait()
        with one_at_a_time:
            return write(*arguments)

    def promoted(version: str) -> str:
        try:
            promote(registered_model(dataset, version), dataset, f"for-{version}", "Ada", "a race")
        except library.programs.ModelError as error:
            return str(error)
        return "won"

    monkeypatch.setattr(library.registry, "write_decision", both_have_looked)
    with ThreadPoolExecutor(2) as pool:
        said = dict(zip("ab", pool.map(promoted, "ab"), strict=True))
    [winner] = [version for version in said if said[version] == "won"]
    [loser] = [version for version in said if version != winner]
    assert f"{loser} did not become champion: at the same moment Ada made {winner}" in said[loser]
    assert registered_model(dataset)["model_version"] == winner
    assert [row["decision"] for row in read_rows(dataset, "model_registry")].count(1) == 1


def test_a_decision_is_a_transaction_that_collides_with_any_other_and_names_its_number(
    dataset, client, monkeypatch
):
    """BigQuery cancels one of two that change rows of a table; the emulator never does."""
    candidates(dataset, "a", "b")
    asked = []

    def lose_once(self, query, job_config=None, **options):
        asked.append(query)
        if len(asked) == 1:
            raise BadRequest("Transaction is aborted due to concurrent update against table a.b.")
        return Client.query(self, query, job_config=job_config, **options)

    with monkeypatch.context() as race:
        race.setattr(bigquery, "Client", type("Loser", (Client,), {"query": lose_once}))
        promote(registered_model(dataset, "a"), dataset, "one", "Ada", "a test")
    assert len(asked) == 2 and asked[0] == asked[1]
    for part in ("BEGIN TRANSACTION", "UPDATE", "@before", "decision >= @number", "COMMIT"):
        assert part in asked[0]
    promote(registered_model(dataset, "b"), dataset, "two", "Ada", "a test")
    told = {row["model_version"]: row["stage"] for row in read_rows(dataset, "model_registry")}
    assert told == {"a": "archived", "b": "champion"}
    assert tables(client, dataset) == set(TABLES)  # no staging table is left


@pytest.mark.slow
def test_the_steps_write_the_same_rows_to_bigquery(
    local_lake, local_rows, run_step, dataset, tmp_path
):
    lake = str(tmp_path / "lake")
    raw = ("--raw", f"{local_lake}/raw/customers")
    run_step("preprocessing", options("preprocessing", lake, "--dataset", dataset, *raw))
    for step in ("model_training", "batch_scoring"):
        run_step(step, options(step, lake, "--dataset", dataset))
    arrivals = ("--arrivals", f"{local_lake}/arrivals")
    run_step("streaming", options("streaming", lake, "--dataset", dataset, *arrivals))
    for table in set(TABLES) - OF_OTHER_SCRIPTS - {"tuning_trials"}:
        query = f"SELECT * FROM {table} WHERE step != 'tuning'"
        there, here = records(review(dataset, query)), records(local_rows(query))
        assert here
        assert there == approximately(here)
