"""A stream scores who arrives as the batch job would, once, whatever dies on the way."""

import importlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from churn import streams, tables
from churn.contract import RAW_COLUMNS
from churn.programs import DataContractError, ModelError, StepError, TableNotFoundError
from churn.registry import best_candidate, promote
from churn.review import review
from pyspark.sql import SparkSession

from churnlab import paths
from churnlab.run import spark_submit
from tests.conftest import customer, write_raw
from tests.quick_spark import QUICK_SETTINGS
from tests.steps import kafka_broker
from tests.storage.queries import course_queries

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("steps")]

HEADER = RAW_COLUMNS[:-1]
CONTRACTS = ("Month-to-month", "One year", "Two year")
PATIENCE = 300  # seconds
STREAM = "the-stream"
LATEST = "QUALIFY ROW_NUMBER()"
ANSWER = ("churn_probability", "prediction", "reasons", "raises", "lowers", "base_probability")


def waiting(number: int, **changes: str) -> dict[str, str]:
    """Return one of many different customers."""
    different = {"Contract": CONTRACTS[number % 3], "tenure": str(number % 70 + 1)}
    return customer(number, **(different | changes))


class World:
    """A lake with a champion, into which customers arrive and are streamed."""

    def __init__(self, lake: Path):
        self.lake = lake
        self.root = str(lake / "warehouse" / "churn")
        self.folder = lake / "arrivals"
        self.folder.mkdir(exist_ok=True)

    def arrive(self, name: str, rows: list[dict[str, str]], header=HEADER) -> Path:
        """Let a file arrive, as a whole."""
        lines = [",".join(header), *(",".join(row.get(c, "") for c in header) for row in rows)]
        aside, path = self.lake / "aside", self.folder / name
        aside.write_text("\n".join(lines) + "\n", encoding="utf-8")
        aside.rename(path)
        return path

    def stream(self, *options: str, run: str = STREAM) -> list[dict]:
        """Run the script, and return what the journal says of each batch."""
        script = importlib.import_module("streaming")
        script.main(["--pipeline-id", run, "--lake", str(self.lake), *options])
        return self.journal(run)

    def journal(self, run: str = STREAM) -> list[dict]:
        files = sorted((self.lake / "streams" / run / "batches").glob("*.json"))
        return [json.loads(file.read_text(encoding="utf-8")) for file in files]

    def rows(self, table: str = "stream_predictions", run: str = STREAM) -> list[dict]:
        """Return what readers see of a run in a table."""
        try:
            found = tables.read_rows(self.root, table)
        except TableNotFoundError:
            return []
        return [row for row in found if row["pipeline_id"] == run]

    def answers(self, run: str = STREAM, table: str = "stream_predictions") -> dict[str, tuple]:
        """Return the answer about each customer, who must have one alone."""
        rows = self.rows(table, run)
        found = {row["customer_id"]: tuple(row[name] for name in ANSWER) for row in rows}
        assert len(found) == len(rows), "a customer has several answers"
        return found

    def newest(self, run: str = STREAM) -> dict[str, float]:
        """Return each customer's newest answer, as the page tells its readers to ask for it."""
        [query] = [q for place, q in course_queries(run).items() if "18-" in place and LATEST in q]
        rows = review(self.root, query)
        return dict(zip(rows["customer_id"], rows["churn_probability"], strict=True))


