"""Let the DAG's task ask for retrainings from inside Airflow's environment; print what it noted.

``python retrain_in_airflow.py DAGS RUNS URLS`` prints one JSON object; ``test_retraining`` reads it. RUNS
is a JSON list of (day, version): an alarm about this version, on this day. URLS is one of addresses
that the task may call.
"""

import json
import sys
from datetime import datetime
from types import SimpleNamespace

import airflow.models  # noqa: F401  what a DAG processor has imported before it reads a file
from airflow.dag_processing.dagbag import DagBag


def main(folder: str, runs: str, urls: str) -> None:
    """Raise each alarm and let the task answer it; look how it would say who it is."""
    [dag] = DagBag(folder, include_examples=False).dags.values()
    retrain = dag.get_task("retrain").python_callable
    module = sys.modules[retrain.__module__]
    answers = []
    for number, (day, version) in enumerate(json.loads(runs)):
        run = SimpleNamespace(run_id=f"r{number}", run_after=datetime.fromisoformat(day))
        key = module.pipeline_id_of(run)
        facts = {"verdict": "retrain", "moved": ["churn_probability"], "model_version": version}
        record = {"pipeline_id": key, "facts": facts}
        module.write_whole(module.in_lake(f"runs/{key}/monitoring/1.json"), record)
        module.write_whole(module.in_lake(f"alarms/{key}.json"), {"pipeline_id": key} | facts)
        try:
            answers.append(retrain(run)["retraining"])
        except Exception as error:
            file = module.in_lake(f"alarms/{key}.json")
            noted = json.loads(file.read_text())["retraining"]
            answers.append(noted | {"raised": type(error).__name__})
    identities = {url: module.identity(url) for url in json.loads(urls)}
    print("\n" + json.dumps({"answers": answers, "identities": identities}))


if __name__ == "__main__":
    main(*sys.argv[1:])
