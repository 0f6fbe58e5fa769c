"""What runs have cost by their records and bills, and what is swept: neither invents nor loses any."""

import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import cost_and_clean_up as costs
import pytest
from churn.programs import StepError
from churn.tables import DAY, DECISIONS, new_attempt, read_rows, write_decision, write_table
from pyspark.sql import SparkSession

from churnlab import paths
from churnlab.cloud.costs import load_prices
from churnlab.facts import published

pytestmark = pytest.mark.xdist_group("library")

NOW = datetime.now(UTC)
RATE = 12 * 0.06 + 1200 * 0.000054795  # US dollars for an hour of the smallest batch


@pytest.fixture
def lake(tmp_path, monkeypatch) -> Path:
    """An empty lake, and no Spark."""

    def started(builder):
        raise AssertionError("Spark was started")

    monkeypatch.setattr(SparkSession.Builder, "getOrCreate", started)
    (tmp_path / "lake").mkdir()
    return tmp_path / "lake"


def record(
    lake: Path, run: str, step: str, seconds=100.0, ago=timedelta(0), text: str = ""
) -> Path:
    """Leave the record of a finished step, as `close_run` names it."""
    then = NOW - ago
    path = lake / "runs" / run / step / f"{then:%Y%m%dt%H%M%S%f}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text or json.dumps({"pipeline_id": run, "step": step, "seconds": seconds}))
    return path


def batch(run: str, script: str, state: str = "SUCCEEDED", ago=timedelta(0), **counts) -> dict:
    """Return a batch in the service's JSON, in which 64-bit numbers are texts."""
    job = {"mainPythonFileUri": f"gs://code/{script}.py", "args": ["--pipeline-id", run]}
    usage = {name: str(count) for name, count in counts.items()}
    created = (NOW - ago).isoformat().replace("+00:00", "Z")
    said = {"pysparkBatch": job, "state": state, "createTime": created}
    return said | {"runtimeInfo": {"approximateUsage": usage}}


def main(lake: Path, *options: str) -> dict:
    """Run the step as its script does and return its report."""
    costs.main(["--pipeline-id", "the-report", "--lake", str(lake), *options])
    return json.loads((lake / "reports" / "the-report" / "costs.json").read_text())


def by_name(report: dict) -> dict[str, dict]:
    """Return the sums of a report by their step."""
    return {sums["step"]: sums for sums in report["steps"]}


# By the records


def test_steps_cost_what_a_hand_computes_and_a_minute_at_least(lake):
    record(lake, "run-a", "training", 600.0)
    record(lake, "run-a", "scoring", 30.0)
    record(lake, "run-b", "scoring", 90.0)
    sums = by_name(report := main(lake))
    assert sums["training"]["usd"] == pytest.approx(600 / 3600 * RATE)
    assert sums["scoring"]["usd"] == pytest.approx((60 + 90) / 3600 * RATE)
    assert sums["scoring"]["dcu_hours"] == pytest.approx(150 / 3600 * 12)
    assert (sums["scoring"]["records"], sums["scoring"]["seconds"]) == (2, 120.0)
    assert report["usd"] == pytest.approx(750 / 3600 * RATE)
    assert [sums["step"] for sums in report["steps"]] == [
        "training",
        "scoring",
    ]  # the dearest first


def test_larger_machines_cost_more(lake):
    record(lake, "run-a", "training", 3600.0)
    assert main(lake, "--units", "100", "--disks", "0")["usd"] == pytest.approx(6.0)


def test_the_same_step_run_again_is_paid_again(lake):
    record(lake, "run-a", "training", 60.0)
    record(lake, "run-a", "training", 60.0, timedelta(minutes=5))
    assert main(lake)["usd"] == pytest.approx(2 * 60 / 3600 * RATE)


def test_a_step_that_nobody_knows_is_priced_like_any_other(lake):
    record(lake, "run-a", "a-step-of-tomorrow", 120.0)
    assert by_name(main(lake))["a-step-of-tomorrow"]["usd"] == pytest.approx(120 / 3600 * RATE)


@pytest.mark.parametrize(
    "text",
    [
        '{"step": "scoring"}',
        '{"seconds": "12"}',
        '{"seconds": true}',
        '{"seconds": -1}',
        '{"seconds": NaN}',
        '{"seconds": Infinity}',
        "[1]",
        "not JSON",
    ],
)
def test_a_record_without_seconds_has_no_price_and_makes_the_sum_a_lower_bound(lake, capsys, text):
    record(lake, "run-a", "training", 60.0)
    record(lake, "run-a", "scoring", text=text)
    report = main(lake)
    assert by_name(report)["scoring"]["unpriced"] == 1
    assert report["usd"] == pytest.approx(60 / 3600 * RATE)
    assert "steps 2, runs 1, days 30: at least 0.013 US dollars by records" in report["said"]
    assert f"costs: {report['said']}" in capsys.readouterr().out


