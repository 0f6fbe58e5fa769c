"""The training pipeline: what compiles, what runs on this machine, and how it fails."""

import json
import re
import shutil
import warnings
from pathlib import Path

import pytest
import yaml
from google_cloud_pipeline_components.v1.dataproc import DataprocPySparkBatchOp
from google_cloud_pipeline_components.v1.dataset import TabularDatasetCreateOp
from kfp import compiler, dsl, local

from churnlab import paths
from churnlab.run.library import course_module, library
from tests.pipeline.conftest import IMAGE

SPEC = yaml.safe_load((paths.SCRIPTS / "training_pipeline.yaml").read_text())
PLACE = {"project": "demo", "location": "us-central1", "dataset": "churn"}
PLACE |= {"code_uri": str(paths.SCRIPTS)}
OPEN, CLOSED = 0.0, 1.0


@pytest.fixture(scope="module")
def pipelines():
    """The definition, as a module."""
    return course_module("training_pipeline")


def test_it_compiles_without_warnings_to_the_committed_file(pipelines, tmp_path):
    target = tmp_path / "pipeline.yaml"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pipelines.compile_pipeline(str(target))
    assert target.read_text() == (paths.SCRIPTS / "training_pipeline.yaml").read_text()


@pytest.mark.parametrize(
    ("here", "there"),
    [("local_batch", DataprocPySparkBatchOp), ("local_dataset", TabularDatasetCreateOp)],
)
def test_the_laptop_s_pieces_take_parameters_that_google_s_take(pipelines, here, there):
    inputs = getattr(pipelines, here).component_spec.inputs
    assert set(inputs) <= set(there.component_spec.inputs)


def test_both_places_compile_from_one_definition(pipelines, tmp_path):
    on_laptop = pipelines.training_pipeline(pipelines.local_batch, pipelines.local_dataset)
    compiler.Compiler().compile(on_laptop, str(tmp_path / "laptop.yaml"))
    laptop = yaml.safe_load((tmp_path / "laptop.yaml").read_text())
    assert laptop["root"]["inputDefinitions"] == SPEC["root"]["inputDefinitions"]


def test_packages_of_components_are_pinned_to_the_course_s_versions():
    commands = json.dumps(SPEC["deploymentSpec"])
    lock = paths.LOCK.read_text()
    asked = set(re.findall(r"'((?:pyarrow|kfp)==[^']+)'", commands))
    assert {name.partition("==")[0] for name in asked} == {"pyarrow", "kfp"}
    assert [name for name in asked if f"\n{name}\n" not in f"\n{lock}"] == []


def test_what_touches_the_lake_is_never_cached():
    graphs = [SPEC["root"], *SPEC["components"].values()]
    tasks = [t for c in graphs for t in c.get("dag", {}).get("tasks", {}).values()]
    options = {t["taskInfo"]["name"]: t.get("cachingOptions", {}) for t in tasks}
    cached = {name for name, option in options.items() if option.get("enableCache")}
    assert cached == {"plan-run", "register-data"}
    assert {"preprocessing", "evaluate-model", "report-run"} <= set(options)


def test_every_batch_and_the_registered_data_take_the_key_of_the_run():
    graphs = [SPEC["root"], *SPEC["components"].values()]
    tasks = [t for c in graphs for t in c.get("dag", {}).get("tasks", {}).values()]
    keys = {
        task["taskInfo"]["name"]: given["componentInputParameter"].rpartition("-")[2]
        for task in tasks
        for name, given in task.get("inputs", {}).get("parameters", {}).items()
        if name in ("kms_key", "encryption_spec_key_name")
    }
    steps = ["preprocessing", "model-training", "hyperparameter-tuning", "online-serving"]
    assert keys == dict.fromkeys([*steps, "register-data"], "kms_key")


