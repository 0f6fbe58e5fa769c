# Generated from notebooks/12-scoring-dag.ipynb by `make export`; do not edit.
"""Score the customers of each day: wait for their file, score it as a batch, check the result, and
publish it only if it is good.
"""

import hashlib
import json
import os
from datetime import UTC, datetime

from airflow.providers.google.cloud.operators.dataproc import DataprocCreateBatchOperator
from airflow.sdk import ObjectStoragePath, Param, PokeReturnValue, dag, task
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException


def setting(name: str, default: str | None = None) -> str:
    """Return a setting of the environment. Raises ValueError for a missing one."""
    value = os.environ.get(name) or default
    if value is None:
        raise ValueError(f"{name} is not set. Give it to the environment that Airflow runs in.")
    return value


LAKE = setting("CHURNLAB_LAKE")

CODE = setting("CHURNLAB_CODE_URI")

PROJECT = setting("CHURNLAB_PROJECT")

REGION = setting("CHURNLAB_REGION", "us-central1")

DATASET = setting("CHURNLAB_DATASET", "churn")

SERVICE_ACCOUNT = setting("CHURNLAB_SERVICE_ACCOUNT", "")

SUBNETWORK = setting("CHURNLAB_SUBNETWORK", "")

STAGING_BUCKET = setting("CHURNLAB_STAGING_BUCKET", "")

KMS_KEY = setting("CHURNLAB_KMS_KEY", "")

SHARE = {"type": "number", "minimum": 0, "maximum": 1}

PARAMS = {
    "customers": Param(
        "incoming/{date}.csv",
        type="string",
        minLength=1,
        description="CSV file of the waiting customers, below the lake or as a full URI; "
        "{date} becomes the day of the run (UTC).",
    ),
    "model_version": Param(
        "champion", type="string", description="A registered version, or the champion."
    ),
    "max_quarantined": Param(
        0.02, **SHARE, description="Share of bad rows above which nothing is published."
    ),
    "min_offers": Param(0.02, **SHARE, description="Least share of customers with an offer."),
    "max_offers": Param(0.8, **SHARE, description="Largest share of customers with an offer."),
}


def pipeline_id_of(dag_run) -> str:
    """Return the key of a DAG run: the same for every task and every try."""
    run_after = dag_run.run_after.astimezone(UTC)
    return f"{run_after:%Y%m%dt%H%M%S}-{hashlib.sha256(dag_run.run_id.encode()).hexdigest()[:6]}"


def in_lake(name: str) -> ObjectStoragePath:
    """Return a file of the lake; a full URI or an absolute path stays what it is."""
    absolute = "://" in name or name.startswith("/")
    return ObjectStoragePath(name) if absolute else ObjectStoragePath(LAKE) / name


@task.sensor(mode="reschedule", poke_interval=60, timeout=12 * 3600)
def wait_for_customers(dag_run, params) -> PokeReturnValue:
    """Wait for the file of waiting customers and return its URI."""
    day = dag_run.run_after.astimezone(UTC).date().isoformat()
    file = in_lake(params["customers"].replace("{date}", day))
    print(f"Looking for {file}")
    return PokeReturnValue(file.exists(), str(file))


def batch_request(customers) -> dict:
    """Return the batch that scores a file; Airflow fills in what stands in braces."""
    pipeline_id = "{{ pipeline_id_of(dag_run) }}"
    options = {"--pipeline-id": pipeline_id, "--lake": LAKE, "--customers": customers}
    options |= {"--dataset": DATASET, "--model-version": "{{ params.model_version }}"}
    execution = {"service_account": SERVICE_ACCOUNT, "subnetwork_uri": SUBNETWORK}
    execution |= {"staging_bucket": STAGING_BUCKET, "kms_key": KMS_KEY}
    return {
        "pyspark_batch": {
            "main_python_file_uri": f"{CODE}/batch_scoring.py",
            "python_file_uris": [f"{CODE}/churn.zip"],
            "args": [word for option in options.items() for word in option],
        },
        "labels": {"course": "churnlab", "step": "batch-scoring", "pipeline-id": pipeline_id},
        "runtime_config": {"version": "2.3"},
        "environment_config": {
            "execution_config": {"ttl": {"seconds": 3600}}
            | {name: value for name, value in execution.items() if value}
        },
    }


def problems_of(record: dict, pipeline_id: str, limits: dict) -> list[str]:
    """Return what speaks against publishing a run, by the record of its scoring step."""
    if (record["pipeline_id"], record["step"]) != (pipeline_id, "scoring"):
        return [f"the record is of {record['step']} in run {record['pipeline_id']}"]
    facts = record["facts"]
    rows, predictions = facts["rows"], facts["predictions"]
    if not predictions:
        return [f"no customer of {facts['source']} has a prediction"]
    quarantined, offers = facts["quarantined"] / rows, facts["offers"] / predictions
    low, high = limits["min_offers"], limits["max_offers"]
    rules = {
        f"{facts['out_of_range']} probabilities are not between 0 and 1": facts["out_of_range"],
        f"{quarantined:.1%} of the rows are bad": quarantined > limits["max_quarantined"],
        f"{offers:.1%} of the customers get an offer": not low <= offers <= high,
        f"{rows} rows gave {predictions} predictions": predictions + facts["quarantined"] != rows,
    }
    return [problem for problem, broken in rules.items() if broken]


@task
def check_quality(dag_run, params) -> dict:
    """Return the record of this run's scoring step, or fail the run for good."""
    pipeline_id = pipeline_id_of(dag_run)
    folder = in_lake(f"runs/{pipeline_id}/scoring")
    records = sorted(file.name for file in folder.iterdir()) if folder.exists() else []
    if not records:
        raise AirflowFailException(f"Not published: the batch left no record in {folder}.")
    file = folder / records[-1]  # a retry of the batch leaves another; names sort by time
    record = json.loads(file.read_text())
    if problems := problems_of(record, pipeline_id, params):
        raise AirflowFailException(f"Not published: {'; '.join(problems)}. See {file}.")
    return record


@task
def publish(record: dict, dag_run) -> dict:
    """Point the readers to this run's predictions, unless they already have newer ones."""
    target = in_lake("published/batch_predictions.json")
    if target.exists():
        newest = json.loads(target.read_text())["pipeline_id"]
        if newest > record["pipeline_id"]:
            raise AirflowSkipException(f"Readers already have the newer run {newest}.")
    names = ("source", "model_version", "predictions", "offers")
    pointer = {"pipeline_id": record["pipeline_id"], "dataset": DATASET}
    pointer |= {name: record["facts"][name] for name in names}
    partial = target.with_name(f"{target.name}.{pipeline_id_of(dag_run)}.partial")
    target.parent.mkdir(parents=True, exist_ok=True)
    partial.write_text(json.dumps(pointer, indent=2))
    partial.rename(target)
    return pointer


@dag(
    schedule="@daily",
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    default_args={"retries": 1},
    params=PARAMS,
    user_defined_macros={"pipeline_id_of": pipeline_id_of},
    tags=["churnlab"],
)
def churn_scoring():
    """Score the customers of each day, check the result, and publish it only if it is good."""
    score = DataprocCreateBatchOperator(
        task_id="score",
        project_id=PROJECT,
        region=REGION,
        batch_id="score-{{ pipeline_id_of(dag_run) }}-t{{ ti.try_number }}",
        batch=batch_request(wait_for_customers()),
    )
    checked = check_quality()
    score >> checked
    publish(checked)


SCORING_DAG = churn_scoring()
