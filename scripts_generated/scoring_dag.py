# Generated from notebooks/12-scoring-dag.ipynb by `make export`; do not edit.
"""Score the customers of each day: wait for their file, score it as a batch, check the result,
publish it only if it is good, and watch what was published.
"""

import hashlib
import json
import os
from datetime import UTC, datetime

import requests
from airflow.providers.google.cloud.operators.dataproc import DataprocCreateBatchOperator
from airflow.sdk import ObjectStoragePath, Param, PokeReturnValue, dag, task
from airflow.sdk.exceptions import AirflowException, AirflowFailException, AirflowSkipException


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

IMAGE = setting("CHURNLAB_BATCH_IMAGE", "")

FUNCTION_URL = setting("CHURNLAB_FUNCTION_URL", "")

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


def batch_request(step: str, options: dict) -> dict:
    """Return the batch that runs a step of a run; Airflow fills in what stands in braces."""
    pipeline_id = "{{ pipeline_id_of(dag_run) }}"
    options = {"--pipeline-id": pipeline_id, "--lake": LAKE, "--dataset": DATASET} | options
    execution = {"service_account": SERVICE_ACCOUNT, "subnetwork_uri": SUBNETWORK}
    execution |= {"staging_bucket": STAGING_BUCKET, "kms_key": KMS_KEY}
    labels = {"course": "churnlab", "step": step.replace("_", "-"), "pipeline-id": pipeline_id}
    return {
        "pyspark_batch": {
            "main_python_file_uri": f"{CODE}/{step}.py",
            "python_file_uris": [f"{CODE}/churn.zip"],
            "args": [word for option in options.items() for word in option],
        },
        "labels": labels,
        "runtime_config": {"version": "2.3"} | ({"container_image": IMAGE} if IMAGE else {}),
        "environment_config": {
            "execution_config": {"ttl": {"seconds": 3600}}
            | {name: value for name, value in execution.items() if value}
        },
    }


def spark_batch(task_id: str, step: str, **options) -> DataprocCreateBatchOperator:
    """Return the task that runs a step of a run as a batch; ``options`` are those of its script."""
    options = {f"--{name.replace('_', '-')}": value for name, value in options.items()}
    return DataprocCreateBatchOperator(
        task_id=task_id,
        project_id=PROJECT,
        region=REGION,
        batch_id=f"{task_id}-{{{{ pipeline_id_of(dag_run) }}}}-t{{{{ ti.try_number }}}}",
        batch=batch_request(step, options),
    )


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


def newest_record(pipeline_id: str, step: str) -> dict:
    """Return the last record of a step of a run, {} for none."""
    folder = in_lake(f"runs/{pipeline_id}/{step}")
    records = sorted(file.name for file in folder.iterdir()) if folder.exists() else []
    return json.loads((folder / records[-1]).read_text()) if records else {}


@task
def check_quality(dag_run, params) -> dict:
    """Return the record of this run's scoring step, or fail the run for good."""
    pipeline_id = pipeline_id_of(dag_run)
    record = newest_record(pipeline_id, "scoring")
    if not record:
        raise AirflowFailException(f"Not published: the batch of {pipeline_id} left no record.")
    if problems := problems_of(record, pipeline_id, params):
        raise AirflowFailException(f"Not published: {'; '.join(problems)}. Run {pipeline_id}.")
    return record


def write_whole(target: ObjectStoragePath, content: dict) -> None:
    """Write a small file of JSON aside, and move it into its place."""
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f"{target.name}.{content['pipeline_id']}.partial")
    partial.write_text(json.dumps(content, indent=2))
    partial.rename(target)


@task
def publish(record: dict) -> dict:
    """Point the readers to this run's predictions, unless they already have newer ones."""
    target = in_lake("published/batch_predictions.json")
    if target.exists():
        newest = json.loads(target.read_text())["pipeline_id"]
        if newest > record["pipeline_id"]:
            raise AirflowSkipException(f"Readers already have the newer run {newest}.")
    names = ("source", "model_version", "predictions", "offers")
    pointer = {"pipeline_id": record["pipeline_id"], "dataset": DATASET}
    pointer |= {name: record["facts"][name] for name in names}
    write_whole(target, pointer)
    return pointer


