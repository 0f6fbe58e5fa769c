"""What is in the project and bills: by Cloud Asset Inventory, or service by service without it."""

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from google.api_core import exceptions

from churnlab.cloud.clients import CALL, Clients
from churnlab.cloud.refusals import explained

# The names: https://docs.cloud.google.com/asset-inventory/docs/asset-types (accessed 2026-11-24)
BILLS = {
    "aiplatform.googleapis.com/Endpoint": "its machines, while a model is deployed",
    "aiplatform.googleapis.com/PipelineJob": "while it runs",
    "aiplatform.googleapis.com/Schedule": "what it starts",
    "artifactregistry.googleapis.com/Repository": "the images in it",
    "bigquery.googleapis.com/Dataset": "the tables in it",
    "cloudkms.googleapis.com/CryptoKeyVersion": "while it is active",
    "cloudfunctions.googleapis.com/Function": "each call",
    "cloudscheduler.googleapis.com/Job": "by the month, and what it calls",
    "composer.googleapis.com/Environment": "all day, whether it works or not",
    "compute.googleapis.com/Address": "while nothing uses it",
    "compute.googleapis.com/Disk": "its size, also without its machine",
    "compute.googleapis.com/ForwardingRule": "all day",
    "compute.googleapis.com/Image": "its size",
    "compute.googleapis.com/Instance": "while it runs",
    "compute.googleapis.com/Router": "if it has a NAT gateway",
    "compute.googleapis.com/Snapshot": "its size",
    "container.googleapis.com/Cluster": "all day",
    "dataproc.googleapis.com/Batch": "while it runs",
    "dataproc.googleapis.com/Cluster": "while it runs",
    "dataproc.googleapis.com/Session": "while it is active",
    "metastore.googleapis.com/Service": "all day",
    "monitoring.googleapis.com/AlertPolicy": "its conditions, by the month",
    "notebooks.googleapis.com/Instance": "while it runs, its disks always",
    "run.googleapis.com/Service": "each call",
    "storage.googleapis.com/Bucket": "the objects in it",
}
# They are history and bill nothing; other states may.
OVER = ("SUCCEEDED", "FAILED", "CANCELLED", "TERMINATED", "DESTROYED", "DELETING")
RECORDS = ("Batch", "Session", "PipelineJob", "CryptoKeyVersion")


@dataclass(frozen=True)
class Leftover:
    """Something that bills: its type, its name, where it is, and what of it is billed."""

    kind: str
    name: str
    location: str = ""
    state: str = ""
    course: bool = False  # it carries the course's label

    @property
    def bills(self) -> str:
        """What of it is billed."""
        return BILLS[self.kind]

    @property
    def over(self) -> bool:
        """Whether it is only the record of something that has ended."""
        ended = self.state.removeprefix("PIPELINE_STATE_") in OVER
        return ended and self.kind.rpartition("/")[2] in RECORDS


def search(clients: Clients) -> list[Leftover]:
    """Return what the inventory knows that bills.

    Updates reach it within minutes, so what has just been deleted may still be there.
    """
    scope = {"scope": f"projects/{clients.project}", "page_size": 500}
    found = clients.assets.search_all_resources(request=scope, **CALL)
    leftovers = [
        Leftover(
            asset.asset_type,
            asset.name.rpartition("/")[2],
            asset.location,
            asset.state,
            asset.labels.get("course") == "churnlab",
        )
        for asset in found
        if asset.asset_type in BILLS
    ]
    return [leftover for leftover in leftovers if not leftover.over]


def find(clients: Clients) -> tuple[list[Leftover], str]:
    """Return what bills, and why the list may lack something; "" if it is complete.

    Raises CourseError if a service does not answer.
    """
    with explained("Searching the project"):
        try:
            return search(clients), ""
        except exceptions.Forbidden as error:
            doubt = f"Cloud Asset Inventory can't be asked: {error.message}"
    return list(one_by_one(clients)), doubt


