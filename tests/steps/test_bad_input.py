"""Bad input: each ends in a clear error or a quarantined row, and earlier tables stay as they were."""

import importlib
import os
import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from churn.contract import CATEGORIES
from churn.features import FEATURES
from churn.programs import DataContractError, ModelError, StepError, TableNotFoundError
from churn.registry import best_candidate, promote
from churn.review import review
from churn.tables import own_columns, read_table, write_table
from pyspark.sql import SparkSession

from churnlab import paths
from churnlab.run import spark_submit
from tests.conftest import CUSTOMER, customer, write_raw

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("steps")]

HEADER = ",".join(CUSTOMER)


def line(number: int, **changes: str) -> bytes:
    """Return a customer as a line of the raw file, without quoting of our own."""
    return ",".join(customer(number, **changes).values()).encode()


GOOD = [line(number) for number in range(60)]


def raw_file(lines: list[bytes], header: str = HEADER) -> bytes:
    return b"\n".join([header.encode(), *lines]) + b"\n"


def land(lake: Path, content: bytes, name: str = "customers.csv") -> Path:
    """Put a raw file in the place of the lake's raw customers."""
    folder = lake / "raw" / "customers"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    folder.joinpath(name).write_bytes(content)
    return folder / name


def snapshot(folder: Path) -> dict[str, bytes]:
    """Return every file below a folder with its bytes."""
    return {str(f.relative_to(folder)): f.read_bytes() for f in folder.rglob("*") if f.is_file()}


def tables(lake: Path) -> str:
    return str(lake / "warehouse" / "churn")


def ids(spark, lake: Path, run: str, *names: str) -> set[str]:
    """Return the customers of a run in some tables."""
    found = [read_table(spark, tables(lake), name, run).collect() for name in names]
    return {row["customer_id"] for rows in found for row in rows}


def contents(spark, lake: Path, run: str, name: str) -> list[tuple]:
    """Return the rows of a run without the run columns, sorted."""
    rows = read_table(spark, tables(lake), name, run)
    return sorted(map(tuple, rows.drop("pipeline_id", "pipeline_execution_ts").collect()))


@pytest.fixture(scope="module")
def step(spark):
    """Run a step as its script does, in the session of the tests, which the step must not stop."""
    for file in ("churn.zip", "batch_scoring.py", "explain.py"):  # what Python workers import
        spark.sparkContext.addPyFile(str(paths.SCRIPTS / file))

    def run(name: str, lake, pipeline_id: str, *options: str) -> None:
        arguments = ["--pipeline-id", pipeline_id, "--lake", str(lake), *options]
        try:
            importlib.import_module(name).main(arguments)
        finally:
            spark.catalog.clearCache()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SparkSession, "stop", lambda session: None)
        yield run


@pytest.fixture(scope="module")
def first_run(step, tmp_path_factory) -> Path:
    """A lake in which the run `run-a` has preprocessed good customers."""
    lake = tmp_path_factory.mktemp("first run") / "lake"
    land(lake, raw_file(GOOD))
    step("preprocessing", lake, "run-a")
    return lake


@pytest.fixture
def lake(first_run, tmp_path) -> Path:
    """A copy of that lake."""
    return shutil.copytree(first_run, tmp_path / "lake")


# Files that are refused as a whole

COLUMNS = list(CUSTOMER)
WITHOUT_CONTRACT = [name for name in COLUMNS if name != "Contract"]
BAD = [line(number, MonthlyCharges="-1") for number in range(60, 85)] + [line(85, tenure="x")]
REFUSED = {
    "an empty file": (b"", "customers.csv breaks the data contract: it is empty"),
    "a header only": (raw_file([]), "raw/customers holds no customers"),
    "no header": (raw_file(GOOD[1:], GOOD[0].decode()), "its header lacks customerID"),
    "a missing column": (raw_file([], ",".join(WITHOUT_CONTRACT)), "its header lacks Contract"),
    "an extra column": (raw_file([], f"{HEADER},Mood"), "its header has the unknown 'Mood'"),
    "a repeated column": (raw_file([], f"{HEADER},gender"), "its header repeats gender"),
    "semicolons": (raw_file(GOOD).replace(b",", b";"), "its columns are separated by semicolons"),
    "UTF-16": (raw_file(GOOD).decode().encode("utf-16"), "it is UTF-16 text. Save it as UTF-8"),
    "a Latin-1 header": (raw_file(GOOD, HEADER).replace(b"Churn", b"Ch\xfcrn"), "lacks Churn"),
    "a workbook": (b"PK\x03\x04\x00\xff" * 1000, "it is a ZIP archive or an Excel workbook"),
    "30 % bad rows": (
        raw_file(GOOD + BAD),
        r"26 of 86 rows of .*raw/customers .*limit of 5%, most often 25 times monthly_charges is "
        r"not an amount, as in '-1'\. Mend",
    ),
}


