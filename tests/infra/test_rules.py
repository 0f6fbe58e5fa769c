"""The house rules of infra/, read off the text: one provider and a wait, no tricks, everything described."""

import ast
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from churnlab import paths

PINNED = {
    "google": {"source": "hashicorp/google", "version": "~> 8.0"},
    "time": {"source": "hashicorp/time", "version": "~> 0.13"},
}
# The one wait: Google says of no role when it has arrived.
WAIT = "time_sleep.roles"
# Built or started at once in the name of an account, so its roles have to be there.
WAITING = [
    "google_cloud_run_v2_service.champion",
    "google_cloudfunctions2_function.training",
    "google_composer_environment.airflow",
    "google_dataproc_cluster.history",
    "google_workbench_instance.notebooks",
]
# Not on a thing that can be made anew under the same name and leave them behind: on the project, on the
# key, on accounts (their addresses are only known once they are there), on buckets (one that is not
# empty can't be replaced).
STAYING = ("google_project_", "google_kms_", "google_service_account_", "google_storage_bucket_")

# rule: Terraform that breaks it
FAULTS = {
    "another provider": 'resource "null_resource" "planted" {}',
    "sleeping": 'resource "time_sleep" "planted" {\n  create_duration = "30s"\n}',
    "the beta provider": 'resource "google_project_service" "planted" {\n  provider = google-beta\n}',
    "a provisioner": (
        'resource "google_storage_bucket" "planted" {\n'
        '  provisioner "local-exec" {\n    command = "true"\n  }\n}'
    ),
    "an organisation policy": 'resource "google_org_policy_policy" "planted" {}',
    "a module from elsewhere": 'module "planted" {\n  source = "terraform-google-modules/network/google"\n}',
    "a variable without a type": 'variable "planted" {\n  description = "No type."\n}',
    "a variable without a description": 'variable "planted" {\n  type = string\n}',
    "an output without a description": 'output "planted" {\n  value = 1\n}',
    "another version of the provider": (
        "terraform {\n  required_providers {\n"
        '    google = {\n      source  = "hashicorp/google"\n      version = ">= 7.0"\n    }\n  }\n}'
    ),
    "a third provider": (
        "terraform {\n  required_providers {\n"
        '    random = {\n      source  = "hashicorp/random"\n      version = "~> 3.0"\n    }\n  }\n}'
    ),
}