def test_only_an_accepted_model_is_packaged_and_only_where_an_image_brings_what_that_needs():
    graphs = [SPEC["root"], *SPEC["components"].values()]
    tasks = [t for c in graphs for t in c.get("dag", {}).get("tasks", {}).values()]
    waiting = {t["taskInfo"]["name"]: t for t in tasks if "condition" in t.get("triggerPolicy", {})}
    asked = {name: task["triggerPolicy"]["condition"] for name, task in waiting.items()}
    gates = ["good-enough-to-tune", "accepted", "with-onnx"]
    assert sorted(asked) == sorted(gates)
    assert asked["accepted"].endswith("promote-model-Output'] != ''")
    assert asked["with-onnx"].endswith("container_image'] != ''")
    behind = {}
    for gate in gates:
        dag = SPEC["components"][waiting[gate]["componentRef"]["name"]]["dag"]
        behind[gate] = {task["taskInfo"]["name"]: task for task in dag["tasks"].values()}
    assert set(behind[gates[0]]) == {"hyperparameter-tuning", "promote-model", "accepted"}
    assert set(behind[gates[1]]) == {"with-onnx"}
    [packaging] = behind[gates[2]].values()
    assert packaging["taskInfo"]["name"] == "online-serving"
    assert packaging["inputs"]["parameters"]["container_image"]["componentInputParameter"]
    brought = (paths.INFRA / "images" / "batch" / "requirements.in").read_text().split()
    assert {"onnx", "onnxruntime"} <= set(brought)


@pytest.fixture(scope="module")
def run(pipelines, lake, tmp_path_factory):
    """Run the pipeline on this machine; return what each task gave, by the task's name."""

    def run(pipeline_id: str, **parameters) -> dict[str, dict]:
        root = tmp_path_factory.mktemp("root")
        local.init(local.SubprocessRunner(use_venv=False), pipeline_root=str(root))
        pipeline = pipelines.training_pipeline(pipelines.local_batch, pipelines.local_dataset)
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("PIP_NO_INDEX", "1")  # the pinned packages are there
            pipeline(pipeline_id=pipeline_id, lake=str(lake), **PLACE | parameters)
        found = root.rglob("executor_output.json")
        return {path.parent.name: json.loads(path.read_text()) for path in found}

    return run


def records(lake: Path, pipeline_id: str) -> dict[str, dict]:
    """Return the records of a run by step."""
    steps = (lake / "runs" / pipeline_id).iterdir()
    return {step.name: library.runs.run_record(str(lake), pipeline_id, step.name) for step in steps}


def tables(lake: Path) -> str:
    """Return where the tables of a lake are."""
    return library.tables.dataset_root(str(lake), "churn")


@pytest.fixture(scope="module")
def closed(run):
    """A run whose model is not good enough."""
    return run("gate-closed", min_average_precision=CLOSED)


# Instead of Spark: what a script would leave for the next tasks, made of another run's evidence.
SCRIPT = """
import pathlib, shutil, sys
sys.path.insert(0, f"{sys.path[0]}/churn.zip")
from churn import registry, tables as written
options = dict(zip(sys.argv[1::2], sys.argv[2::2], strict=True))
metrics, key = pathlib.Path(options["--lake"], "metrics"), options["--pipeline-id"]
(metrics / key).mkdir(exist_ok=True)
shutil.copy(metrics / "gate-closed" / "training.json", metrics / key / "STEP.json")
tables = written.dataset_root(options["--lake"], options["--dataset"])
row = registry.registered_model(tables, "gate-closed-training") | {"stage": "candidate"}
row |= {"model_version": f"{key}-STEP", "cross_validated_average_precision": QUALITY}
columns = written.own_columns("model_registry")
rows = [tuple(row[name] for name in columns)]
written.write_table(rows, tables, "model_registry", key, "STEP")
"""


# A packaging step that compares as the real one does, and finds a difference of GAP.
PACKAGING = """
import sys
sys.path.insert(0, f"{sys.path[0]}/churn.zip")
from churn import lake, onnx_forest, programs
options = dict(zip(sys.argv[1::2], sys.argv[2::2], strict=True))
def main():
    onnx_forest.check_gap(GAP, "the champion")
    place = lake.join_uri(options["--lake"], "packages", options["--pipeline-id"])
    lake.write_text(place, "packaged")
programs.run_program(main)
"""


@pytest.fixture(scope="module")
def scripts(tmp_path_factory):
    """Return a function: scripts that need no Spark of their own; the package differs by a gap."""

    def scripts(gap: float) -> str:
        return str(write_scripts(tmp_path_factory.mktemp("code"), gap))

    return scripts


