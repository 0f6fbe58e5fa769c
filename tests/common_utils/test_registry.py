"""The registry decides which model scores, and a model that can't be read says so."""

import shutil
from pathlib import Path

import pytest
from common_utils import (
    TABLES,
    Candidate,
    ModelError,
    feature_stages,
    load_model,
    registered_model,
    save_model,
    write_table,
)
from pyspark.ml import PipelineModel

pytestmark = pytest.mark.xdist_group("library")


@pytest.fixture
def dataset(tmp_path):
    return str(tmp_path / "churn")


def register(spark, dataset, run, stage, version=None, step="training"):
    """Write a model's row of the registry."""
    version = version or f"{run}-training"
    values = {"model_version": version, "stage": stage, "threshold": 0.25, "roc_auc": 0.75}
    columns = [column.split()[0] for column in TABLES["model_registry"].split(", ")]
    row = tuple(values.get(column) for column in columns)
    rows = spark.createDataFrame([row], TABLES["model_registry"]).coalesce(1)
    write_table(rows, dataset, "model_registry", run, step)


def test_without_a_registry_there_is_no_model(spark, dataset):
    with pytest.raises(ModelError, match=r"No model is registered in .*Run the training step"):
        registered_model(spark, dataset)


def test_the_newest_candidate_is_best_without_a_champion(spark, dataset):
    register(spark, dataset, "run-b", "candidate")
    register(spark, dataset, "run-a", "candidate")  # written last
    assert registered_model(spark, dataset)["model_version"] == "run-a-training"


def test_a_champion_wins_over_a_newer_candidate(spark, dataset):
    register(spark, dataset, "run-a", "champion")
    register(spark, dataset, "run-b", "candidate")
    assert registered_model(spark, dataset)["model_version"] == "run-a-training"


def test_the_newest_of_two_champions_is_best(spark, dataset):
    register(spark, dataset, "run-a", "champion")
    register(spark, dataset, "run-b", "champion")
    assert registered_model(spark, dataset)["model_version"] == "run-b-training"


def test_an_archived_model_is_never_best(spark, dataset):
    register(spark, dataset, "run-a", "archived")
    with pytest.raises(ModelError, match="no model 'best'"):
        registered_model(spark, dataset)
    register(spark, dataset, "run-b", "candidate")
    register(spark, dataset, "run-c", "archived")
    assert registered_model(spark, dataset)["model_version"] == "run-b-training"


def test_the_last_word_on_a_version_counts(spark, dataset):
    register(spark, dataset, "run-a", "candidate")
    register(spark, dataset, "run-b", "candidate")
    register(spark, dataset, "run-c", "archived", version="run-b-training", step="gate")
    assert registered_model(spark, dataset)["model_version"] == "run-a-training"


def test_a_version_can_be_named(spark, dataset):
    register(spark, dataset, "run-a", "candidate")
    register(spark, dataset, "run-b", "champion")
    entry = registered_model(spark, dataset, "run-a-training")
    assert (entry["model_version"], entry["threshold"]) == ("run-a-training", 0.25)


def test_a_version_that_nobody_registered_is_refused(spark, dataset):
    register(spark, dataset, "run-a", "candidate")
    with pytest.raises(ModelError, match=r"registry of .*churn has no model 'run-x-training'"):
        registered_model(spark, dataset, "run-x-training")


def test_a_candidate_is_named_by_its_run_and_step():
    facts = dict.fromkeys(Candidate.__dataclass_fields__) | {"pipeline_id": "run-a"}
    assert Candidate(**facts | {"step": "tuning"}).version == "run-a-tuning"
    assert Candidate(**facts | {"step": "training"}).version == "run-a-training"


# Stored models


@pytest.fixture(scope="module")
def stored_model(spark, tmp_path_factory):
    """The folder of a small stored model: the feature stages."""
    lake = str(tmp_path_factory.mktemp("models") / "lake ä")
    indexer = feature_stages(spark)[0]
    return Path(save_model(PipelineModel([indexer]), lake, "m-1"))


def test_a_stored_model_is_loaded_from_its_uri(stored_model):
    assert stored_model.parent.name == "m-1"
    loaded = load_model({"model_version": "m-1", "model_uri": str(stored_model)})
    assert [stage.getHandleInvalid() for stage in loaded.stages] == ["keep"]


def test_saving_again_keeps_the_earlier_attempt_readable(spark, tmp_path):
    model = PipelineModel([feature_stages(spark)[0]])
    uris = [save_model(model, str(tmp_path), "m-1") for _ in range(2)]
    assert uris == sorted(set(uris))
    for uri in uris:
        load_model({"model_version": "m-1", "model_uri": uri})


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
def test_a_damaged_model_is_named_with_what_to_do(stored_model, tmp_path, damage):
    model = tmp_path / "model"
    shutil.copytree(stored_model, model)
    damage(model)
    with pytest.raises(ModelError) as error:
        load_model({"model_version": "m-1", "model_uri": str(model)})
    for part in ("Can't read the model m-1", str(model), "Train again", "--model-version"):
        assert part in str(error.value)
    assert "An error occurred while calling" not in str(error.value)
    assert len(str(error.value).splitlines()) == 1
