"""Terraform's own checks of infra/ pass, and are seen to fail on planted faults."""

import re

import pytest

from tests.infra.conftest import initialise, plant

pytestmark = [pytest.mark.xdist_group("terraform"), pytest.mark.slow]

# A configuration that is right in all that the faults below get wrong.
SOUND = """
resource "google_storage_bucket" "sound" {
  name          = "sound"
  location      = "US"
  force_destroy = true
  labels        = { course = "churnlab" }
  lifecycle_rule {
    action {
      type = "Delete"
    }
    condition {
      age = 30
    }
  }
  lifecycle_rule {
    action {
      type = "AbortIncompleteMultipartUpload"
    }
    condition {
      age = 1
    }
  }
  versioning {
    enabled = true
  }
}

resource "google_compute_network" "sound" {
  name = "sound"
}

resource "google_compute_firewall" "sound" {
  name          = "sound"
  network       = google_compute_network.sound.id
  source_ranges = ["10.0.0.0/8"]
  allow {
    protocol = "tcp"
    ports    = ["22"]
  }
}

output "sound" {
  value       = google_storage_bucket.sound.url
  description = "An attribute that only the provider fills."
}
"""

# name: (a text of the sound configuration, what stands there instead, what Terraform says)
FAULTS = {
    "misspelt_argument": (
        "force_destroy =",
        "force_destory =",
        'An argument named "force_destory" is not expected here',
    ),
    "misspelt_nested_argument": (
        "      age = 30",
        "      aeg = 30",
        'An argument named "aeg" is not expected here',
    ),
    "misspelt_block": (
        "  versioning {",
        "  versionning {",
        'Blocks of type "versionning" are not expected here',
    ),
    "misspelt_resource": (
        '"google_compute_network" "sound"',
        '"google_compute_netwrok" "sound"',
        'does not support resource type "google_compute_netwrok"',
    ),
    "missing_argument": (
        '  location      = "US"\n',
        "",
        'The argument "location" is required',
    ),
    "missing_nested_argument": (
        '      type = "Delete"\n',
        "",
        'The argument "type" is required',
    ),
    "missing_nested_block": (
        '    action {\n      type = "Delete"\n    }\n',
        "",
        'At least 1 "action" blocks are required',
    ),
    "text_for_a_number": ("      age = 30", '      age = "a month"', "a number is required"),
    "text_for_a_bool": ("= true\n  labels", '= "maybe"\n  labels', "a bool is required"),
    "text_for_a_map": ('{ course = "churnlab" }', '"churnlab"', "map of string required"),
    "text_for_a_set": ('["10.0.0.0/8"]', '"10.0.0.0/8"', "set of string required"),
    "text_for_a_list": ('["22"]', '"22"', "list of string required"),
    "attribute_for_a_block": (
        "  versioning {\n    enabled = true\n  }",
        "  versioning = { enabled = true }",
        'An argument named "versioning" is not expected here',
    ),
    "block_for_an_attribute": (
        '  labels        = { course = "churnlab" }',
        '  labels {\n    course = "churnlab"\n  }',
        'Blocks of type "labels" are not expected here',
    ),
    "single_block_twice": (
        "  versioning {\n    enabled = true\n  }",
        "  versioning {\n    enabled = true\n  }\n  versioning {\n    enabled = true\n  }",
        'No more than 1 "versioning" blocks are allowed',
    ),
    "set_what_the_provider_fills": (
        '  name          = "sound"\n  location',
        '  name          = "sound"\n  self_link     = "here"\n  location',
        'Can\'t configure a value for "self_link"',
    ),
    "undeclared_attribute": (
        "google_storage_bucket.sound.url",
        "google_storage_bucket.sound.uri",
        'This object has no argument, nested block, or exported attribute named "uri"',
    ),
    "undeclared_resource": (
        "google_compute_network.sound.id",
        "google_compute_network.lost.id",
        'A managed resource "google_compute_network" "lost" has not been declared',
    ),
}


def configuration(name: str) -> str:
    """Return the sound configuration with one fault, under names of its own."""
    old, new, _ = FAULTS[name]
    assert old in SOUND
    text = SOUND.replace(old, new, 1).replace(".sound.", f".{name}.")
    # A label of Terraform's may have underscores; a name that Google shall take may not.
    text = re.sub(r'^(resource "\w+"|output) "sound"', rf'\1 "{name}"', text, flags=re.MULTILINE)
    return text.replace('"sound"', f'"{name.replace("_", "-")}"')


def test_every_file_is_formatted(terraform):
    done = terraform("fmt", "-check", "-recursive", "-diff")
    assert done.returncode == 0, done.stdout + done.stderr


