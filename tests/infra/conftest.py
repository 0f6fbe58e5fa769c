"""What the checks of infra/ share: Terraform on a copy, with a stand-in for its providers.

The stand-in (provider/) serves the real google provider's schema, and the one resource of time, so names, types and required arguments
are checked and mocked tests run, without registry, account or network. With
CHURNLAB_TERRAFORM_PROVIDER=real, `terraform init` takes the real provider from the registry
instead, and its own validators take part.
"""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import pytest

from churnlab import paths

PROVIDER = Path(__file__).parent / "provider"
REATTACH = "TF_REATTACH_PROVIDERS"
TIME_VERSION = "0.13.1"
REAL = os.environ.get("CHURNLAB_TERRAFORM_PROVIDER") == "real"
# What a reader's own runs leave in infra/; a lock holds the real provider's checksums.
LEFT_OUT = [".terraform", "*.tfstate*", "*.tfvars", *([] if REAL else [".terraform.lock.hcl"])]
# Variables that would change what is checked. With the real provider, where to find it stays.
UNSET = ("TF_VAR_", "TF_CLI_ARGS", "GOOGLE_") if REAL else ("TF_", "GOOGLE_")


@dataclass(frozen=True)
class Terraform:
    """Terraform in a copy of infra/."""

    folder: Path
    environment: dict[str, str]

    def __call__(self, *arguments: str) -> subprocess.CompletedProcess:
        """Run a command and return what it said."""
        return subprocess.run(
            ["terraform", *arguments],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
        )

    def diagnostics(self) -> list[dict]:
        """Validate and return the errors that Terraform finds."""
        found = json.loads(self("validate", "-json").stdout)["diagnostics"]
        return [diagnostic for diagnostic in found if diagnostic["severity"] == "error"]


@pytest.fixture(scope="session")
def infra_tools() -> Path:
    """The programs of the cloud's checks; tests are skipped, with the reason, without them."""
    tools = paths.INFRA_CHECKS / "bin"
    for program in ("checkov", "hadolint"):
        if not (tools / program).exists():
            pytest.skip(f"no {program} in {paths.INFRA_CHECKS.name}: run `make .venv-infra/ready`")
    return tools


def copy_checkout(checkout: Path) -> Path:
    """Copy infra/ next to links to the rest of the repository, whose files it uploads."""
    checkout.mkdir()
    for entry in paths.ROOT.iterdir():
        if entry != paths.INFRA and not entry.name.startswith("."):
            (checkout / entry.name).symlink_to(entry)
    return shutil.copytree(
        paths.INFRA, checkout / "infra", ignore=shutil.ignore_patterns(*LEFT_OUT)
    )


def initialise(terraform: Terraform) -> subprocess.CompletedProcess:
    """Let Terraform choose a provider that the configuration's pin allows."""
    environment = {k: v for k, v in terraform.environment.items() if k != REATTACH}
    return Terraform(terraform.folder, environment)("init", "-backend=false", "-input=false")


def provider_addresses(terraform: Terraform) -> dict[str, str]:
    """Return how Terraform itself calls the providers of a configuration, host included, by name."""
    done = terraform("providers")
    found = re.findall(r"provider\[(\S+/hashicorp/(\w+))\]", done.stdout)
    assert found, f"infra/ asks for no provider:\n{done.stdout}{done.stderr}"
    return {name: address for address, name in found}


def write_schema(terraform: Terraform, tools: Path, schema: Path) -> str:
    """Write the schema of the types that infra/ and its tests name; return the version."""
    texts = [path.read_text(encoding="utf-8") for path in terraform.folder.rglob("*.tf")]
    types = {found for text in texts for found in re.findall(r"\bgoogle_\w+", text)}
    command = [tools / "python", PROVIDER / "schema.py", schema, *sorted(types)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def install_stand_in(terraform: Terraform, tools: Path, schema: Path, version: str) -> None:
    """Put the stand-in where Terraform looks for providers, and forbid it any other place."""
    platform = json.loads(terraform("version", "-json").stdout)["platform"]
    mirror = schema.parent / "mirror"
    command = f'exec "{tools / "python"}" "{PROVIDER / "terraform_provider.py"}" "{schema}"'
    for name, address in provider_addresses(terraform).items():
        known = {"google": version, "time": TIME_VERSION}[name]
        folder = mirror / address / known / platform
        folder.mkdir(parents=True)
        program = folder / f"terraform-provider-{name}_v{known}"
        program.write_text(f"#!/bin/sh\n{command}\n", encoding="utf-8")
        program.chmod(0o755)
    config = schema.parent / "terraformrc"
    config.write_text(
        f'provider_installation {{\n  filesystem_mirror {{\n    path = "{mirror}"\n  }}\n}}\n',
        encoding="utf-8",
    )
    terraform.environment["TF_CLI_CONFIG_FILE"] = str(config)


@contextmanager
def standing_provider(terraform: Terraform, tools: Path, schema: Path) -> Iterator[None]:
    """Keep one stand-in running that Terraform's commands share."""
    command = [tools / "python", "-u", PROVIDER / "terraform_provider.py", schema, "--dev"]
    process = subprocess.Popen(
        command, env=terraform.environment, stdout=subprocess.PIPE, text=True
    )
    try:
        for line in process.stdout:
            if REATTACH in line:
                (plugin,) = json.loads(line.split("'")[1]).values()
                both = dict.fromkeys(provider_addresses(terraform).values(), plugin)
                terraform.environment[REATTACH] = json.dumps(both)
                break
        assert REATTACH in terraform.environment, "the stand-in does not start"
        yield
    finally:
        process.terminate()
        process.wait(timeout=300)


@pytest.fixture(scope="session")
def terraform(tmp_path_factory, request) -> Iterator[Terraform]:
    """Terraform in an initialised copy of infra/, so that nothing is written to the checkout."""
    if shutil.which("terraform") is None:
        pytest.skip("terraform is not installed: see the book's page on provisioning")
    home = tmp_path_factory.mktemp("terraform")
    kept = {k: v for k, v in os.environ.items() if not k.startswith(UNSET)}
    environment = kept | {
        "HOME": kept["HOME"] if REAL else str(home),
        "TF_DATA_DIR": str(home / "data"),
        "TF_IN_AUTOMATION": "1",
        **{f"TF_CLI_ARGS_{command}": "-no-color" for command in ("init", "validate", "test")},
        "CHECKPOINT_DISABLE": "1",
    }
    run = Terraform(copy_checkout(home / "checkout"), environment)
    provider = nullcontext()
    if not REAL:
        tools = request.getfixturevalue("infra_tools")
        schema = home / "schema.bin"
        install_stand_in(run, tools, schema, write_schema(run, tools, schema))
        provider = standing_provider(run, tools, schema)
    done = initialise(run)
    assert done.returncode == 0, done.stdout + done.stderr
    with provider:
        yield run


def plant(
    terraform: Terraform, checkout: Path, changes: dict[str, list[tuple[str, str]]]
) -> Terraform:
    """Copy infra/ with changes and return Terraform in the copy.

    The changes are texts, by file, and what stands there instead; a file that is not there yet is
    begun empty.
    """
    shutil.copytree(terraform.folder.parent, checkout, symlinks=True)
    for file, edits in changes.items():
        path = checkout / terraform.folder.name / file
        text = path.read_text(encoding="utf-8") if path.exists() else ""
        for old, new in edits:
            assert old in text, f"{file} has no {old!r} any more: plant the fault elsewhere"
            text = text.replace(old, new, 1)
        path.write_text(text, encoding="utf-8")
    return Terraform(checkout / terraform.folder.name, terraform.environment)