@pytest.fixture(scope="module")
def champion(spark, tmp_path_factory):
    """A lake with spaces and foreign letters in its path, in which somebody has chosen a model."""
    lake = tmp_path_factory.mktemp("stream") / "Mein Sée (2) 100% 雪" / "the lake"
    churns = ("Yes", "No", "No")
    write_raw(lake, [waiting(n, Churn=churns[(n + (n % 5 == 0)) % 3]) for n in range(300)])
    spark.sparkContext.addPyFile(str(paths.SCRIPTS / "churn.zip"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SparkSession, "stop", lambda session: None)
        few = ["--num-trees", "3", "--max-depth", "3", "--min-instances", "1"]
        for script, options in (("preprocessing", []), ("model_training", few)):
            arguments = ["--pipeline-id", "run-a", "--lake", str(lake), *options]
            importlib.import_module(script).main(arguments)
            spark.catalog.clearCache()
        root = str(lake / "warehouse" / "churn")
        promote(best_candidate(root), root, "run-a", "a test", "the only one")
        yield lake


@pytest.fixture
def world(champion, tmp_path) -> World:
    """A copy of that lake."""
    return World(shutil.copytree(champion, tmp_path / champion.name))


@pytest.fixture
def of_the_batch_job(world):
    """Return a function: the batch job's answers about some customers."""

    def ask(rows: list[dict[str, str]]) -> dict[str, tuple]:
        path = world.arrive("all.csv", rows).rename(world.lake / "all.csv")
        arguments = ["--pipeline-id", "batch", "--lake", str(world.lake), "--customers", str(path)]
        importlib.import_module("batch_scoring").main(arguments)
        return world.answers("batch", "batch_predictions")

    return ask


def assert_same(streamed: dict[str, tuple], batch: dict[str, tuple]) -> None:
    assert set(streamed) == set(batch)
    for name, answer in batch.items():
        assert streamed[name][0] == pytest.approx(answer[0], abs=1e-12)
        assert streamed[name][1:] == answer[1:]


def test_a_stream_gives_the_answers_and_the_reasons_of_the_batch_job(world, of_the_batch_job):
    everybody = [waiting(n) for n in range(60)]
    for part in range(5):
        world.arrive(f"part {part} (50%).csv", everybody[part::5])
    batches = world.stream("--per-batch", "3")
    assert [len(batch["holds"]) for batch in batches] == [3, 2]
    assert_same(world.answers(), of_the_batch_job(everybody))


# Kills


def killed() -> None:
    raise ConnectionError("killed")


def before(function, due):
    """Return a function that dies when it is due, instead of doing its work."""

    def work(*arguments, **named):
        return killed() if due() else function(*arguments, **named)

    return work


def after(function, due):
    """Return a function that does its work and dies when it is due."""

    def work(*arguments, **named):
        done = function(*arguments, **named)
        return killed() if due() else done

    return work


def between(number: int):
    """Return what makes of a writer one that dies when it has written one of its tables."""

    def writing(write, due):
        def work(frames: dict, *rest):
            one = {name: frames[name] for name in [list(frames)[number]]}
            write(one if due() else frames, *rest)
            return killed() if due() else None

        return work

    return writing


KILLS = [
    (streams, "begin_batch", before),
    (streams, "begin_batch", after),
    (streams, "who_answers", after),
    (streams, "write_tables", before),
    (tables, "save_by_spark", before),
    (tables, "save_by_spark", after),
    (streams, "write_tables", between(0)),
    (streams, "write_tables", between(1)),
    (streams, "write_tables", after),
    (streams, "score_batch", after),
]


def test_killed_at_any_point_a_stream_has_scored_everybody_once(
    world, of_the_batch_job, monkeypatch
):
    everybody = [waiting(n) for n in range(3 * len(KILLS))]
    files, held = [f"{batch}.csv" for batch in range(len(KILLS))], []
    whole = streams.names_of
    monkeypatch.setattr(streams, "names_of", lambda *a: held.append(whole(*a)) or held[-1])
    for batch, (module, name, kind) in enumerate(KILLS):
        bad = waiting(900 + batch, tenure="many")
        world.arrive(files[batch], [*everybody[3 * batch : 3 * batch + 3], bad])
        with monkeypatch.context() as patch:  # the batch before is repeated, and comes through
            mine = [files[batch]]
            patch.setattr(module, name, kind(getattr(module, name), lambda m=mine: held[-1] == m))
            with pytest.raises(ConnectionError, match="killed"):
                world.stream("--max-quarantined", "0.5")
    batches = world.stream("--max-quarantined", "0.5")
    assert [batch["holds"] for batch in batches] == [[name] for name in files]
    assert sorted(held) == sorted([[name] for name in files] * 2), "each was begun twice"
    assert [row["source"] for row in world.rows("quarantined_rows")] == files
    assert_same(world.answers(), of_the_batch_job(everybody))


def service(world: World, file: str, *point: str) -> subprocess.Popen:
    """Start the stream as a service that is killed, with its Java, at a point of a file's batch."""
    program = [sys.executable, str(Path(__file__).with_name("killed_stream.py")), file, *point]
    options = ["--pipeline-id", STREAM, "--lake", str(world.lake), "--trigger", "1"]
    settings = " ".join(f"--conf '{name}={value}'" for name, value in QUICK_SETTINGS.items())
    env = os.environ | {"PYSPARK_SUBMIT_ARGS": f"{settings} pyspark-shell"}
    env |= {"PYTHONPATH": str(paths.SCRIPTS), "PYSPARK_PYTHON": sys.executable}
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    return subprocess.Popen([*program, *options], env=env, start_new_session=True, **quiet)


POINTS = [("begin_batch", "after"), ("write_tables", "half"), ("write_tables", "after")]


def test_a_service_killed_by_sigkill_goes_on_where_it_was(world, of_the_batch_job):
    everybody = [waiting(n) for n in range(6 * len(POINTS))]
    services = []
    try:
        for batch, (function, when) in enumerate(POINTS):
            services.append(service(world, f"{batch}.csv", function, when))
            world.arrive(f"{batch}.csv", everybody[6 * batch : 6 * batch + 6])
            assert services[-1].wait(PATIENCE) == -signal.SIGKILL
            last = world.journal()[-1]
            assert last["holds"] == [f"{batch}.csv"] and "predictions" not in last
    finally:
        for process in services:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
    assert len(world.stream()) == len(POINTS)
    assert_same(world.answers(), of_the_batch_job(everybody))


def test_a_second_start_finds_nothing_to_do(world):
    world.arrive("a.csv", [waiting(n) for n in range(5)])
    world.stream()
    before = world.rows()
    assert len(world.stream()) == 1
    assert world.rows() == before


# Who comes twice, and too late


def test_which_files_share_a_batch_changes_no_answer(world):
    first, second = [waiting(n) for n in range(8)], [waiting(n, tenure="70") for n in range(4)]
    world.arrive("first.csv", first)
    time.sleep(0.02)
    world.arrive("second.csv", [*second, waiting(7, tenure="never")])
    world.stream("--per-batch", "1", run="one-by-one")
    world.stream("--per-batch", "8", run="together")
    assert len(world.journal("one-by-one")) == 2 and len(world.journal("together")) == 1
    assert world.newest("one-by-one") == world.newest("together")
    assert len(world.newest("together")) == 8, "a bad row takes no good answer away"
    assert len(world.rows(run="one-by-one")) == 12 and len(world.rows(run="together")) == 8


def test_a_customer_twice_in_one_file_is_quarantined_and_in_two_files_is_not(world):
    world.arrive("a.csv", [*(waiting(n) for n in range(9)), waiting(3)])
    world.arrive("b.csv", [waiting(n) for n in range(4, 6)])
    world.stream()
    bad = [(row["source"], row["reason"]) for row in world.rows("quarantined_rows")]
    assert bad == [("a.csv", "customer_id is not unique")] * 2
    assert set(world.answers()) == {waiting(n)["customerID"] for n in range(9) if n != 3}


def test_a_file_that_is_months_older_than_others_is_scored_all_the_same(world):
    world.arrive("new.csv", [waiting(1)])
    world.stream()
    late = world.arrive("late.csv", [waiting(2)])
    long_ago = time.time() - 90 * 24 * 3600
    os.utime(late, (long_ago, long_ago))
    assert world.stream()[-1]["holds"] == ["late.csv"]
    assert len(world.answers()) == 2


def test_a_new_champion_answers_from_the_next_batch_on(world):
    world.arrive("a.csv", [waiting(1)])
    world.stream()
    other = tables.read_rows(world.root, "model_registry")[0] | {"model_version": "another"}
    row = [tuple(other[name] for name in tables.own_columns("model_registry"))]
    tables.write_table(row, world.root, "model_registry", "run-b", "training")
    promote(other, world.root, "run-b", "a test", "it is new")
    world.arrive("b.csv", [waiting(2)])
    assert [b["model_version"] for b in world.stream()] == ["run-a-training", "another"]
    assert sorted(row["model_version"] for row in world.rows()) == ["another", "run-a-training"]


# What is bad


def test_bad_rows_go_to_quarantine_with_their_file_and_their_text(world):
    rows = [waiting(n) for n in range(8)]
    world.arrive("a.csv", [*rows, waiting(8, MonthlyCharges="-1")])
    world.stream()
    [bad] = world.rows("quarantined_rows")
    assert (bad["source"], bad["reason"]) == ("a.csv", "monthly_charges is not an amount")
    assert "0008-GOOD" in bad["raw_text"] and len(world.answers()) == 8


RENAMED = [{"tenure": "months"}.get(name, name) for name in HEADER]


def test_a_changed_schema_is_refused_by_name_and_the_others_are_scored(world):
    changed = world.arrive("changed.csv", [waiting(1)], RENAMED)
    world.arrive("good.csv", [waiting(2)])
    with pytest.raises(DataContractError, match=r"changed\.csv .*lacks tenure.*under a new name"):
        world.stream()
    assert set(world.answers()) == {"0002-GOOD"} and changed.exists()
    [bad] = world.rows("quarantined_rows")
    assert bad["source"] == "changed.csv" and "lacks tenure" in bad["reason"]
    world.arrive("mended.csv", [waiting(1)])
    world.stream()
    assert set(world.answers()) == {"0001-GOOD", "0002-GOOD"}


def test_a_refusal_that_a_killed_job_has_not_told_is_told_by_the_next_one_and_once(world):
    world.arrive("changed.csv", [waiting(1)], RENAMED)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("streaming.check_refused", before(streams.check_refused, lambda: True))
        with pytest.raises(ConnectionError, match="killed"):
            world.stream()
    with pytest.raises(DataContractError, match=r"changed\.csv .*lacks tenure"):
        world.stream()
    world.arrive("good.csv", [waiting(2)])
    assert len(world.stream()) == 2 and set(world.answers()) == {"0002-GOOD"}


def test_a_file_that_is_mostly_bad_is_refused_as_a_whole(world):
    world.arrive("broken.csv", [waiting(n, tenure="?" if n else "1") for n in range(5)])
    with pytest.raises(DataContractError, match=r"4 of 5 rows of broken\.csv .*4 times tenure"):
        world.stream()
    assert world.answers() == {} and len(world.rows("quarantined_rows")) == 1


# What does not belong together


@pytest.fixture(scope="module")
def begun(champion, tmp_path_factory) -> World:
    """A stream that has scored three batches, its checkpoint after two, and another stream."""
    world = World(shutil.copytree(champion, tmp_path_factory.mktemp("begun") / "lake"))
    for number in range(3):
        world.arrive(f"{number}.csv", [waiting(number)])
        world.stream()
        if number == 1:
            shutil.copytree(world.lake / "streams" / STREAM / "checkpoint", world.lake / "old")
    world.stream("--per-batch", "1", run="another")
    return world


@pytest.fixture
def checkpoint(begun):
    """The folder of the stream's checkpoint, which is not there; afterwards it is as it was."""
    folder = begun.lake / "streams" / STREAM / "checkpoint"
    aside = folder.rename(begun.lake / "aside-checkpoint")
    yield folder
    shutil.rmtree(folder, ignore_errors=True)
    aside.rename(folder)


def assert_refused(world: World, match: str, *options: str) -> None:
    """Start it again, after somebody has arrived: nothing is written but a refusal."""
    before = world.rows()
    world.arrive("more.csv", [waiting(9)])
    with pytest.raises(StepError, match=match):
        world.stream(*options)
    assert world.rows() == before


def test_a_lost_checkpoint_is_explained_and_nothing_is_scored_again(begun, checkpoint):
    lost = "has begun batch 2, .*nothing after batch -1: it is lost.* under another --pipeline-id"
    assert_refused(begun, lost)


def test_an_old_copy_of_a_checkpoint_is_explained(begun, checkpoint):
    shutil.copytree(begun.lake / "old", checkpoint)
    assert_refused(begun, "has begun batch 2, .*nothing after batch 1: it is lost, or an old copy")


def test_the_checkpoint_of_another_stream_is_explained(begun, checkpoint):
    shutil.copytree(begun.lake / "streams" / "another" / "checkpoint", checkpoint)
    assert_refused(begun, "is that of another stream")


def test_a_lake_that_has_moved_is_explained(begun):
    moved = World(shutil.copytree(begun.lake, begun.lake.with_name("elsewhere")))
    assert_refused(moved, "A checkpoint knows files by their full names")


def test_other_arrivals_under_the_same_key_are_explained(begun):
    (begun.lake / "others").mkdir()
    other = "has read .*arrivals, and now it would read .*others"
    assert_refused(begun, other, "--arrivals", "others")


def test_a_file_that_is_taken_away_before_its_batch_is_done_is_missed_by_name(world, monkeypatch):
    taken = world.arrive("2.csv", [waiting(2)])
    with monkeypatch.context() as patch:
        patch.setattr(streams, "write_tables", before(streams.write_tables, lambda: True))
        with pytest.raises(ConnectionError):
            world.stream()
    aside = taken.rename(world.lake / "2.csv")
    assert_refused(world, r"Batch 0 .* has held 2\.csv, and now .* put it back")
    aside.rename(taken)
    assert [batch["holds"] for batch in world.stream()] == [["2.csv"], ["more.csv"]]


def test_no_folder_of_arrivals_is_said_before_anything_begins(world):
    with pytest.raises(StepError, match=r"There is no folder .*nowhere\. Make it"):
        world.stream("--arrivals", "nowhere")


def test_without_a_model_nobody_has_to_arrive(world):
    with pytest.raises(ModelError, match="has no model 'nobody'"):
        world.stream("--model-version", "nobody")
    assert world.journal() == []


# Kafka


def test_kafka_s_messages_are_scored_once_over_a_kill(world, of_the_batch_job, tmp_path):
    everybody = [waiting(n) for n in range(9)]
    newer = waiting(0, tenure="70")
    lines = [",".join(row[name] for name in HEADER) for row in [*everybody, newer]]
    sent = tmp_path / "messages.txt"
    sent.write_text("\n".join([*lines[:4], "too,few", *lines[4:]]) + "\n", encoding="utf-8")
    with kafka_broker.broker(tmp_path) as servers:
        program = str(Path(__file__).with_name("kafka_stream.py"))
        options = ["--pipeline-id", STREAM, "--lake", str(world.lake), "--per-batch", "6"]
        options += ["--arrivals", f"kafka://{servers}/customers"]
        jars = kafka_broker.fetch(kafka_broker.CONNECTOR, tmp_path / "connector")
        command = [str(Path(sys.executable).with_name("spark-submit"))]
        command += ["--jars", ",".join(map(str, jars.glob("*.jar")))]
        command += [program, str(sent), servers, "customers"]
        env = spark_submit.submit_environment() | {"PYTHONPATH": str(paths.SCRIPTS)}
        done = subprocess.run([*command, *options], env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    holds = [batch["holds"] for batch in world.journal()]
    assert holds == [["customers/0: 0 to 5"], ["customers/0: 6 to 10"]]
    [bad] = world.rows("quarantined_rows")
    assert (bad["reason"], bad["raw_text"]) == ("wrong number of fields", "too,few")
    batch = of_the_batch_job([newer, *everybody[1:]])
    assert len(world.rows()) == 10
    assert world.newest() == pytest.approx(
        {name: said[0] for name, said in batch.items()}, abs=1e-12
    )
