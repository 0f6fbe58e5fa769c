"""checkov finds nothing in infra/ beyond what .checkov.yaml skips with a reason."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from churnlab import paths

CONFIG = paths.INFRA / ".checkov.yaml"
PUBLIC_BUCKET = """
resource "google_storage_bucket" "planted" {
  name     = "planted"
  location = "US"
}

resource "google_storage_bucket_iam_member" "planted" {
  bucket = google_storage_bucket.planted.name
  role   = "roles/storage.objectViewer"
  member = "allUsers"
}
"""
MOST_SKIPS = 12

pytestmark = [pytest.mark.xdist_group("terraform"), pytest.mark.slow]


@pytest.fixture(scope="module")
def report(infra_tools, tmp_path_factory) -> dict:
    """What checkov says about a copy of infra/ and, in a folder of its own, a public bucket."""
    folder = tmp_path_factory.mktemp("checkov")
    shutil.copytree(paths.INFRA, folder / "infra", ignore=shutil.ignore_patterns(".terraform"))
    (folder / "planted").mkdir()
    (folder / "planted" / "main.tf").write_text(PUBLIC_BUCKET, encoding="utf-8")
    (folder / "on.tfvars").write_text(everything_on(), encoding="utf-8")
    command = [infra_tools / "checkov", "--directory", folder, "--config-file", CONFIG]
    done = subprocess.run(
        [*command, "--var-file", folder / "on.tfvars", "--output", "json"],
        env=offline(folder),
        capture_output=True,
        text=True,
        timeout=1800,
    )
    assert done.returncode == 1, f"the planted bucket must fail: {done.stdout}{done.stderr}"
    return json.loads(done.stdout)


def everything_on() -> str:
    """Return values that create whatever a variable can switch on: checkov looks at no other."""
    text = (paths.INFRA / "variables.tf").read_text(encoding="utf-8")
    toggles = re.findall(r'^variable "(create_\w+)"', text, re.MULTILINE)
    assert "create_composer" in toggles
    return "".join(f"{toggle} = true\n" for toggle in toggles)


def offline(home: Path) -> dict[str, str]:
    """Return an environment in which a call to the network fails at once instead of waiting."""
    nowhere = {name: "http://127.0.0.1:9" for name in ("HTTP_PROXY", "HTTPS_PROXY")}
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("BC_", "PRISMA_", "CKV_"))}
    return kept | nowhere | {"HOME": str(home), "CHECKOV_CREATE_SARIF_HELP_URI": "false"}


def failed(report: dict, folder: str) -> list[str]:
    """Return the failed checks in a folder, as 'id resource file: name'."""
    return [
        f"{check['check_id']} {check['resource']} {check['file_path']}: {check['check_name']}"
        for check in report["results"]["failed_checks"]
        if check["file_path"].startswith(f"/{folder}/")
    ]


def test_infra_has_no_findings(report):
    assert failed(report, "infra") == []
    assert report["summary"]["parsing_errors"] == 0
    assert report["summary"]["passed"] > 40, "checkov looked at next to nothing"
    looked_at = {check["resource"] for check in report["results"]["passed_checks"]}
    assert "google_storage_bucket.airflow[0]" in looked_at, "what is off by default is left out"


def test_a_public_bucket_is_found(report):
    found = {finding.split()[0] for finding in failed(report, "planted")}
    assert {"CKV_GCP_28", "CKV_GCP_29", "CKV_GCP_114"} <= found


def test_each_skip_has_a_reason_and_there_are_few():
    skips = yaml.safe_load(CONFIG.read_text(encoding="utf-8"))["skip-check"]
    lines = CONFIG.read_text(encoding="utf-8").splitlines()
    reasons = {m[1]: m[2] for line in lines if (m := re.match(r"\s*- (CKV\w+)\s+# (.{20,})", line))}
    assert set(reasons) == set(skips)
    assert len(skips) <= MOST_SKIPS
