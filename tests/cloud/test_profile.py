"""`churnlab cloud init` writes down what Terraform made, or says what is missing."""

import json
from dataclasses import asdict, fields

import pytest

from churnlab.cloud.profile import Profile, read_profile, write_profile
from churnlab.errors import CourseError
from tests.cloud.conftest import PROFILE, changed, churnlab


def outputs(**changes) -> dict:
    """Return the profile as ``terraform output -json`` writes it, with another output beside it."""
    values = asdict(PROFILE) | {"another": 7} | changes
    return {name: {"sensitive": False, "type": "any", "value": v} for name, v in values.items()}


@pytest.fixture
def path(tmp_path, monkeypatch):
    """Where the profile goes."""
    monkeypatch.setenv("CHURNLAB_PROFILE", str(tmp_path / "cloud.toml"))
    return tmp_path / "cloud.toml"


def test_init_asks_terraform_and_the_file_reads_back(path, terraform):
    notes = terraform(output=outputs())
    done = churnlab("init")
    assert done.error is None and "lake gs://demo-lake" in done.text
    assert read_profile(path) == PROFILE
    assert notes.read_text().split()[1:] == ["output", "-json", "-no-color"]


def test_init_takes_a_file_instead(path, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))  # there is no terraform
    file = tmp_path / "outputs.json"
    file.write_text(json.dumps(outputs(project_id="other")))
    assert churnlab("init", "--outputs", str(file)).error is None
    assert read_profile(path).project_id == "other"


@pytest.mark.parametrize("text", ['a "quoted" \\ back', "größer – 東京", "#[table]", ""])
def test_any_text_survives_the_file(path, text):
    profile = changed(kms_key=text, labels={"course": text})
    write_profile(profile, path)
    assert read_profile(path) == profile


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"project_id": ""}, "project_id is empty"),
        ({"project_id": None}, "project_id is None, not a text"),
        ({"lake_uri": "demo-lake"}, "lake_uri is 'demo-lake', not gs://"),
        ({"dataset": "demo.churn"}, "dataset is 'demo.churn', not bigquery://"),
        ({"apis": "dataproc"}, "apis is not a list of texts"),
        ({"labels": {"course": 7}}, "labels is not a map of texts"),
        ({"toggles": {"create_composer": "true"}}, "toggles is not a map of switches"),
        ({"service_accounts": {"batch": "a@b"}}, "service_accounts.pipeline is empty"),
        ({"service_accounts": ["a@b"]}, "service_accounts is not a map of texts"),
        ({"zone": "a\nb"}, "zone is 'a\\nb', not a text"),
    ],
)
def test_a_wrong_output_is_named_and_nothing_is_written(path, terraform, changes, words):
    terraform(output=outputs(**changes))
    error = churnlab("init").error
    assert words in error.problem and "terraform -chdir=infra apply" in error.mend
    assert not path.exists()


@pytest.mark.parametrize("name", [field.name for field in fields(Profile)])
def test_a_missing_output_is_named(path, terraform, name):
    kept = outputs()
    del kept[name]
    terraform(output=kept)
    assert f"lacks {name}." in churnlab("init").error.problem


def test_before_the_first_apply_init_says_so(path, terraform):
    terraform()
    error = churnlab("init").error
    assert "has no outputs yet" in error.problem and "apply" in error.mend


def test_a_terraform_that_fails_is_quoted(path, terraform):
    terraform(fails="output")
    assert "Error: so be it" in churnlab("init").error.problem


def test_without_terraform_the_mend_is_to_install_it(path, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    error = churnlab("init").error
    assert "no terraform" in error.problem and "install" in error.mend


@pytest.mark.parametrize("text", ["", "no json", "[]", '{"project_id": "demo"}'])
def test_a_file_without_outputs_is_refused(path, tmp_path, text):
    file = tmp_path / "outputs.json"
    file.write_text(text)
    assert "outputs.json holds no outputs" in churnlab("init", "--outputs", str(file)).error.problem


def test_a_dry_run_and_a_failure_leave_the_old_profile(path, terraform):
    write_profile(changed(project_id="before"), path)
    terraform(output=outputs())
    assert f"Would write {path}" in churnlab("init", "--dry-run").text
    terraform(output=outputs(region=""))
    assert churnlab("init").error
    assert read_profile(path).project_id == "before"
    assert [each.name for each in path.parent.glob("cloud*")] == ["cloud.toml"]


@pytest.mark.parametrize("command", [["check"], ["upload"], ["submit", "preprocessing"], ["down"]])
def test_without_a_profile_every_command_names_init(path, command):
    error = churnlab(*command).error
    assert "no profile cloud.toml" in error.problem and "churnlab cloud init" in error.mend


@pytest.mark.parametrize("text", ["project_id = ", "project_id = 7", "\udcff"])
def test_a_broken_profile_is_to_be_written_again(path, text):
    path.write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(CourseError, match="churnlab cloud init"):
        read_profile(path)


def test_a_write_that_is_cut_off_leaves_the_old_profile(path, monkeypatch):
    write_profile(changed(project_id="before"), path)

    def cut_off(self, target):
        raise OSError("cut off")

    monkeypatch.setattr("pathlib.Path.replace", cut_off)
    with pytest.raises(OSError, match="cut off"):
        write_profile(changed(project_id="after"), path)
    assert read_profile(path).project_id == "before"
