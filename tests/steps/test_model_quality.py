"""How good the chosen forest is on the real customers, and that the page says so."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from churnlab import paths
from churnlab.run.spark_submit import submit_environment

pytestmark = [pytest.mark.slow, pytest.mark.real_data, pytest.mark.xdist_group("quality")]


@pytest.fixture(scope="module")
def found(real_csv, tmp_path_factory) -> dict:
    """Means and spreads of the default forest over 5×5 folds, and its metrics on the test split."""
    target = tmp_path_factory.mktemp("quality") / "found.json"
    files = ",".join(str(paths.SCRIPTS / file) for file in ("churn.zip", "model_training.py"))
    program = Path(__file__).with_name("evaluate_forest.py")
    command = [Path(sys.executable).with_name("spark-submit"), "--conf", "spark.ui.enabled=false"]
    done = subprocess.run(
        [*command, "--py-files", files, program, real_csv, target],
        env=submit_environment(),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return json.loads(target.read_text())


def test_repeated_cross_validation_is_as_good_as_when_the_forest_was_chosen(found):
    means = found["means"]
    assert means["roc_auc"] >= 0.845
    assert means["average_precision"] >= 0.655


def test_the_forest_is_not_suspiciously_good(found):
    assert found["means"]["roc_auc"] < 0.86, "too good for this data: look for a leak"


def test_the_test_is_within_two_standard_errors_of_cross_validation(found):
    means, spread, test = found["means"], found["spreads"], found["test"]
    # A fold and the test are of similar size, so the spread of folds is the test's standard error.
    fold_size = (found["test_customers"] / 0.2) * 0.9 / found["folds"]
    scale = (fold_size / found["test_customers"]) ** 0.5
    for metric in ("roc_auc", "average_precision"):
        assert abs(test[metric] - means[metric]) <= 2 * spread[metric] * scale
