"""A package is served whole or not at all, and a pointer says which one."""

import hashlib
import json

import numpy as np
import pandas as pd
import pytest
from churn.packages import (
    PACKAGES,
    POINTER,
    newest_package,
    package_note,
    parquet_bytes,
    serve_package,
    signature,
    write_package,
)
from churn.programs import ModelError

FILES = {"model.onnx": b"a model", "nodes.parquet": b"its nodes"}


def pointed_to(lake) -> str:
    return json.loads((lake / PACKAGES / POINTER).read_text())["package"]


def test_a_note_knows_its_place_and_the_digests_of_the_files(tmp_path):
    place = write_package(str(tmp_path), "v1", FILES, {"threshold": 0.4})
    note = package_note(str(tmp_path), place)
    assert note["package"] == place and place.startswith("v1/attempt=")
    assert note["threshold"] == 0.4
    digests = {name: hashlib.sha256(content).hexdigest() for name, content in FILES.items()}
    assert note["files"] == digests
    assert {f.name for f in (tmp_path / PACKAGES / place).iterdir()} > set(FILES)


def test_the_newest_finished_package_of_a_version_is_found(tmp_path):
    assert newest_package(str(tmp_path), "v1") == ""
    first = write_package(str(tmp_path), "v1", FILES, {})
    assert newest_package(str(tmp_path), "v1") == first
    second = write_package(str(tmp_path), "v1", FILES, {})
    write_package(str(tmp_path), "v10", FILES, {})
    assert newest_package(str(tmp_path), "v1") == second


@pytest.mark.parametrize("written", range(4))
def test_a_writer_killed_on_the_way_leaves_nothing_to_serve(tmp_path, monkeypatch, written):
    """Killed before any file, after one, after both, and before the marker."""
    import churn.packages as packages

    good = write_package(str(tmp_path), "v1", FILES, {})
    serve_package(str(tmp_path), good)
    left, open_output = iter(range(written)), packages.open_output

    def dying(uri):
        if next(left, None) is None:
            raise KeyboardInterrupt
        return open_output(uri)

    def killed(folder):
        raise KeyboardInterrupt

    monkeypatch.setattr(packages, "open_output", dying)
    monkeypatch.setattr(packages, "mark_finished", killed)
    with pytest.raises(KeyboardInterrupt):
        write_package(str(tmp_path), "v1", FILES, {})
    assert newest_package(str(tmp_path), "v1") == good == pointed_to(tmp_path)


def test_servers_are_never_pointed_to_half_a_package(tmp_path):
    good = write_package(str(tmp_path), "v1", FILES, {})
    serve_package(str(tmp_path), good)
    torn = tmp_path / PACKAGES / "v2" / "attempt=1"
    torn.mkdir(parents=True)
    (torn / "model.onnx").write_bytes(b"half a mod")
    for place in ("v2/attempt=1", "v3/attempt=1"):
        with pytest.raises(ModelError, match="is not finished"):
            serve_package(str(tmp_path), place)
    assert pointed_to(tmp_path) == good


def test_a_signature_has_the_columns_in_the_order_of_the_model():
    columns = {"contract": ["One year", "Two year"], "tenure": [], "monthly_charges": []}
    assert signature(columns) == [
        {"name": "contract", "kind": "category", "values": ["One year", "Two year"]},
        {"name": "tenure", "kind": "whole", "values": []},
        {"name": "monthly_charges", "kind": "amount", "values": []},
    ]


def test_nodes_come_back_as_they_were():
    import io

    from tests.library.small_forests import COLUMNS, Forest, anybody, small_forest

    nodes, forest = small_forest(2)
    back = pd.read_parquet(io.BytesIO(parquet_bytes(nodes)))
    x = anybody(2, 50)
    assert np.array_equal(Forest(back, COLUMNS).probability(x), forest.probability(x))