def test_an_unformatted_file_is_found(terraform, tmp_path):
    changes = {"planted.tf": [("", 'locals {\n a="b"\n}\n')]}
    done = plant(terraform, tmp_path / "checkout", changes)("fmt", "-check", "-recursive")
    assert done.returncode != 0
    assert "planted.tf" in done.stdout.split()


def test_the_configuration_is_valid(terraform):
    assert terraform.diagnostics() == []


@pytest.fixture(scope="module")
def findings(terraform, tmp_path_factory) -> dict[str, str]:
    """What Terraform says about each fault: all are planted at once, each in a file of its own."""
    folder = tmp_path_factory.mktemp("faults")
    versions = (terraform.folder / "versions.tf").read_text(encoding="utf-8")
    (folder / "versions.tf").write_text(versions, encoding="utf-8")
    (folder / "sound.tf").write_text(SOUND, encoding="utf-8")
    for name in FAULTS:
        (folder / f"{name}.tf").write_text(configuration(name), encoding="utf-8")
    lock = terraform.folder / ".terraform.lock.hcl"
    (folder / lock.name).write_bytes(lock.read_bytes())
    said: dict[str, str] = {}
    for found in type(terraform)(folder, terraform.environment).diagnostics():
        file = found["range"]["filename"].removesuffix(".tf")
        said[file] = f"{said.get(file, '')} {found['summary']}: {found['detail']}"
    return said


@pytest.mark.parametrize("name", FAULTS)
def test_the_planted_things_have_names_that_google_takes(name):
    # The stand-in doesn't look; the real provider refuses others, which would hide the planted fault.
    # https://docs.cloud.google.com/compute/docs/naming-resources (accessed 2026-11-25)
    named = re.findall(r'^  name +(?:= )?"(.*)"', configuration(name), flags=re.MULTILINE)
    assert len(named) == 3
    assert [
        text for text in named if not re.fullmatch(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?", text)
    ] == []


def test_a_sound_configuration_has_no_findings(findings):
    assert "sound" not in findings, findings["sound"]


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_against_the_providers_schema_is_found(findings, name):
    assert FAULTS[name][2] in " ".join(findings.get(name, "nothing is found").split())


def test_another_version_of_the_provider_is_refused(terraform, tmp_path):
    changed = plant(terraform, tmp_path / "checkout", {"versions.tf": [('"~> 8.0"', '"~> 7.0"')]})
    done = initialise(changed)
    assert done.returncode != 0
    assert "hashicorp/google" in done.stderr


def test_the_promises_of_the_plan_hold(terraform):
    done = terraform("test")
    assert done.returncode == 0, done.stdout + done.stderr
    assert ", 0 failed" in done.stdout


# promise: (file, what keeps it, what breaks it, what the tests of the plan say)
BROKEN_PROMISES = {
    "no bucket is public": (
        "storage.tf",
        'public_access_prevention    = "enforced"',
        'public_access_prevention    = "inherited"',
        "A bucket can be made public.",
    ),
    "the internet may not come in": (
        "network.tf",
        "source_ranges      = [var.subnet_cidr]",
        'source_ranges      = ["0.0.0.0/0"]',
        "The internet may come in.",
    ),
    "no account has a primitive role": (
        "identity.tf",
        'build    = ["logging.logWriter"]',
        'build    = ["editor"]',
        "An account has another role on the project than it needs.",
    ),
    "Composer is off by default": (
        "variables.tf",
        'It bills all day, whether a DAG runs or not."\n  type        = bool\n  default     = false',
        'It bills all day, whether a DAG runs or not."\n  type        = bool\n  default     = true',
        "Something that has to be asked for is on.",
    ),
}


@pytest.fixture(scope="module")
def broken(terraform, tmp_path_factory) -> str:
    """What the tests of the plan say when all these promises are broken at once."""
    changes: dict[str, list[tuple[str, str]]] = {}
    for file, old, new, _ in BROKEN_PROMISES.values():
        changes.setdefault(file, []).append((old, new))
    changed = plant(terraform, tmp_path_factory.mktemp("broken") / "checkout", changes)
    done = changed(
        "test", *(f"-filter=tests/{name}.tftest.hcl" for name in ("defaults", "identity"))
    )
    assert done.returncode != 0
    return done.stdout + done.stderr


@pytest.mark.parametrize("promise", BROKEN_PROMISES)
def test_a_broken_promise_of_the_plan_is_found(broken, promise):
    assert BROKEN_PROMISES[promise][3] in broken