@pytest.mark.parametrize("run", ["run-a", "run-b"])
@pytest.mark.parametrize("case", REFUSED)
def test_a_file_that_is_refused_leaves_every_table_as_it_was(step, lake, case, run):
    content, message = REFUSED[case]
    land(lake, content)
    before = snapshot(lake)
    with pytest.raises(DataContractError, match=message) as error:
        step("preprocessing", lake, run)
    assert str(lake) in str(error.value)
    assert snapshot(lake) == before


def test_a_missing_file_is_named(step, lake):
    before = snapshot(lake / "warehouse")
    shutil.rmtree(lake / "raw")
    with pytest.raises(DataContractError, match=rf"no raw file at {lake}/raw/customers\. Land one"):
        step("preprocessing", lake, "run-b")
    assert snapshot(lake / "warehouse") == before


# Files that look odd and are good

TURNED = list(reversed(COLUMNS))
ODD = {
    "columns in another order": raw_file(
        [",".join(customer(n)[c] for c in TURNED).encode() for n in range(60)], ",".join(TURNED)
    ),
    "a BOM, CRLF and every field in quotes": b"\xef\xbb\xbf"
    + b"\r\n".join(b'"' + row.replace(b",", b'","') + b'"' for row in [HEADER.encode(), *GOOD]),
}


@pytest.mark.parametrize("case", ODD)
def test_a_file_in_another_dress_gives_the_same_tables(spark, step, lake, case):
    land(lake, ODD[case])
    step("preprocessing", lake, "run-b")
    for name in ("training_data", "scoring_input", "scoring_outcomes", "quarantined_rows"):
        assert contents(spark, lake, "run-b", name) == contents(spark, lake, "run-a", name)


# Rows that are set aside

QUARANTINED = {
    "twice the same id": ([line(100), line(100, gender="Male")], ["customer_id is not unique"] * 2),
    "no id": ([line(101, customerID="")], ["customer_id is missing"]),
    "an unknown category": ([line(102, Contract="Three year")], ["contract is unknown"]),
    "text in a number": ([line(103, tenure="two")], ["tenure is not an amount"]),
    "negative charges": (
        [line(104, MonthlyCharges="-29.85")],
        ["monthly_charges is not an amount"],
    ),
    "NaN": ([line(105, MonthlyCharges="NaN")], ["monthly_charges is not an amount"]),
    "infinity": ([line(106, TotalCharges="inf")], ["total_charges is not an amount"]),
    "a quoted comma": ([line(107, PaymentMethod='"Mailed, check"')], ["payment_method is unknown"]),
    "quotes in a field": ([line(108, gender='"""Male"""')], ["gender is unknown"]),
    "a quote that is never closed": ([line(109, gender='"Male')], ["wrong number of fields"]),
    "a space too many": ([line(118, Contract="One year ")], ["contract is unknown"]),
    "too few fields": ([line(110).rpartition(b",")[0]], ["wrong number of fields"]),
    "too many fields": ([line(111) + b",No"], ["wrong number of fields"]),
    "a word": ([b"total"], ["wrong number of fields"]),
    "Latin-1": ([line(112, gender="Männlich").decode().encode("latin-1")], ["not UTF-8"]),
    "Latin-1 in the id": ([line(113, customerID="é").decode().encode("latin-1")], ["not UTF-8"]),
    "a zero byte": ([line(114, gender="Ma\0le")], ["gender is unknown"]),
    "a newline in a field": (
        line(115, gender='"Fe\nmale"').split(b"\n"),
        ["wrong number of fields"] * 2,
    ),
}
# The second line has 21 fields, as a customer has.
NEWLINE_IN_ID = line(117, customerID='"0117\n-GOOD"')


