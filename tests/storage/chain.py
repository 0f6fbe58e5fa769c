"""The steps 02-06 and a stream on few customers, on this machine and in a bucket, with the same options."""

from pathlib import Path

from tests.same_rows import order

RUN = "the-run"
CUSTOMERS = 400
STEPS = {
    "preprocessing": [],
    "model_training": ["--num-trees", "4", "--max-depth", "3"],
    "hyperparameter_tuning": ["--quick", "true"],
    "batch_scoring": ["--model-version", f"{RUN}-training"],
    "streaming": ["--model-version", f"{RUN}-training"],
}
# What other scripts write than these steps.
OF_OTHER_SCRIPTS = {"crime_counts", "model_explanations", "drift_metrics"}
# What differs between two runs of the same thing.
OF_A_RUN = {"pipeline_execution_ts", "model_uri", "metrics_uri"}


def options(step: str, lake: str, *more: str) -> list[str]:
    """Return the arguments of a step of the run."""
    return ["--pipeline-id", RUN, "--lake", lake, *STEPS.get(step, []), *more]


def arrival(raw_file: Path) -> str:
    """Return the first customers of a raw file, a bad one among them, as a file for a stream."""
    lines = raw_file.read_text(encoding="utf-8").splitlines()[:41]
    return "\n".join(line.rpartition(",")[0] for line in lines) + "\n"


def records(frame, but: set[str] = frozenset(OF_A_RUN)) -> list[dict]:
    """Return the rows of a pandas DataFrame in a fixed order, as plain values."""
    kept = frame[[column for column in frame.columns if column not in but]]
    rows = [{k: plain(v) for k, v in row.items()} for row in kept.to_dict("records")]
    return sorted(rows, key=order)


def plain(value):
    """Return a value as Python's own: pandas, NumPy, Arrow and two databases differ in wrapping."""
    if hasattr(value, "isoformat"):
        return value.isoformat() if value == value else None
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, list):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return None if value != value else value
