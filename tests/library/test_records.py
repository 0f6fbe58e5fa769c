"""What a finished step leaves beside its tables."""

import json
import subprocess
import sys
from datetime import UTC, datetime

import pytest
from churn.contract import provenance
from churn.runs import close_run, git_blob, run_record

from churnlab import paths

pytestmark = pytest.mark.xdist_group("library")


def test_a_record_tells_what_the_step_took_and_its_facts(spark, lake):
    spark.range(3).count()
    line = close_run(spark, "a-step", str(lake), "run-a", rows=3, none=None)
    record = run_record(str(lake), "run-a", "a-step")
    assert record["facts"] == {"rows": 3, "none": None}
    assert (record["pipeline_id"], record["step"]) == ("run-a", "a-step")
    assert record["jobs"] >= 1 and record["seconds"] > 0 and record["spark"] == spark.version
    assert line.startswith("a-step: done in ") and line.endswith(" stages")


def test_running_again_adds_a_record_and_overwrites_none(spark, lake):
    close_run(spark, "a-step", str(lake), "run-b", rows=1)
    for rows in (1, 2):
        close_run(spark, "a-step", str(lake), "run-a", rows=rows)
    rows = {
        run: run_record(str(lake), run, "a-step")["facts"]["rows"] for run in ("run-a", "run-b")
    }
    assert rows == {"run-a": 2, "run-b": 1}
    assert len(list((lake / "runs" / "run-a" / "a-step").iterdir())) == 2


def test_the_record_of_then_is_found_after_a_later_one(spark, lake):
    close_run(spark, "a-step", str(lake), "run-a", rows=1)
    between = datetime.now(UTC)
    close_run(spark, "a-step", str(lake), "run-a", rows=2)
    assert run_record(str(lake), "run-a", "a-step", between)["facts"]["rows"] == 1
    first = datetime(2026, 1, 1, tzinfo=UTC)
    assert run_record(str(lake), "run-a", "a-step", first) == {}


def test_a_step_that_has_not_finished_has_no_record(lake):
    assert run_record(str(lake), "run-a", "a-step") == {}


def test_a_file_s_blob_is_the_name_that_git_gives_it(tmp_path):
    path = tmp_path / "ein Skript ü.py"
    path.write_bytes("print('ü')\r\n\0".encode())
    asked = subprocess.run(
        ["git", "hash-object", "--no-filters", path], capture_output=True, text=True, check=True
    )
    assert git_blob(str(path)) == asked.stdout.strip()


def test_the_running_script_is_known_by_name_and_blob(tmp_path, library):
    script = tmp_path / "a_script.py"
    folder = str(paths.SCRIPTS)
    script.write_text(
        f"import sys, json\nsys.path.insert(0, {folder!r})\n"
        "from churn.runs import running_code\nprint(json.dumps(running_code()))\n"
    )
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=True)
    code = json.loads(done.stdout)
    assert (code["script"], code["script_blob"]) == ("a_script.py", git_blob(str(script)))
    assert code["library_tree"] == library.runs.library_tree()


def test_the_note_beside_a_raw_folder_is_found_with_and_without_a_slash(tmp_path):
    (tmp_path / "customers_source.json").write_text('{"rows": 7}')
    for uri in (f"{tmp_path}/customers", f"{tmp_path}/customers/"):
        assert provenance(uri) == {"rows": 7}
    assert provenance(f"{tmp_path}/others") == {}
