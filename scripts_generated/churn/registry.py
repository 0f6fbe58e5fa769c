# Generated from notebooks/07-tables-and-runs.ipynb by `make export`; do not edit.
"""The model registry: candidates with their evidence, who is the champion, and how a model is
saved and loaded.
"""

import hashlib
import json
from dataclasses import dataclass

import pandas as pd
from churn.features import FEATURES
from churn.forest import forest_nodes, model_columns
from churn.lake import delete_folder, join_uri, names_below, write_text
from churn.metrics import (
    curve_points,
    decision_column,
    decision_metrics,
    probability_metrics,
)
from churn.programs import ModelError, StepError, TableNotFoundError
from churn.tables import (
    RUN_COLUMNS,
    finish_decision,
    mark_finished,
    new_attempt,
    outdated_attempts,
    own_columns,
    read_rows,
    schema_of,
    write_decision,
    write_table,
    write_tables,
)
from pyspark.ml import PipelineModel
from pyspark.sql import DataFrame
from pyspark.sql import functions as F


def data_fingerprint(rows: DataFrame) -> str:
    """Return a fingerprint of rows that ignores their order and partitioning; one job.

    It covers every column but those of the run that wrote the rows.
    """
    seen = sorted(set(rows.columns) - set(schema_of(RUN_COLUMNS).names))
    hashes = F.xxhash64(*seen).cast("decimal(38,0)")
    total, count = rows.agg(F.sum(hashes), F.count("*")).first()
    return f"{count}-{int(total or 0) % 2**64:016x}"


def parameters_fingerprint(parameters: dict) -> str:
    """Return a fingerprint of a model's parameters."""
    return hashlib.sha256(json.dumps(parameters, sort_keys=True).encode()).hexdigest()[:16]


def save_model(model: PipelineModel, lake: str, model_version: str) -> str:
    """Save a model and return its place below the lake; earlier attempts stay readable."""
    uri = new_attempt(join_uri(lake, "models", model_version))
    model.save(uri)
    return uri.removeprefix(join_uri(lake)).lstrip("/")


def sweep_models(lake: str, model_version: str, dataset: str) -> None:
    """Delete the outdated attempts at a model, but those that a row of the registry names."""
    if outdated := outdated_attempts(join_uri(lake, "models", model_version)):
        rows = read_rows(dataset, "model_registry")
        named = {row["model_uri"].rpartition("/")[2] for row in rows}
        for uri in outdated:
            if uri.rpartition("/")[2] not in named:
                delete_folder(uri)


@dataclass(frozen=True)
class Candidate:
    """A fitted model and what it rests on.

    ``mean`` and ``spread`` are those of cross-validation, ``importance`` is by column.
    """

    pipeline_id: str
    step: str
    model: PipelineModel
    parameters: dict
    threshold: float
    mean: dict[str, float]
    spread: dict[str, float]
    importance: dict[str, float]
    data_pipeline_id: str
    data_fingerprint: str

    @property
    def version(self) -> str:
        """Return the model version: the run and the step that made it."""
        return f"{self.pipeline_id}-{self.step}"


def about(candidate: Candidate, rows: list[tuple]) -> list[tuple]:
    """Return rows of a table that begins with the model version."""
    return [(candidate.version, *row) for row in rows]


def write_evidence(candidate: Candidate, predictions: DataFrame, bins, dataset: str) -> dict:
    """Write the tables about a candidate; return the test's metrics and curves.

    ``predictions`` has customer_id, churn and churn_probability, ``bins`` are theirs. A curve is a
    list of points (x, y, threshold).
    """
    test = probability_metrics(bins) | decision_metrics(bins, candidate.threshold)
    metrics = [("cross-validation", k, v, candidate.spread[k]) for k, v in candidate.mean.items()]
    metrics += [("test", name, value, None) for name, value in test.items()]
    points = curve_points(bins)
    curves: dict[str, list] = {}
    for curve, _, *point in points:
        curves.setdefault(curve, []).append(point)
    tested = predictions.withColumns(
        {
            "model_version": F.lit(candidate.version),
            "prediction": decision_column(candidate.threshold),
        }
    )
    frames = {
        "test_predictions": tested,
        "model_metrics": about(candidate, metrics),
        "metric_curves": about(candidate, [("test", *point) for point in points]),
        "model_feature_importance_scores": about(candidate, list(candidate.importance.items())),
    }
    write_tables(frames, dataset, candidate.pipeline_id, candidate.step)
    return {"test": test, "curves": curves}


