"""The command line as a reader meets it."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from churnlab import cli
from churnlab.errors import CourseError
from churnlab.run import doctor, runner, spark_home, spark_submit

CHURNLAB = Path(sys.executable).with_name("churnlab")


def churnlab(*arguments, **env):
    env = {**os.environ, "COLUMNS": "200", **env}
    return subprocess.run([CHURNLAB, *arguments], capture_output=True, text=True, env=env)


@pytest.fixture
def here(monkeypatch, capsys):
    """Run the command line in this process; return status, output and errors.

    A process of its own takes two seconds to import what the course needs.
    """

    def run(*arguments, **env):
        with monkeypatch.context() as patch, pytest.raises(SystemExit) as ended:
            patch.setattr(sys, "argv", ["churnlab", *arguments])
            for name, value in {"COLUMNS": "200", **env}.items():
                patch.setenv(name, value)
            cli.main()
        return ended.value.code or 0, *capsys.readouterr()

    return run


def test_help_lists_the_commands(here):
    _, shown, _ = here("--help")
    for command in ("run", "export", "run-script", "sql", "doctor", "lab", "book", "serve"):
        assert command in shown


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["run", "42"], "There is no module '42'"),
        (["run", "04", "-p", "nonsense"], "'nonsense' is not a parameter"),
        (["run", "04", "-p", "speed=9"], "No module to run has the parameter speed"),
        (["run", "04", "-p", "[/x]"], "'[/x]' is not a parameter"),
        (["run", "05", "-p", "quick=no"], "quick=no is not true or false"),
        (["run", "04", "-p", "num_trees=abc"], "num_trees=abc is not a whole number"),
        (["run", "04", "-p", "num_trees=2.5"], "num_trees=2.5 is not a whole number"),
        (["run", "03", "-p", "max_quarantined=few"], "max_quarantined=few is not a number"),
        (["run", "04", "-p", "pipeline_id=My_Run"], "'My_Run' is not a key of a run"),
        (["lineage", "My_Run"], "'My_Run' is not a key of a run"),
        (["run", "02", "--data", "/no/such.csv"], "There is no data file /no/such.csv"),
        (["run-script", "cooking"], "There is no script 'cooking'"),
        (["sql", "SELECT 1 FROM nowhere"], "holds no tables"),
        (["promote", "--reason", "x"], "No candidate of run any is registered"),
        (["promote", "a-version", "--reason", "x"], "No model is registered in"),
        (["rollback", "--reason", "x"], "No model is registered in"),
    ],
)
def test_a_mistake_is_one_clear_line_and_a_non_zero_status(here, tmp_path, arguments, reason):
    status, _, said = here(*arguments, CHURNLAB_LAKE=str(tmp_path / "lake"))
    assert status == 1
    assert reason in said
    assert "Traceback" not in said


@pytest.mark.parametrize(
    ("modules", "handed"),
    [
        (["05"], {"quick": True}),
        (["03", "04", "05"], {"num_trees": 30, "quick": True}),
        (["06"], {}),
    ],
)
def test_quick_hands_small_numbers_to_the_modules_that_declare_them(
    here, monkeypatch, tmp_path, modules, handed
):
    asked = []
    monkeypatch.setattr(runner, "run_course", lambda *given, **_: asked.append(given) or [])
    here("run", *modules, "--quick", CHURNLAB_LAKE=str(tmp_path / "lake"))
    assert asked == [(modules, handed, str(tmp_path / "lake"))]
    declared = [runner.declared_parameters(path) for path in runner.find_notebooks(modules)]
    assert set(handed) <= {name for names in declared for name in names}


def test_quick_takes_the_light_compiler_unless_the_reader_has_chosen(here, monkeypatch, tmp_path):
    taken = []

    def note(*_, **__):
        taken.append(os.environ.get("SPARK_SUBMIT_OPTS"))
        return []

    monkeypatch.setattr(runner, "run_course", note)
    monkeypatch.delenv("SPARK_SUBMIT_OPTS", raising=False)
    lake = {"CHURNLAB_LAKE": str(tmp_path / "lake")}
    here("run", "05", **lake)
    here("run", "05", "--quick", **lake)
    here("run", "05", "--quick", **lake, SPARK_SUBMIT_OPTS="-Xint")
    assert taken == [None, spark_submit.LIGHT_JAVA, "-Xint"]
    assert "SPARK_SUBMIT_OPTS" not in os.environ


def test_the_program_itself_says_its_mistake_and_ends_with_its_status():
    done = churnlab("run", "42")
    assert done.returncode == 1
    assert "There is no module '42'" in done.stderr and "Traceback" not in done.stderr


def test_a_person_promotes_a_candidate_by_one_command(here, tmp_path, library):
    root = library.tables.dataset_root(str(tmp_path), "churn")
    columns = library.tables.own_columns("model_registry")
    row = {"model_version": "run-a-training", "stage": "candidate"}
    row = [tuple(row.get(name) for name in columns)]
    library.tables.write_table(row, root, "model_registry", "run-a", "training")
    said = here(
        "promote", "--reason", "finds [more] churners", "--by", "Ada", "--lake", str(tmp_path)
    )
    assert said[0] == 0 and "run-a-training is the champion, says Ada" in said[1]
    assert "servers go on as before: `churnlab package`" in said[1]
    assert library.registry.registered_model(root)["reason"] == "finds [more] churners"
    status, _, error = here("promote", "--reason", " ", "--lake", str(tmp_path))
    assert status == 1 and "A promotion needs who decided and a reason" in error


def test_a_person_goes_back_to_the_former_champion_by_one_command(here, tmp_path, library):
    root = library.tables.dataset_root(str(tmp_path), "churn")
    columns = library.tables.own_columns("model_registry")
    lake, by = ["--lake", str(tmp_path)], ["--by", "Ada"]
    for run in ("run-a", "run-b"):
        library.lake.write_text(f"{tmp_path}/models/{run}/data", "")
        row = {"model_version": run, "stage": "candidate", "model_uri": f"models/{run}"}
        row = [tuple(row.get(name) for name in columns)]
        library.tables.write_table(row, root, "model_registry", run, "training")
        library.packages.write_package(str(tmp_path), run, {}, {"model_version": run})
        assert here("promote", run, "--reason", "newer", *by, *lake)[0] == 0
        assert served(tmp_path).startswith(f"{run}/")
    status, said, _ = here("rollback", "--reason", "run-b calls too many", *by, *lake)
    assert status == 0 and "run-a is the champion again, says Ada" in said
    assert f"Servers take up its package {served(tmp_path)}." in said
    assert served(tmp_path).startswith("run-a/")
    assert library.registry.registered_model(root)["model_version"] == "run-a"
    status, _, error = here("rollback", "--reason", "further", *by, *lake)
    assert status == 1 and "run-a is the first champion" in error and "Traceback" not in error


def served(lake: Path) -> str:
    """Return the package that servers answer by."""
    return json.loads((lake / "packages" / "champion.json").read_text())["package"]


def test_debug_shows_the_trace(here):
    with pytest.raises(CourseError, match="There is no module '42'"):
        here("--debug", "run", "42")
    with pytest.raises(CourseError, match="There is no module '42'"):
        here("run", "42", CHURNLAB_DEBUG="1")


def test_modules_are_named_by_number_name_or_file():
    by = {runner.find_notebooks([name])[0].stem for name in ("4", "04", "model-training")}
    assert by == {"04-model-training"}
    assert runner.find_notebooks(["04", "03"])[0].stem == "03-preprocessing"  # reading order


def test_spark_submit_gets_the_library_and_the_options():
    command = spark_submit.submit_command(
        "batch-scoring", ["--lake", "x"], {"spark.master": "local[1]"}
    )
    assert command[1:3] == ["--conf", "spark.master=local[1]"]
    assert command[command.index("--py-files") + 1].endswith("scripts_generated/churn.zip")
    assert command[-3:][0].endswith("batch_scoring.py") and command[-2:] == ["--lake", "x"]


@pytest.mark.slow
def test_a_script_that_fails_passes_its_status_on(tmp_path):
    done = churnlab("run-script", "preprocessing", "--", "--speed", "9")
    assert done.returncode == 2
    assert "unrecognized arguments: --speed 9" in done.stdout + done.stderr


# What a file may hold: neither markup, nor an emoji, nor a command to the terminal.
AS_IT_IS = "70 [/month] [red]:smile:[/]"


def write_quarantined(library, lake: Path, *texts: str) -> None:
    rows = [("customers.csv", "monthly_charges is not an amount", text) for text in texts]
    root = library.tables.dataset_root(str(lake), "churn")
    library.tables.write_table(rows, root, "quarantined_rows", "run-a", "preprocessing")


def test_a_value_is_printed_as_it_is_and_never_reaches_the_terminal_as_a_command(
    here, lake, library
):
    write_quarantined(library, lake, AS_IT_IS, "\x1b[31mred")
    query = "SELECT raw_text FROM quarantined_rows ORDER BY raw_text"
    status, said, _ = here("sql", query, "--lake", str(lake))
    assert status == 0 and AS_IT_IS in said
    assert "\\x1b[31mred" in said and "\x1b[31mred" not in said
    status, _, said = here("sql", "SELECT 1 FROM `[/x]`", "--lake", str(lake))
    assert status == 1 and "[/x]" in said


def test_null_whole_numbers_and_dates_are_shown_as_they_are(here, lake, library):
    write_quarantined(library, lake, "x")
    query = (
        "SELECT 3 AS whole, SUM(2) AS total, DATE '2026-01-02' AS day, 'a' AS text "
        "FROM quarantined_rows UNION ALL SELECT NULL, 4, NULL, NULL ORDER BY total"
    )
    _, said, _ = here("sql", query, "--lake", str(lake))
    first, second = [
        [cell.strip() for cell in line.strip("│ ").split("│")]
        for line in said.splitlines()
        if line.startswith("│")
    ]
    assert first == ["3", "2", "2026-01-02", "a"]
    assert second == ["NULL", "4", "NULL", "NULL"]


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        ("", "this is nothing"),
        (" ; -- nothing", "this is nothing"),
        ("SELECT 1; SELECT 2", "this is 2 statements"),
        ("DROP TABLE quarantined_rows", "this is DROP"),
        ("SELECT * FROM other.quarantined_rows", "is not in the dataset churn"),
        ("SELECT 1 FROM nowhere", "Tables are quarantined_rows"),
    ],
)
def test_what_is_no_review_is_refused_in_words(here, lake, library, query, reason):
    write_quarantined(library, lake, "x")
    status, _, said = here("sql", query, "--lake", str(lake))
    assert status == 1 and reason in said


@pytest.mark.parametrize(
    "name",
    ["churn.quarantined_rows", "`my-project.churn.quarantined_rows`", "`p`.churn.quarantined_rows"],
)
def test_tables_may_be_named_as_bigquery_names_them(here, lake, library, name):
    write_quarantined(library, lake, "a row")
    status, said, _ = here("sql", f"SELECT q.raw_text FROM {name} AS q", "--lake", str(lake))
    assert status == 0 and "a row" in said


@pytest.mark.slow
def test_review_sql_speaks_bigquery_and_explains_mistakes(spark, lake, library):
    root = library.tables.dataset_root(str(lake), "churn")
    rows = spark.createDataFrame([("a", "yes"), ("b", "no")], "customer_id string, churn string")
    library.tables.write_table(rows, root, "scoring_outcomes", "one", "preprocessing")
    query = "SELECT COUNTIF(churn = 'yes') AS churners FROM scoring_outcomes"
    assert "│ 1" in churnlab("sql", query, "--lake", str(lake)).stdout
    wrong = churnlab("sql", "SELECT nothing FROM nowhere", "--lake", str(lake))
    assert wrong.returncode == 1 and "Tables are scoring_outcomes" in wrong.stderr


def test_the_doctor_finds_this_machine_healthy(here, tmp_path):
    status, *said = here("doctor", CHURNLAB_LAKE=str(tmp_path / "lake"))
    assert status == 0, said


@pytest.mark.parametrize(
    "finding",
    [
        doctor.check_python((3, 9, 2)),
        doctor.check_java(Path("/nowhere")),
        doctor.check_spark_settings(spark_home.SPARK_HOME, {"SPARK_HOME": "/opt/spark"}),
        doctor.check_spark_settings(Path("/nowhere"), {}),
        doctor.check_disk(2**20),
        doctor.check_lake("/dev/null/lake"),
    ],
    ids=lambda finding: finding.check,
)
def test_the_doctor_names_each_trouble_and_its_mend(finding):
    assert finding.state == "trouble" and finding.mend
    with pytest.raises(CourseError, match=finding.check):
        doctor.healthy([finding])


def test_the_doctor_compares_packages_with_the_lock(tmp_path):
    lock = tmp_path / "course.txt"
    lock.write_text(
        "pyspark==1.0\nno-such-package==2\nrich==1 ; python_version < '3'\n    # via x\n"
    )
    finding = doctor.check_lock(lock)
    assert finding.state == "trouble"
    assert "pyspark is" in finding.detail and "no-such-package is none" in finding.detail
    assert "rich" not in finding.detail


def test_airflow_may_be_missing_but_the_doctor_says_so(tmp_path):
    finding = doctor.check_airflow(tmp_path / ".venv-airflow")
    assert finding.state == "warning" and "make airflow" in finding.mend


def test_a_taken_port_is_a_warning():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        assert doctor.check_port(taken.getsockname()[1], "test").state == "warning"


def test_java_home_counts_only_if_it_is_a_17(tmp_path, monkeypatch):
    (tmp_path / "release").write_text('JAVA_VERSION="11.0.2"\n')
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    assert spark_home.java_home() == spark_home.bundled_java_home()
    (tmp_path / "release").write_text('JAVA_VERSION="17.0.1"\n')
    assert spark_home.java_home() == tmp_path


ON_GOOGLE = ["submit", "preprocessing", "--on", "dataproc", "--project", "demo"]
ON_GOOGLE += ["--code", "gs://demo/code", "--service-account", "a@demo.iam.gserviceaccount.com"]
ON_GOOGLE += ["--", "--lake", "gs://demo/lake", "--pipeline-id", "run-a"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["submit", "cooking"], "There is no script 'cooking'"),
        (["submit", "preprocessing", "--on", "dataproc"], "needs --project, --code"),
        (["submit", "preprocessing", "--", "raw"], "'raw' is not an option with a value"),
        (["submit", "model_training", "--", "--num-trees", "abc"], "num_trees=abc is not a whole"),
        (["submit", "preprocessing", "--ttl-minutes", "5"], "ttl 0:05:00 is not between"),
        (ON_GOOGLE, "Nobody is logged in to Google Cloud"),
        (["lineage", "nobody"], "nobody has no predictions, no package and no models"),
    ],
)
def test_what_the_cloud_s_commands_refuse_is_one_clear_line(tmp_path, arguments, reason):
    env = {"CHURNLAB_LAKE": str(tmp_path / "lake"), "CHURNLAB_BUILD": str(tmp_path)}
    # Whoever runs the tests may be logged in; these must not find that.
    env |= {"CLOUDSDK_CONFIG": str(tmp_path), "GOOGLE_APPLICATION_CREDENTIALS": ""}
    done = churnlab(*arguments, **env, NO_GCE_CHECK="true")
    assert done.returncode == 1
    assert reason in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_a_batch_that_fails_is_a_failure_of_submit(tmp_path):
    lake, build = str(tmp_path / "lake"), str(tmp_path)
    done = churnlab("submit", "model_training", CHURNLAB_LAKE=lake, CHURNLAB_BUILD=build)
    assert done.returncode == 1
    assert "FAILED" in done.stdout
    assert "No run has written training_data" in done.stderr
