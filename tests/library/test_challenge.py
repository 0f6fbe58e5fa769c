"""A challenge: both models answer about the acceptance set, and the registry keeps the verdict.

The forests are made up here, one column each; in tests/pipeline the gate reads saved ones.
"""

import json
from types import SimpleNamespace

import numpy as np
import pytest
from churn import challenge as gate
from churn.challenge import acceptance_set, challenge, next_challenger
from churn.contract import AMOUNTS, CATEGORIES
from churn.gate import Limits
from churn.lake import write_text
from churn.programs import ModelError
from churn.registry import promote, registered_model, stage_of
from churn.tables import own_columns, read_rows, write_table

from churnlab.run.library import course_module

pytestmark = pytest.mark.xdist_group("library")

CUSTOMERS = 600
LIMITS = Limits(min_average_precision=0.3, min_recall=0.1)
SHARP, BLUNT = "monthly_charges", "total_charges"


def made_up_customers() -> list[tuple]:
    """Return rows of training_data: the monthly charge tells who leaves, the total nearly nothing."""
    rng, rows = np.random.default_rng(3), []
    for number in range(CUSTOMERS):
        p = rng.beta(0.6, 1.2)
        known = {name: values[number % len(values)] for name, values in CATEGORIES.items()}
        blur = float(np.clip(0.2 * p + 0.8 * rng.uniform(), 0, 1))
        known |= {"customer_id": f"c-{number:04d}", "tenure": 3, SHARP: p, BLUNT: blur}
        known |= {"churn": "yes" if rng.uniform() < p else "no"}
        known |= {"split": "train" if number % 10 == 0 else "test"}
        rows.append(tuple(known[name] for name in own_columns("training_data")))
    return rows


@pytest.fixture
def lake(tmp_path, monkeypatch):
    """A lake with customers, and models that are named after the one column that they read."""
    root = f"{tmp_path}/warehouse/churn"
    write_table(made_up_customers(), root, "training_data", "the-data", "preprocessing")
    seen = {"forests": []}

    def load_forest(uri: str):
        seen["forests"].append(uri)
        column = SHARP if "sharp" in uri else BLUNT
        if "gone" in uri:
            raise FileNotFoundError(f"{uri} is not there")
        return SimpleNamespace(
            columns={column: []}, rate=np.zeros(100), probability=lambda x: x[:, 0]
        )

    monkeypatch.setattr(gate, "load_forest", load_forest)
    return str(tmp_path)


@pytest.fixture
def tables(lake):
    return f"{lake}/warehouse/churn"


def register(lake: str, version: str, average_precision: float = 0.65, run: str = "") -> dict:
    """Register a candidate with a file of one megabyte; return its row."""
    root = f"{lake}/warehouse/churn"
    write_text(f"{lake}/models/{version}/data", "x" * 1_000_000)
    known = {"model_version": version, "stage": "candidate", "model_uri": f"models/{version}"}
    known |= {"data_pipeline_id": "the-data", "threshold": 0.4}
    known |= {name: average_precision for name in ("average_precision",)}
    known |= {"cross_validated_average_precision": average_precision}
    row = tuple(known.get(name) for name in own_columns("model_registry"))
    write_table([row], root, "model_registry", run or f"run-{version}", "training")
    return registered_model(root, version)


def challenged(lake: str, entry: dict, limits: Limits = LIMITS) -> gate.Verdict:
    return challenge(entry, lake, f"{lake}/warehouse/churn", "week-2", "a pipeline", limits)


def stage(tables: str, version: str) -> str:
    return stage_of(read_rows(tables, "model_registry"), version)


def test_the_acceptance_set_is_the_test_split_of_the_run_s_data_in_the_order_of_ids(tables):
    customers = acceptance_set(tables, "the-data")
    assert len(customers) == CUSTOMERS * 9 // 10
    assert customers["customer_id"].is_monotonic_increasing
    assert {"customer_id", "churn", *CATEGORIES, *AMOUNTS} == set(customers.columns)
    assert len(acceptance_set(tables, "other-data")) == 0


@pytest.mark.parametrize(("quality", "accepted"), [(0.31, True), (0.29, False), (None, False)])
def test_without_a_champion_the_least_average_precision_decides_alone(
    lake, tables, quality, accepted
):
    entry = register(lake, "blunt") | {
        "average_precision": float("nan") if quality is None else quality
    }
    verdict = challenged(lake, entry)
    assert (verdict.champion, len(verdict.checks)) == ("nobody", 1)
    assert verdict.refusals == [] if accepted else "at least 0.3 is asked" in verdict.refusals[0]
    assert stage(tables, "blunt") == ("champion" if accepted else "refused")


