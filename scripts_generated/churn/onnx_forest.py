# Generated from notebooks/17-online-serving.ipynb by `make export`; do not edit.
"""A forest's nodes as one file in the ONNX format, and customers that find out whether it is the
same forest.
"""

import numpy as np
import onnx
import onnxruntime
import pandas as pd
from churn.forest import as_numbers
from churn.metrics import with_probability
from churn.programs import ModelError
from onnx import TensorProto, helper, numpy_helper
from pyspark.ml import PipelineModel
from pyspark.sql import SparkSession


def places(nodes: pd.DataFrame) -> pd.DataFrame:
    """Return each node's place among its kind, questions or leaves, and its children's places."""
    inner = nodes["feature"] >= 0
    place = np.where(inner, inner.cumsum() - 1, (~inner).cumsum() - 1)
    first = np.flatnonzero(nodes["node"] == 0)
    start = np.repeat(first, np.diff([*first, len(nodes)]))
    found = pd.DataFrame({"inner": inner, "place": place})
    for child in ("left", "right"):
        row = np.where(inner, nodes[child] + start, 0)
        found[child], found[f"{child}_is_leaf"] = place[row], ~inner.to_numpy()[row]
    return found


def with_questions(nodes: pd.DataFrame) -> pd.DataFrame:
    """Return nodes in which a tree of one leaf has a question with two equal answers."""
    alone = nodes.groupby("tree")["node"].transform("size") == 1
    leaves = nodes[alone]
    question = {"feature": 0, "categories": -1, "left": 1, "right": 2}
    asked = leaves.assign(**question, values=[[0.0]] * len(leaves))
    grown = pd.concat([nodes[~alone], asked, leaves.assign(node=1), leaves.assign(node=2)])
    return grown.sort_values(["tree", "node"], ignore_index=True)


BRANCH_LEQ = 0

BRANCH_MEMBER = 6


def tensor(values, kind: type = np.float64) -> onnx.TensorProto:
    """Return values as a tensor, of doubles unless told otherwise."""
    return numpy_helper.from_array(np.asarray(values, kind))


def questions(asked: pd.DataFrame) -> dict:
    """Return what the operator has to know of questions: feature, kind, threshold or set."""
    is_category = (asked["categories"] > 0).to_numpy()
    both = list(zip(is_category, asked["values"], strict=True))
    members = [[*values, np.nan] for category, values in both if category]
    return {
        "nodes_featureids": asked["feature"].tolist(),
        "nodes_modes": tensor(np.where(is_category, BRANCH_MEMBER, BRANCH_LEQ), np.uint8),
        "nodes_splits": tensor([0.0 if category else values[0] for category, values in both]),
    } | ({"membership_values": tensor(np.concatenate(members))} if members else {})


def forest_to_onnx(nodes: pd.DataFrame, columns: dict[str, list[str]]) -> onnx.ModelProto:
    """Return a forest as an ONNX model from ``features`` to ``probability``, both doubles.

    ``features`` are customers × columns, as ``as_numbers`` makes them.
    """
    nodes = with_questions(nodes)
    found = places(nodes)
    at, roots = found[found["inner"]], found["place"][nodes["node"] == 0]
    rates = nodes["rate"][~found["inner"]] / len(roots)
    trees = {"tree_roots": roots.tolist(), "n_targets": 1}
    trees |= {"leaf_weights": tensor(rates), "leaf_targetids": [0] * len(rates)}
    for answer, child in (("true", "left"), ("false", "right")):
        trees[f"nodes_{answer}nodeids"] = at[child].tolist()
        trees[f"nodes_{answer}leafs"] = at[f"{child}_is_leaf"].astype(int).tolist()
    attributes = trees | questions(nodes[found["inner"]])
    names = (["features"], ["probability"])
    node = helper.make_node("TreeEnsemble", *names, domain="ai.onnx.ml", **attributes)
    return checked_model(node, len(columns))


def checked_model(node: onnx.NodeProto, width: int) -> onnx.ModelProto:
    """Return a model of one operator on so many features."""
    shapes = {"features": ["customers", width], "probability": ["customers", 1]}
    x, p = (helper.make_tensor_value_info(n, TensorProto.DOUBLE, s) for n, s in shapes.items())
    graph = helper.make_graph([node], "forest", [x], [p])
    versions = [helper.make_opsetid("", 18), helper.make_opsetid("ai.onnx.ml", 5)]
    model = helper.make_model(graph, opset_imports=versions, ir_version=10)
    onnx.checker.check_model(model)
    return model


def inconvenient_customers(
    nodes: pd.DataFrame, columns: dict[str, list[str]], count: int, seed: int = 0
) -> pd.DataFrame:
    """Return customers with unseen values and with amounts on the borders of the questions."""
    random = np.random.default_rng(seed)
    made = {"customer_id": [f"generated-{seed}-{number}" for number in range(count)]}
    for position, (name, values) in enumerate(columns.items()):
        if values:
            made[name] = random.choice([*values, "never seen"], count)
            continue
        own = nodes["values"][nodes["feature"] == position]
        borders = np.array([0.0, *(values[0] for values in own)])
        near = random.choice(borders, count)
        beside = np.nextafter(near, random.choice([0, np.inf], count))
        anywhere = random.uniform(0, 1.2 * borders.max(), count)
        made[name] = random.permuted(np.stack([near, beside, anywhere], axis=1), axis=1)[:, 0]
    return pd.DataFrame(made)


def answers(content: bytes, customers: pd.DataFrame, columns: dict[str, list[str]]) -> np.ndarray:
    """Return the probability that an ONNX model gives each customer."""
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    return session.run(None, {"features": as_numbers(customers, columns)})[0].ravel()


def answers_of_spark(
    model: PipelineModel, customers: pd.DataFrame, columns: dict[str, list[str]]
) -> np.ndarray:
    """Return the probability that Spark gives each customer, in their order."""
    amounts = {name: float for name, values in columns.items() if not values}
    seen = customers[["customer_id", *columns]].astype(amounts)
    spark = SparkSession.getActiveSession()
    scored = with_probability(model.transform(spark.createDataFrame(seen)))
    found = scored.select("customer_id", "churn_probability").toPandas()
    return found.set_index("customer_id")["churn_probability"][seen["customer_id"]].to_numpy()


LARGEST_GAP = 1e-6


def check_gap(gap: float, version: str) -> None:
    """Raise ModelError if a package would answer otherwise than its model."""
    if not gap <= LARGEST_GAP:  # NaN is no small gap
        raise ModelError(
            f"As one file {version} answers otherwise than in Spark, by up to {gap:.2g}. "
            "Nothing is published. Compare forest_to_onnx with how this forest was saved."
        )
