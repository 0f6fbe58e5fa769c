"""What lies in the buckets: compared with the checkout by checksum, and brought up to date."""

import base64
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import google_crc32c
from google.cloud.storage.retry import DEFAULT_RETRY

from churnlab import paths
from churnlab.cloud.clients import CALL, CALL_TIMEOUT, Clients
from churnlab.cloud.profile import Profile, split_uri
from churnlab.cloud.refusals import explained
from churnlab.errors import CourseError
from churnlab.run.library import ARCHIVE, library

DAG = "scoring_dag.py"
# The storage library has errors of its own while it writes, and a retry that knows them.
WRITE = {"timeout": CALL_TIMEOUT, "retry": DEFAULT_RETRY.with_timeout(CALL_TIMEOUT)}


@dataclass(frozen=True)
class Item:
    """A file and its place in a bucket; ``generation`` is that of the object it replaces."""

    path: Path
    uri: str
    state: str = "new"  # new, changed or same
    generation: int = 0  # of nothing


def code_items(profile: Profile, dag_folder: str = "") -> list[Item]:
    """Return scripts, library, compiled pipeline and, with Composer's folder, the DAG."""
    scripts = [*sorted(paths.SCRIPTS.glob("*.py")), ARCHIVE]
    folder = profile.code_uri.rstrip("/")
    items = [Item(path, f"{folder}/{path.name}") for path in scripts]
    items.append(Item(paths.SCRIPTS / "training_pipeline.yaml", profile.template_uri))
    if dag_folder:
        items.append(Item(paths.SCRIPTS / DAG, f"{dag_folder.rstrip('/')}/{DAG}"))
    if missing := [item.path.name for item in items if not item.path.exists()]:
        raise CourseError(f"scripts_generated/{missing[0]} is missing.", "Run `make export`.")
    return items


def dag_folder(clients: Clients, profile: Profile) -> str:
    """Return the folder that Composer reads DAGs from; "" without a Composer environment."""
    if not profile.composer_environment:
        return ""
    with explained("Reading the Composer environment"):
        found = clients.environments.get_environment(name=environment_name(profile), **CALL)
    return found.config.dag_gcs_prefix


def environment_name(profile: Profile) -> str:
    """Return the full name of the Composer environment, of which the output may be the last part.

    Raises CourseError if Terraform made none.
    """
    name = profile.composer_environment
    if not name:
        mend = "It bills all day, so it is off: set create_composer = true in terraform.tfvars, "
        raise CourseError("There is no Composer environment.", f"{mend}apply, `cloud init`.")
    if "/" in name:
        return name
    return f"projects/{profile.project_id}/locations/{profile.region}/environments/{name}"


def checksum(path: Path) -> str:
    """Return a file's CRC32C as Cloud Storage writes it."""
    sums = google_crc32c.Checksum()
    with path.open("rb") as stream:
        while chunk := stream.read(2**20):
            sums.update(chunk)
    return base64.b64encode(sums.digest()).decode()


def compare(clients: Clients, items: Iterable[Item]) -> list[Item]:
    """Return the items with their states. Raises CourseError."""
    return [compare_one(clients, item) for item in items]


def compare_one(clients: Clients, item: Item) -> Item:
    """Return an item with its state: new, changed or same."""
    bucket, name = split_uri(item.uri)
    with explained(f"Reading {item.uri}"):
        found = clients.storage.bucket(bucket).get_blob(name, **CALL)
    if found is None:
        return item
    state = "same" if found.crc32c == checksum(item.path) else "changed"
    return replace(item, state=state, generation=found.generation)


def upload(clients: Clients, items: Iterable[Item]) -> Iterator[Item]:
    """Upload what is new or changed; yield each item when its object is there.

    An object that changed since it was compared stays what it is. Raises CourseError.
    """
    for item in items:
        if item.state != "same":
            bucket, name = split_uri(item.uri)
            blob = clients.storage.bucket(bucket).blob(name)
            with explained(f"Writing {item.uri}"):
                blob.upload_from_filename(
                    str(item.path),
                    checksum="crc32c",
                    if_generation_match=item.generation,
                    **WRITE,
                )
            yield item


def data_item(clients: Clients, profile: Profile, path: Path) -> Item:
    """Return the raw customers' place in the lake, compared. Raises CourseError.

    Preprocessing reads every file of that folder, so there has to be no other one.
    """
    check_customers(path)
    item = Item(path, f"{profile.lake_uri.rstrip('/')}/raw/customers/customers.csv")
    folder, target = item.uri.rpartition("/")[0], split_uri(item.uri)[1]
    bucket, prefix = split_uri(folder)
    with explained(f"Reading {folder}"):
        found = clients.storage.list_blobs(bucket, prefix=f"{prefix}/", **CALL)
        others = sorted(blob.name.rpartition("/")[2] for blob in found if blob.name != target)
    if others := [name for name in others if name]:  # a folder made by the console has no name
        mend = "They came from a batch. Land your file by one as well: `churnlab cloud upload "
        mend += "--data` to another lake, or `churnlab cloud submit customer_data -- --source URI`."
        raise CourseError(f"{folder} holds {', '.join(others[:3])} already.", mend)
    return compare_one(clients, item)


def check_customers(path: Path) -> None:
    """Raise CourseError for a file that is not the raw customers: nothing wrong is uploaded."""
    if not path.is_file():
        raise CourseError(f"There is no file {path}.", "Name the CSV file of the raw customers.")
    try:
        library.contract.read_header(str(path.resolve()), library.contract.RAW_COLUMNS)
    except library.programs.StepError as error:
        raise CourseError(str(error), "Module 02 says what the raw file looks like.") from None