@pytest.fixture(scope="module")
def mixed(step, first_run, tmp_path_factory) -> Path:
    """A lake in which `run-b` has preprocessed good customers among rows of every bad kind."""
    lake = shutil.copytree(first_run, tmp_path_factory.mktemp("mixed") / "lake")
    bad = [row for rows, _ in QUARANTINED.values() for row in rows]
    land(lake, raw_file([*GOOD[:30], *bad, NEWLINE_IN_ID, *GOOD[30:]]))
    step("preprocessing", lake, "run-b", "--max-quarantined", "0.5")
    return lake


@pytest.mark.parametrize("case", QUARANTINED)
def test_a_bad_row_is_set_aside_with_its_reason_and_its_text(spark, mixed, case):
    rows, reasons = QUARANTINED[case]
    found = read_table(spark, tables(mixed), "quarantined_rows", "run-b")
    reason_of = {row["raw_text"]: row["reason"] for row in found.collect()}
    for row, reason in zip(rows, reasons, strict=True):
        text = row.decode(errors="replace")
        assert reason_of.get(text) == reason
    assert {row["source"] for row in found.collect()} == {str(mixed / "raw" / "customers")}


def test_half_a_row_never_becomes_a_customer(spark, mixed):
    good = {customer(number)["customerID"] for number in range(60)}
    assert ids(spark, mixed, "run-b", "training_data", "scoring_input") == good


def test_the_earlier_run_s_rows_stay_beside_those_of_a_new_one(spark, first_run, mixed):
    names = [name for name in snapshot(first_run) if "pipeline_id=run-a" in name]
    kept = snapshot(mixed)
    assert names
    assert {name: kept.get(name) for name in names} == {
        name: content for name, content in snapshot(first_run).items() if name in names
    }


# Lakes


@pytest.fixture
def read_only(lake):
    """A lake that nobody can write: by its mode, and for root by a mark on the folder."""
    probe = lake / "probe"
    lake.chmod(0o555)
    undo = [lambda: lake.chmod(0o755)]
    try:
        if _writable(probe):
            marked = (
                shutil.which("chattr")
                and not subprocess.run(["chattr", "+i", str(lake)], capture_output=True).returncode
            )
            if not marked:
                pytest.skip("this user can write everywhere, and chattr does not work here")
            undo.insert(0, lambda: subprocess.run(["chattr", "-i", str(lake)], check=True))
        yield lake
    finally:
        for action in undo:
            action()


def _writable(probe: Path) -> bool:
    try:
        probe.touch()
        probe.unlink()
    except OSError:
        return False
    return True


@pytest.mark.parametrize("name", ["preprocessing", "model_training", "batch_scoring"])
def test_a_read_only_lake_is_refused_before_any_work(spark, step, read_only, name):
    before = snapshot(read_only)
    with pytest.raises(StepError, match=rf"Can't write to the lake {read_only}: .*--lake"):
        step(name, read_only, "run-b")
    assert snapshot(read_only) == before
    assert len(ids(spark, read_only, "run-a", "training_data", "scoring_input")) == len(GOOD)


def test_a_lake_below_a_file_is_refused(step, tmp_path):
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(StepError, match=r"Can't write to the lake .*/file/lake"):
        step("preprocessing", tmp_path / "file" / "lake", "run-b")


@pytest.mark.parametrize("name", ["preprocessing", "model_training", "batch_scoring"])
def test_a_bad_key_of_the_run_is_refused_before_any_work(step, tmp_path, name):
    with pytest.raises(StepError, match="not a key of a run"):
        step(name, tmp_path / "lake", "Run A")
    assert not (tmp_path / "lake").exists()


# Steps in the wrong order


def test_training_before_preprocessing_names_the_table_that_is_missing(step, tmp_path):
    with pytest.raises(TableNotFoundError, match="No run has written training_data"):
        step("model_training", tmp_path / "lake", "run-b")


FEW = {
    "one class": ([customer(n, Churn="No") for n in range(60)], "0 of them churners"),
    "few rows": ([customer(n) for n in range(8)], r"\d customers, \d of them churners"),
}


@pytest.mark.parametrize("case", FEW)
@pytest.mark.parametrize("name", ["model_training", "hyperparameter_tuning"])
def test_too_few_customers_to_train_on_are_refused_in_one_line(step, few_lakes, case, name):
    before = snapshot(few_lakes[case])
    with pytest.raises(
        DataContractError, match=f"{FEW[case][1]}, are too few to train on"
    ) as error:
        step(name, few_lakes[case], "run-a")
    assert "\n" not in str(error.value)
    assert snapshot(few_lakes[case]) == before