def test_records_from_before_the_days_are_not_even_read(lake):
    record(lake, "run-a", "training", 60.0)
    record(lake, "run-a", "training", ago=timedelta(days=8), text="long forgotten")
    report = main(lake, "--days", "7")
    assert by_name(report)["training"]["records"] == 1
    assert main(lake, "--days", "9")["steps"][0]["unpriced"] == 1


def test_other_files_below_runs_are_no_records(lake):
    path = record(lake, "run-a", "training", 60.0)
    path.with_name(f"{path.name}.1f.partial").write_text("{")
    (lake / "runs" / "29991231t000000.json").write_text("{}")
    assert by_name(main(lake))["training"]["records"] == 1


@pytest.mark.parametrize("ago", [None, timedelta(days=40)])
def test_a_lake_without_records_is_refused_with_the_mend_and_nothing_is_written(lake, ago):
    if ago:
        record(lake, "run-a", "training", ago=ago)
    with pytest.raises(StepError, match=r"No step has left a record below .*runs since .*--days"):
        main(lake)
    assert not (lake / "reports").exists()


@pytest.mark.parametrize(
    ("option", "words"),
    [
        (("--days", "0"), "--days is 0: look back 1 to 3660"),
        (("--days", "99999999"), "look back 1 to 3660"),
        (("--budget", "-1"), "--budget is -1.0: give 0 or more"),
        (("--units", "nan"), "--units is nan"),
        (("--disks", "inf"), "--disks is inf"),
    ],
)
def test_a_number_that_makes_no_sense_is_refused(lake, option, words):
    record(lake, "run-a", "training")
    with pytest.raises(StepError, match=re.escape(words)):
        main(lake, *option)
    assert not (lake / "reports").exists()


def test_the_prices_are_those_of_the_facts():
    prices = load_prices()
    assert prices["spark-dcu"].price == costs.DCU_HOUR
    assert prices["spark-shuffle"].price == costs.SHUFFLE_GB_HOUR
    assert published().values("spark-minimum-charge")["seconds"] == costs.LEAST_SECONDS
    options = costs.parse_arguments(["--pipeline-id", "x", "--lake", "y"])
    assert options.units == prices.sizes["batch-dcu"]
    assert options.disks == prices.sizes["batch-shuffle"]


# By the bills


def used_in(lake: Path, batches: object) -> str:
    (lake / "batches.json").write_text(json.dumps(batches))
    return "batches.json"


def test_a_bill_stands_beside_its_estimate(lake):
    record(lake, "run-a", "training", 600.0)
    record(lake, "run-a", "scoring", 60.0)
    counts = {"milliDcuSeconds": 12_000 * 900, "shuffleStorageGbSeconds": 1200 * 900}
    usage = used_in(lake, [batch("run-a", "model_training", **counts)])
    compared = {line["step"]: line for line in main(lake, "--usage", usage)["compared"]}
    assert compared["training"]["estimated"] == pytest.approx(600 / 3600 * RATE)
    assert compared["training"]["billed"] == pytest.approx(900 / 3600 * RATE)
    assert compared["scoring"]["billed"] is None


def test_a_batch_that_failed_is_billed_and_has_no_estimate(lake):
    record(lake, "run-a", "training", 600.0)
    lost = batch("run-b", "preprocessing", "FAILED", milliDcuSeconds=12_000 * 60)
    [line] = [
        line
        for line in main(lake, "--usage", used_in(lake, [lost, lost]))["compared"]
        if line["run"] == "run-b"
    ]
    assert line["estimated"] is None  # never 0
    assert line["billed"] == pytest.approx(2 * 12 * 60 / 3600 * 0.06)


def test_older_batches_and_those_of_others_are_left_out(lake):
    record(lake, "run-a", "training", 600.0)
    old = batch("run-a", "model_training", ago=timedelta(days=31), milliDcuSeconds=10**9)
    theirs = batch("run-a", "theirs", milliDcuSeconds=10**9)
    theirs["pysparkBatch"]["args"] = ["--day", "today"]
    young = batch("run-a", "model_training")  # it has just begun, and knows no counts yet
    del young["runtimeInfo"]
    report = main(lake, "--usage", used_in(lake, [old, theirs, young]))
    [line] = report["compared"]
    assert line["billed"] is None and "at least 0.000" in report["said"]


@pytest.mark.parametrize("content", [{"a": 1}, [1], [{"state": "RUNNING"}], 5, "x", None])
def test_a_file_that_is_no_list_of_batches_is_refused_with_the_mend(lake, content):
    record(lake, "run-a", "training")
    with pytest.raises(StepError, match=r"is no list of batches .*gcloud dataproc batches list"):
        main(lake, "--usage", used_in(lake, content))
    assert not (lake / "reports").exists()


def test_a_file_that_is_not_there_is_named(lake):
    record(lake, "run-a", "training")
    with pytest.raises(StepError, match=r"Can't read --usage nowhere\.json.*in the lake"):
        main(lake, "--usage", "nowhere.json")


