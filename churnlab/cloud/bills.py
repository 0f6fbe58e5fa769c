"""What the batches of the course have used, at the prices of `infra/facts.yaml`."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from google.cloud import dataproc_v1 as dataproc

from churnlab.cloud.clients import CALL, Clients
from churnlab.cloud.costs import Amount, Prices, batch_cost, load_prices
from churnlab.cloud.refusals import explained

COURSE = "labels.course = churnlab"
HOUR = 3600


@dataclass(frozen=True)
class Bill:
    """What one batch costs: in total if it has ended, an hour of it if it runs."""

    batch_id: str
    state: str
    dcu_hours: float
    shuffle_gb_hours: float
    cost: Amount
    an_hour: bool  # it runs: the amounts are those of an hour like this moment


def course_batches(clients: Clients, limit: int) -> list[dataproc.Batch]:
    """Return the newest batches with the course's label. Raises CourseError."""
    request = {"parent": clients.parent, "filter": COURSE, "order_by": "create_time desc"}
    with explained("Listing batches"):
        pages = clients.batches.list_batches(request=request, **CALL)
        return [batch for batch, _ in zip(pages, range(limit), strict=False)]


def find_batch(clients: Clients, batch_id: str) -> dataproc.Batch:
    """Return a batch by its id. Raises CourseError."""
    with explained(f"Reading the batch {batch_id}"):
        return clients.batches.get_batch(name=f"{clients.parent}/batches/{batch_id}", **CALL)


def bills(batches: Iterable[dataproc.Batch], prices: Prices | None = None) -> Iterator[Bill]:
    """Yield the bill of each batch."""
    prices = prices or load_prices()
    for batch in batches:
        info, batch_id = batch.runtime_info, batch.name.rpartition("/")[2]
        runs = batch.state in (dataproc.Batch.State.PENDING, dataproc.Batch.State.RUNNING)
        usage = hour_of(info.current_usage) if runs else info.approximate_usage
        yield Bill(
            batch_id,
            batch.state.name,
            usage.milli_dcu_seconds / 1000 / HOUR,
            usage.shuffle_storage_gb_seconds / HOUR,
            batch_cost(usage, prices).total,
            runs,
        )


def hour_of(moment: dataproc.UsageSnapshot) -> dataproc.UsageMetrics:
    """Return what an hour uses if it goes on like this moment."""
    return dataproc.UsageMetrics(
        milli_dcu_seconds=moment.milli_dcu * HOUR,
        shuffle_storage_gb_seconds=moment.shuffle_storage_gb * HOUR,
        milli_accelerator_seconds=moment.milli_accelerator * HOUR,
    )


def total(found: Iterable[Bill]) -> Amount:
    """Return what the ended batches cost together."""
    ended = [bill.cost for bill in found if not bill.an_hour]
    lower = any(cost.lower_bound for cost in ended)
    return Amount(sum(cost.usd for cost in ended), lower)
