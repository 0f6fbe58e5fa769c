"""Which model scores is decided once at a time, by an open way, and with a way back."""

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
from churn import tables
from churn.lake import create_text, delete_folder, names_below, read_text, write_text
from churn.programs import ModelError, StepError
from churn.registry import (
    TRANSITIONS,
    Decision,
    champions,
    decide,
    promote,
    registered_model,
    rollback,
    stage_of,
)
from churn.tables import own_columns, read_rows, write_table

from churnlab import paths

pytestmark = pytest.mark.xdist_group("library")

STAGES = tuple(TRANSITIONS)


@pytest.fixture
def lake(tmp_path):
    """A lake with the files of three models and their rows as candidates."""
    for version in "abc":
        write_text(f"{tmp_path}/models/{version}/data", "")
        known = {"model_version": version, "stage": "candidate", "model_uri": f"models/{version}"}
        row = tuple(known.get(name) for name in own_columns("model_registry"))
        write_table([row], f"{tmp_path}/churn", "model_registry", f"run-{version}", "training")
    return str(tmp_path)


@pytest.fixture
def dataset(lake):
    return f"{lake}/churn"


def by_ada(reason="a test", **more) -> Decision:
    return Decision("decision-run", "Ada", reason, **more)


def crown(dataset: str, *versions: str) -> None:
    """Promote versions one after the other."""
    for version in versions:
        promote(registered_model(dataset, version), dataset, f"for-{version}", "Ada", "a test")


def stages(dataset: str) -> dict[str, str]:
    rows = read_rows(dataset, "model_registry")
    return {version: stage_of(rows, version) for version in "abc"}


# The ways between the stages

WAYS = [(a, b) for a in STAGES for b in STAGES if a != b]
LEADING = {  # to each stage from candidate
    "candidate": [],
    "challenger": ["challenger"],
    "champion": ["champion"],
    "archived": ["archived"],
    "refused": ["challenger", "refused"],
}


@pytest.mark.parametrize(("have", "wanted"), WAYS)
def test_only_open_ways_lead_from_stage_to_stage(dataset, have, wanted):
    for stage in LEADING[have]:
        decide(registered_model(dataset, "a"), stage, dataset, by_ada(), "way")
    entry = registered_model(dataset, "a")
    if wanted in TRANSITIONS[have]:
        assert decide(entry, wanted, dataset, by_ada(), "way")["stage"] == wanted
        assert stages(dataset)["a"] == wanted
    else:
        with pytest.raises(
            ModelError, match=rf"a is {have} and can't become {wanted}, only .*`churn"
        ):
            decide(entry, wanted, dataset, by_ada(), "way")
        assert stages(dataset)["a"] == have


def test_each_change_is_a_row_with_who_why_and_the_evidence(dataset):
    evidence = json.dumps({"average_precision": 0.66})
    entry = registered_model(dataset, "a")
    decide(entry, "challenger", dataset, by_ada("stands before the gate"), "challenge")
    decide(entry, "refused", dataset, by_ada("calls too many", evidence=evidence), "gate")
    told = [
        (r["decision"], r["stage"], r["changed_by"], r["reason"], r["evidence"], r["step"])
        for r in read_rows(dataset, "model_registry")
        if r["model_version"] == "a"
    ]
    assert told[1:] == [
        (1, "challenger", "Ada", "stands before the gate", None, "challenge-1"),
        (2, "refused", "Ada", "calls too many", evidence, "gate-2"),
    ]


def test_decisions_of_one_run_do_not_replace_each_other(dataset):
    for version in "ab":
        promote(registered_model(dataset, version), dataset, "one-run", "Ada", "a test")
    rows = [r for r in read_rows(dataset, "model_registry") if r["pipeline_id"] == "one-run"]
    assert [(r["model_version"], r["stage"]) for r in rows] == [
        ("a", "champion"), ("a", "archived"), ("b", "champion")
    ]  # fmt: skip


def test_deciding_what_is_so_already_writes_nothing(dataset):
    crown(dataset, "a")
    before = read_rows(dataset, "model_registry")
    again = promote(registered_model(dataset, "a"), dataset, "again", "Bob", "once more")
    assert (again["changed_by"], again["pipeline_id"]) == ("Ada", "for-a")
    assert read_rows(dataset, "model_registry") == before


def test_the_champion_is_that_of_the_last_decision_whatever_the_clocks_say(dataset):
    crown(dataset, "a", "b")
    rows = sorted(read_rows(dataset, "model_registry"), key=lambda r: -(r["decision"] or 0))
    assert champions(rows)[-1]["model_version"] == "b"


def test_a_candidate_that_was_fitted_again_does_not_take_the_champion_away(dataset):
    crown(dataset, "a")
    row = registered_model(dataset, "a") | {"stage": "candidate", "decision": None}
    values = tuple(row[name] for name in own_columns("model_registry"))
    write_table([values], dataset, "model_registry", "run-a", "training")
    assert registered_model(dataset)["model_version"] == "a"
    assert stages(dataset)["a"] == "champion"


def test_a_registry_from_before_decisions_had_numbers_is_read_and_goes_on(tmp_path, monkeypatch):
    dataset, told = str(tmp_path / "churn"), tables.TABLES["model_registry"]
    with monkeypatch.context() as before:
        before.setitem(tables.TABLES, "model_registry", told.partition(", evidence")[0])
        for version, stage in (("a", "champion"), ("b", "champion"), ("c", "candidate")):
            known = {"model_version": version, "stage": stage}
            row = tuple(known.get(name) for name in own_columns("model_registry"))
            write_table([row], dataset, "model_registry", f"run-{version}", "a-step")
    assert stages(dataset) == {"a": "archived", "b": "champion", "c": "candidate"}
    crown(dataset, "c")
    assert registered_model(dataset)["decision"] == 1
    assert stages(dataset) == {"a": "archived", "b": "archived", "c": "champion"}