def publish_candidate(
    candidate: Candidate, predictions: DataFrame, bins, lake: str, dataset: str
) -> dict:
    """Save a candidate with its evidence and register it; return its row of the registry."""
    model_uri = save_model(candidate.model, lake, candidate.version)
    evidence = write_evidence(candidate, predictions, bins, dataset)
    test = evidence["test"]
    metrics_uri = f"metrics/{candidate.pipeline_id}/{candidate.step}.json"
    known = {"model_version": candidate.version, "model_uri": model_uri}
    known |= {"threshold": candidate.threshold, "positive_class": "yes"}
    evaluations = {"cross_validation": candidate.mean, "spread": candidate.spread}
    write_text(join_uri(lake, metrics_uri), json.dumps(known | evidence | evaluations, indent=2))
    entry = {
        "stage": "candidate",
        "algorithm": "random forest",
        "model_uri": model_uri,
        "metrics_uri": metrics_uri,
        "data_pipeline_id": candidate.data_pipeline_id,
        "data_fingerprint": candidate.data_fingerprint,
        "parameters": json.dumps(candidate.parameters, sort_keys=True),
        "parameters_fingerprint": parameters_fingerprint(candidate.parameters),
        "threshold": candidate.threshold,
        "roc_auc": test["roc_auc"],
        "average_precision": test["average_precision"],
        "cross_validated_average_precision": candidate.mean["average_precision"],
        "changed_by": candidate.step,
        "reason": "fitted",
        "evidence": None,
        "decision": None,
    }
    row = about(candidate, [tuple(entry.values())])
    write_table(row, dataset, "model_registry", candidate.pipeline_id, candidate.step)
    mark_finished(join_uri(lake, model_uri))
    sweep_models(lake, candidate.version, dataset)
    return entry


TRANSITIONS = {
    "candidate": ("challenger", "champion", "archived"),
    "challenger": ("champion", "refused"),
    "champion": (),  # it leaves when another takes its place
    "archived": ("challenger", "champion"),
    "refused": ("challenger",),
}


def champions(rows: list[dict]) -> list[dict]:
    """Return the registry's rows of the champion, last, and of those before it to go back to."""
    line: list[dict] = []
    chosen = [row for row in rows if row["stage"] == "champion"]
    for row in sorted(chosen, key=lambda row: row.get("decision") or 0):
        versions = [former["model_version"] for former in line]
        if row["model_version"] in versions:
            del line[versions.index(row["model_version"]) :]
        line.append(row)
    return line


def stage_of(rows: list[dict], model_version: str) -> str:
    """Return the stage of a version by the registry's rows, oldest first; "" if it has none."""
    if any(row["model_version"] == model_version for row in champions(rows)[-1:]):
        return "champion"
    stages = [row["stage"] for row in rows if row["model_version"] == model_version]
    last = stages[-1] if stages else ""
    return "archived" if last == "champion" else last


def registered_model(dataset: str, model_version: str = "champion") -> dict:
    """Return the last row of the registry about a version, or that of the champion.

    Raises ModelError if there is none.
    """
    try:
        rows = read_rows(dataset, "model_registry")
    except TableNotFoundError:
        raise ModelError(f"No model is registered in {dataset}. Run the training step.") from None
    if model_version == "champion":
        able = champions(rows)
        mend = "No model is the champion yet. Choose one: `churnlab promote VERSION --reason …`."
    else:
        able = [row for row in rows if row["model_version"] == model_version]
        known = ", ".join(dict.fromkeys(row["model_version"] for row in rows))
        mend = f"The registry of {dataset} has no model {model_version!r}, only {known}."
    if not able:
        raise ModelError(mend)
    return able[-1]


def best_candidate(dataset: str, pipeline_id: str = "") -> dict:
    """Return a run's candidate with the best cross-validated average precision.

    Without ``pipeline_id`` the run is the one that registered last. What was refused or archived
    is no candidate any more. Raises ModelError if there is none.
    """
    try:
        rows = read_rows(dataset, "model_registry")
    except TableNotFoundError:
        rows = []
    candidates = [row for row in rows if row["stage"] == "candidate"]
    run = pipeline_id or (candidates[-1]["pipeline_id"] if candidates else "")
    gone = ("refused", "archived")
    own = [row for row in candidates if row["pipeline_id"] == run]
    own = [row for row in own if stage_of(rows, row["model_version"]) not in gone]
    if not own:
        raise ModelError(f"No candidate of run {run or 'any'} is registered in {dataset}: train.")
    return max(own, key=lambda row: row["cross_validated_average_precision"])


@dataclass(frozen=True)
class Decision:
    """Who decides in which run, why, and on what evidence, as JSON if there is any.

    ``instead_of`` is the champion that the evidence is about; None if it is about none.
    """

    pipeline_id: str
    changed_by: str
    reason: str
    evidence: str | None = None
    instead_of: str | None = None


def check_decision(rows: list[dict], model_version: str, stage: str, decision: Decision) -> None:
    """Raise StepError for a decision without a name, and ModelError for one that can't be made."""
    if not decision.changed_by.strip() or not decision.reason.strip():
        raise StepError("A promotion needs who decided and a reason: somebody will ask.")
    have = stage_of(rows, model_version)
    if stage not in TRANSITIONS.get(have, ()):
        ways = " or ".join(TRANSITIONS.get(have, ())) or "another takes its place"
        raise ModelError(
            f"{model_version} is {have or 'not registered'} and can't become {stage}, only {ways}. "
            "`churnlab promote` takes a candidate, `churnlab rollback` the former champion."
        )
    now = champions(rows)[-1:]
    champion = now[0]["model_version"] if now else "nobody"
    if decision.instead_of not in (None, champion):
        raise ModelError(
            f"{model_version} was judged against {decision.instead_of}, and by now {champion} is "
            "the champion. Judge it again."
        )


