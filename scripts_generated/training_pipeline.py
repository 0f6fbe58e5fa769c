# Generated from notebooks/09-training-pipeline.ipynb by `make export`; do not edit.
"""Chain the steps into one pipeline with a gate: preprocess, register the data, train, evaluate,
tune only what is good enough, promote only what is accepted, and package what answers online.
"""

from typing import NamedTuple

from google_cloud_pipeline_components.v1.dataproc import DataprocPySparkBatchOp
from google_cloud_pipeline_components.v1.dataset import TabularDatasetCreateOp
from kfp import compiler, dsl

PYTHON_IMAGE = "python:3.11-slim"


@dsl.component(base_image=PYTHON_IMAGE)
def plan_run(
    pipeline_id: str, attempt: int, lake: str, code_uri: str, dataset: str, raw: str,
    quick_tuning: bool,
) -> NamedTuple(
    "Plan", ending=str, library=list, preprocessing=list, training=list, tuning=list,
    packaging=list, table=str, metrics=str,
):  # fmt: skip
    """Check the run's key; return what the steps take, and how their batches' names end."""
    import re
    from collections import namedtuple

    if not re.fullmatch(r"[a-z0-9]([a-z0-9-]{0,46}[a-z0-9])?", pipeline_id):
        raise ValueError(f"pipeline_id {pipeline_id!r}: use at most 48 of a-z, 0-9 and hyphens.")
    ending = pipeline_id if attempt == 1 else f"{pipeline_id}-t{attempt}"
    if len(ending) > 49:  # the longest name is preprocessing-…, and a name has 63 at most
        raise ValueError(f"pipeline_id {pipeline_id!r}: too long for attempt {attempt}.")
    if lake.startswith("gs://") and not dataset.startswith("bigquery://"):
        raise ValueError(f"dataset {dataset!r}: in the cloud, bigquery://project.dataset.")
    common = ["--pipeline-id", pipeline_id, "--lake", lake, "--dataset", dataset]
    tuning = [*common, "--quick", str(quick_tuning).lower()]
    table = f"{lake}/warehouse/{dataset}/training_data"
    if dataset.startswith("bigquery://"):
        table = f"{dataset.replace('bigquery', 'bq')}.training_data"
    steps = {"preprocessing": [*common, "--raw", raw], "training": common, "tuning": tuning}
    steps |= {"packaging": common}
    plan = namedtuple("Plan", ["ending", "library", *steps, "table", "metrics"])
    library, metrics = [f"{code_uri}/churn.zip"], f"{lake}/metrics/{pipeline_id}"
    return plan(ending, library, *steps.values(), table, metrics)


@dsl.component(base_image=PYTHON_IMAGE, packages_to_install=["pyarrow==26.0.1"])
def evaluate_model(
    metrics_folder: str,
    metrics: dsl.Output[dsl.Metrics],
    plots: dsl.Output[dsl.ClassificationMetrics],
) -> float:
    """Publish the test's metrics, ROC curve and confusion matrix; return the average precision."""
    import json

    from pyarrow import fs

    files, path = fs.FileSystem.from_uri(metrics_folder)
    with files.open_input_stream(f"{path}/training.json") as stream:
        evidence = json.load(stream)
    test = evidence["test"]
    for name, value in test.items():
        metrics.log_metric(name, value)
    plots.log_roc_curve(*map(list, zip(*evidence["curves"]["roc"], strict=True)))
    stays = [test["true_negatives"], test["false_positives"]]
    churns = [test["false_negatives"], test["true_positives"]]
    plots.log_confusion_matrix(
        ["stays", "churns"], [list(map(round, stays)), list(map(round, churns))]
    )
    return test["average_precision"]


LIBRARY_NEEDS = [
    "google-cloud-bigquery==3.47.0",
    "pandas==2.3.3",
    "pyarrow==26.0.1",
    "pyspark==3.5.9",
]


@dsl.component(base_image=PYTHON_IMAGE, packages_to_install=LIBRARY_NEEDS)
def promote_model(
    code_uri: str,
    lake: str,
    dataset: str,
    pipeline_id: str,
    min_average_precision: float,
    model: dsl.Output[dsl.Model],
) -> str:
    """Make the run's best candidate the champion if it is accepted; return its version, or ''."""
    import sys
    import tempfile

    from pyarrow import fs

    files, path = fs.FileSystem.from_uri(code_uri)
    archive = f"{tempfile.mkdtemp()}/churn.zip"
    fs.copy_files(f"{path}/churn.zip", archive, source_filesystem=files)
    sys.path.insert(0, archive)
    from churn.challenge import challenge
    from churn.gate import Limits
    from churn.lake import join_uri
    from churn.registry import best_candidate
    from churn.tables import dataset_root

    tables = dataset_root(lake, dataset)
    best = best_candidate(tables, pipeline_id)
    found = {name: best[name] for name in ("model_version", "threshold", "average_precision")}
    model.uri = join_uri(lake, best["model_uri"])
    limits = Limits(min_average_precision=min_average_precision)
    verdict = challenge(best, lake, tables, pipeline_id, "churn-training", limits)
    accepted, refusals = not verdict.refusals, "; ".join(verdict.refusals)
    model.metadata |= found | {"roc_auc": best["roc_auc"], "accepted": accepted}
    print(f"{best['model_version']}: {refusals or 'accepted'}")
    return best["model_version"] if accepted else ""


