# Generated from notebooks/17-online-serving.ipynb by `make export`; do not edit.
"""The package of a model for a server: the file, the nodes, the signature and where it comes from;
and the pointer to the one that is served.
"""

import hashlib
import json

import numpy as np
import pandas as pd
import pyarrow as pa
from churn.lake import (
    join_uri,
    names_below,
    open_output,
    read_text,
    write_text,
)
from churn.programs import ModelError
from churn.tables import (
    mark_finished,
    new_attempt,
)
from pyarrow import parquet as pq

PACKAGES = "packages"

NOTE = "package.json"

MODEL = "model.onnx"

NODES = "nodes.parquet"


def write_package(lake: str, version: str, files: dict[str, bytes], note: dict) -> str:
    """Write a package to a fresh folder, the note last; return its place below PACKAGES.

    A package without its marker is none: who is killed on the way leaves nothing to serve.
    """
    folder = new_attempt(join_uri(lake, PACKAGES, version))
    place = folder.removeprefix(join_uri(lake, PACKAGES)).lstrip("/")
    digests = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    text = json.dumps(note | {"package": place, "files": digests}, indent=2)
    for name, content in (files | {NOTE: text.encode()}).items():
        with open_output(join_uri(folder, name)) as stream:
            stream.write(content)
    mark_finished(folder)
    return place


POINTER = "champion.json"


def serve_package(lake: str, place: str) -> None:
    """Let servers take up a finished package. Raises ModelError if it is not finished."""
    if "_SUCCESS" not in names_below(join_uri(lake, PACKAGES, place)):
        raise ModelError(f"The package {place} is not finished. Package the model again.")
    write_text(join_uri(lake, PACKAGES, POINTER), json.dumps({"package": place}))


def newest_package(lake: str, version: str) -> str:
    """Return the place of a version's newest finished package, or "" if there is none."""
    names = names_below(join_uri(lake, PACKAGES, version))
    finished = [name.rpartition("/")[0] for name in names if name.endswith("/_SUCCESS")]
    return f"{version}/{max(finished)}" if finished else ""


def package_note(lake: str, place: str) -> dict:
    """Return what a package says of itself."""
    return json.loads(read_text(join_uri(lake, PACKAGES, place, NOTE)))


def signature(columns: dict[str, list[str]]) -> list[dict]:
    """Return the columns of a model: name, kind, and the values of a category."""

    def kind(name: str, values: list[str]) -> str:
        return "category" if values else "whole" if name == "tenure" else "amount"

    return [{"name": n, "kind": kind(n, v), "values": v} for n, v in columns.items()]


def examples(
    customers: pd.DataFrame, columns: dict[str, list[str]], probability: np.ndarray
) -> dict:
    """Return instances, as a request has them, and the probability that Spark gives each."""
    instances = customers[list(columns)].to_dict("records")
    return {"instances": instances, "churn_probability": probability.tolist()}


def parquet_bytes(frame: pd.DataFrame) -> bytes:
    """Return a table as the content of a Parquet file."""
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pandas(frame, preserve_index=False), sink)
    return sink.getvalue().to_pybytes()
