"""Packages of small forests, for the server: as churn/packages.py writes them."""

from pathlib import Path

import numpy as np
import pandas as pd
from churn.forest import Forest, as_numbers
from churn.onnx_forest import forest_to_onnx, inconvenient_customers
from churn.packages import (
    MODEL,
    NODES,
    examples,
    parquet_bytes,
    serve_package,
    signature,
    write_package,
)

from tests.library.small_forests import small_forest

COLUMNS = {
    "contract": ["Month-to-month", "One year", "Two year"],
    "region": ["north", "south", "west", "east"],
    "tenure": [],
    "monthly_charges": [],
}
THRESHOLD = 0.45


def forest(seed: int) -> tuple[pd.DataFrame, Forest]:
    """Return the nodes of a small forest on COLUMNS, and the forest."""
    nodes, _ = small_forest(seed, trees=5)
    return nodes, Forest(nodes, COLUMNS)


def customers(seed: int, count: int) -> list[dict]:
    """Return instances of a request; some values are unseen, some amounts are thresholds."""
    made = inconvenient_customers(forest(seed)[0], COLUMNS, count, seed)
    made["tenure"] = np.floor(made["tenure"])
    return made[list(COLUMNS)].to_dict("records")


def probabilities(seed: int, instances: list[dict]) -> np.ndarray:
    """Return what the forest says of instances."""
    return forest(seed)[1].probability(as_numbers(pd.DataFrame(instances), COLUMNS))


def package(lake: Path, version: str, seed: int, **changes) -> str:
    """Write a package of the forest of a seed and return its place; changes are the note's."""
    nodes, trees = forest(seed)
    shown = pd.DataFrame(customers(seed, 20))
    note = {
        "model_version": version,
        "pipeline_id": f"packed-{version}",
        "threshold": THRESHOLD,
        "columns": signature(COLUMNS),
        "examples": examples(shown, COLUMNS, trees.probability(as_numbers(shown, COLUMNS))),
    }
    model = forest_to_onnx(nodes, COLUMNS).SerializeToString()
    files = {MODEL: model, NODES: parquet_bytes(nodes)}
    return write_package(str(lake), version, files, note | changes)


def champion(lake: Path, version: str, seed: int, **changes) -> str:
    """Write a package and let servers take it up."""
    place = package(lake, version, seed, **changes)
    serve_package(str(lake), place)
    return place