def wait_until_gone(
    look: Callable[[], tuple[list[Leftover], str]], patience: float, pause: float = 20.0
) -> tuple[list[Leftover], str]:
    """Look until nothing is left, for at most ``patience`` seconds: the inventory lags behind."""
    deadline = time.monotonic() + patience
    while True:
        found, doubt = look()
        if not found or time.monotonic() + pause > deadline:
            return found, doubt
        time.sleep(pause)


def one_by_one(clients: Clients) -> Iterator[Leftover]:
    """Yield what bills by asking the services that the course uses; one that is off holds nothing.

    Raises CourseError if one does not answer.
    """
    for doing, listing in LISTINGS.items():
        with explained(f"Listing {doing}"):
            try:
                yield from [found for found in listing(clients) if not found.over]
            except exceptions.Forbidden as error:
                if error.reason != "SERVICE_DISABLED":
                    raise


def _buckets(clients: Clients) -> Iterable[Leftover]:
    for bucket in clients.storage.list_buckets(**CALL):
        yield labelled("storage.googleapis.com/Bucket", bucket.name, bucket.labels, bucket.location)


def _datasets(clients: Clients) -> Iterable[Leftover]:
    for dataset in clients.bigquery.list_datasets(**CALL):
        yield labelled("bigquery.googleapis.com/Dataset", dataset.dataset_id, dataset.labels)


def _batches(clients: Clients) -> Iterable[Leftover]:
    for batch in clients.batches.list_batches(parent=clients.parent, **CALL):
        yield of_service("dataproc.googleapis.com/Batch", batch)


def _sessions(clients: Clients) -> Iterable[Leftover]:
    for session in clients.sessions.list_sessions(parent=clients.parent, **CALL):
        yield of_service("dataproc.googleapis.com/Session", session)


def _jobs(clients: Clients) -> Iterable[Leftover]:
    for job in clients.pipelines.list_pipeline_jobs(parent=clients.parent, **CALL):
        yield of_service("aiplatform.googleapis.com/PipelineJob", job)


def _schedules(clients: Clients) -> Iterable[Leftover]:
    for schedule in clients.schedules.list_schedules(parent=clients.parent, **CALL):
        yield Leftover("aiplatform.googleapis.com/Schedule", schedule.display_name)


def _endpoints(clients: Clients) -> Iterable[Leftover]:
    for endpoint in clients.online_endpoints.list_endpoints(parent=clients.parent, **CALL):
        if endpoint.deployed_models:
            name, where = endpoint.display_name, endpoint.name.split("/")[3]
            yield labelled("aiplatform.googleapis.com/Endpoint", name, endpoint.labels, where)


def _environments(clients: Clients) -> Iterable[Leftover]:
    for environment in clients.environments.list_environments(parent=clients.parent, **CALL):
        yield of_service("composer.googleapis.com/Environment", environment)


def _machines(clients: Clients) -> Iterable[Leftover]:
    for kind, field in (("Instance", "instances"), ("Disk", "disks"), ("Address", "addresses")):
        client = clients.compute(f"{field.capitalize()}")
        for place, page in client.aggregated_list(project=clients.project, **CALL):
            for found in getattr(page, field):
                where, labels = place.rpartition("/")[2], getattr(found, "labels", {})
                yield labelled(f"compute.googleapis.com/{kind}", found.name, labels, where)


LISTINGS = {
    "buckets": _buckets,
    "datasets": _datasets,
    "batches": _batches,
    "sessions": _sessions,
    "pipeline jobs": _jobs,
    "schedules of pipelines": _schedules,
    "endpoints of models": _endpoints,
    "Composer environments": _environments,
    "machines, disks and addresses": _machines,
}


def labelled(kind: str, name: str, labels, location: str = "", state: str = "") -> Leftover:
    """Return something that bills, the course's if its labels say so."""
    return Leftover(kind, name, location, state, labels.get("course") == "churnlab")


def of_service(kind: str, resource) -> Leftover:
    """Return something that bills from a message with name, state and labels."""
    name = resource.name.rpartition("/")[2]
    return labelled(kind, name, resource.labels, resource.name.split("/")[3], resource.state.name)
