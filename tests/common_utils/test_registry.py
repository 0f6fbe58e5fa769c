"""The registry decides which model scores, and a model that can't be read says so."""

import shutil
from datetime import datetime, timedelta
from pathlib import Path

import common_utils
import pytest
from common_utils import (
    Candidate,
    ModelError,
    feature_stages,
    load_model,
    registered_model,
    save_model,
    table_columns,
)
from pyspark.ml import PipelineModel

pytestmark = pytest.mark.xdist_group("library")


COLUMNS = table_columns("model_registry")


@pytest.fixture
def registry(spark, monkeypatch):
    """Fill the registry with rows of (version, stage), each written a minute after the last."""

    def fill(*rows):
        names = [column.split()[0] for column in COLUMNS.split(", ")]
        start = datetime(2026, 11, 23, 12)
        written = [
            {
                "model_version": version,
                "stage": stage,
                "threshold": 0.25,
                "pipeline_execution_ts": start + timedelta(minutes=minute),
            }
            for minute, (version, stage) in enumerate(rows)
        ]
        values = [tuple(row.get(name) for name in names) for row in written]
        table = spark.createDataFrame(values, COLUMNS).coalesce(1)
        monkeypatch.setattr(common_utils, "read_table", lambda *place: table)

    return fill


def best(spark, version="best"):
    return registered_model(spark, "/lake/warehouse/churn", version)["model_version"]


def test_without_a_registry_there_is_no_model(spark, tmp_path):
    with pytest.raises(ModelError, match=r"No model is registered in .*Run the training step"):
        registered_model(spark, str(tmp_path / "churn"))


def test_the_newest_candidate_is_best_without_a_champion(spark, registry):
    registry(("b", "candidate"), ("c", "candidate"), ("a", "candidate"))
    assert best(spark) == "a"


def test_a_champion_wins_over_a_newer_candidate(spark, registry):
    registry(("a", "champion"), ("b", "candidate"))
    assert best(spark) == "a"


def test_the_newest_of_two_champions_is_best(spark, registry):
    registry(("b", "champion"), ("a", "champion"), ("c", "candidate"))
    assert best(spark) == "a"


def test_an_archived_model_is_never_best(spark, registry):
    registry(("a", "candidate"), ("b", "archived"))
    assert best(spark) == "a"


def test_archived_models_alone_are_no_model(spark, registry):
    registry(("a", "archived"))
    with pytest.raises(ModelError, match="no model 'best'"):
        best(spark)


def test_the_last_word_on_a_version_counts(spark, registry):
    registry(("a", "candidate"), ("b", "candidate"), ("b", "champion"), ("b", "archived"))
    assert best(spark) == "a"


def test_a_version_can_be_named(spark, registry):
    registry(("a", "candidate"), ("b", "champion"))
    entry = registered_model(spark, "/lake/warehouse/churn", "a")
    assert (entry["model_version"], entry["threshold"]) == ("a", 0.25)


def test_a_version_that_nobody_registered_is_refused(spark, registry):
    registry(("a", "candidate"))
    with pytest.raises(ModelError, match=r"registry of .*churn has no model 'x'"):
        best(spark, "x")


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
    return [Path(save_model(model, lake, "m-1")) for _ in range(2)]


def test_saving_again_keeps_the_earlier_attempt_readable(stored_models):
    first, second = stored_models
    assert first.parent == second.parent
    assert first.parent.name == "m-1"
    assert first < second
    loaded = load_model({"model_version": "m-1", "model_uri": str(first)})
    assert [stage.getHandleInvalid() for stage in loaded.stages] == ["keep"]


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
        load_model({"model_version": "m-1", "model_uri": str(model)})
    for part in ("Can't read the model m-1", str(model), "Train again", "--model-version"):
        assert part in str(error.value)
    assert "An error occurred while calling" not in str(error.value)
    assert len(str(error.value).splitlines()) == 1