# The way back


def test_a_rollback_makes_the_former_champion_champion_and_archives_the_other(lake, dataset):
    crown(dataset, "a", "b")
    row = rollback(lake, dataset, "back", "Ada", "b forgets churners")
    assert (row["model_version"], row["stage"], row["reason"]) == (
        "a",
        "champion",
        "b forgets churners",
    )
    assert registered_model(dataset)["model_version"] == "a"
    assert stages(dataset) == {"a": "champion", "b": "archived", "c": "candidate"}


def test_a_second_rollback_goes_further_back_and_not_to_what_was_left(lake, dataset):
    crown(dataset, "a", "b", "c")
    found = [rollback(lake, dataset, f"back-{n}", "Ada", "worse")["model_version"] for n in (1, 2)]
    assert found == ["b", "a"]
    with pytest.raises(ModelError, match="a is the first champion: there is none to go back to"):
        rollback(lake, dataset, "back-3", "Ada", "worse")
    assert registered_model(dataset)["model_version"] == "a"


def test_there_is_no_way_back_to_a_model_whose_files_are_gone(lake, dataset):
    crown(dataset, "a", "b")
    delete_folder(f"{lake}/models/a")
    with pytest.raises(ModelError, match=r"Can't read the model a at .*its files are gone"):
        rollback(lake, dataset, "back", "Ada", "worse")
    assert registered_model(dataset)["model_version"] == "b"


def test_a_rollback_needs_a_reason(lake, dataset):
    crown(dataset, "a", "b")
    with pytest.raises(StepError, match="who decided and a reason"):
        rollback(lake, dataset, "back", "Ada", " ")
    assert registered_model(dataset)["model_version"] == "b"


def test_evidence_about_another_champion_promotes_nobody(dataset):
    crown(dataset, "a", "b")
    entry = registered_model(dataset, "c")
    with pytest.raises(ModelError, match="c was judged against a, and by now b is the champion"):
        promote(entry, dataset, "late", "gate", "better than a", instead_of="a")
    assert stages(dataset)["c"] == "candidate"


# Two at once

AT_ONCE = """
import sys
sys.path.insert(0, sys.argv[1])
from churn import registry, tables
dataset, version = sys.argv[2:]
entry, write = registry.registered_model(dataset, version), tables.write_decision

def both_have_looked(*arguments):
    print("ready", flush=True)
    sys.stdin.readline()
    return write(*arguments)

registry.write_decision = both_have_looked
try:
    registry.promote(entry, dataset, f"at-once-{version}", version.upper(), "a race")
    print("won")
except registry.ModelError as error:
    print(error)
"""


def test_of_two_processes_that_promote_at_once_one_wins_and_the_other_is_told(dataset):
    command = [sys.executable, "-c", AT_ONCE, str(paths.SCRIPTS), dataset]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    runs = {v: subprocess.Popen([*command, v], **pipes) for v in "ab"}
    for run in runs.values():
        assert run.stdout.readline() == "ready\n"
    for run in runs.values():
        run.stdin.write("go\n")
        run.stdin.flush()
    said = {version: run.communicate()[0].strip() for version, run in runs.items()}
    winner, loser = sorted(said, key=lambda version: said[version] != "won")
    assert said[winner] == "won"
    assert (
        f"{loser} did not become champion: at the same moment {winner.upper()} made" in said[loser]
    )
    assert "(decision 1). Look at the registry, and decide again." in said[loser]
    assert registered_model(dataset)["model_version"] == winner
    assert stages(dataset)[loser] == "candidate"
    assert [r["decision"] for r in read_rows(dataset, "model_registry")].count(1) == 1
    left = [n for n in names_below(dataset) if f"at-once-{loser}" in n]
    assert not [name for name in left if name.endswith((".parquet", "_SUCCESS"))]


KILLED = """
import os, sys
sys.path.insert(0, sys.argv[1])
from churn import registry, tables
tables.mark_finished = lambda attempt: os._exit(9)
registry.promote(registry.registered_model(sys.argv[2], "a"), sys.argv[2], "killed", "Ada", "a kill")
"""


def test_a_writer_killed_after_its_number_has_decided_and_one_killed_before_has_not(dataset):
    run = [sys.executable, "-c", KILLED, str(paths.SCRIPTS), dataset]
    assert subprocess.run(run).returncode == 9
    with pytest.raises(ModelError, match="No model is the champion yet"):
        registered_model(dataset)  # written, not yet shown
    promote(registered_model(dataset, "b"), dataset, "next", "Bob", "after the kill")
    rows = read_rows(dataset, "model_registry")
    assert [(r["model_version"], r["stage"], r["decision"]) for r in rows if r["decision"]] == [
        ("a", "champion", 1), ("a", "archived", 2), ("b", "champion", 2)
    ]  # fmt: skip
    run[2] = KILLED.replace("mark_finished = lambda attempt", "create_text = lambda uri, text")
    run[2] = run[2].replace('"a")', '"c")')
    assert subprocess.run(run).returncode == 9
    assert read_rows(dataset, "model_registry") == rows
    crown(dataset, "c")
    assert registered_model(dataset)["decision"] == 3


def test_of_many_files_of_one_name_one_is_created_and_read(tmp_path):
    uri = str(tmp_path / "claims" / "1")
    with ThreadPoolExecutor(8) as pool:
        won = list(pool.map(lambda n: create_text(uri, f"writer {n}"), range(8)))
    assert sum(won) == 1
    assert read_text(uri) == f"writer {won.index(True)}"
    assert os.listdir(tmp_path / "claims") == ["1"]
