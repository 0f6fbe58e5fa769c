"""What is packaged and served is what batch scoring answered, on the lake of the notebooks."""

import json
from pathlib import Path

import pytest
import requests

from churnlab.run.library import library
from churnlab.standins.serving import model_server

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("cloud")]

AMOUNTS = {"tenure": int, "monthly_charges": float, "total_charges": float}


def pointer(lake: Path) -> Path:
    return lake / "packages" / "champion.json"


def instance(row: dict) -> dict:
    """Return a waiting customer, who is text, as a request has one."""
    amounts = {name: kind(row[name].strip() or 0) for name, kind in AMOUNTS.items()}
    return {name: row[name] for name in library.contract.CATEGORIES} | amounts


def predictions(lake: Path) -> list[dict]:
    """Return what batch scoring wrote of the waiting customers, in the run with most of them."""
    tables = library.tables.dataset_root(str(lake), "churn")
    waiting = {row["customer_id"] for row in library.tables.read_rows(tables, "scoring_input")}
    runs: dict[str, list[dict]] = {}
    for row in library.tables.read_rows(tables, "batch_predictions"):
        if row["customer_id"] in waiting:
            runs.setdefault(row["pipeline_id"], []).append(row)
    return max(runs.values(), key=len)


@pytest.fixture(scope="module")
def served(course):
    """The lake of the notebooks, with a package of the model that scored them.

    Other pages may have decided for another champion meanwhile.
    """
    course.executed("17-online-serving")
    before = pointer(course.lake).read_text(encoding="utf-8")
    done = course.churnlab("package", predictions(course.lake)[0]["model_version"])
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    assert pointer(course.lake).read_text(encoding="utf-8") != before
    return course.lake


def test_the_server_answers_as_batch_scoring_did(served):
    tables = library.tables.dataset_root(str(served), "churn")
    scored = {row["customer_id"]: row for row in predictions(served)}
    raw = library.tables.read_rows(tables, "scoring_input")
    waiting = [row for row in raw if row["customer_id"] in scored][:500]
    assert len(waiting) > 50
    with model_server(str(served / "packages")) as server:
        body = {"instances": list(map(instance, waiting)), "parameters": {"reasons": 0}}
        said = requests.post(f"{server.address}/predict", json=body, timeout=300).json()
    for row, answer in zip(waiting, said["predictions"], strict=True):
        batch = scored[row["customer_id"]]
        assert answer["churn_probability"] == pytest.approx(batch["churn_probability"], abs=1e-12)
        assert answer["prediction"] == batch["prediction"]
        assert answer["model_version"] == batch["model_version"]


def test_a_package_knows_what_the_registry_knows_and_how_it_was_compared(served):
    place = json.loads(pointer(served).read_text(encoding="utf-8"))["package"]
    note = library.packages.package_note(str(served), place)
    tables = library.tables.dataset_root(str(served), "churn")
    entry = library.registry.registered_model(tables, note["model_version"])
    for name in ("model_version", "model_uri", "threshold", "data_fingerprint"):
        assert note[name] == entry[name]
    assert note["parity"]["largest_gap"] <= 1e-12
    assert note["parity"]["customers"] > 2000
    assert note["library_tree"] == library.runs.library_tree()
    record = library.runs.run_record(str(served), note["pipeline_id"], "packaging")
    assert record["facts"]["package"] == place


def test_a_package_holds_no_customer(served):
    ids = library.tables.read_rows(
        library.tables.dataset_root(str(served), "churn"), "scoring_input"
    )
    place = json.loads(pointer(served).read_text(encoding="utf-8"))["package"]
    text = b"".join(f.read_bytes() for f in (served / "packages" / place).iterdir())
    assert not [row["customer_id"] for row in ids if row["customer_id"].encode() in text]


def test_without_a_champion_there_is_no_package(tmp_path, course):
    done = course.churnlab("package", "--lake", str(tmp_path))
    assert done.returncode != 0
    assert "No model is registered" in done.stdout + done.stderr
    assert not pointer(tmp_path).exists()