def write_scripts(code: Path, gap: float) -> Path:
    """Write scripts that leave what the next tasks ask for; return their folder."""
    shutil.copy(paths.SCRIPTS / "churn.zip", code)
    (code / "preprocessing.py").touch()
    for script, step, quality in (
        ("model_training", "training", 0.6),
        ("hyperparameter_tuning", "tuning", 0.7),
    ):
        text = SCRIPT.replace("STEP", step).replace("QUALITY", str(quality))
        (code / f"{script}.py").write_text(text)
    (code / "online_serving.py").write_text(PACKAGING.replace("GAP", str(gap)))
    return code


@pytest.fixture(scope="module")
def opened(run, closed, scripts):
    """A run whose model is good enough, and whose tuned one is better, without a Spark of its own.

    With Spark the whole chain goes the same way.
    """
    code = scripts(gap=1e-9)
    return run("gate-open", min_average_precision=OPEN, code_uri=code, container_image=IMAGE)


def plan(pipelines, **changes):
    """Return what the first task makes of some values."""
    values = {"pipeline_id": "run-a", "attempt": 1, "lake": "gs://lake", "code_uri": "gs://code"}
    values |= {"dataset": "bigquery://p.churn", "raw": "raw", "quick_tuning": True}
    return pipelines.plan_run.python_func(**values | changes)


slow = [pytest.mark.slow, pytest.mark.xdist_group("pipeline")]


