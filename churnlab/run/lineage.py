"""From a prediction back to the model, its data, the raw file and the code, key by key."""

import re
import subprocess
from dataclasses import dataclass, field
from datetime import datetime

from churnlab import paths
from churnlab.errors import CourseError
from churnlab.run.library import library

NOTEBOOKS = {
    "preprocessing": "03-preprocessing",
    "training": "04-model-training",
    "tuning": "05-hyperparameter-tuning",
    "scoring": "06-batch-scoring",
    "explain": "14-explain",
    "monitoring": "16-monitoring",
    "packaging": "17-online-serving",
    "streaming": "18-streaming",
}


@dataclass
class Lineage:
    """What a run rests on: facts and label of each thing, and what was made from what."""

    nodes: dict[str, dict] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)
    edges: list[tuple[str, str]] = field(default_factory=list)

    def add(self, name: str, label: str, *made_from: str, **facts) -> None:
        """Add a thing, and an edge from each thing that it was made from."""
        self.nodes[name] = facts
        self.labels[name] = label
        self.edges += [(source, name) for source in made_from]


def trace(lake: str, dataset: str, pipeline_id: str) -> Lineage:
    """Return the lineage of a run's predictions and package or, if it made none, of its models.

    An answer of the server names the run that packaged its model. Raises CourseError if the run
    has written none of them.
    """
    library.runs.check_pipeline_id(pipeline_id)  # it becomes a part of queries and paths
    root, lineage = library.tables.dataset_root(lake, dataset), Lineage()
    scored = _rows(
        root,
        "SELECT model_version, COUNT(*) AS customers, MIN(pipeline_execution_ts) AS written "
        f"FROM batch_predictions WHERE pipeline_id = '{pipeline_id}' GROUP BY model_version",
    )
    versions = [row["model_version"] for row in scored]
    packaging = library.runs.run_record(lake, pipeline_id, "packaging")
    if packaging and packaging["facts"]["model_version"] not in versions:
        versions.append(packaging["facts"]["model_version"])
    of_run = f"pipeline_id = '{pipeline_id}' AND stage = 'candidate'"
    wanted = f"model_version IN (SELECT model_version FROM model_registry WHERE {of_run})"
    if versions:
        wanted = "model_version IN ({})".format(", ".join(f"'{v}'" for v in versions))
    models = _models(root, wanted)
    if not models:
        raise CourseError(
            f"The run {pipeline_id} has no predictions, no package and no models in {root}.",
            "`churnlab sql 'SELECT DISTINCT pipeline_id FROM batch_predictions'` lists runs.",
        )
    for model in models:
        _add_model(lineage, lake, root, model, alone=len(models) == 1)
    fitted = {row["model_version"]: row["pipeline_execution_ts"] for row in models}
    for row in scored:
        written = row.pop("written")
        made = fitted[row["model_version"]]
        _in_order(f"the model {row['model_version']}", made, f"predictions {pipeline_id}", written)
        name = _name("model", row["model_version"], len(models) == 1)
        code = _add_code(lineage, library.runs.run_record(lake, pipeline_id, "scoring"), "scoring")
        label = f"predictions\n{pipeline_id}\n{row['customers']:,} customers"
        lineage.add(
            _name("predictions", row["model_version"], len(scored) == 1), label, name, *code, **row
        )
    if packaging:
        _add_package(lineage, lake, packaging, len(models) == 1)
    return lineage


def _add_package(lineage: Lineage, lake: str, record: dict, alone: bool) -> None:
    """Add the package of a model, which servers answer from."""
    version, place = (record["facts"][name] for name in ("model_version", "package"))
    uri = library.lake.join_uri(lake, library.packages.PACKAGES, place)
    label = f"package\n{version}\n{record['facts']['checked']:,} customers compared"
    code = _add_code(lineage, record, "packaging")
    lineage.add("package", label, _name("model", version, alone), *code, uri=uri)


def _models(root: str, wanted: str) -> list[dict]:
    """Return each version's row of when it was fitted, with the stage that it has reached."""
    query = f"SELECT * FROM model_registry WHERE {wanted} ORDER BY pipeline_execution_ts"
    models: dict[str, dict] = {}
    for row in _rows(root, query):
        first = models.setdefault(row["model_version"], row)
        first["stage"] = row["stage"]
    return [models[version] for version in sorted(models)]


