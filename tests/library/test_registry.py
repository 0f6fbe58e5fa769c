"""The registry decides which model scores, and a model that can't be read says so."""

import re
import shutil
import time
from pathlib import Path

import pytest
from churn.features import feature_stages
from churn.lake import list_folders, write_text
from churn.programs import ModelError, StepError
from churn.registry import (
    Candidate,
    best_candidate,
    load_model,
    promote,
    registered_model,
    save_model,
    sweep_models,
)
from churn.tables import own_columns, read_rows, write_table
from pyspark.ml import PipelineModel

pytestmark = pytest.mark.xdist_group("library")


NAMES = own_columns("model_registry")


@pytest.fixture
def registry(tmp_path):
    """Write rows of (version, stage[, cross-validated average precision]), each by a run."""
    dataset = str(tmp_path / "churn")

    def fill(*rows):
        for number, (version, stage, *quality) in enumerate(rows):
            known = {"model_version": version, "stage": stage, "threshold": 0.25}
            known |= {"cross_validated_average_precision": quality[0] if quality else 0.5}
            row = tuple(known.get(name) for name in NAMES)
            write_table([row], dataset, "model_registry", f"run-{number}", "a-step")
        return dataset

    return fill


def test_without_a_registry_there_is_no_model(tmp_path):
    with pytest.raises(ModelError, match=r"No model is registered in .*Run the training step"):
        registered_model(str(tmp_path / "churn"))


def test_a_candidate_alone_is_no_champion(registry):
    dataset = registry(("a", "candidate"), ("b", "candidate"))
    with pytest.raises(ModelError, match=r"No model is the champion yet.*churnlab promote"):
        registered_model(dataset)


def test_a_champion_stays_while_newer_candidates_come(registry):
    dataset = registry(("a", "champion"), ("b", "candidate"))
    assert registered_model(dataset)["model_version"] == "a"


def test_the_last_of_two_decisions_counts(registry):
    dataset = registry(("b", "champion"), ("a", "champion"), ("c", "candidate"))
    assert registered_model(dataset)["model_version"] == "a"


def test_the_order_is_that_of_time_and_not_of_keys(tmp_path, registry):
    dataset = registry(("a", "champion"))
    row = tuple({"model_version": "b", "stage": "champion"}.get(name) for name in NAMES)
    write_table([row], dataset, "model_registry", "a-key-that-sorts-first", "a-step")
    assert registered_model(dataset)["model_version"] == "b"


def test_a_version_can_be_named(registry):
    entry = registered_model(registry(("a", "candidate"), ("b", "champion")), "a")
    assert (entry["model_version"], entry["threshold"]) == ("a", 0.25)


def test_a_version_that_nobody_registered_is_refused(registry):
    with pytest.raises(ModelError, match=r"registry of .*churn has no model 'x', only a"):
        registered_model(registry(("a", "candidate")), "x")


# Choosing and promoting


def test_the_better_candidate_is_that_of_cross_validation(registry):
    dataset = registry()
    rows = [("good", "candidate", 0.7), ("better", "candidate", 0.8), ("old", "champion", 0.9)]
    known = [
        {"model_version": v, "stage": s, "cross_validated_average_precision": q} for v, s, q in rows
    ]
    values = [tuple(row.get(name) for name in NAMES) for row in known]
    write_table(values, dataset, "model_registry", "a-run", "a-step")
    assert best_candidate(dataset, "a-run")["model_version"] == "better"


def test_without_a_run_the_one_that_registered_last_offers_its_candidate(registry):
    dataset = registry(("good", "candidate", 0.9), ("newer", "candidate", 0.7))
    assert best_candidate(dataset)["model_version"] == "newer"


def test_a_run_without_candidates_has_no_best(registry):
    with pytest.raises(ModelError, match="No candidate of run run-9"):
        best_candidate(registry(("a", "candidate")), "run-9")


def test_a_promotion_is_a_row_that_says_who_and_why(registry):
    dataset = registry(("a", "candidate"), ("b", "candidate"))
    promote(registered_model(dataset, "a"), dataset, "decision-1", "Ada", "fewer missed churners")
    champion = registered_model(dataset)
    assert (champion["model_version"], champion["pipeline_id"]) == ("a", "decision-1")
    assert (champion["changed_by"], champion["reason"]) == ("Ada", "fewer missed churners")
    assert champion["threshold"] == 0.25
    assert len(read_rows(dataset, "model_registry")) == 3


@pytest.mark.parametrize(("who", "why"), [("", "because"), ("Ada", "  ")])
def test_nobody_promotes_without_a_name_and_a_reason(registry, who, why):
    dataset = registry(("a", "candidate"))
    with pytest.raises(StepError, match="who decided and a reason"):
        promote(registered_model(dataset, "a"), dataset, "decision-1", who, why)
    assert len(read_rows(dataset, "model_registry")) == 1


