"""Monitoring looks at a scored batch, says in a word how it is, and harms nothing by looking."""

import importlib
import json

import pytest
from pyspark.sql import SparkSession

from churnlab.run.library import library
from tests.conftest import customer

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("steps")]

VERSION = "run-a-training"
FIBRE = {"InternetService": "Fiber optic", "MonthlyCharges": "90.5"}
SCORES = [0.1, 0.2, 0.3, 0.4, 0.6]


def customers(count: int, **changes: str) -> list[dict[str, str]]:
    """Return raw customers of two kinds, changed all alike."""
    return [customer(n, **((FIBRE if n % 2 else {}) | changes)) for n in range(count)]


@pytest.fixture(scope="module")
def world(spark, tmp_path_factory):
    """Tables of a run that preprocessed and trained, and a function that adds a scored batch."""
    lake = str(tmp_path_factory.mktemp("monitored") / "lake")
    tables = library.tables.dataset_root(lake, "churn")
    names = list(library.contract.RAW_COLUMNS)

    def write(rows, name: str, run: str, step: str) -> None:
        library.tables.write_table(rows, tables, name, run, step)

    def raw(rows: list[dict[str, str]], labelled: bool):
        kept = names if labelled else names[:-1]
        values = [[row[name] for name in kept] + ["as it came"] for row in rows]
        columns = [*map(library.contract.snake_case, kept), "raw_text"]
        schema = ", ".join(f"{column} STRING" for column in columns)
        return spark.createDataFrame(values, schema)

    def record(run: str, step: str, **facts) -> None:
        library.runs.close_run(spark, step, lake, run, **facts)

    learned = raw(customers(400), True).selectExpr("*", "CAST(NULL AS STRING) AS malformed")
    cleaned = library.contract.clean(library.contract.judge(learned))
    write(cleaned.selectExpr("*", "'train' AS split"), "training_data", "run-a", "preprocessing")
    record("run-a", "preprocessing", rows=400, quarantined=0)
    tested = [(VERSION, f"t{n}", SCORES[n % 5], "no", "no" if n % 3 else "yes") for n in range(200)]
    write(tested, "test_predictions", "run-a", "training")
    entry = dict.fromkeys(library.tables.own_columns("model_registry"))
    entry |= {"model_version": VERSION, "stage": "champion", "data_pipeline_id": "run-a"}
    write([tuple(entry.values())], "model_registry", "run-a", "training")

    def score(run: str, rows: list[dict[str, str]], scores=SCORES, churn_every: int = 3) -> None:
        waiting = raw(rows, False)
        write(waiting, "scoring_input", run, "preprocessing")
        ids = [row["customerID"] for row in rows]
        churned = [(i, "no" if n % churn_every else "yes") for n, i in enumerate(ids)]
        write(churned, "scoring_outcomes", run, "preprocessing")
        said = ("no", [], [], [], None, None)  # no reasons
        answers = [(VERSION, i, scores[n % len(scores)], *said) for n, i in enumerate(ids)]
        answered = spark.createDataFrame(answers, library.tables.TABLES["batch_predictions"])
        write(answered, "batch_predictions", run, "scoring")
        facts = {"source": "scoring_input", "customers_run": run, "model_version": VERSION}
        record(run, "scoring", **facts, rows=len(ids), quarantined=0, predictions=len(ids))

    return lake, score


@pytest.fixture(scope="module")
def watch(world):
    """Return a function: score a batch, run monitoring on it, and return its facts."""
    lake, score = world

    def watch(run: str, rows: list[dict[str, str]], **changes) -> dict:
        score(run, rows, **changes)
        importlib.import_module("monitoring").main(["--pipeline-id", run, "--lake", lake])
        return library.runs.run_record(lake, run, "monitoring")["facts"]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SparkSession, "stop", lambda session: None)
        yield watch


def test_a_batch_like_the_training_customers_is_fine(watch):
    facts = watch("calm", customers(200))
    assert (facts["verdict"], facts["moved"], facts["customers"]) == ("fine", [], 200)


# One batch, broken in three ways.
BROKEN = {
    "MonthlyCharges": "99.9",  # a price rise
    "PaymentMethod": "<b>Crypto</b>",  # a value that nobody knows
    "Partner": " ",  # a field that comes empty
}


def test_only_what_is_not_fine_leaves_an_alarm_and_the_newest_comes_first(watch, world):
    lake, _ = world
    watch("again", customers(60, Contract="Two year"))
    assert "again" in {alarm["pipeline_id"] for alarm in library.alarms.raised_alarms(lake)}
    watch("again", customers(200))  # the same run once more, on customers as they should be
    watch("z-late", customers(60, Contract="Two year"))
    raised = [alarm["pipeline_id"] for alarm in library.alarms.raised_alarms(lake)]
    assert "again" not in raised and "calm" not in raised
    assert raised == sorted(raised, reverse=True) and raised[0] == "z-late"


@pytest.fixture(scope="module")
def broken(watch) -> dict:
    """What monitoring says of the broken batch, asked twice."""
    watch("broken", customers(60, **BROKEN))
    return watch("broken", customers(60, **BROKEN))


def test_a_batch_whose_inputs_have_moved_is_an_alert_that_names_the_columns(broken):
    assert broken["verdict"] == "alert"
    assert set(broken["moved"]) >= {library.contract.snake_case(name) for name in BROKEN}


def test_answers_that_have_moved_ask_for_a_retraining(watch):
    facts = watch("high", customers(100), scores=[0.6, 0.7])
    assert facts["verdict"] == "retrain"
    assert facts["moved"] == ["churn_probability"]


def test_outcomes_that_are_worse_ask_for_a_retraining_though_nothing_has_moved(watch):
    facts = watch("leaving", customers(200), churn_every=2)
    assert facts["moved"] == []
    assert facts["verdict"] == "retrain"


def test_table_and_page_say_what_the_record_says_once_though_we_looked_twice(broken, world, spark):
    lake, _ = world
    tables = library.tables.dataset_root(lake, "churn")
    rows = library.tables.read_table(spark, tables, "drift_metrics", "broken").collect()
    asked = [(row["feature"], row["statistic"]) for row in rows]
    assert len(set(asked)) == len(asked)
    statistics = {"psi", "jensen_shannon", "p_value", "roc_auc", "surplus"}
    assert {statistic for _, statistic in asked} == statistics
    alarms = {row["feature"] for row in rows if row["alarm"] == "yes"} - {"outcomes"}
    assert sorted(alarms) == broken["moved"]
    page = library.lake.read_text(library.lake.join_uri(lake, broken["report"]))
    assert page.count(">moved<") == len(broken["moved"])
    assert "<script" not in page and "http" not in page


def test_a_run_without_a_record_of_its_scoring_is_refused_by_name(tmp_path):
    monitoring = importlib.import_module("monitoring")
    with pytest.raises(library.programs.StepError, match="Run nobody has left no record"):
        monitoring.scoring_facts(str(tmp_path), "nobody")


def test_the_verdict_is_in_the_log_in_one_line_that_an_alert_can_look_for(watch, capsys):
    facts = watch("logged", customers(60, Contract="Two year"))
    [line] = [x for x in capsys.readouterr().out.splitlines() if x.startswith("monitoring: alert")]
    assert line.split()[2:] == facts["moved"]
    assert json.loads(json.dumps(facts)) == facts