def test_every_step_s_batch_finds_its_record():
    for path in paths.SCRIPTS.glob("*.py"):
        for step in re.findall(r'close_run\(\s*spark, "(\w+)"', path.read_text(encoding="utf-8")):
            assert costs.STEP_OF.get(path.stem, path.stem) == step, path.name


# The budget


@pytest.mark.parametrize(("budget", "over"), [("0", False), ("0.20", False), ("0.10", True)])
def test_the_last_line_warns_above_the_budget_and_only_there(lake, budget, over):
    record(lake, "run-a", "training", 600.0)  # 0.13 US dollars
    assert main(lake, "--budget", budget)["said"].startswith("over the budget: ") == over


def test_where_there_are_bills_they_decide(lake):
    record(lake, "run-a", "training", 600.0)
    usage = used_in(lake, [batch("run-a", "model_training", milliDcuSeconds=12_000 * 3600)])
    said = main(lake, "--budget", "0.20", "--usage", usage)["said"]
    line = "steps 1, runs 1, days 30: 0.720 US dollars by bills; the dearest is training"
    assert said == f"over the budget: {line}"


# The sweep


def aged(attempt: Path, days: float) -> Path:
    """Put the clock of an attempt back."""
    stamp, _, end = attempt.name.removeprefix("attempt=").partition("-")
    return attempt.rename(attempt.with_name(f"attempt={int(stamp) - int(days * DAY)}-{end}"))


def counted(lake: Path, run: str, *incidents: int) -> list[Path]:
    """Write a table once for each number of incidents; return the attempts, the oldest first."""
    for number in incidents:
        rows, dataset = [("THEFT", 1, number, 0.1)], str(lake / "warehouse" / "churn")
        write_table(rows, dataset, "crime_counts", run, "counting")
    folder = lake / "warehouse" / "churn" / "crime_counts" / f"pipeline_id={run}" / "step=counting"
    return sorted(folder.iterdir())


def test_what_is_outdated_goes_only_if_somebody_asks(lake):
    record(lake, "run-a", "training")
    first, second, third = counted(lake, "run-a", 1, 2, 3)
    killed = aged(second, 2)
    (killed / "_SUCCESS").unlink()
    first = aged(first, 3)
    report = main(lake)
    assert (report["outdated"], report["sweep_asked"]) == (1, False)
    assert report["outdated_bytes"] == sum(f.stat().st_size for f in killed.iterdir())
    assert killed.exists()
    assert main(lake, "--sweep", "true")["sweep_asked"] is True
    assert not killed.exists()
    assert first.exists() and third.exists()  # a reader may have begun with the first
    third = aged(third, 1.5)
    main(lake, "--sweep", "true")
    assert not first.exists() and third.exists()
    [row] = read_rows(str(lake / "warehouse" / "churn"), "crime_counts")
    assert row["incidents"] == 3


def test_attempts_of_the_last_day_and_the_only_one_of_a_run_stay(lake):
    record(lake, "run-a", "training")
    [only] = counted(lake, "run-b", 1)
    only = aged(only, 300)
    young, _ = counted(lake, "run-a", 1, 2)
    (young / "_SUCCESS").unlink()  # its writer may still be under way
    assert main(lake, "--sweep", "true")["outdated"] == 0
    assert only.exists() and young.exists()


def test_an_attempt_that_may_become_a_decision_stays(lake):
    record(lake, "run-a", "training")
    dataset = str(lake / "warehouse" / "churn")
    columns = ("v1", "champion", "a forest", "m", "x", "run-a", "f", "{}", "f", 0.5, 0.8, 0.6)
    row = (*columns, 0.6, "you", "because", "", 1)
    assert write_decision([row], dataset, "model_registry", "run-a", "gate", 1)
    table = lake / "warehouse" / "churn" / "model_registry"
    [marker] = table.rglob("_SUCCESS")
    marker.unlink()  # killed after its claim: the next decision finishes it
    attempt = aged(marker.parent, 5)
    [claim] = (table / DECISIONS).iterdir()
    claim.write_text(str(attempt.relative_to(table)))
    assert main(lake, "--sweep", "true")["outdated"] == 0
    assert attempt.exists()


def test_tables_in_bigquery_have_no_attempts(lake):
    record(lake, "run-a", "training")
    assert main(lake, "--dataset", "bigquery://demo.churn", "--sweep", "true")["outdated"] == 0


def test_an_old_attempt_elsewhere_in_the_lake_is_nobody_s_business(lake):
    record(lake, "run-a", "training")
    model = Path(new_attempt(str(lake / "models" / "run-a-training")))
    model.mkdir(parents=True)
    model = aged(model, 9)
    main(lake, "--sweep", "true")
    assert model.exists()


def test_the_report_has_numbers_or_null(lake):
    record(lake, "run-a", "scoring", text="{}")
    main(lake)
    text = (lake / "reports" / "the-report" / "costs.json").read_text()
    assert "NaN" not in text
    assert json.loads(text)["usd"] is None and json.loads(text)["steps"][0]["usd"] is None
