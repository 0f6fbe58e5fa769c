"""The profile: what Terraform made, in a file that every other command reads."""

import json
import os
import re
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import ClassVar, Self, get_origin

from churnlab import paths
from churnlab.cloud.clients import Clients
from churnlab.cloud.terraform import TERRAFORM_TIMEOUT, terraform
from churnlab.errors import CourseError

NAME = "cloud.toml"


@dataclass(frozen=True)
class Profile:
    """Terraform's outputs by their names; what is switched off is an empty text."""

    project_id: str
    region: str
    zone: str
    lake_uri: str
    code_uri: str
    pipeline_root: str
    staging_bucket: str
    dataset: str  # bigquery://project.dataset
    dataset_id: str
    network: str
    subnetwork: str
    service_accounts: dict[str, str]  # author, batch, pipeline, function, scheduler, dag
    session_template: str
    history_server: str
    artifact_registry: str
    workbench_instance: str
    workbench_url: str
    function_name: str
    function_url: str
    scheduler_job: str
    composer_environment: str
    template_uri: str
    kms_key: str
    labels: dict[str, str]
    batch_image: str
    serving_image: str
    serving_machine: str  # of the endpoint
    serving_endpoint: str  # its full name
    serving_url: str  # of the service on Cloud Run
    apis: list[str]
    toggles: dict[str, bool]

    pause: ClassVar[float] = 5.0  # seconds between two questions about a batch

    @classmethod
    def of(cls, **known) -> Self:
        """Return a profile of which only this is known; the rest is empty."""
        empty = {field.name: (get_origin(field.type) or field.type)() for field in fields(cls)}
        return cls(**empty | known)

    def but(self, batch_account: str = "", **given: str) -> Self:
        """Return the profile with what is given; an empty text changes nothing."""
        changes = {name: text for name, text in given.items() if text}
        if batch_account:
            changes["service_accounts"] = self.service_accounts | {"batch": batch_account}
        return replace(self, **changes)

    @contextmanager
    def clients(self) -> Iterator[Clients]:
        """Give the clients of the profile's services."""
        yield Clients(self.project_id, self.region)


# Without these nothing runs, so an empty text is as bad as none.
NEEDED = ("project_id", "region", "lake_uri", "code_uri", "pipeline_root", "dataset", "dataset_id")
NEEDED += ("subnetwork", "template_uri")
URIS = {"lake_uri": "gs://", "code_uri": "gs://", "pipeline_root": "gs://", "template_uri": "gs://"}
URIS |= {"dataset": "bigquery://"}
ACCOUNTS = ("batch", "pipeline")
TEXT = re.compile(r"[^\x00-\x1f\x7f]*")
APPLY = "`terraform -chdir=infra apply` writes them; run it with this checkout's infra/."


def terraform_outputs(folder: Path = paths.INFRA) -> dict[str, object]:
    """Ask Terraform for its outputs, as name and value. Raises CourseError."""
    arguments = ["output", "-json", "-no-color"]
    done = terraform(arguments, folder, capture_output=True, text=True, timeout=TERRAFORM_TIMEOUT)
    if done.returncode:
        raise CourseError(f"terraform output failed: {done.stderr.strip()}", APPLY)
    return parse_outputs(done.stdout, "Terraform")


def parse_outputs(text: str, source: str) -> dict[str, object]:
    """Return the outputs in what ``terraform output -json`` wrote. Raises CourseError."""
    try:
        outputs = {name: output["value"] for name, output in json.loads(text).items()}
    except (ValueError, AttributeError, TypeError, KeyError):
        mend = "Write it by `terraform -chdir=infra output -json > FILE`."
        raise CourseError(f"{source} holds no outputs of Terraform.", mend) from None
    if not outputs:
        mend = "Run `terraform -chdir=infra apply` first."
        raise CourseError(f"{source} has no outputs yet.", mend)
    return outputs


def make_profile(values: dict[str, object], source: str, mend: str = APPLY) -> Profile:
    """Return the profile of some outputs; others are left out. Raises CourseError."""
    names = [field.name for field in fields(Profile)]
    if missing := [name for name in names if name not in values]:
        raise CourseError(f"{source} lacks {', '.join(missing)}.", mend)
    problems = [text for f in fields(Profile) if (text := problem(f.name, f.type, values[f.name]))]
    accounts = values["service_accounts"]
    if not problems:
        problems = [f"service_accounts.{n} is empty" for n in ACCOUNTS if not accounts.get(n)]
    if problems:
        raise CourseError(f"{source} is wrong: {'; '.join(problems)}.", mend)
    return Profile(**{name: values[name] for name in names})


def problem(name: str, kind: object, value: object) -> str:
    """Say what is wrong with an output; "" if nothing is."""
    if kind is str:
        if not isinstance(value, str) or not TEXT.fullmatch(value):
            return f"{name} is {value!r}, not a text"
        if name in NEEDED and not value:
            return f"{name} is empty"
        scheme = URIS.get(name, "")
        return "" if value.startswith(scheme) else f"{name} is {value!r}, not {scheme}…"
    if kind == list[str]:
        fits = isinstance(value, list) and all(isinstance(item, str) for item in value)
        return "" if fits else f"{name} is not a list of texts"
    kept = bool if kind == dict[str, bool] else str
    fits = isinstance(value, dict) and all(isinstance(item, kept) for item in value.values())
    return "" if fits else f"{name} is not a map of {'switches' if kept is bool else 'texts'}"


def write_profile(profile: Profile, path: Path) -> None:
    """Write the profile; a reader sees the old file or the new one, never a part."""
    heading = "# What Terraform made, by `churnlab cloud init`; do not edit.\n"
    plain, tables = [], []
    for name, value in asdict(profile).items():
        if isinstance(value, dict):
            lines = [f"{toml(key)} = {toml(item)}" for key, item in sorted(value.items())]
            tables.append("\n".join([f"\n[{name}]", *lines]))
        else:
            plain.append(f"{name} = {toml(value)}")
    partial = path.with_name(f"{path.name}.partial")
    partial.write_text(heading + "\n".join([*plain, *tables]) + "\n", encoding="utf-8")
    partial.replace(path)


def toml(value: str | bool | list[str]) -> str:
    """Return a value in TOML, whose texts are JSON's where no control character is in them."""
    return json.dumps(value, ensure_ascii=False)


def profile_path() -> Path:
    """Return where the profile lies: CHURNLAB_PROFILE, else the root of the checkout."""
    return Path(os.environ.get("CHURNLAB_PROFILE") or paths.ROOT / NAME)


def read_profile(path: Path) -> Profile:
    """Return the profile of a file. Raises CourseError if it is missing or wrong."""
    again = "Write it again: `churnlab cloud init`."
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        mend = "`churnlab cloud init` writes it from what Terraform made."
        raise CourseError(f"There is no profile {path.name}.", mend) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise CourseError(f"The profile {path.name} is broken: {error}", again) from None
    return make_profile(values, f"The profile {path.name}", again)


def split_uri(uri: str) -> tuple[str, str]:
    """Return bucket and name of a gs:// URI; the name of a bucket's root is empty."""
    bucket, _, name = uri.removeprefix("gs://").partition("/")
    return bucket, name.strip("/")