def _in_order(source: str, made: datetime, result: str, written: datetime) -> None:
    """Raise CourseError if something is younger than what was made from it."""
    if made > written:
        raise CourseError(
            f"{source} is of {made:%Y-%m-%d %H:%M:%S} and {result} of {written:%Y-%m-%d %H:%M:%S}: "
            "the younger can't have made the older.",
            "A step ran again under the key of a run that others rest on, and replaced its rows. "
            "Give each run a key of its own; what was there before is gone.",
        )


def _add_model(lineage: Lineage, lake: str, root: str, row: dict, alone: bool) -> None:
    version, run, step = row["model_version"], row["pipeline_id"], row["step"]
    data = _add_data(lineage, lake, root, row)
    model_uri, metrics_uri = (
        library.lake.join_uri(lake, row[name]) for name in ("model_uri", "metrics_uri")
    )
    facts = {"version": version, "model_uri": model_uri, "metrics_uri": metrics_uri}
    facts |= {name: row[name] for name in ("data_fingerprint", "parameters_fingerprint")}
    label = (
        f"model, {row['stage']}\n{version}\nrows {row['data_fingerprint']}\n"
        f"parameters {row['parameters_fingerprint']}"
    )
    name = _name("model", version, alone)
    code = _add_code(lineage, library.runs.run_record(lake, run, step), step)
    lineage.add(name, label, data, *code, **facts)
    measured = f"test metrics\nROC AUC {row['roc_auc']:.3f}\naverage precision "
    measured += f"{row['average_precision']:.3f}"
    lineage.add(_name("metrics", version, alone), measured, name, uri=metrics_uri)


def _add_data(lineage: Lineage, lake: str, root: str, model: dict) -> str:
    """Add the data of a model and its raw file, as they were when the model was fitted."""
    run, fitted = model["data_pipeline_id"], model["pipeline_execution_ts"]
    query = "SELECT COUNT(*) AS n, MAX(pipeline_execution_ts) AS written FROM training_data "
    counted = next(iter(_rows(root, f"{query} WHERE pipeline_id = '{run}'")), {"n": 0})
    if counted["n"]:
        result = f"the model {model['model_version']}"
        _in_order(f"the training data of {run}", counted["written"], result, fitted)
    name = f"data {run}"
    if name not in lineage.nodes:
        record = library.runs.run_record(lake, run, "preprocessing", fitted)
        facts = record.get("facts", {})
        landed = facts.get("provenance", {})
        sha = landed.get("sha256") or "unknown"
        source = landed.get("source", "unknown source")
        raw = f"raw {facts.get('raw', 'unknown')} {sha}"
        lineage.add(raw, f"raw file\n{source}\nsha256 {sha[:12]}", **facts)
        label = f"training data\n{run}\n{counted['n']:,} customers"
        code = _add_code(lineage, record, "preprocessing")
        lineage.add(name, label, raw, *code, run=run)
    return name


def _add_code(lineage: Lineage, record: dict, step: str) -> list[str]:
    """Add the code of a step's record, if there is one; return its name in a list."""
    if not record:
        return []
    name = record["script"] or f"{NOTEBOOKS.get(step, step)}.ipynb"
    key = f"code {name} {record['script_blob'] or record['library_tree']}"
    if key not in lineage.nodes:
        lineage.add(key, f"{name}\ncommit {commit_of(record) or 'unknown'}", **record)
    return [key]


def commit_of(record: dict) -> str:
    """Return the short name of the commit that brought a run's code, or "" if Git can't tell.

    A script is found by its content, a page by the commit it was executed from.
    """
    if not re.fullmatch(r"[0-9a-f]{40}", record["script_blob"]):
        return record["commit"]
    command = ["git", "-C", str(paths.ROOT), "log", "--format=%h"]
    command.append(f"--find-object={record['script_blob']}")
    try:
        found = subprocess.run(command, capture_output=True, text=True)
    except OSError:  # there is no git
        return ""
    # Both the commit that brought the content and the one that took it away: the first is meant.
    return found.stdout.split()[-1] if found.stdout.split() else ""


def _name(kind: str, version: str, alone: bool) -> str:
    return kind if alone else f"{kind} {version}"


def _rows(root: str, query: str) -> list[dict]:
    """Return the rows of a query; none if a table that it names is not there."""
    table = re.search(r"FROM (\w+)", query)[1]
    if "://" not in root and table not in library.lake.list_folders(root):
        return []
    return library.review.review(root, query).to_dict("records")
