# Generated from notebooks/16-monitoring.ipynb by `make export`; do not edit.
"""Alarms: files below the lake that say what has moved, and what came of it."""

import json

from churn.lake import exists, join_uri, names_below, read_text, write_text


def raise_alarm(lake: str, pipeline_id: str, facts: dict) -> None:
    """Write the alarm of a run; a later verdict about the same run takes its place."""
    file = join_uri(lake, "alarms", f"{pipeline_id}.json")
    if facts["verdict"] != "fine" or exists(file):
        write_text(file, json.dumps({"pipeline_id": pipeline_id} | facts, indent=2))


def raised_alarms(lake: str) -> list[dict]:
    """Return the alarms of a lake, the newest first."""
    folder = join_uri(lake, "alarms")
    names = [name for name in names_below(folder) if name.endswith(".json")]
    found = [json.loads(read_text(join_uri(folder, name))) for name in reversed(names)]
    return [alarm for alarm in found if alarm["verdict"] != "fine"]


def refused_challengers(rows: list[dict], champion: str) -> dict[str, str]:
    """Return who was refused in favour of a champion, and why; rows are the registry's."""
    refused = [row for row in rows if row["stage"] == "refused"]
    about = {row["model_version"]: json.loads(row["evidence"] or "{}") for row in refused}
    return {
        row["model_version"]: row["reason"]
        for row in refused
        if about[row["model_version"]].get("champion") == champion
    }