@pytest.fixture(scope="module")
def few_lakes(step, tmp_path_factory) -> dict[str, Path]:
    """Lakes in which the run `run-a` has preprocessed customers that nobody can learn from."""
    lakes = {case: tmp_path_factory.mktemp("few") / "lake" for case in FEW}
    for case, (rows, _) in FEW.items():
        write_raw(lakes[case], rows)
        step("preprocessing", lakes[case], "run-a")
    return lakes


def test_scoring_before_training_says_so(step, lake):
    before = snapshot(lake)
    with pytest.raises(ModelError, match=r"No model is registered in .* Run the training step"):
        step("batch_scoring", lake, "run-b")
    assert snapshot(lake) == before


def test_scoring_without_a_champion_says_how_to_choose_one(step, lake):
    columns = own_columns("model_registry")
    known = {"model_version": "run-a-training", "stage": "candidate"}
    row = tuple(known.get(name) for name in columns)
    write_table([row], tables(lake), "model_registry", "run-a", "training")
    before = snapshot(lake)
    with pytest.raises(ModelError, match=r"No model is the champion yet.*churnlab promote"):
        step("batch_scoring", lake, "run-b")
    assert snapshot(lake) == before


# The whole chain, in a lake with a name that needs care


@pytest.fixture(scope="module")
def chain(step, tmp_path_factory) -> Path:
    """A lake with spaces and non-ASCII characters in its path, preprocessed, trained and scored."""
    lake = tmp_path_factory.mktemp("chain") / "Mein Sée (2) 100% 雪" / "the lake"
    contracts = ("Month-to-month", "One year", "Two year")
    churns = ("Yes", "No", "No")
    rows = [
        # Every fifth customer does the opposite of what his contract says.
        customer(
            n,
            Contract=contracts[n % 3],
            Churn=churns[(n + (n % 5 == 0)) % 3],
            tenure=str(n % 70 + 1),
        )
        for n in range(300)
    ]
    write_raw(lake, rows)
    step("preprocessing", lake, "run-a")
    forest = ["--num-trees", "3", "--max-depth", "3", "--min-instances", "1"]
    step("model_training", lake, "run-a", *forest, "--parallelism", "1")
    promote(best_candidate(tables(lake)), tables(lake), "run-a", "a test", "the only one")
    step("batch_scoring", lake, "run-a")
    return lake


def test_the_chain_works_in_a_lake_with_spaces_and_foreign_letters(spark, chain):
    waiting = ids(spark, chain, "run-a", "scoring_input")
    predictions = read_table(spark, tables(chain), "batch_predictions", "run-a").collect()
    assert {row["customer_id"] for row in predictions} == waiting
    assert all(0 <= row["churn_probability"] <= 1 for row in predictions)
    by_decision = "SELECT COUNT(*) FROM batch_predictions WHERE model_version = 'run-a-training'"
    assert review(tables(chain), by_decision).values.tolist() == [[len(waiting)]]


KNOWN_TODAY = COLUMNS[:-1]


def land_waiting(lake: Path, lines: list[bytes], header: str = ",".join(KNOWN_TODAY)) -> str:
    """Put customers to score into a file of the lake."""
    (lake / "waiting.csv").write_bytes(raw_file(lines, header))
    return "waiting.csv"


def unlabelled(number: int, **changes: str) -> bytes:
    return line(number, **changes).rpartition(b",")[0]


def test_scoring_takes_an_unknown_category_and_sets_bad_rows_aside(spark, step, chain):
    bad = [unlabelled(3, tenure="-1"), unlabelled(4), unlabelled(4), unlabelled(5, Contract="")]
    good = [unlabelled(1), unlabelled(2, Contract="Three year", PaymentMethod="Barter")]
    waiting = land_waiting(chain, good + bad)
    step("batch_scoring", chain, "run-b", "--customers", waiting, "--max-quarantined", "0.9")
    rows = read_table(spark, tables(chain), "batch_predictions", "run-b").collect()
    probabilities = {row["customer_id"]: row["churn_probability"] for row in rows}
    assert set(probabilities) == {"0001-GOOD", "0002-GOOD"}
    assert all(0 <= p <= 1 for p in probabilities.values())
    set_aside = read_table(spark, tables(chain), "quarantined_rows", "run-b").collect()
    assert sorted(row["reason"] for row in set_aside) == [
        "contract is missing",
        "customer_id is not unique",
        "customer_id is not unique",
        "tenure is not an amount",
    ]