def test_a_better_challenger_takes_the_champion_s_place_with_its_evidence(lake, tables):
    challenged(lake, register(lake, "blunt"))
    verdict = challenged(lake, register(lake, "sharp"))
    assert verdict.refusals == []
    champion = registered_model(tables)
    assert (champion["model_version"], champion["changed_by"]) == ("sharp", "a pipeline")
    assert champion["reason"] == f"all {len(verdict.checks)} rules hold against blunt"
    evidence = json.loads(champion["evidence"])
    assert evidence["champion"] == "blunt" and evidence["average_precision"][0] > 0
    assert evidence["acceptance_set"].startswith(f"{CUSTOMERS * 9 // 10}-")
    assert stage(tables, "blunt") == "archived"


def test_a_worse_challenger_is_refused_in_words_and_the_champion_stays(lake, tables):
    challenged(lake, register(lake, "sharp"))
    verdict = challenged(lake, register(lake, "blunt"))
    assert any("the least gain in average precision is -" in words for words in verdict.refusals)
    assert registered_model(tables)["model_version"] == "sharp"
    last = read_rows(tables, "model_registry")[-1]
    assert (last["model_version"], last["stage"]) == ("blunt", "refused")
    assert last["reason"] == "; ".join(verdict.refusals)
    assert not all(check["holds"] for check in json.loads(last["evidence"])["checks"])


def test_what_a_model_weighs_is_measured_at_its_files(lake):
    challenged(lake, register(lake, "blunt"))
    verdict = challenged(lake, register(lake, "sharp"), Limits(max_megabytes=0.5, max_nodes=99))
    weighed = [words for words in verdict.refusals if "size" in words or "nodes" in words]
    assert weighed == [
        "its size in MB is 1, at most 0.5 is asked",
        "its number of nodes is 100, at most 99 is asked",
    ]
    [seconds] = [check.value for check in verdict.checks if "seconds" in check.rule]
    assert 0 < seconds


def test_the_champion_that_challenges_again_stays_what_it_is(lake, tables):
    challenged(lake, register(lake, "sharp"))
    before = read_rows(tables, "model_registry")
    assert challenged(lake, registered_model(tables)).refusals == []
    assert read_rows(tables, "model_registry") == before


def test_evidence_against_a_champion_that_was_replaced_meanwhile_promotes_nobody(
    lake, tables, monkeypatch
):
    challenged(lake, register(lake, "blunt"))
    rival, entry = register(lake, "rival-sharp"), register(lake, "sharp")
    examine = gate.examine

    def another_pipeline_is_quicker(*arguments):
        verdict = examine(*arguments)
        promote(rival, tables, "quicker", "Bob", "I was first")
        return verdict

    monkeypatch.setattr(gate, "examine", another_pipeline_is_quicker)
    with pytest.raises(ModelError, match="sharp was judged against blunt, and by now rival-sharp"):
        challenged(lake, entry)
    assert registered_model(tables)["model_version"] == "rival-sharp"
    assert stage(tables, "sharp") == "challenger"


def test_a_model_whose_files_are_gone_is_named(lake, tables):
    challenged(lake, register(lake, "blunt"))
    with pytest.raises(ModelError, match=r"Can't read the model gone at .*models/gone"):
        challenged(lake, register(lake, "gone"))
    assert registered_model(tables)["model_version"] == "blunt"


def test_next_is_the_best_candidate_of_the_newest_run_that_does_not_score(lake, tables):
    with pytest.raises(ModelError, match=r"No candidate of .* waits for its turn"):
        next_challenger(tables)
    register(lake, "blunt", 0.9, run="old")
    for version, quality in (("sharp", 0.7), ("sharp-too", 0.6)):
        known = {"model_version": version, "stage": "candidate", "pipeline_id": "new"}
        known |= {"cross_validated_average_precision": quality}
        row = tuple(known.get(name) for name in own_columns("model_registry"))
        write_table([row], tables, "model_registry", "new", version)
    assert next_challenger(tables)["model_version"] == "sharp"
    assert next_challenger(tables, "blunt")["model_version"] == "blunt"
    promote(registered_model(tables, "sharp"), tables, "p", "Ada", "a test")
    assert next_challenger(tables)["model_version"] == "sharp-too"


def test_the_program_challenges_by_hand_and_says_what_came_of_it(lake, tables, capsys):
    options = ["--pipeline-id", "by-hand", "--lake", lake, "--min-average-precision", "0.3"]
    program = course_module("registry_and_gate")
    register(lake, "blunt", 0.4)
    program.main([*options, "--min-recall", "0.1"])
    assert capsys.readouterr().out == "blunt is the champion\n"
    register(lake, "sharp")
    program.main([*options, "--min-recall", "0.1", "--offer-cost", "1"])
    assert capsys.readouterr().out == "sharp is the champion\n"
    program.main([*options, "--model-version", "blunt"])
    assert "blunt is refused: " in capsys.readouterr().out
    assert registered_model(tables)["changed_by"] == "registry-gate"
