"""Alarms are found again, and say what came of the training that they started."""

import json

import pytest

from churnlab.run import alarms
from churnlab.run.alarms import outcome
from churnlab.run.library import library

RUN = "0-abc"


def row(stage: str, **changes) -> dict:
    """Return a row of the registry about a model of the run."""
    known = {"model_version": f"{RUN}-training", "pipeline_id": RUN, "stage": stage}
    return known | {"reason": "said so", "average_precision": 0.3141, "evidence": None} | changes


def report(lake, state: str) -> None:
    """Leave the record of the run's end."""
    text = json.dumps({"pipeline_id": RUN, "step": "pipeline", "state": state})
    library.lake.write_text(
        library.lake.join_uri(str(lake), "runs", RUN, "pipeline", "1.json"), text
    )


@pytest.mark.parametrize(
    ("stages", "state", "said"),
    [
        (
            ["candidate", "challenger", "champion"],
            "SUCCEEDED",
            "0-abc-training became the champion",
        ),
        (["candidate", "challenger", "refused"], "SUCCEEDED", "training was refused: said so"),
        (
            ["candidate"],
            "SUCCEEDED",
            "its average precision of 0.314 is less than the pipeline asks",
        ),
        (["candidate"], "FAILED", "the champion stays, the training 0-abc has ended: FAILED"),
        ([], "FAILED", "the champion stays, the training 0-abc has ended: FAILED"),
        (["candidate"], None, "the training 0-abc goes on"),
        ([], None, "the training 0-abc goes on"),
    ],
)
def test_an_alarm_says_what_came_of_its_training(tmp_path, stages, state, said):
    if state:
        report(tmp_path, state)
    rows = [row(stage) for stage in stages]
    others = [row("champion", pipeline_id="other"), row("refused", pipeline_id="other")]
    assert said in outcome(RUN, str(tmp_path), rows + others)


def raise_all(lake: str, monkeypatch, **facts: dict) -> dict[str, alarms.Alarm]:
    """Raise alarms, by the key of their run; return what is said of them."""
    for key, changes in facts.items():
        known = {"moved": ["tenure", "contract"], "model_version": "v1"}
        library.alarms.raise_alarm(lake, key, known | changes)
    monkeypatch.setattr(library.tables, "read_rows", lambda *_: [])
    return {alarm.pipeline_id: alarm for alarm in alarms.alarms(lake, "churn")}


def test_each_verdict_has_its_answer(tmp_path, monkeypatch):
    said = raise_all(
        str(tmp_path),
        monkeypatch,
        a={"verdict": "alert"},
        b={"verdict": "unwatched", "moved": []},
        c={"verdict": "retrain"},
        d={"verdict": "retrain", "retraining": {"error": "CHURNLAB_FUNCTION_URL is not set"}},
        e={"verdict": "retrain", "retraining": {"pipeline_id": RUN, "status": 202}},
        f={"verdict": "fine"},
    )
    assert list(said) == ["e", "d", "c", "b", "a"]
    assert said["a"].moved == "tenure, contract" and "a person looks" in said["a"].answer
    assert "nobody watched" in said["b"].answer
    assert "no training yet" in said["c"].answer
    assert said["d"].answer == "no training: CHURNLAB_FUNCTION_URL is not set"
    assert said["e"].answer == f"the training {RUN} goes on"


def test_a_lake_without_alarms_needs_no_registry(tmp_path):
    assert alarms.alarms(str(tmp_path), "churn") == []


def test_who_was_refused_in_favour_of_another_is_not_named():
    refused = [
        row("refused", model_version=name, evidence=json.dumps({"champion": champion}))
        for name, champion in (("a", "v1"), ("b", "v2"), ("c", "v1"))
    ]
    by_hand = row("refused", model_version="d")  # without evidence
    found = library.alarms.refused_challengers([row("candidate"), *refused, by_hand], "v1")
    assert found == {"a": "said so", "c": "said so"}