REFUSED_TO_SCORE = {
    "a label": (HEADER, [line(1)], "has the unknown 'Churn'"),
    "a missing column": (",".join(KNOWN_TODAY[1:]), [], "lacks customerID"),
    "nobody": (",".join(KNOWN_TODAY), [], "waiting.csv holds no customers"),
    "half of them bad": (
        ",".join(KNOWN_TODAY),
        [unlabelled(1), unlabelled(2, tenure="x")],
        "1 of 2 rows of waiting.csv .*most often 1 times tenure is not an amount, as in 'x'",
    ),
}


@pytest.mark.parametrize("case", REFUSED_TO_SCORE)
def test_customers_that_can_t_be_scored_leave_every_table_as_it_was(step, chain, case):
    header, lines, message = REFUSED_TO_SCORE[case]
    waiting = land_waiting(chain, lines, header)
    before = snapshot(chain)
    with pytest.raises(DataContractError, match=message):
        step("batch_scoring", chain, "run-a", "--customers", waiting)
    assert snapshot(chain) == before


@pytest.mark.parametrize("method", ["shap", "path"])
def test_reasons_add_up_from_their_base_and_say_what_raises_and_what_lowers(
    spark, step, chain, method
):
    step("batch_scoring", chain, "run-m", "--reasons", "19", "--method", method)
    for row in read_table(spark, tables(chain), "batch_predictions", "run-m").collect():
        moves = [reason["contribution"] for reason in row["reasons"]]
        total = row["base_probability"] + sum(moves)
        assert total == pytest.approx(row["churn_probability"], abs=1e-9)
        assert len(row["raises"]) == sum(move > 0 for move in moves)
        assert len(row["lowers"]) == sum(move < 0 for move in moves)
        assert row["attribution"] == method


def test_a_method_of_reasons_that_nobody_knows_leaves_every_table_as_it_was(step, chain):
    before = snapshot(chain)
    with pytest.raises(StepError, match="no method 'lime' of attribution"):
        step("batch_scoring", chain, "run-a", "--method", "lime")
    assert snapshot(chain) == before


def test_a_model_is_explained_column_by_column_with_intervals_around_the_means(spark, step, chain):
    step("explain", chain, "run-a", "--repeats", "2", "--points", "3")
    rows = read_table(spark, tables(chain), "model_explanations", "run-a").collect()
    kinds = ("impurity", "permutation", "mean contribution")
    found = {(row["explanation"], row["feature"]) for row in rows}
    assert {(kind, name) for kind in kinds for name in FEATURES} <= found
    bounded = [row for row in rows if row["low"] is not None]
    assert len(bounded) > 60
    intervals = [row for row in bounded if row["explanation"] != "partial dependence"]
    assert all(row["low"] <= row["estimate"] <= row["high"] for row in intervals)
    shares = [row["estimate"] for row in rows if row["explanation"] == "impurity"]
    assert 0 < sum(shares) <= 1 + 1e-9  # a tree of one leaf relies on nothing
    tried = {row["value"] for row in rows if row["feature"] == "contract"} - {None}
    assert tried == set(CATEGORIES["contract"])


def test_scoring_with_a_version_that_nobody_registered_says_so(step, chain):
    with pytest.raises(ModelError, match="has no model 'run-x-training'"):
        step("batch_scoring", chain, "run-b", "--model-version", "run-x-training")


def test_a_copy_of_a_lake_scores_with_its_own_model(spark, step, chain, tmp_path):
    copy = Path(shutil.copytree(chain, tmp_path / "a copy"))
    aside = chain.rename(chain.with_name("not here"))
    try:
        step("batch_scoring", copy, "run-d")
    finally:
        aside.rename(chain)
    scored = read_table(spark, tables(copy), "batch_predictions", "run-d")
    assert scored.select("model_version").first()[0] == "run-a-training"


def test_a_corrupt_model_directory_is_named_and_nothing_is_written(step, chain):
    [model] = (chain / "models" / "run-a-training").iterdir()
    forest = next((model / "stages").glob("*RandomForest*"))
    aside = forest.rename(model / "aside")
    before = snapshot(chain)
    try:
        with pytest.raises(
            ModelError, match=r"Can't read the model run-a-training at .*Train again"
        ):
            step("batch_scoring", chain, "run-c")
        assert snapshot(chain) == before
    finally:
        aside.rename(forest)