@dsl.component(base_image=PYTHON_IMAGE, packages_to_install=["pyarrow==26.0.1"])
def report_run(lake: str, pipeline_id: str, status: dsl.PipelineTaskFinalStatus):
    """Write how the run ended below LAKE/runs/PIPELINE_ID/pipeline, and print it."""
    import json
    from datetime import UTC, datetime

    from pyarrow import fs

    now = datetime.now(UTC)
    report = {"pipeline_id": pipeline_id, "state": status.state, "error": status.error_message}
    report |= {"job": status.pipeline_job_resource_name, "finished": now.isoformat()}
    text = json.dumps(report, indent=2)
    files, path = fs.FileSystem.from_uri(f"{lake.rstrip('/')}/runs/{pipeline_id}/pipeline")
    if isinstance(files, fs.LocalFileSystem):  # a bucket has no folders
        files.create_dir(path, recursive=True)
    with files.open_output_stream(f"{path}/{now:%Y%m%dt%H%M%S%f}.json") as stream:
        stream.write(text.encode())
    print(text)


RUNTIME_VERSION = "2.3"


def training_pipeline(spark_batch, register_dataset):
    """Return the pipeline; the arguments are the components that run a script and register a table.

    They take the parameters of DataprocPySparkBatchOp and TabularDatasetCreateOp.
    """

    @dsl.pipeline(name="churn-training", description="Train, judge and tune a churn model")
    def churn_training(
        project: str,
        location: str,
        pipeline_id: str,
        lake: str,
        code_uri: str,
        dataset: str,
        attempt: int = 1,
        raw: str = "raw/customers",
        min_average_precision: float = 0.6,
        quick_tuning: bool = False,
        service_account: str = "",
        subnetwork_uri: str = "",
        container_image: str = "",
        kms_key: str = "",
    ):
        def run_script(step: str, script: str):
            """Add a task that runs a script; its batch is named by step, run and attempt."""
            name = script.replace("_", "-")
            task = spark_batch(
                project=project,
                location=location,
                batch_id=f"{step}-{plan.outputs['ending']}",
                labels={"course": "churnlab", "step": name},
                main_python_file_uri=f"{code_uri}/{script}.py",
                python_file_uris=plan.outputs["library"],
                args=plan.outputs[step],
                runtime_config_version=RUNTIME_VERSION,
                container_image=container_image,
                service_account=service_account,
                subnetwork_uri=subnetwork_uri,
                kms_key=kms_key,
            )
            return task.set_display_name(name).set_caching_options(False)

        report = report_run(lake=lake, pipeline_id=pipeline_id).set_caching_options(False)
        with dsl.ExitHandler(report, name="always-report"):
            plan = plan_run(
                pipeline_id=pipeline_id,
                attempt=attempt,
                lake=lake,
                code_uri=code_uri,
                dataset=dataset,
                raw=raw,
                quick_tuning=quick_tuning,
            )
            preprocess = run_script("preprocessing", "preprocessing")
            registered = register_dataset(
                project=project,
                location=location,
                display_name=f"churn-{pipeline_id}",
                bq_source=plan.outputs["table"],
                encryption_spec_key_name=kms_key,
            )
            registered.after(preprocess).set_display_name("register-data")
            train = run_script("training", "model_training").after(registered)
            evaluate = evaluate_model(metrics_folder=plan.outputs["metrics"]).after(train)
            evaluate.set_caching_options(False)
            good = evaluate.outputs["Output"] >= min_average_precision
            with dsl.If(good, name="good-enough-to-tune"):
                tune = run_script("tuning", "hyperparameter_tuning")
                promoted = promote_model(
                    code_uri=code_uri,
                    lake=lake,
                    dataset=dataset,
                    pipeline_id=pipeline_id,
                    min_average_precision=min_average_precision,
                )
                promoted.after(tune).set_caching_options(False)
                with dsl.If(promoted.outputs["Output"] != "", name="accepted"):
                    with dsl.If(container_image != "", name="with-onnx"):
                        run_script("packaging", "online_serving")

    return churn_training


def compile_pipeline(target: str) -> None:
    """Write the pipeline for Google Cloud as a YAML file."""
    pipeline = training_pipeline(DataprocPySparkBatchOp, TabularDatasetCreateOp)
    compiler.Compiler().compile(pipeline, target)


@dsl.component(base_image=PYTHON_IMAGE, install_kfp_package=False)
def local_batch(
    main_python_file_uri: str, batch_id: str, args: list, python_file_uris: list, labels: dict,
    project: str, location: str, runtime_config_version: str, container_image: str,
    service_account: str, subnetwork_uri: str, kms_key: str,
):  # fmt: skip
    """Run a script by spark-submit; takes the parameters of DataprocPySparkBatchOp."""
    import pathlib
    import subprocess
    import sys

    submit = str(pathlib.Path(sys.executable).with_name("spark-submit"))
    command = [submit, "--name", batch_id, "--conf", "spark.ui.enabled=false"]
    command += ["--py-files", ",".join(python_file_uris), main_python_file_uri, *args]
    subprocess.run(command, check=True)


@dsl.component(base_image=PYTHON_IMAGE)
def local_dataset(
    display_name: str, bq_source: str, encryption_spec_key_name: str, project: str, location: str,
    dataset: dsl.Output[dsl.Dataset],
):  # fmt: skip
    """Note where a table is; takes the parameters of TabularDatasetCreateOp."""
    dataset.uri = bq_source
    dataset.metadata["displayName"] = display_name