def decide(entry: dict, stage: str, dataset: str, decision: Decision, step: str) -> dict:
    """Change the stage of a registered version; return the row that says so.

    A version that has the stage keeps it, and its row. Raises StepError as check_decision does,
    and ModelError if somebody else has decided at the same time.
    """
    finish_decision(dataset, "model_registry")
    rows, version = read_rows(dataset, "model_registry"), entry["model_version"]
    if decision.changed_by.strip() and decision.reason.strip() and stage_of(rows, version) == stage:
        return [r for r in rows if (r["model_version"], r["stage"]) == (version, stage)][-1]
    check_decision(rows, version, stage, decision)
    number = 1 + max(row.get("decision") or 0 for row in rows)
    said = {"changed_by": decision.changed_by, "reason": decision.reason}
    said |= {"evidence": decision.evidence, "decision": number}
    new = [entry | said | {"stage": stage}]
    if stage == "champion":
        left = said | {"stage": "archived", "reason": f"{version} took its place: {said['reason']}"}
        new = [row | left for row in champions(rows)[-1:]] + new
    values = [tuple(row.get(name) for name in own_columns("model_registry")) for row in new]
    run = decision.pipeline_id
    if not write_decision(values, dataset, "model_registry", run, step, number):
        raise lost_decision(dataset, version, stage, number)
    return new[-1]


def lost_decision(dataset: str, version: str, stage: str, number: int) -> ModelError:
    """Return the error of a decision whose number somebody else has taken."""
    finish_decision(dataset, "model_registry")
    won = [row for row in read_rows(dataset, "model_registry") if row["decision"] == number]
    who = " and ".join(f"{r['changed_by']} made {r['model_version']} {r['stage']}" for r in won)
    return ModelError(
        f"{version} did not become {stage}: at the same moment {who or 'somebody else decided'} "
        f"(decision {number}). Look at the registry, and decide again."
    )


def promote(
    entry: dict, dataset: str, pipeline_id: str, changed_by: str, reason: str,
    evidence: str | None = None, instead_of: str | None = None,
) -> dict:  # fmt: skip
    """Make a version of the registry the champion; return the row that says so.

    ``pipeline_id`` is the run that decides. Raises StepError as decide does.
    """
    decision = Decision(pipeline_id, changed_by, reason, evidence, instead_of)
    return decide(entry, "champion", dataset, decision, "promotion")


def rollback(lake: str, dataset: str, pipeline_id: str, changed_by: str, reason: str) -> dict:
    """Make the former champion the champion again; return the row that says so.

    Raises ModelError if there is none or its files are gone, StepError as decide does.
    """
    current = registered_model(dataset)
    line = champions(read_rows(dataset, "model_registry"))
    if len(line) < 2:
        raise ModelError(
            f"{current['model_version']} is the first champion: there is none to go back to. "
            "Promote another version: `churnlab promote VERSION --reason …`."
        )
    former, version = line[-2], current["model_version"]
    if not names_below(join_uri(lake, former["model_uri"])):
        raise unreadable_model(former, lake, FileNotFoundError("its files are gone."))
    decision = Decision(pipeline_id, changed_by, reason, None, version)
    return decide(former, "champion", dataset, decision, "rollback")


def unreadable_model(entry: dict, lake: str, error: Exception) -> ModelError:
    """Return the error of a registered model whose files are missing or damaged."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    named = len(lines) > 1 and lines[0].startswith("An error occurred while calling")
    reason = lines[1].lstrip(": ") if named else lines[0]
    return ModelError(
        f"Can't read the model {entry['model_version']} at {join_uri(lake, entry['model_uri'])}: "
        f"{reason} "
        "Train again, or name another version by --model-version."
    )


def load_model(entry: dict, lake: str) -> PipelineModel:
    """Load a registered model. Raises ModelError if its files are missing or damaged."""
    try:
        return PipelineModel.load(join_uri(lake, entry["model_uri"]))
    except Exception as error:  # Spark's own errors differ by what is damaged
        raise unreadable_model(entry, lake, error) from None


def read_forest(entry: dict, lake: str) -> tuple[pd.DataFrame, dict[str, list[str]]]:
    """Return nodes and columns of a registered forest. Raises ModelError if they can't be read."""
    uri = join_uri(lake, entry["model_uri"])
    try:
        return forest_nodes(uri), model_columns(uri)
    except (OSError, ValueError, KeyError) as error:
        raise unreadable_model(entry, lake, error) from None


def registered_forest(entry: dict, lake: str) -> tuple[pd.DataFrame, dict[str, list[str]]]:
    """Return nodes and columns of a registered forest that saw today's columns.

    Raises ModelError if it saw others, or as read_forest does.
    """
    nodes, columns = read_forest(entry, lake)
    if tuple(columns) != FEATURES:
        uri = join_uri(lake, entry["model_uri"])
        raise ModelError(f"The model at {uri} saw other columns. Train again.")
    return nodes, columns