# The command line

SCRIPTS = {
    "batch_scoring": ("--reasons", "some"),
    "cost_and_clean_up": ("--days", "some"),
    "customer_data": ("--rows", "many"),
    "explain": ("--repeats", "few"),
    "hyperparameter_tuning": ("--quick", "maybe"),
    "model_training": ("--num-trees", "2.5"),
    "monitoring": ("--false-alarms", "few"),
    "online_serving": ("--generated", "many"),
    "preprocessing": ("--max-quarantined", "few"),
    "registry_and_gate": ("--min-recall", "half"),
    "spark_notebooks": ("--rows", "many"),
    "streaming": ("--per-batch", "few"),
}
REQUIRED = ["--pipeline-id", "run-a", "--lake", "somewhere"]


def call(script, arguments, monkeypatch, capsys):
    """Run a script as `python script.py` does; return its exit status and what it said."""

    def started(builder):
        raise AssertionError("Spark was started")

    monkeypatch.setattr(SparkSession.Builder, "getOrCreate", started)
    monkeypatch.setattr(sys, "argv", [f"{script}.py", *arguments])
    with pytest.raises(SystemExit) as end:
        runpy.run_path(str(paths.SCRIPTS / f"{script}.py"), run_name="__main__")
    return end.value.code, capsys.readouterr()


def test_every_script_is_tested_below():
    """But for those that run no Spark and talk to the cloud: they have tests of their own."""
    programs = [p for p in paths.SCRIPTS.glob("*.py") if "def main(" in p.read_text()]
    without_spark = {"serverless_batches", "pipeline_schedule"}
    assert {path.stem for path in programs} - without_spark == set(SCRIPTS)


@pytest.mark.parametrize("script", SCRIPTS)
def test_help_tells_the_options_without_starting_spark(script, monkeypatch, capsys):
    status, said = call(script, ["--help"], monkeypatch, capsys)
    assert status == 0
    for word in ("usage:", "--pipeline-id", "--lake", "--dataset", SCRIPTS[script][0]):
        assert word in said.out


@pytest.mark.parametrize("script", SCRIPTS)
@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ([], "the following arguments are required: --pipeline-id, --lake"),
        (["--pipeline-id", "run-a"], "the following arguments are required: --lake"),
        ([*REQUIRED, "--lak", "x"], "unrecognized arguments: --lak x"),
        ([*REQUIRED, "stray"], "unrecognized arguments: stray"),
        ([*REQUIRED, "--dataset"], "argument --dataset: expected one argument"),
    ],
    ids=["nothing", "no lake", "unknown", "stray", "no value"],
)
def test_a_missing_or_wrong_option_exits_2_with_the_reason(
    script, arguments, reason, monkeypatch, capsys
):
    status, said = call(script, arguments, monkeypatch, capsys)
    assert status == 2
    assert f"{script}.py: error: {reason}" in said.err


@pytest.mark.parametrize(("script", "option"), SCRIPTS.items())
def test_a_value_of_the_wrong_type_exits_2_with_the_reason(script, option, monkeypatch, capsys):
    status, said = call(script, [*REQUIRED, *option], monkeypatch, capsys)
    assert status == 2
    assert f"error: argument {option[0]}: " in said.err
    assert repr(option[1]) in said.err


def test_plain_python_exits_2_where_there_is_no_spark():
    script = str(paths.SCRIPTS / "preprocessing.py")
    env = os.environ | {"SPARK_HOME": "/nonexistent"}
    done = subprocess.run([sys.executable, script], env=env, capture_output=True, text=True)
    assert done.returncode == 2
    assert "error: the following arguments are required: --pipeline-id, --lake" in done.stderr


def test_spark_submit_ends_with_the_reason_and_a_status(lake):
    land(lake, b"")
    arguments = ["--pipeline-id", "run-b", "--lake", str(lake)]
    done = spark_submit.run_script("preprocessing", arguments, capture_output=True, text=True)
    assert done.returncode == 1
    said = done.stdout + done.stderr  # spark-submit sends a program's last words to either
    assert re.search(r"(?m)^error: .* breaks the data contract: it is empty. Mend the file.$", said)
    assert "Traceback" not in said and "\tat " not in said
