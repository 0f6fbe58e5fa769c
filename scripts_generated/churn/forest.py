# Generated from notebooks/06-batch-scoring.ipynb by `make export`; do not edit.
"""The nodes of a saved forest as arrays: to score many customers at once, without Spark."""

import json
from itertools import pairwise

import numpy as np
import pandas as pd
import pyarrow.dataset as ds
from churn.lake import (
    filesystem,
    join_uri,
    list_folders,
    names_below,
    read_text,
)


def forest_nodes(model_uri: str) -> pd.DataFrame:
    """Return the nodes of a saved forest, by tree and node; no Spark job.

    ``customers`` were in the node when it was grown, and ``rate`` of them churned; leaves have
    feature -1. A customer goes ``left`` if the feature is at most ``values[0]``, or one of
    ``values`` where ``categories`` is not -1.
    """
    [forest] = [uri for uri in stages_of(model_uri) if "RandomForest" in uri.rpartition("/")[2]]
    table = read_parquet(join_uri(forest, "data"))
    node = pd.DataFrame(table.column("nodeData").to_pylist())
    split = pd.DataFrame(node["split"].tolist())
    stats = np.stack(node["impurityStats"])
    frame = pd.DataFrame(
        {
            "tree": table.column("treeID").to_pandas(),
            "node": node["id"],
            "feature": split["featureIndex"].fillna(-1).astype(int),
            "values": split["leftCategoriesOrThreshold"],
            "categories": split["numCategories"].fillna(-1).astype(int),
            "left": node["leftChild"],
            "right": node["rightChild"],
            "customers": stats.sum(axis=1),
            "rate": stats[:, 1] / stats.sum(axis=1),
        }
    )
    return frame.sort_values(["tree", "node"], ignore_index=True)


def stages_of(model_uri: str) -> list[str]:
    """Return the folders of a saved pipeline's stages, in order."""
    return [join_uri(model_uri, "stages", n) for n in list_folders(join_uri(model_uri, "stages"))]


def read_parquet(uri: str):
    """Return a small folder of Parquet files as an Arrow table."""
    files, path = filesystem(uri)
    return ds.dataset(path, filesystem=files, format="parquet").to_table()


def stage_columns(stage: str) -> list[str]:
    """Return the input columns of a saved stage."""
    folder = join_uri(stage, "metadata")
    [note] = [name for name in names_below(folder) if name.startswith("part-")]
    return json.loads(read_text(join_uri(folder, note)))["paramMap"]["inputCols"]


def model_columns(model_uri: str) -> dict[str, list[str]]:
    """Return the columns that a model saw, in the order of its vector.

    Each has the values of a category in the order of their numbers; an amount has none.
    """
    indexer, assembler = stages_of(model_uri)[:2]
    labels = read_parquet(join_uri(indexer, "data")).column("labelsArray")[0].as_py()
    values = dict(zip(stage_columns(indexer), labels, strict=True))
    names = [name.removesuffix("_index") for name in stage_columns(assembler)]
    return {name: values.get(name, []) for name in names}


def by_level(nodes: pd.DataFrame) -> tuple[pd.DataFrame, list[slice]]:
    """Return nodes level by level, the roots first, and the rows of each level.

    ``left``, ``right`` and ``parent`` become rows; a leaf leads to itself, a root is its parent.
    """
    own, inner = np.arange(len(nodes)), (nodes["feature"] >= 0).to_numpy()
    root = np.flatnonzero(nodes["node"] == 0)[nodes["tree"].rank(method="dense").astype(int) - 1]
    left, right = (np.where(inner, nodes[side] + root, own) for side in ("left", "right"))
    parent, levels = own.copy(), [np.unique(root)]
    while len(asked := levels[-1][inner[levels[-1]]]):
        parent[left[asked]] = parent[right[asked]] = asked
        levels.append(np.concatenate([left[asked], right[asked]]))
    order, edges = np.concatenate(levels), np.cumsum([0, *map(len, levels)])
    row = np.argsort(order)
    frame = nodes.assign(left=row[left], right=row[right], parent=row[parent]).iloc[order]
    return frame.reset_index(drop=True), [slice(*ends) for ends in pairwise(edges)]


def split_values(nodes: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Return each node's threshold, and nodes × values: does a category's value go left?"""
    amounts, categories = nodes["categories"] == -1, nodes["categories"].clip(lower=0)
    threshold, member = np.zeros(len(nodes)), np.zeros((len(nodes), max(1, categories.max())), bool)
    for node in np.flatnonzero(nodes["feature"] >= 0):
        values = nodes["values"].iat[node]
        if amounts.iat[node]:
            threshold[node] = values[0]
        else:
            member[node, np.asarray(values, int)] = True
    return threshold, member


class Forest:
    """The trees of a saved forest as arrays over all nodes, level by level, the roots first.

    ``columns`` are those of ``model_columns``. ``feature`` is -1 in a leaf; ``left``, ``right``,
    ``parent`` are nodes; ``levels`` are slices. ``member[node, value]``: does it go left?
    """

    def __init__(self, nodes: pd.DataFrame, columns: dict[str, list[str]]):
        nodes, self.levels = by_level(nodes)
        self.columns = columns
        arrays = ("tree", "feature", "left", "right", "parent", "customers", "rate")
        for name in arrays:
            setattr(self, name, nodes[name].to_numpy())
        self.roots = np.arange(self.levels[0].stop)
        self.base = float(self.rate[self.roots].mean())
        self.is_category = (nodes["categories"] > 0).to_numpy()
        self.threshold, self.member = split_values(nodes)

    def goes_left(self, x: np.ndarray, at: np.ndarray) -> np.ndarray:
        """Return the answers at nodes: ``at`` is any × customers (or 1), x customers × features."""
        answer = x[np.arange(len(x)), self.feature[at]]
        value = np.clip(answer, 0, self.member.shape[1] - 1).astype(int)
        amount = answer <= self.threshold[at]
        return np.where(self.is_category[at], self.member[at, value], amount)

    def leaves(self, x: np.ndarray) -> np.ndarray:
        """Return trees × customers: the leaf that each customer comes to."""
        at = np.repeat(self.roots[:, None], len(x), axis=1)
        for _ in self.levels[1:]:
            at = np.where(self.goes_left(x, at), self.left[at], self.right[at])
        return at

    def probability(self, x: np.ndarray) -> np.ndarray:
        """Return the probability of churn of each customer."""
        return self.rate[self.leaves(x)].mean(axis=0)


def as_numbers(customers: pd.DataFrame, columns: dict[str, list[str]]) -> np.ndarray:
    """Return customers × features: the number of each category's value, and the amounts.

    A value that the model does not know has the number after the last.
    """
    x = np.empty((len(customers), len(columns)))
    for position, (name, values) in enumerate(columns.items()):
        number = pd.Index(values).get_indexer(customers[name]) if values else customers[name]
        x[:, position] = np.where(number == -1, len(values), number) if values else number
    return x


def load_forest(model_uri: str) -> Forest:
    """Return the forest of a saved pipeline: feature stages, then a random forest."""
    return Forest(forest_nodes(model_uri), model_columns(model_uri))