@task.branch(trigger_rule="all_done_min_one_success")
def judge(dag_run, params) -> str | None:
    """Return the task that answers the monitor's verdict; None if all is fine."""
    scored, watched = (newest_record(pipeline_id_of(dag_run), s) for s in ("scoring", "monitoring"))
    if not watched or watched["finished"] < scored["finished"]:  # of an earlier scoring
        return "nobody_watched"
    verdict = watched["facts"]["verdict"]
    if verdict == "retrain" and params["model_version"] != "champion":
        return "alert"  # who scores with another version on purpose wants no new champion
    return None if verdict == "fine" else verdict


def note(dag_run, **more) -> dict:
    """Add to the alarm of a run, say it in the log, and return it."""
    pipeline_id = pipeline_id_of(dag_run)
    file = in_lake(f"alarms/{pipeline_id}.json")
    alarm = json.loads(file.read_text()) if file.exists() else {}
    alarm |= {"pipeline_id": pipeline_id} | more
    write_whole(file, alarm)
    print(f"monitoring: {alarm['verdict']} {json.dumps(alarm)}")
    return alarm


@task
def alert(dag_run, params) -> dict:
    """Say what has moved, and why nothing is trained for it."""
    if params["model_version"] == "champion":
        return note(dag_run)
    named = f"{params['model_version']} was named, and is not the champion: alert only."
    return note(dag_run, retraining={"error": named})


@task
def nobody_watched(dag_run) -> None:
    """Fail the run: it is published, and nobody knows whether the world has moved."""
    note(dag_run, verdict="unwatched", moved=[])
    raise AirflowFailException("Published, but nobody watched: see the log of `monitor`.")


def retraining_key(model_version: str, run_after: datetime) -> str:
    """Return the key of a retraining: one for a model version and a week (ISO, in UTC)."""
    year, week, _ = run_after.astimezone(UTC).isocalendar()
    return f"retrain-{model_version}-{year}-w{week:02}"


def identity(url: str) -> dict[str, str]:
    """Return the header by which a function on Google Cloud knows the caller, {} for others."""
    if not url.startswith("https://"):
        return {}
    from google.auth.transport.requests import Request
    from google.oauth2 import id_token

    return {"Authorization": f"Bearer {id_token.fetch_id_token(Request(), url)}"}


@task
def retrain(dag_run) -> dict:
    """Start one training for this champion and week, or say that there is nobody to ask."""
    version = newest_record(pipeline_id_of(dag_run), "monitoring")["facts"]["model_version"]
    key = retraining_key(version, dag_run.run_after)
    if not FUNCTION_URL:
        return note(dag_run, retraining={"error": "CHURNLAB_FUNCTION_URL is not set: alert only."})
    try:
        headers = {"Idempotency-Key": key} | identity(FUNCTION_URL)
        answer = requests.post(FUNCTION_URL, json={"parameters": {}}, headers=headers, timeout=120)
    except Exception as error:  # no token or no connection; the task is tried again
        note(dag_run, retraining={"key": key, "error": f"the function was not reached: {error}"})
        raise
    is_json = answer.headers.get("Content-Type", "").startswith("application/json")
    reply = answer.json() if is_json else {"error": answer.text[:200]}
    alarm = note(dag_run, retraining={"key": key, "status": answer.status_code} | reply)
    if not answer.ok:
        again = answer.status_code in (429, 503)  # the others stay as they are
        error = AirflowException if again else AirflowFailException
        raise error(f"No training: the function answers {answer.status_code}: {reply}")
    return alarm


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
    """Score the customers of each day, publish what is good, and watch what was published."""
    customers = wait_for_customers()
    model = "{{ params.model_version }}"
    score = spark_batch("score", "batch_scoring", customers=customers, model_version=model)
    checked = check_quality()
    score >> checked
    published = publish(checked)
    monitor = spark_batch("monitor", "monitoring")
    verdict = judge()
    published >> monitor >> verdict
    published >> verdict
    verdict >> [alert(), retrain(), nobody_watched()]


SCORING_DAG = churn_scoring()
