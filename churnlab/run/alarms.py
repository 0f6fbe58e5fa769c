"""The alarms of a lake, and what came of the training that each of them started."""

from dataclasses import dataclass

from churnlab.run.library import library

NOBODY = "nobody watched: see the log of the DAG's task monitor"
LOOK = "a person looks: reports/ has the page"


@dataclass(frozen=True)
class Alarm:
    """An alarm in words: the run that it is about, its verdict, what has moved, what came of it."""

    pipeline_id: str
    verdict: str
    moved: str
    answer: str


def alarms(lake: str, dataset: str) -> list[Alarm]:
    """Return the alarms of a lake, the newest first; none if nothing was ever wrong."""
    found = library.alarms.raised_alarms(lake)
    root = library.tables.dataset_root(lake, dataset)
    rows = library.tables.read_rows(root, "model_registry") if found else []
    return [
        Alarm(
            alarm["pipeline_id"],
            alarm["verdict"],
            ", ".join(alarm["moved"]),
            _answer(alarm, lake, rows),
        )
        for alarm in found
    ]


def _answer(alarm: dict, lake: str, rows: list[dict]) -> str:
    """Say what came of an alarm."""
    if alarm["verdict"] != "retrain":
        return NOBODY if alarm["verdict"] == "unwatched" else LOOK
    asked = alarm.get("retraining")
    if asked is None:
        return "no training yet: the DAG's task retrain has not come to an end"
    if "pipeline_id" not in asked:
        return f"no training: {asked['error']}"
    return outcome(asked["pipeline_id"], lake, rows)


def outcome(run: str, lake: str, rows: list[dict]) -> str:
    """Say what came of a training run; ``rows`` are the registry's."""
    own = {row["stage"]: row for row in rows if row["pipeline_id"] == run}
    for stage, words in (
        ("champion", "{model_version} became the champion: {reason}"),
        ("refused", "the champion stays, {model_version} was refused: {reason}"),
    ):
        if stage in own:
            return words.format(**own[stage])
    state = library.runs.run_record(lake, run, "pipeline").get("state", "")
    if state == "SUCCEEDED":
        words = ": its average precision of {average_precision:.3f} is less than the pipeline asks"
        reason = words.format(**own["candidate"]) if "candidate" in own else ""
        return f"the champion stays, run {run} brought no challenger{reason}"
    if state:
        return f"the champion stays, the training {run} has ended: {state}"
    return f"the training {run} goes on"
