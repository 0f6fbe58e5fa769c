"""Look at the DAG from inside Airflow's environment, where pytest is not; print what was seen.

``python in_airflow.py DAGS LAKE CASES`` prints one JSON object; ``test_scoring_dag`` reads it.
"""

import json
import socket
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

import airflow.models  # noqa: F401  what a DAG processor has imported before it reads a file
from airflow.dag_processing.dagbag import DagBag
from airflow.sdk import ObjectStoragePath, Variable
from airflow.serialization.serialized_objects import DagSerialization

RUN = SimpleNamespace(run_id="manual__1", run_after=datetime(2026, 11, 23, 5, 15, tzinfo=UTC))


def parse(folder: str) -> tuple[float, DagBag]:
    """Read the DAG file with network and variables out of reach; return the seconds of processor."""

    def refuse(*arguments, **options):
        raise AssertionError("a DAG file must not ask the network or the database when it is read")

    asked = socket.socket.connect, socket.getaddrinfo, Variable.get
    socket.socket.connect = socket.getaddrinfo = Variable.get = refuse
    try:
        started = time.process_time()  # others may have the processor meanwhile
        bag = DagBag(folder, include_examples=False)
        return time.process_time() - started, bag
    finally:
        socket.socket.connect, socket.getaddrinfo, Variable.get = asked


def answer(function, *arguments, **options) -> str:
    """Return what a task returns, or the exception that it raises, as text."""
    try:
        return json.dumps(function(*arguments, **options))
    except Exception as error:
        return f"{type(error).__name__}: {error}"


def look_at_verdicts(module, functions: dict, params: dict, key: str) -> dict:
    """Let the monitor say each verdict about the run, and call the tasks that answer."""
    scored = {"pipeline_id": key, "finished": "2026-11-23T05:16:00.000000+00:00"}
    scoring = module.in_lake(f"runs/{key}/scoring/1.json")
    module.write_whole(scoring, scored)
    judged = {"failed": functions["judge"](RUN, params)}
    for verdict in ("fine", "alert", "retrain"):
        facts = {"verdict": verdict, "model_version": "v7", "moved": ["tenure"]}
        record = {"pipeline_id": key, "facts": facts} | scored
        record["finished"] = record["finished"].replace("05:16", "05:17")
        module.write_whole(module.in_lake(f"runs/{key}/monitoring/1.json"), record)
        judged[verdict] = functions["judge"](RUN, params)
    other = params | {"model_version": "v6"}
    judged["retrain another version"] = functions["judge"](RUN, other)
    later = scored | {"finished": scored["finished"].replace("05:16", "05:18")}
    module.write_whole(scoring, later)
    judged["scored again"] = functions["judge"](RUN, params)
    scoring.unlink()
    module.write_whole(module.in_lake(f"alarms/{key}.json"), {"pipeline_id": key} | facts)
    judged["alarm"] = functions["alert"](RUN, params)
    judged["without a function"] = functions["retrain"](RUN)
    judged["about another version"] = functions["alert"](RUN, other)
    judged["nobody"] = answer(functions["nobody_watched"], RUN)
    judged["file"] = json.loads(module.in_lake(f"alarms/{key}.json").read_text())
    return judged


def look_at_tasks(dag, lake: Path) -> dict:
    """Call the DAG's own tasks, outside a run."""
    functions = {task.task_id: getattr(task, "python_callable", None) for task in dag.tasks}
    module = sys.modules[functions["publish"].__module__]
    params = dag.params.dump()
    sense = functions["wait_for_customers"]
    before = sense(RUN, params)
    waiting = lake / "incoming" / "2026-11-23.csv"
    waiting.parent.mkdir()
    waiting.write_text("customerID\n")
    after = sense(RUN, params)
    key = module.pipeline_id_of(RUN)
    no_record = answer(functions["check_quality"], RUN, params)
    judged = look_at_verdicts(module, functions, params, key)
    record = {"pipeline_id": key, "step": "scoring"}
    facts = {"source": "a.csv", "model_version": "m", "predictions": 9, "offers": 3}
    first = answer(functions["publish"], record | {"facts": facts})
    later = {"pipeline_id": "20270101t000000-000000", "facts": facts}
    answer(functions["publish"], later)
    late = answer(functions["publish"], record | {"facts": facts})
    move, ObjectStoragePath.rename = ObjectStoragePath.rename, None  # killed before the move
    killed = answer(functions["publish"], later | {"pipeline_id": "2028"})
    ObjectStoragePath.rename = move
    return {
        "key": key,
        "sensed": [before.is_done, after.is_done, after.xcom_value],
        "no_record": no_record,
        "judged": judged,
        "first": first,
        "late": late,
        "killed": killed,
        "pointer": json.loads((lake / "published" / "batch_predictions.json").read_text()),
    }


def main(folder: str, lake: str, cases: str) -> None:
    """Print everything that the tests want to know."""
    seconds, bag = parse(folder)
    [dag] = bag.dags.values() if bag.dags else [None]
    seen = {"seconds": seconds, "errors": list(bag.import_errors.values())}
    if dag is not None:
        again = parse(folder)[1].dags[dag.dag_id]
        serialised = [DagSerialization.serialize_dag(one) for one in (dag, again)]
        module = sys.modules[dag.get_task("publish").python_callable.__module__]
        seen |= {
            "same": serialised[0] == serialised[1],
            "schedule": dag.schedule,
            "settings": [dag.catchup, dag.max_active_runs],
            "arrows": sorted([t.task_id, d] for t in dag.tasks for d in t.downstream_task_ids),
            "reschedules": dag.get_task("wait_for_customers").reschedule,
            "params": {
                name: [dag.params.get_param(name).description, dag.params.get_param(name).schema]
                for name in dag.params
            },
            "deferrable": dag.get_task("score").deferrable,
            "batch": dag.get_task("score").batch,
            "monitor": dag.get_task("monitor").batch,
            "rules": {task.task_id: task.trigger_rule for task in dag.tasks},
            "batch_id": dag.get_task("score").batch_id,
            "problems": {
                name: module.problems_of(record, "run", limits)
                for name, (record, limits) in json.loads(cases).items()
            },
            "tasks": look_at_tasks(dag, Path(lake)),
        }
    print(f"\n{json.dumps(seen, default=str)}")


if __name__ == "__main__":
    main(*sys.argv[1:])