def read_terraform(tools: Path, folder: Path) -> dict[str, dict]:
    """Return the .tf files directly in a folder as hcl2 reads them, by file name."""
    reader = Path(__file__).with_name("read_hcl.py")
    done = subprocess.run([tools / "python", reader, folder], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def blocks(config: dict, kind: str) -> list[tuple[str, dict]]:
    """Return the blocks of a kind by label; two labels are joined by a dot."""
    found = []
    for block in config.get(kind, []):
        for label, body in block.items():
            if kind in ("resource", "data"):
                found += [(f"{label}.{name}", inner) for name, inner in body.items()]
            else:
                found.append((label, body))
    return found


def resource_faults(address: str, body: dict) -> list[str]:
    """Return which rules a resource or data source breaks."""
    faults = []
    if address.startswith("time_sleep"):
        faults += [] if address == WAIT else ["sleeping"]
    elif not address.startswith("google_"):
        faults.append("another provider")
    if "google-beta" in json.dumps(body.get("provider", "")):
        faults.append("the beta provider")
    if "provisioner" in body:
        faults.append("a provisioner")
    if "org_policy" in address or "organization_policy" in address:
        faults.append("an organisation policy")
    return faults


def provider_faults(terraform: dict) -> list[str]:
    """Return which rules a terraform block's providers break."""
    faults = []
    for block in terraform.get("required_providers", []):
        for name, wanted in block.items():
            if name.startswith("__"):
                continue
            wanted = wanted[0] if isinstance(wanted, list) else wanted
            if name not in PINNED:
                faults.append("a third provider")
            elif wanted != PINNED[name]:
                faults.append("another version of the provider")
    return faults


def rule_faults(config: dict) -> list[str]:
    """Return what in one file breaks a rule, as 'rule: address'."""
    faults = []
    for kind in ("resource", "data"):
        for address, body in blocks(config, kind):
            faults += [f"{rule}: {address}" for rule in resource_faults(address, body)]
    for name, body in blocks(config, "module"):
        if not body["source"][0].startswith("./"):
            faults.append(f"a module from elsewhere: {name}")
    for kind, needed in (("variable", ("type", "description")), ("output", ("description",))):
        for name, body in blocks(config, kind):
            missing = [key for key in needed if not "".join(map(str, body.get(key, []))).strip()]
            article = "an" if kind == "output" else "a"
            faults += [f"{article} {kind} without a {key}: {name}" for key in missing]
    for block in config.get("terraform", []):
        faults += provider_faults(block)
    return faults


@pytest.fixture(scope="module")
def files(infra_tools) -> dict[str, dict]:
    return read_terraform(infra_tools, paths.INFRA)


@pytest.fixture(scope="module")
def planted_faults(infra_tools, tmp_path_factory) -> dict[str, list[str]]:
    """What the rules find in each planted fault."""
    folder = tmp_path_factory.mktemp("planted")
    for number, text in enumerate(FAULTS.values()):
        (folder / f"{number:02}.tf").write_text(text + "\n", encoding="utf-8")
    read = read_terraform(infra_tools, folder)
    return {rule: rule_faults(config) for rule, config in zip(FAULTS, read.values(), strict=True)}


def test_infra_keeps_the_rules(files):
    assert [
        f"{name}: {fault}" for name, config in files.items() for fault in rule_faults(config)
    ] == []


def test_infra_pins_the_provider_and_terraform(files):
    (block,) = [block for config in files.values() for block in config.get("terraform", [])]
    assert provider_faults(block) == []
    assert PINNED.keys() <= block["required_providers"][0].keys()
    assert block["required_version"][0].startswith(">= 1.11")


def resources(files: dict[str, dict]) -> dict[str, dict]:
    """Return every resource by its address."""
    return dict(found for config in files.values() for found in blocks(config, "resource"))


@pytest.mark.parametrize("address", WAITING)
def test_what_starts_at_once_waits_for_its_roles(files, address):
    assert f"${{{WAIT}}}" in str(resources(files)[address]["depends_on"])


def test_the_wait_is_for_every_role_of_the_build_of_composer_and_of_the_agents(files):
    waited_for = str(resources(files)[WAIT]["depends_on"])
    for grants in ("google_project_iam_member.roles", "google_service_account_iam_member.acts_as"):
        assert grants in waited_for
    assert "google_project_iam_member.function_source" in waited_for
    assert "google_kms_crypto_key_iam_member.agents" in waited_for
    of_the_key = resources(files)["google_kms_crypto_key_iam_member.agents"]
    assert "google_project_iam_member.agents" in str(of_the_key["depends_on"])


def test_a_grant_survives_that_its_thing_is_made_anew(files):
    lost = []
    for address, body in resources(files).items():
        if "_iam_" in address and not address.startswith(STAYING):
            if "replace_triggered_by" not in str(body.get("lifecycle", "")):
                lost.append(address)
    assert lost == []
    triggers = resources(files)["google_cloud_run_v2_service_iam_member.invokers"]["lifecycle"]
    assert "google_cloudfunctions2_function.training" in str(triggers)


def test_the_machine_starts_when_its_notebooks_are_in_the_bucket(files):
    machine = resources(files)["google_workbench_instance.notebooks"]
    assert "google_storage_bucket_object.notebooks" in str(machine["depends_on"])


@pytest.mark.parametrize("rule", FAULTS)
def test_a_broken_rule_is_found(planted_faults, rule):
    assert [fault.partition(":")[0] for fault in planted_faults[rule]] == [rule]


def test_the_lines_that_are_counted_as_alarms_are_those_that_are_said(files):
    [[counted]] = [
        local["alarm_verdicts"]
        for local in files["monitoring.tf"]["locals"]
        if "alarm_verdicts" in local
    ]
    script = ast.parse((paths.SCRIPTS / "monitoring.py").read_text(encoding="utf-8"))
    [verdict] = [node for node in script.body if getattr(node, "name", "") == "verdict"]
    ends = [node for node in ast.walk(verdict) if isinstance(node, ast.Return)]
    said = {word.value for end in ends for word in ast.walk(end) if isinstance(word, ast.Constant)}
    dag = (paths.SCRIPTS / "scoring_dag.py").read_text(encoding="utf-8")
    said |= set(re.findall(r'note\(dag_run, verdict="(\w+)"', dag))
    assert {word.strip('"') for word in counted} == said - {"fine"}
    assert len(counted) == 3


def test_no_key_or_state_lies_in_infra():
    if shutil.which("git") is None or not (paths.ROOT / ".git").exists():
        pytest.skip("not a git checkout, or git is not installed")
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "infra"]
    listed = subprocess.run(
        command, cwd=paths.ROOT, capture_output=True, text=True, check=True
    ).stdout.split()
    assert "infra/facts.yaml" in listed
    private = (".tfstate", ".tfvars", ".tfstate.backup", ".pem", ".p12", "credentials.json")
    assert [name for name in listed if name.endswith(private) or ".terraform/" in name] == []
