# Generated from notebooks/15-registry-and-gate.ipynb by `make export`; do not edit.
"""A challenger before the gate: both models answer about the acceptance set, the rules are
applied, and the registry keeps what came of it.
"""

import json
import time
from dataclasses import asdict, dataclass

import pandas as pd
from churn.contract import AMOUNTS, CATEGORIES
from churn.forest import as_numbers, load_forest
from churn.gate import Check, Limits, Weight, acceptance_fingerprint, compare, judge, paired
from churn.lake import filesystem, join_uri, names_below
from churn.programs import ModelError, TableNotFoundError
from churn.registry import (
    Decision,
    champions,
    decide,
    promote,
    registered_model,
    unreadable_model,
)
from churn.review import ask
from churn.runs import check_pipeline_id
from churn.tables import read_rows


def acceptance_set(dataset: str, data_pipeline_id: str) -> pd.DataFrame:
    """Return the test split of a run's training data: features, customer_id, churn."""
    columns = ", ".join(["customer_id", *CATEGORIES, *AMOUNTS, "churn"])
    run = check_pipeline_id(data_pipeline_id)
    return ask(
        dataset,
        f"SELECT {columns} FROM training_data WHERE pipeline_id = '{run}' AND split = 'test' "
        "ORDER BY customer_id",
    ).to_pandas()


def answers(entry: dict, lake: str, customers: pd.DataFrame) -> tuple[pd.DataFrame, Weight]:
    """Return customers with a model's churn_probability, and what the model weighs.

    Raises ModelError if the model's files can't be read.
    """
    try:
        forest = load_forest(join_uri(lake, entry["model_uri"]))
    except (OSError, ValueError, KeyError) as error:
        raise unreadable_model(entry, lake, error) from None
    x, seconds = as_numbers(customers, forest.columns), []
    for _ in range(3):
        started = time.perf_counter()
        probability = forest.probability(x)
        seconds.append(time.perf_counter() - started)
    weight = Weight(megabytes(entry, lake), len(forest.rate), 1000 * min(seconds) / len(x))
    return customers.assign(churn_probability=probability), weight


def megabytes(entry: dict, lake: str) -> float:
    """Return the size of a saved model's files."""
    uri = join_uri(lake, entry["model_uri"])
    files, path = filesystem(uri)
    names = [f"{path}/{name}" for name in names_below(uri) if not name.endswith("/")]
    return sum(info.size for info in files.get_file_info(names)) / 1e6


@dataclass(frozen=True)
class Verdict:
    """What the gate found about a challenger; ``champion`` is "nobody" if there was none."""

    model_version: str
    champion: str
    checks: list[Check]
    facts: dict

    @property
    def refusals(self) -> list[str]:
        """Return the rules that do not hold, in words."""
        return [str(check) for check in self.checks if not check.holds]

    @property
    def evidence(self) -> str:
        """Return everything as JSON, for the registry."""
        checks = [asdict(check) | {"holds": check.holds} for check in self.checks]
        return json.dumps({"champion": self.champion, "checks": checks} | self.facts)


def examine(entry: dict, champion: dict | None, lake: str, dataset: str, limits: Limits) -> Verdict:
    """Return what the gate says about a registered version, and change nothing."""
    version, floor = entry["model_version"], limits.min_average_precision
    if champion is None:
        first = Check("average precision", entry["average_precision"], "at least", floor)
        return Verdict(version, "nobody", [first], {})
    customers = acceptance_set(dataset, entry["data_pipeline_id"])
    (theirs, _), (ours, weight) = (answers(e, lake, customers) for e in (champion, entry))
    pairs = paired(theirs, ours)
    thresholds = {"champion": champion["threshold"], "challenger": entry["threshold"]}
    comparison = compare(pairs, thresholds, limits)
    facts = {"acceptance_set": acceptance_fingerprint(pairs)}
    for name in ("average_precision", "calibration", "saved"):
        facts[name] = comparison.interval(name)
    checks = judge(pairs, comparison, thresholds, weight, limits)
    return Verdict(version, champion["model_version"], checks, facts)


def challenge(
    entry: dict, lake: str, dataset: str, pipeline_id: str, changed_by: str, limits: Limits
) -> Verdict:
    """Let a registered version challenge the champion; the registry says what came of it.

    Who is the champion already has nothing to show. Raises ModelError if another decision was made
    at the same time, or files can't be read.
    """
    line = champions(read_rows(dataset, "model_registry"))
    champion = line[-1] if line else None
    if champion is not None and champion["model_version"] == entry["model_version"]:
        return Verdict(entry["model_version"], entry["model_version"], [], {})
    by = Decision(pipeline_id, changed_by, "stands before the gate")
    decide(entry, "challenger", dataset, by, "challenge")
    verdict = examine(entry, champion, lake, dataset, limits)
    if verdict.refusals:
        no = Decision(pipeline_id, changed_by, "; ".join(verdict.refusals), verdict.evidence)
        decide(entry, "refused", dataset, no, "gate")
    else:
        held = f"all {len(verdict.checks)} rules hold against {verdict.champion}"
        held = held if champion else f"the first champion: {verdict.checks[0]}"
        promote(entry, dataset, pipeline_id, changed_by, held, verdict.evidence, verdict.champion)
    return verdict


def next_challenger(dataset: str, model_version: str = "next") -> dict:
    """Return a registered version, or the best candidate of the newest run but the champion.

    Raises ModelError if there is none.
    """
    if model_version != "next":
        return registered_model(dataset, model_version)
    try:
        rows = read_rows(dataset, "model_registry")
    except TableNotFoundError:
        rows = []
    now = {row["model_version"] for row in champions(rows)[-1:]}
    fitted = [r for r in rows if r["stage"] == "candidate" and r["model_version"] not in now]
    if not fitted:
        raise ModelError(f"No candidate of {dataset} waits for its turn. Train another model.")
    run = fitted[-1]["pipeline_id"]
    own = [row for row in fitted if row["pipeline_id"] == run]
    return max(own, key=lambda row: row["cross_validated_average_precision"])
