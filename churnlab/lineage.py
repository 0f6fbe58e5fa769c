"""From a prediction back to the model, its data, the raw file and the code, key by key."""

import re
import subprocess
from dataclasses import dataclass, field

from churnlab import paths
from churnlab.errors import CourseError
from churnlab.library import common_utils

NOTEBOOKS = {
    "preprocessing": "04-preprocessing",
    "training": "05-model-training",
    "tuning": "06-hyperparameter-tuning",
    "scoring": "07-batch-scoring",
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
    """Return the lineage of a run's predictions or, if it made none, of the models it registered.

    Raises CourseError if the run has written neither.
    """
    library = common_utils()
    library.check_pipeline_id(pipeline_id)  # it becomes a part of queries and paths
    root, lineage = library.dataset_root(lake, dataset), Lineage()
    scored = _rows(
        root,
        "SELECT model_version, COUNT(*) AS customers FROM batch_predictions "
        f"WHERE pipeline_id = '{pipeline_id}' GROUP BY model_version",
    )
    versions = [row["model_version"] for row in scored]
    wanted = f"pipeline_id = '{pipeline_id}'"
    if versions:
        wanted = "model_version IN ({})".format(", ".join(f"'{v}'" for v in versions))
    models = _rows(root, f"SELECT * FROM model_registry WHERE {wanted} ORDER BY model_version")
    if not models:
        raise CourseError(
            f"The run {pipeline_id} has neither predictions nor models in {root}.",
            "`churnlab sql 'SELECT DISTINCT pipeline_id FROM batch_predictions'` lists runs.",
        )
    for model in models:
        _add_model(lineage, lake, root, model, alone=len(models) == 1)
    for row in scored:
        name = _name("model", row["model_version"], len(models) == 1)
        code = _add_code(lineage, lake, pipeline_id, "scoring")
        label = f"predictions\n{pipeline_id}\n{row['customers']:,} customers"
        lineage.add(
            _name("predictions", row["model_version"], len(scored) == 1), label, name, *code, **row
        )
    return lineage


def _add_model(lineage: Lineage, lake: str, root: str, row: dict, alone: bool) -> None:
    version, run, step = row["model_version"], row["pipeline_id"], row["step"]
    data = _add_data(lineage, lake, root, row["data_pipeline_id"])
    facts = {"version": version} | {
        name: row[name]
        for name in ("model_uri", "metrics_uri", "data_fingerprint", "parameters_fingerprint")
    }
    label = (
        f"model, {row['stage']}\n{version}\nrows {row['data_fingerprint']}\n"
        f"parameters {row['parameters_fingerprint']}"
    )
    name = _name("model", version, alone)
    lineage.add(name, label, data, *_add_code(lineage, lake, run, step), **facts)
    measured = f"test metrics\nROC AUC {row['roc_auc']:.3f}\naverage precision "
    measured += f"{row['average_precision']:.3f}"
    lineage.add(_name("metrics", version, alone), measured, name, uri=row["metrics_uri"])


def _add_data(lineage: Lineage, lake: str, root: str, run: str) -> str:
    name = f"data {run}"
    if name not in lineage.nodes:
        query = f"SELECT COUNT(*) AS n FROM training_data WHERE pipeline_id = '{run}'"
        counted = next(iter(_rows(root, query)), {"n": 0})
        record = common_utils().run_record(lake, run, "preprocessing").get("facts", {})
        landed = record.get("provenance", {})
        sha = landed.get("sha256") or "unknown"
        source = landed.get("source", "unknown source")
        raw = f"raw {record.get('raw', 'unknown')} {sha}"
        lineage.add(raw, f"raw file\n{source}\nsha256 {sha[:12]}", **record)
        label = f"training data\n{run}\n{counted['n']:,} customers"
        lineage.add(name, label, raw, *_add_code(lineage, lake, run, "preprocessing"), run=run)
    return name


def _add_code(lineage: Lineage, lake: str, run: str, step: str) -> list[str]:
    """Add the code of a step, if its record is there; return its name in a list."""
    record = common_utils().run_record(lake, run, step)
    if not record:
        return []
    name = record["script"] or f"{NOTEBOOKS.get(step, step)}.ipynb"
    key = f"code {name} {record['script_blob'] or record['library_blob']}"
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
    library = common_utils()
    table = re.search(r"FROM (\w+)", query)[1]
    if "://" not in root and table not in library.list_folders(root):
        return []
    return library.review(root, query).to_dict("records")
