"""Write two small ONNX models: one with an input a column, one with one wide input.

Runs in the environment of the cloud's checks, which has onnx. Usage: python small_models.py FOLDER
"""

import sys
from pathlib import Path

import onnx
from onnx import TensorProto, helper

OPSETS = [helper.make_opsetid("", 18), helper.make_opsetid("ai.onnx.ml", 3)]


def value(name: str, kind: int, width: int | None = 1) -> onnx.ValueInfoProto:
    """Return a declaration: any number of rows, this many values in each (None: just one)."""
    return helper.make_tensor_value_info(name, kind, [None] if width is None else [None, width])


def save(graph: onnx.GraphProto, folder: Path) -> None:
    """Check a graph and write it as model.onnx."""
    model = helper.make_model(graph, opset_imports=OPSETS, ir_version=10)
    onnx.checker.check_model(model)
    folder.mkdir(parents=True)
    onnx.save(model, folder / "model.onnx")


def columns_model() -> onnx.GraphProto:
    """Return probability = sigmoid(risk of the contract + senior_citizen - tenure), and a label."""
    risks = {"keys_strings": ["Month-to-month", "Two year"], "values_floats": [2.0, -2.0]}
    nodes = [
        helper.make_node("LabelEncoder", ["contract"], ["risk"], domain="ai.onnx.ml", **risks),
        helper.make_node("Cast", ["senior_citizen"], ["senior"], to=TensorProto.FLOAT),
        helper.make_node("Add", ["risk", "senior"], ["upwards"]),
        helper.make_node("Sub", ["upwards", "tenure"], ["score"]),
        helper.make_node("Sigmoid", ["score"], ["probability"]),
        helper.make_node("Greater", ["probability", "half"], ["above"]),
        helper.make_node("Squeeze", ["above", "second_axis"], ["churns"]),
    ]
    return helper.make_graph(
        nodes,
        "columns",
        [
            value("contract", TensorProto.STRING),
            value("tenure", TensorProto.FLOAT),
            value("senior_citizen", TensorProto.INT64),
        ],
        [value("probability", TensorProto.FLOAT), value("churns", TensorProto.BOOL, None)],
        [
            helper.make_tensor("half", TensorProto.FLOAT, [], [0.5]),
            helper.make_tensor("second_axis", TensorProto.INT64, [1], [1]),
        ],
    )


def wide_model() -> onnx.GraphProto:
    """Return the sum of three features."""
    nodes = [helper.make_node("ReduceSum", ["features", "second_axis"], ["total"], keepdims=0)]
    return helper.make_graph(
        nodes,
        "wide",
        [value("features", TensorProto.FLOAT, 3)],
        [value("total", TensorProto.FLOAT, None)],
        [helper.make_tensor("second_axis", TensorProto.INT64, [1], [1])],
    )


if __name__ == "__main__":
    save(columns_model(), Path(sys.argv[1]) / "columns")
    save(wide_model(), Path(sys.argv[1]) / "wide")
