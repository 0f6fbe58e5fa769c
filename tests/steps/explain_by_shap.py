"""Shapley values of a forest by the package shap, a second opinion on ours.

    python explain_by_shap.py FOLDER

Runs in the environment of the cloud's checks, which has shap. FOLDER has nodes.json, the forest's
nodes as records, and x.npy, customers × features; shap.npy is written beside them.

shap knows thresholds only. A question for a set of values becomes several thresholds on the same
feature, one for each run of neighbouring values; a run gets its part of the customers on its side,
so that all copies of a side together keep its weight, and with it every expectation.
"""

import json
import sys
from itertools import groupby
from pathlib import Path

import numpy as np
import shap

COLUMNS = ("children_left", "children_right", "features", "thresholds", "node_sample_weight")


class Tree:
    """One tree as shap's arrays, grown from our nodes."""

    def __init__(self, nodes: list[dict], trees: int):
        self.nodes = {node["node"]: node for node in nodes}
        self.rows: list[list] = []
        self.values: list[list[float]] = []
        self.trees = trees
        self.grow(0, self.nodes[0]["customers"])

    def add(self, feature: int, weight: float, value: float) -> int:
        self.rows.append([-1, -1, feature, 0.0, weight])
        self.values.append([value / self.trees])
        return len(self.rows) - 1

    def grow(self, number: int, weight: float) -> int:
        """Add a node and all below it; ``weight`` is this copy's part of its customers."""
        node = self.nodes[number]
        if node["feature"] < 0:
            return self.add(-2, weight, node["rate"])
        if node["categories"] < 0:
            runs = [(True, node["values"][0]), (False, np.inf)]
        else:
            sides = [(value in node["values"], value) for value in range(node["categories"])]
            runs = [(side, [v for _, v in run][-1] + 0.5) for side, run in groupby(sides, first)]
        parts = []
        for side, _ in runs:
            child = node["left"] if side else node["right"]
            share = self.nodes[child]["customers"] / node["customers"]
            copies = sum(other == side for other, _ in runs)
            parts.append((child, weight * share / copies))
        return self.chain(node, runs, parts)

    def chain(self, node: dict, runs: list, parts: list) -> int:
        """Add one threshold for each run but the last."""
        if len(runs) == 1:
            return self.grow(*parts[0])
        own = self.add(node["feature"], sum(weight for _, weight in parts), node["rate"])
        left, right = self.grow(*parts[0]), self.chain(node, runs[1:], parts[1:])
        self.rows[own][:2], self.rows[own][3] = [left, right], runs[0][1]
        return own

    def arrays(self) -> dict:
        table = dict(zip(COLUMNS, map(np.array, zip(*self.rows, strict=True)), strict=True))
        for name in ("children_left", "children_right", "features"):
            table[name] = table[name].astype("int32")
        table["children_default"] = table["children_left"]
        return table | {"values": np.array(self.values)}


def first(pair: tuple) -> bool:
    return pair[0]


def main(folder: Path) -> None:
    nodes = json.loads((folder / "nodes.json").read_text(encoding="utf-8"))
    trees = [list(group) for _, group in groupby(nodes, lambda node: node["tree"])]
    forest = {"trees": [Tree(tree, len(trees)).arrays() for tree in trees]}
    explainer = shap.TreeExplainer(forest, feature_perturbation="tree_path_dependent")
    values = explainer.shap_values(np.load(folder / "x.npy"), check_additivity=False)
    np.save(folder / "shap.npy", np.squeeze(values))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
