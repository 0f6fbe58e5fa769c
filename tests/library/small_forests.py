"""Small forests made up node by node, with sets of values and thresholds, and their Shapley values."""

from itertools import combinations
from math import comb

import numpy as np
import pandas as pd
from churn.forest import Forest

COLUMNS = {"plan": ["a", "b", "c"], "region": ["n", "s", "w", "e"], "age": [], "bill": []}


def grow(rng: np.random.Generator, depth: int, nodes: list[dict], tree: int, customers: int) -> int:
    """Add a subtree in Spark's order of nodes, parents first; return its first node."""
    own = len([node for node in nodes if node["tree"] == tree])
    node = {"tree": tree, "node": own, "feature": -1, "values": [], "categories": -1}
    node |= {"left": -1, "right": -1, "customers": float(customers), "rate": 0.0}
    nodes.append(node)
    if depth == 0 or customers < 2 or (own and rng.random() < 0.15):
        node["rate"] = rng.random()
        return own
    node["feature"] = int(rng.integers(len(COLUMNS)))
    labels = list(COLUMNS.values())[node["feature"]]
    if labels:  # a set that is neither empty nor all; the value past the last is unknown
        node["categories"] = len(labels) + 1
        size = rng.integers(1, len(labels))
        node["values"] = [float(v) for v in rng.choice(len(labels), size, replace=False)]
    else:
        node["values"] = [float(rng.integers(1, 9)) + 0.5]
    to_the_left = int(rng.integers(1, customers))
    node["left"] = grow(rng, depth - 1, nodes, tree, to_the_left)
    node["right"] = grow(rng, depth - 1, nodes, tree, customers - to_the_left)
    below = {n["node"]: n for n in nodes if n["tree"] == tree}
    children = [below[node["left"]], below[node["right"]]]
    node["rate"] = sum(n["customers"] * n["rate"] for n in children) / customers
    return own


def small_forest(seed: int, trees: int = 3, depth: int = 5) -> tuple[pd.DataFrame, Forest]:
    """Return the nodes of a forest, and the forest."""
    rng, nodes = np.random.default_rng(seed), []
    for tree in range(trees):
        grow(rng, depth, nodes, tree, customers=200)
    frame = pd.DataFrame(nodes)
    return frame, Forest(frame, COLUMNS)


def anybody(seed: int, count: int) -> np.ndarray:
    """Return customers × features, unknown values and amounts at the thresholds among them."""
    rng = np.random.default_rng(seed)
    known = [rng.integers(0, len(v) + 1, count) for v in COLUMNS.values() if v]
    amounts = [rng.integers(0, 20, count) / 2 for v in COLUMNS.values() if not v]
    return np.column_stack(known + amounts).astype(float)


def expectation(nodes: pd.DataFrame, x: np.ndarray, told: set[int]) -> float:
    """Return a forest's mean answer if only some columns of one customer are told.

    A question about another column sends the customer both ways, by the customers who went there.
    """
    total = 0.0
    for _, tree in nodes.groupby("tree"):
        table = {row.node: row for row in tree.itertuples()}

        def answer(number: int, table: dict = table) -> float:
            node = table[number]
            if node.feature < 0:
                return node.rate
            value = x[node.feature]
            left = value in node.values if node.categories > 0 else value <= node.values[0]
            if node.feature in told:
                return answer(node.left if left else node.right)
            children = (table[node.left], table[node.right])
            return sum(n.customers * answer(n.node) for n in children) / node.customers

        total += answer(0)
    return total / nodes["tree"].nunique()


def shapley_values(nodes: pd.DataFrame, x: np.ndarray) -> np.ndarray:
    """Return one customer's Shapley values by their definition, over all sets of columns."""
    columns = range(len(COLUMNS))
    found = np.zeros(len(COLUMNS))
    for column in columns:
        others = [other for other in columns if other != column]
        for size in range(len(others) + 1):
            weight = 1 / (len(COLUMNS) * comb(len(others), size))
            for told in map(set, combinations(others, size)):
                gain = expectation(nodes, x, told | {column}) - expectation(nodes, x, told)
                found[column] += weight * gain
    return found