def test_promoting_the_former_version_is_the_way_back(registry):
    dataset = registry(("a", "champion"), ("b", "champion"))
    promote(registered_model(dataset, "a"), dataset, "decision-1", "Ada", "b forgets churners")
    assert registered_model(dataset)["model_version"] == "a"


def test_a_candidate_is_named_by_its_run_and_step():
    facts = dict.fromkeys(Candidate.__dataclass_fields__) | {"pipeline_id": "run-a"}
    assert Candidate(**facts | {"step": "tuning"}).version == "run-a-tuning"
    assert Candidate(**facts | {"step": "training"}).version == "run-a-training"


# Stored models


@pytest.fixture(scope="module")
def stored_models(spark, tmp_path_factory):
    """The folders of a small model that was saved twice: the first of the feature stages."""
    lake = str(tmp_path_factory.mktemp("models") / "lake ä")
    model = PipelineModel([feature_stages(spark)[0]])
    return [Path(lake, save_model(model, lake, "m-1")) for _ in range(2)]


@pytest.mark.parametrize("place", ["below the lake", "anywhere"])
def test_a_row_names_a_model_below_the_lake_or_by_its_full_uri(stored_models, tmp_path, place):
    model = stored_models[0]
    lake = model.parents[2]
    uri = model if place == "anywhere" else model.relative_to(lake)
    lake = tmp_path if place == "anywhere" else lake
    entry = {"model_version": "m-1", "model_uri": str(uri)}
    assert [stage.getHandleInvalid() for stage in load_model(entry, str(lake)).stages] == ["keep"]


def test_a_saved_model_is_named_by_its_place_below_the_lake(spark, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model = PipelineModel([])
    for lake in ("a lake", f"{tmp_path}/a lake/", f"file://{tmp_path}/a-lake"):
        assert re.fullmatch(r"models/m-2/attempt=\d+-[0-9a-f]{6}", save_model(model, lake, "m-2"))


def test_saving_again_keeps_the_earlier_attempt_readable(stored_models):
    first, second = stored_models
    assert first.parent == second.parent
    assert first.parent.name == "m-1"
    assert first < second
    loaded = load_model({"model_version": "m-1", "model_uri": str(first)}, "")
    assert [stage.getHandleInvalid() for stage in loaded.stages] == ["keep"]


def test_old_models_go_but_those_that_the_registry_names(registry, tmp_path):
    """Attempts 72 to 1 hours old; the champion is of the oldest, and one was never registered."""
    lake, hour = str(tmp_path / "lake"), 3600 * 10**9
    champion, old, killed, of_a_day_ago, newest = (
        f"attempt={time.time_ns() - hours * hour}-000000" for hours in (72, 60, 55, 50, 1)
    )
    for name in (champion, old, killed, of_a_day_ago, newest):
        write_text(f"{lake}/models/m-1/{name}/stages/0/data", "")
        if name != killed:
            write_text(f"{lake}/models/m-1/{name}/_SUCCESS", "")
    dataset = registry()
    for step, name in {"promotion": champion, "training": newest}.items():
        known = {"model_version": "m-1", "model_uri": f"models/m-1/{name}"}
        row = tuple(known.get(column) for column in NAMES)
        write_table([row], dataset, "model_registry", "run-a", step)
    sweep_models(lake, "m-1", dataset)
    assert list_folders(f"{lake}/models/m-1") == [champion, of_a_day_ago, newest]


def remove_all(model: Path):
    shutil.rmtree(model)


def empty_the_folder(model: Path):
    remove_all(model)
    model.mkdir()


def remove_a_stage(model: Path):
    shutil.rmtree(next((model / "stages").iterdir()))


def remove_the_data(model: Path):
    shutil.rmtree(next((model / "stages").iterdir()) / "data")


def cut_the_data(model: Path):
    [part] = next((model / "stages").iterdir()).glob("data/*.parquet")
    part.write_bytes(part.read_bytes()[:100])
    part.with_name(f".{part.name}.crc").unlink()


def scribble_over_the_metadata(model: Path):
    [part] = (model / "metadata").glob("part-*")
    part.write_text("{not json")
    part.with_name(f".{part.name}.crc").unlink()


@pytest.mark.parametrize(
    "damage",
    [
        remove_all,
        empty_the_folder,
        remove_a_stage,
        remove_the_data,
        cut_the_data,
        scribble_over_the_metadata,
    ],
)
def test_a_damaged_model_is_named_with_what_to_do(stored_models, tmp_path, damage):
    model = tmp_path / "model"
    shutil.copytree(stored_models[1], model)
    damage(model)
    with pytest.raises(ModelError) as error:
        load_model({"model_version": "m-1", "model_uri": model.name}, str(tmp_path))
    for part in ("Can't read the model m-1", str(model), "Train again", "--model-version"):
        assert part in str(error.value)
    assert "An error occurred while calling" not in str(error.value)
    assert len(str(error.value).splitlines()) == 1