class TestOnThisMachine:
    """The pipeline run by kfp.local and spark-submit."""

    pytestmark = slow

    def test_a_model_below_the_gate_is_trained_judged_and_not_tuned(self, lake, closed):
        ran = records(lake, "gate-closed")
        assert set(ran) == {"preprocessing", "training", "pipeline"}
        assert ran["pipeline"]["state"] == "SUCCEEDED"
        assert "promote-model" not in closed

    def test_a_closed_gate_leaves_no_champion(self, lake, closed):
        rows = library.tables.read_rows(tables(lake), "model_registry")
        own = [row["stage"] for row in rows if row["pipeline_id"] == "gate-closed"]
        assert own == ["candidate"]

    def test_a_model_above_the_gate_is_tuned_and_the_better_one_becomes_champion(
        self, lake, opened
    ):
        assert records(lake, "gate-open")["pipeline"]["state"] == "SUCCEEDED"
        assert (lake / "metrics" / "gate-open" / "tuning.json").exists()
        [model] = opened["promote-model"]["artifacts"]["model"]["artifacts"]
        assert opened["promote-model"]["parameterValues"]["Output"] == "gate-open-tuning"
        assert model["metadata"]["model_version"] == "gate-open-tuning"
        assert Path(model["uri"], "stages").is_dir()
        champion = library.registry.registered_model(tables(lake))
        assert champion["model_version"] == "gate-open-tuning"
        assert champion["changed_by"] == "churn-training"
        assert champion["reason"].startswith("the first champion: average precision is")

    def test_the_accepted_model_is_packaged_by_the_same_run(self, lake, opened, closed):
        packaged = [path.name for path in (lake / "packages").iterdir()]
        assert packaged == ["gate-open"]

    def test_what_the_test_refuses_does_not_score(self, pipelines, lake, opened):
        model = dsl.Model(uri="", metadata={})
        before = library.registry.registered_model(tables(lake))
        decide = pipelines.promote_model.python_func
        place = {"code_uri": str(paths.SCRIPTS), "lake": str(lake), "dataset": "churn"}
        said = decide(**place, pipeline_id="gate-closed", min_average_precision=CLOSED, model=model)
        assert said == "" and model.metadata["accepted"] is False
        assert model.metadata["model_version"] == "gate-closed-training"
        assert library.registry.registered_model(tables(lake)) == before
        rows = library.tables.read_rows(tables(lake), "model_registry")
        assert library.registry.stage_of(rows, "gate-closed-training") == "refused"
        last = [row for row in rows if row["model_version"] == "gate-closed-training"][-1]
        assert "average precision is" in last["reason"] and "at least 1 is asked" in last["reason"]
        assert json.loads(last["evidence"])["champion"] == before["model_version"]

    def test_a_model_like_the_champion_does_not_take_its_place(self, pipelines, lake, opened):
        """The opened run's two models are the same files: nothing is better beyond luck."""
        before = library.registry.registered_model(tables(lake))
        rows = library.tables.read_rows(tables(lake), "model_registry")
        [row] = [r for r in rows if (r["step"], r["pipeline_id"]) == ("training", "gate-open")]
        values = tuple(row[name] for name in library.tables.own_columns("model_registry"))
        library.tables.write_table([values], tables(lake), "model_registry", "again", "training")
        model = dsl.Model(uri="", metadata={})
        place = {"code_uri": str(paths.SCRIPTS), "lake": str(lake), "dataset": "churn"}
        decide = pipelines.promote_model.python_func
        said = decide(**place, pipeline_id="again", min_average_precision=OPEN, model=model)
        assert said == "" and model.metadata["accepted"] is False
        assert library.registry.registered_model(tables(lake)) == before
        rows = library.tables.read_rows(tables(lake), "model_registry")
        assert "the least gain in average precision is 0, above 0 is asked" in rows[-1]["reason"]

    def test_metrics_and_plots_are_those_of_the_test(self, lake, closed):
        evidence = json.loads((lake / "metrics" / "gate-closed" / "training.json").read_text())
        given = closed["evaluate-model"]
        assert given["parameterValues"]["Output"] == evidence["test"]["average_precision"]
        metrics = given["artifacts"]["metrics"]["artifacts"][0]["metadata"]
        assert metrics == pytest.approx(evidence["test"])
        plots = given["artifacts"]["plots"]["artifacts"][0]["metadata"]
        labels = [spec["displayName"] for spec in plots["confusionMatrix"]["annotationSpecs"]]
        rows = [row["row"] for row in plots["confusionMatrix"]["rows"]]
        assert labels == ["stays", "churns"]
        assert rows[1] == [evidence["test"]["false_negatives"], evidence["test"]["true_positives"]]
        thresholds = [point["confidenceThreshold"] for point in plots["confidenceMetrics"]]
        assert thresholds == sorted(thresholds, reverse=True) and max(thresholds) <= 1

    def test_a_failing_spark_step_fails_the_pipeline_and_is_reported(self, run, lake):
        with pytest.raises(RuntimeError, match=r"preprocessing|local-batch"):
            run("no-raw-file", raw="raw/nowhere.csv")
        ran = records(lake, "no-raw-file")
        assert set(ran) == {"pipeline"}
        assert ran["pipeline"]["state"] == "FAILED"

    def test_a_package_that_answers_otherwise_fails_its_task_with_its_message(
        self, pipelines, lake, opened, scripts, tmp_path, capfd
    ):
        """The task of the opened run once more; a failing task fails the run, as below."""
        local.init(local.SubprocessRunner(use_venv=False), pipeline_root=str(tmp_path))
        code = scripts(gap=0.25)
        values = dict.fromkeys(pipelines.local_batch.component_spec.inputs, "")
        values |= {"batch_id": "packaging-again", "labels": {}}
        values |= {"main_python_file_uri": f"{code}/online_serving.py"}
        values |= {"python_file_uris": [f"{code}/churn.zip"]}
        values |= {"args": plan(pipelines, lake=str(lake), dataset="churn").packaging}
        with pytest.raises(RuntimeError, match="local-batch"):
            pipelines.local_batch(**values)
        said = capfd.readouterr()
        words = "As one file the champion answers otherwise than in Spark, by up to 0.25"
        assert words in said.out + said.err
        assert [path.name for path in (lake / "packages").iterdir()] == ["gate-open"]

    def test_tables_of_a_bucket_have_to_be_in_bigquery(self, pipelines):
        with pytest.raises(ValueError, match=r"bigquery://project\.dataset"):
            plan(pipelines, dataset="churn")
        assert plan(pipelines).table == "bq://p.churn.training_data"

    def test_the_batches_of_each_attempt_have_names_that_are_free_and_short_enough(self, pipelines):
        serverless, key = course_module("serverless_batches"), "x" * 46
        for attempt in (1, 2, 9):
            ending = plan(pipelines, pipeline_id=key, attempt=attempt).ending
            name = serverless.batch_id("preprocessing", key, attempt)
            assert f"preprocessing-{ending}" == name and len(name) <= 63
        with pytest.raises(ValueError, match="too long for attempt 2"):
            plan(pipelines, pipeline_id="x" * 48, attempt=2)

    def test_a_wrong_key_stops_the_run_before_any_batch(self, run, lake):
        with pytest.raises(RuntimeError, match="plan-run"):
            run("Not-A-Key")
        assert set(records(lake, "Not-A-Key")) == {"pipeline"}
