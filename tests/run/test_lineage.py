"""From a run back to its data and its code."""

import json
import subprocess

import pytest

from churnlab import paths
from churnlab.errors import CourseError
from churnlab.run import lineage
from churnlab.run.library import library
from churnlab.run.promotion import promote


def git(folder, *arguments) -> str:
    """Run git as a nobody in a folder of its own."""
    names = ["-c", "user.name=n", "-c", "user.email=e@example.com"]
    command = ["git", "-C", str(folder), *names, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """A repository in which a script was written and later changed."""
    git(tmp_path, "init", "-q")
    for content in ("first", "second"):
        (tmp_path / "script.py").write_text(content)
        git(tmp_path, "add", "script.py")
        git(tmp_path, "commit", "-q", "-m", content)
    monkeypatch.setattr(paths, "ROOT", tmp_path)
    return tmp_path


def test_a_file_s_blob_is_what_git_says(repository):
    blob = library.runs.git_blob(str(repository / "script.py"))
    assert blob == git(repository, "hash-object", "script.py")


def test_the_commit_that_brought_a_script_is_found_after_it_has_changed(repository):
    blob = git(repository, "rev-parse", "HEAD~1:script.py")
    record = {"script_blob": blob, "commit": ""}
    assert lineage.commit_of(record) == git(repository, "rev-parse", "--short", "HEAD~1")


def test_code_that_was_never_committed_has_no_commit(repository):
    assert lineage.commit_of({"script_blob": "f" * 40, "commit": ""}) == ""


def test_a_page_knows_the_commit_from_whoever_executed_it():
    assert lineage.commit_of({"script_blob": "", "commit": "abc1234"}) == "abc1234"


def test_a_run_that_nobody_made_is_an_error_with_a_mend(tmp_path):
    with pytest.raises(CourseError, match="no-run has no predictions, no package and no models"):
        lineage.trace(str(tmp_path), "churn", "no-run")


@pytest.fixture
def lake(tmp_path):
    """A lake with a customer in training_data, and with a candidate that was made from it."""
    folder = str(tmp_path)
    write_customer(folder)
    columns = library.tables.own_columns("model_registry")
    known = {"model_version": "run-a-training", "stage": "candidate", "data_pipeline_id": "run-a"}
    known |= {"roc_auc": 0.8, "average_precision": 0.6}
    known |= {"model_uri": "models/m/attempt=1", "metrics_uri": "metrics/run-a/training.json"}
    row = tuple(known.get(name) for name in columns)
    root = library.tables.dataset_root(folder, "churn")
    library.tables.write_table([row], root, "model_registry", "run-a", "training")
    return folder


def write_customer(lake: str) -> None:
    """Write a customer without values under the key run-a, as preprocessing does."""
    nobody = (None,) * len(library.tables.own_columns("training_data"))
    root = library.tables.dataset_root(lake, "churn")
    library.tables.write_table([nobody], root, "training_data", "run-a", "preprocessing")


def test_a_model_rests_on_rows_that_are_older_than_itself(lake):
    found = lineage.trace(lake, "churn", "run-a")
    assert ("data run-a", "model") in found.edges


def test_rows_that_are_younger_than_a_model_can_t_have_made_it(lake):
    write_customer(lake)  # the same run once more, after training
    with pytest.raises(CourseError, match="the younger can't have made the older"):
        lineage.trace(lake, "churn", "run-a")


def test_a_promotion_changes_the_stage_and_not_what_a_model_was_made_from(lake):
    before = lineage.trace(lake, "churn", "run-a")
    promote("run-a-training", "a reason", "Ada", lake, "churn")
    after = lineage.trace(lake, "churn", "run-a")
    assert (before.edges, before.nodes) == (after.edges, after.nodes)
    assert "model, candidate" in before.labels["model"]
    assert "model, champion" in after.labels["model"]
    assert after.nodes["model"]["model_uri"] == f"{lake}/models/m/attempt=1"
    assert after.nodes["metrics"]["uri"] == f"{lake}/metrics/run-a/training.json"


def test_a_package_rests_on_its_model_and_so_on_the_raw_file(lake):
    facts = {"model_version": "run-a-training", "package": "run-a-training/a=1", "checked": 9000}
    record = {"script": "online_serving.py", "script_blob": "f" * 40, "facts": facts, "commit": ""}
    place = library.lake.join_uri(lake, "runs", "run-p", "packaging", "20261127t180000.json")
    library.lake.write_text(place, json.dumps(record | {"finished": "2026-11-27T18:00:00+00:00"}))
    found = lineage.trace(lake, "churn", "run-p")
    assert {("model", "package"), ("data run-a", "model")} <= set(found.edges)
    assert found.nodes["package"]["uri"] == f"{lake}/packages/run-a-training/a=1"
    assert "9,000 customers compared" in found.labels["package"]
    assert [a for a, b in found.edges if b == "package" and a.startswith("code")]
    [raw] = [a for a, b in found.edges if b == "data run-a" and a.startswith("raw")]
    assert raw in found.nodes


def test_a_key_that_is_none_never_reaches_a_query(tmp_path):
    with pytest.raises(Exception, match="is not a key of a run"):
        lineage.trace(str(tmp_path), "churn", "x' OR '1'='1")


def test_a_graph_is_drawn_with_a_box_for_each_thing():
    from churnlab.pictures import draw_graph  # with Matplotlib, which takes a while

    fig = draw_graph([("raw file", "data"), ("code", "data"), ("data", "model")], "A title")
    drawn = {text.get_text() for text in fig.axes[0].texts}
    assert {"raw file", "data", "code", "model"} <= drawn
    assert fig.axes[0].get_title() == "A title"
